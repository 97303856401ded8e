"""Episodes as sequences, for learners that read one row after another."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metaest.episodes import EpisodeBatch

#: A prime beyond twice the rows of any episode, and its golden section.
_PRIME, _STRIDE = 10_007, 6_185


class SequencePrediction(NamedTuple):
    """Predictions for the rows of B sequences, each made before the row's label is shown.

    Attributes
    ----------
    logits : Tensor of shape (B, T, C)
    y : Tensor of shape (B, T)
        The labels.
    mask : Tensor of bool, shape (B, T)
        True at real rows.
    instance : Tensor of int64, shape (B, T)
        1 at the first row of its class in the sequence, 2 at the second, and so on.
    """

    logits: Tensor
    y: Tensor
    mask: Tensor
    instance: Tensor


def mixed_order(batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
    """Mix the support and query rows of each episode: an order for each, always the same.

    Samplers give rows sorted by class, which is no sequence to learn from. The order depends on
    the numbers of the episode's classes and of its rows; not on values, names or padding. So it
    differs between episodes of other classes. Those of the same classes and sizes have one order
    (the paper draws one for each), of rows that are drawn anew: a task's whole set of classes,
    such as the two of a binary table, always comes in the same.

    Returns
    -------
    order : Tensor of int64, shape (B, T)
        Positions in the support rows followed by the query rows; the padded ones last.
    mask : Tensor of bool, shape (B, T)
        True where these are real rows.
    """
    mask = torch.cat([batch.support_mask, batch.query_mask], 1)  # (B, T)
    start = torch.zeros_like(mask[:, :1], dtype=torch.int64)
    if batch.class_ids is not None and batch.class_mask is not None:
        start = (batch.class_ids * batch.class_mask).sum(1, keepdim=True)  # (B, 1)
    # Squares modulo a prime are scattered, and distinct as long as they are fewer than half of it.
    factor = (start % (_PRIME - 1) + 1) * _STRIDE % _PRIME  # not 0
    rank = mask.cumsum(1).square() * factor % _PRIME
    order = rank.masked_fill(~mask, _PRIME).argsort(dim=1, stable=True)
    return order, mask.gather(1, order)


def instance_numbers(labels: Tensor) -> Tensor:
    """Count the rows of a class up to each row: one-hot (B, T, C) -> int64 (B, T)."""
    return (labels.cumsum(1) * labels).sum(-1).long()
