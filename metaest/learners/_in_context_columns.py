"""Which columns of a wide table the network reads."""

from __future__ import annotations

import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import masked_mean, one_hot

#: Statistics that differ by less are equal: above rounding, below any difference in the data.
_DIGITS = 9
_TINY = 1e-12


def choose_columns(support: Support, n_columns: int) -> Tensor | None:
    """Return the columns that tell most of the targets, one by one; None: all of them.

    By the F statistic of the analysis of variance, or of the regression on the column alone,
    in the rows where the column is known. Neither the order of rows nor that of columns matters:
    between equal ones a function of their cells decides.

    Parameters
    ----------
    support : Support
        x (B, S, F); not finite: missing.
    n_columns : int

    Returns
    -------
    Tensor of int64, shape (B, n_columns), or None
        In the order of the table.
    """
    x = support.x.detach().flatten(2).double()
    if x.shape[2] <= n_columns:
        return None
    known = x.isfinite() & support.mask.unsqueeze(2)  # (B, S, F)
    n_known = known.sum(1)  # (B, F)
    z = _standardized(x, known)
    statistic = _f_statistic(z, known, n_known, support).round(decimals=_DIGITS)
    rows = z.sin().sum(2).round(decimals=_DIGITS).sin()  # (B, S), a number of each row
    tie = (rows.unsqueeze(1) @ z).squeeze(1).round(decimals=_DIGITS)
    first = tie.argsort(dim=1, descending=True, stable=True)
    second = statistic.gather(1, first).argsort(dim=1, descending=True, stable=True)
    best = first.gather(1, second[:, :n_columns])
    return best.sort(1).values


def take_columns(x: Tensor, columns: Tensor | None) -> Tensor:
    """Return some columns of B tables: (B, n, F) -> (B, n, n_columns)."""
    if columns is None:
        return x
    return x.gather(2, columns.unsqueeze(1).expand(-1, x.shape[1], -1))


def _standardized(x: Tensor, known: Tensor) -> Tensor:
    """Scale columns by what is known of them; 0 where nothing is, and if a column is constant."""
    x = x / 2  # so that differences are finite
    low = x.masked_fill(~known, torch.inf).amin(1, keepdim=True)
    extent = x.masked_fill(~known, -torch.inf).amax(1, keepdim=True) - low
    varies = extent > 0  # of gaps only: -inf
    x = ((x - low) / torch.where(varies, extent, 1)).masked_fill(~(known & varies), 0)
    x = (x - masked_mean(x, known).unsqueeze(1)).masked_fill(~known, 0)
    scale = masked_mean(x.square(), known).sqrt().unsqueeze(1)
    return torch.where(varies, x / scale.clamp(min=_TINY), 0)


def _f_statistic(z: Tensor, known: Tensor, n_known: Tensor, support: Support) -> Tensor:
    """Explained over unexplained variance, by their degrees of freedom: (B, F)."""
    if support.class_mask is None:
        y = (support.y - masked_mean(support.y, support.mask).unsqueeze(1)).to(z.dtype)
        y = y.unsqueeze(2) * known
        y = (y - masked_mean(y, known).unsqueeze(1)) * known
        total = y.square().sum(1).clamp(min=_TINY)
        explained = (y * z).sum(1).square() / total  # of n_known
        n_groups = z.new_full((len(z), z.shape[2]), 2.0)
    else:
        members = one_hot(support.y, support.mask, support.class_mask.shape[1], z.dtype)
        sums = members.transpose(1, 2) @ z  # (B, C, F)
        counts = members.transpose(1, 2) @ known.to(z.dtype)
        explained = (sums.square() / counts.clamp(min=1)).sum(1)
        n_groups = (counts > 0).sum(1).clamp(min=2).to(z.dtype)
    freedom = n_known - n_groups
    left = (n_known - explained).clamp(min=_TINY * n_known.clamp(min=1))
    statistic = explained * freedom / left / (n_groups - 1)
    return torch.where(freedom > 0, statistic, 0)
