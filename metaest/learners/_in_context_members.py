"""At which outputs of a network each class stands, pass by pass."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import one_hot
from metaest.nets._in_context_cells import cell_features, column_statistics

#: Class keys that differ by less are equal: above rounding, below any difference in the data.
_DIGITS = 9

#: Of the averaged logarithms, where classes share outputs.
_SHARPER = 2.0


def class_ranks(x: Tensor, support: Support) -> Tensor:
    """Order the classes of B tasks by their rows alone, whatever their names.

    The key of a class is the mean over its rows of a function of the row that does not depend
    on the order of its columns; nor does the mean on the order of the rows.

    Parameters
    ----------
    x : Tensor of shape (B, S, F)
    support : Support

    Returns
    -------
    Tensor of int64, shape (B, C)
        0..n_classes-1, absent classes last.
    """
    assert support.class_mask is not None
    x = x.detach().double()
    features = cell_features(x, column_statistics(x, support.mask), own=0)  # (B, F, S, k)
    weights = torch.arange(1, features.shape[-1] + 1, dtype=x.dtype, device=x.device).sin()
    cells = (features @ weights).sin()  # (B, F, S)
    rows = (cells + 0.5 * cells.square()).sum(1).sin()  # (B, S)
    members = one_hot(support.y, support.mask, support.class_mask.shape[1], x.dtype)
    sums = (rows.unsqueeze(1) @ members).squeeze(1)  # (B, C)
    keys = sums / members.sum(1).clamp(min=1) + members.sum(1)
    keys = keys.round(decimals=_DIGITS).masked_fill(~support.class_mask, torch.inf)
    return keys.argsort(dim=1, stable=True).argsort(1)


def assign_slots(
    ranks: Tensor, class_mask: Tensor, n_estimators: int, n_outputs: int
) -> tuple[Tensor, Tensor]:
    """Give each class an output in each pass.

    Parameters
    ----------
    ranks : Tensor of shape (B, C)
    class_mask : Tensor of bool, shape (B, C)
    n_estimators : int
    n_outputs : int

    Returns
    -------
    slots : Tensor of int64, shape (B, M, C)
    member_mask : Tensor of bool, shape (B, M)
        False at passes that a task does not have.
    """
    tables = [_table(int(n), n_estimators, n_outputs) for n in class_mask.sum(1)]
    n_members = max(len(table) for table in tables)
    slots = ranks.new_zeros(len(ranks), n_members, ranks.shape[1])
    member_mask = torch.zeros(len(ranks), n_members, dtype=torch.bool, device=ranks.device)
    for task, table in enumerate(tables):
        present = class_mask[task]
        own = torch.from_numpy(table).to(ranks.device)  # (m, n)
        rows = torch.arange(n_members, device=ranks.device) % len(own)
        slots[task][:, present] = own[rows][:, ranks[task][present]]
        member_mask[task, : len(own)] = True
    return slots, member_mask


@lru_cache(maxsize=256)
def _table(n_classes: int, n_estimators: int, n_outputs: int) -> np.ndarray:
    """Draw the outputs of the classes in each pass: (M, n_classes)."""
    n_members = n_estimators
    if n_classes > n_outputs:
        n_members = max(n_members, 4 + -(-2 * n_classes // n_outputs))
    rng = np.random.default_rng(n_classes)
    orders = np.tile(np.arange(n_classes), (n_members, 1))
    return rng.permuted(orders, axis=1) % n_outputs


def combine(logits: Tensor, slots: Tensor, member_mask: Tensor, class_mask: Tensor) -> Tensor:
    """Average the log-probabilities of each class over the passes.

    In a task of more classes than outputs, other classes share the right one's output in some
    passes, so that the average is too flat; it is doubled.

    Parameters
    ----------
    logits : Tensor of shape (B, M, Q, outputs)
    slots : Tensor of shape (B, M, C)
    member_mask : Tensor of bool, shape (B, M)
    class_mask : Tensor of bool, shape (B, C)

    Returns
    -------
    Tensor of shape (B, Q, C)
    """
    index = slots.unsqueeze(2).expand(-1, -1, logits.shape[2], -1)
    own = logits.log_softmax(-1).gather(3, index)  # (B, M, Q, C)
    weights = member_mask.to(own.dtype)[:, :, None, None]
    mean = (own * weights).sum(1) / weights.sum(1)
    is_shared = class_mask.sum(1) > logits.shape[-1]
    return torch.where(is_shared[:, None, None], _SHARPER * mean, mean)
