"""An external memory with least-recently-used writes, for B tasks at once.

A row of the memory is a key and, in columns of their own, the labels that were written with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaest.learners._base import State


@dataclass(frozen=True)
class Reading:
    """What n reads by each of B tasks found.

    Attributes
    ----------
    weights : Tensor of shape (B, n, N)
        Attention over the rows of the memory; adds up to 1.
    content : Tensor of shape (B, n, W)
        The mean of the keys under these weights.
    votes : Tensor of shape (B, n, C)
        The mean of the rows' labels. Adds up to the weight of rows that are in use.
    """

    weights: Tensor
    content: Tensor
    votes: Tensor


def empty_memory(n_tasks: int, n_slots: int, width: int, n_classes: int, like: Tensor) -> State:
    """Return the state of memories that nothing was written to."""
    return {
        "keys": like.new_zeros(n_tasks, n_slots, width),
        "labels": like.new_zeros(n_tasks, n_slots, n_classes),
        "usage": like.new_zeros(n_tasks, n_slots),
    }


def read_memory(memory: State, key: Tensor, strength: Tensor, novelty: Tensor) -> Reading:
    """Attend to the rows by cosine similarity.

    Parameters
    ----------
    memory : dict of Tensor
        ``keys`` (B, N, W) and ``labels`` (B, N, C).
    key : Tensor of shape (B, n, W)
        Of length 1.
    strength, novelty : Tensor of shape (B, n, 1)
        Factor on the similarities, and similarity of a row that is not in use.

    References
    ----------
    Graves, Wayne and Danihelka, Neural Turing Machines, arXiv:1410.5401, 2014, eq. 5-6.
    """
    mass = memory["labels"].sum(-1)  # (B, N)
    # A row that only a trace was written to keeps a short key: no cosine of it can be near 1.
    lengths = (memory["keys"].square().sum(-1) + 0.01).sqrt()
    similarity = key @ memory["keys"].transpose(1, 2) / lengths.unsqueeze(1)  # (B, n, N)
    similarity = similarity + novelty * (1 - mass.clamp(max=1)).unsqueeze(1)
    weights = (strength * similarity).softmax(-1)
    votes = weights @ (memory["labels"] / mass.clamp(min=1).unsqueeze(-1))
    return Reading(weights, weights @ memory["keys"], votes)


def write_memory(
    memory: State,
    key: Tensor,
    label: Tensor,
    read_weights: Tensor,
    gate: Tensor,
    decay: float,
    mask: Tensor,
) -> State:
    r"""Write a row, to where the last read looked or to the least recently used place.

    .. math::

        w^w = g w^r + (1 - g) w^{lu}, \qquad M_i \leftarrow (1 - (1 - g) w^{lu}_i) M_i + w^w_i k,
        \qquad w^u \leftarrow \gamma w^u + w^r + w^w

    Parameters
    ----------
    memory : dict of Tensor
        ``keys`` (B, N, W), ``labels`` (B, N, C) and ``usage`` (B, N).
    key : Tensor of shape (B, W)
    label : Tensor of shape (B, C)
        One-hot.
    read_weights : Tensor of shape (B, N)
        :math:`w^r`, of the read before.
    gate : Tensor of shape (B, 1)
        :math:`g`, from 0 to 1.
    decay : float
        :math:`\gamma`.
    mask : Tensor of bool, shape (B,)
        False: this task's memory stays as it is.

    References
    ----------
    Santoro et al., Meta-Learning with Memory-Augmented Neural Networks, ICML 2016, eq. 5-8. The
    paper empties the least used place whatever the gate; here only by as much as is written there.
    """
    place = torch.zeros_like(read_weights).scatter(
        1, memory["usage"].argmin(1, keepdim=True), 1.0
    )  # (B, N)
    real = mask.unsqueeze(1).to(key.dtype)  # (B, 1)
    fresh = (1 - gate) * place * real
    weights = gate * read_weights * real + fresh
    kept, added = 1 - fresh.unsqueeze(-1), weights.unsqueeze(-1)  # (B, N, 1)
    usage = decay * memory["usage"] + read_weights + weights
    return {
        "keys": kept * memory["keys"] + added * key.unsqueeze(1),
        "labels": kept * memory["labels"] + added * label.unsqueeze(1),
        "usage": torch.where(mask.unsqueeze(1), usage, memory["usage"]),
    }


def labels_held(memory: State) -> Tensor:
    """Return how much of each class the memory holds, from 0 to 1: (B, C)."""
    return memory["labels"].sum(1).clamp(max=1)
