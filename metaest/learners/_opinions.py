"""What classical classifiers say of rows that they were not fitted to, as columns of a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

#: They are asked where so many rows make their opinions worth something, about so many classes.
FROM_ROWS, UP_TO_CLASSES = 80, 10

_N_FOLDS = 5

#: Probabilities are at least this before their logarithm.
_LEAST = 0.003

#: Rows that speak for equal parts of two voices, before any is asked; steps to their parts.
_EQUAL_ROWS, _STEPS = 8, 50

#: Opinions that differ by less are equal: above rounding, which must not decide their order.
_DIGITS = 6


def is_worth_asking(y: np.ndarray) -> bool:
    """Whether a task has rows enough, and not too many classes."""
    return len(y) >= FROM_ROWS and len(np.unique(y)) <= UP_TO_CLASSES


def folds(y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows of a fold and all others; the classes are spread evenly over five folds."""
    order = np.random.default_rng(0).permutation(len(y))
    number = np.empty(len(y), dtype=int)
    number[order[np.argsort(y[order], kind="stable")]] = np.arange(len(y)) % _N_FOLDS
    for fold in range(_N_FOLDS):
        own, other = np.flatnonzero(number == fold), np.flatnonzero(number != fold)
        if len(np.unique(y[other])) > 1:
            yield own, other


def weigh(said: np.ndarray) -> float:
    """Return the part of the first of two classifiers in a mixture that tells the classes best.

    The part of highest posterior density, under a beta distribution about one half, by the EM
    algorithm.

    Parameters
    ----------
    said : ndarray of shape (n, 2)
        Probabilities that they gave to the rows' own classes, which they did not know; rows where
        one of them is NaN count for nothing.

    References
    ----------
    Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm, Journal
    of the Royal Statistical Society B 1977.
    """
    first, second = said[np.isfinite(said).all(1)].clip(_LEAST).T
    part = 0.5
    for _ in range(_STEPS):
        share = part * first / (part * first + (1 - part) * second)
        part = (share.sum() + 0.5 * _EQUAL_ROWS) / (len(first) + _EQUAL_ROWS)
    return float(part)


def as_columns(opinions: Tensor, ranks: Tensor, class_mask: Tensor, asked: Tensor) -> Tensor:
    """Write opinions as columns that a network reads beside a table's own.

    Logarithms of the probabilities, less their mean; for two classes, their difference.

    Parameters
    ----------
    opinions : Tensor of shape (B, n, 2, C)
        Probabilities of two classifiers; NaN: not known.
    ranks : Tensor of shape (B, C)
        Orders the classes, so that their names do not matter.
    class_mask : Tensor of bool, shape (B, C)
    asked : Tensor of bool, shape (B,)

    Returns
    -------
    Tensor of shape (B, n, k)
        Of those tasks that were not asked, NaN.
    """
    n_classes = class_mask.sum(1)  # (B,)
    logs = opinions.clamp(min=_LEAST).log()
    mean = (logs * class_mask[:, None, None]).sum(-1, keepdim=True)
    mean = mean / n_classes[:, None, None, None].clamp(min=1)
    in_order = ranks.argsort(1)[:, None, None].expand_as(logs)
    columns = (logs - mean).gather(3, in_order).round(decimals=_DIGITS)  # (B, n, 2, C)
    columns = torch.where((n_classes == 2)[:, None, None, None], 2 * columns, columns)
    position = torch.arange(ranks.shape[1], device=ranks.device)
    said = (position < n_classes[:, None]) & ~((n_classes[:, None] == 2) & (position == 0))
    said = said & asked[:, None]  # (B, C)
    columns = columns.masked_fill(~said[:, None, None], torch.nan)
    return columns[..., said.any(0)].flatten(2)
