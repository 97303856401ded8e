"""From the cells of a table to numbers of order 1, by the statistics of its labelled rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Numbers that describe one cell.
N_CELL_FEATURES = 18

#: Frequencies of the waves over the rank.
_N_WAVES = 4


def column_statistics(x: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Describe the columns of B tables by their labelled rows.

    Everything is computed from sorted values: the order of the rows changes no digit.

    Parameters
    ----------
    x : Tensor of shape (B, S, F)
        Not finite: missing.
    mask : Tensor of bool, shape (B, S)

    Returns
    -------
    dict of Tensor
        ``sorted`` (B, F, S) and ``count`` (B, F): the values that are there, and how many;
        ``low``, ``extent``, ``mean``, ``scale`` (B, F) and ``facts`` (B, F, 4) describe them;
        ``usable`` (B, F) is False where a column tells nothing.
    """
    present = x.isfinite() & mask.unsqueeze(-1)  # (B, S, F)
    # The largest number after those that are there, and no infinity: states are finite.
    filled = x.masked_fill(~present, torch.finfo(x.dtype).max)
    ordered = filled.transpose(1, 2).contiguous().sort(-1).values  # (B, F, S)
    count = present.sum(1)  # (B, F)
    there = torch.arange(x.shape[1], device=x.device) < count.unsqueeze(-1)  # (B, F, S)
    low = ordered[..., 0].masked_fill(count == 0, 0)
    high = ordered.masked_fill(~there, torch.finfo(x.dtype).min).amax(-1)
    high = high.masked_fill(count == 0, 0)
    extent = high - low
    varies = extent > 0
    unit = (ordered - low.unsqueeze(-1)) / torch.where(varies, extent, 1).unsqueeze(-1)
    unit = unit.masked_fill(~there, 0)
    n = count.clamp(min=1).to(x.dtype)
    mean = unit.sum(-1) / n
    squares = (unit - mean.unsqueeze(-1)).square().masked_fill(~there, 0)
    steps = (unit.diff(dim=-1) > 0) & there[..., 1:]
    distinct = steps.sum(-1) + 1
    rows = mask.sum(1, keepdim=True).clamp(min=1)
    missing = 1 - count.to(x.dtype) / rows
    facts = torch.stack(
        [distinct / n, missing, (distinct == 2).to(x.dtype), 2 / (1 + distinct).to(x.dtype).sqrt()],
        -1,
    )
    usable = varies | ((count > 0) & (count < rows))
    return {
        "sorted": ordered,
        "count": count,
        "low": low,
        "extent": torch.where(varies, extent, 1),
        "mean": mean,
        "scale": torch.where(varies, (squares.sum(-1) / n).sqrt(), 1),
        "facts": facts.masked_fill(~usable.unsqueeze(-1), 0),
        "usable": usable,
    }


def cell_features(x: Tensor, statistics: dict[str, Tensor], own: int) -> Tensor:
    """Describe cells by where they stand among the labelled ones of their column.

    Parameters
    ----------
    x : Tensor of shape (B, N, F)
    statistics : dict of Tensor
        From :func:`column_statistics`.
    own : {0, 1}
        1 where the rows are the labelled ones: a cell is ranked among the others.

    Returns
    -------
    Tensor of shape (B, F, N, N_CELL_FEATURES)
    """
    x = x.transpose(1, 2).contiguous()  # (B, F, N)
    missing = ~x.isfinite()
    x = torch.where(missing, statistics["low"].unsqueeze(-1), x)
    unit = (x - statistics["low"].unsqueeze(-1)) / statistics["extent"].unsqueeze(-1)
    z = (unit - statistics["mean"].unsqueeze(-1)) / statistics["scale"].unsqueeze(-1)
    z = z.clamp(-1e4, 1e4)
    below = torch.searchsorted(statistics["sorted"], x)
    upto = torch.searchsorted(statistics["sorted"], x, right=True)
    others = (statistics["count"].unsqueeze(-1) - own).clamp(min=1).to(x.dtype)
    same = (upto - below - own).clamp(min=0).to(x.dtype)
    rank = (2 * below.to(x.dtype) + same) / others - 1  # -1..1
    waves = rank.unsqueeze(-1) * (
        math.pi * torch.arange(1, _N_WAVES + 1, dtype=x.dtype, device=x.device)
    )
    own_parts = torch.stack([z.asinh(), z.clamp(-2, 2), z.tanh(), rank, same / others], -1)
    own_parts = torch.cat([own_parts, waves.sin(), waves.cos()], -1)
    own_parts = own_parts.masked_fill(missing.unsqueeze(-1), 0)
    facts = statistics["facts"].unsqueeze(2).expand(-1, -1, x.shape[2], -1)
    features = torch.cat([own_parts, missing.unsqueeze(-1).to(x.dtype), facts], -1)
    return features.masked_fill(~statistics["usable"][:, :, None, None], 0)
