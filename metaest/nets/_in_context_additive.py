"""Scores that add up over columns: what a few labelled rows can say for sure."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest.nets._in_context_cells import N_CELL_FEATURES

#: Scores lie between minus and plus this.
_CAP = 10.0


class AdditiveScores(nn.Module):
    r"""Score classes by the distance of each cell to the class's mean, summed over columns.

    With :math:`z` a learned linear map of a cell's description, :math:`m` the mean of a column's
    labelled cells, :math:`d_c` the class's mean minus it and :math:`\sigma^2` the variance
    within classes, a column adds
    :math:`g\,[\langle z - m, d_c\rangle - |d_c|^2 / 2] / \sigma^2`: linear discriminant analysis
    of one column. The weight :math:`g` is learned from how much the class means differ and
    from the numbers of rows, classes and columns: little where that may be chance.

    A labelled row is scored by the other labelled rows.

    Parameters
    ----------
    width : int, default=16
        Size of `z`.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(N_CELL_FEATURES, width, bias=False)
        self.gate = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1))

    def summary(
        self, features: Tensor, members: Tensor, usable: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Summarise the labelled cells of B tables, and score their rows.

        Parameters
        ----------
        features : Tensor of shape (B, F, S, k)
        members : Tensor of shape (B, S, C)
            One-hot labels; all zero at rows that are padded.
        usable : Tensor of bool, shape (B, F)

        Returns
        -------
        dict of Tensor
            ``center`` (B, F, 1, p), ``offsets`` (B, F, C, p), ``weight`` (B, F).
        scores : Tensor of shape (B, S, C)
        """
        z = self.project(features).to(members.dtype)  # (B, F, S, p)
        counts = members.sum(1)  # (B, C)
        n = counts.sum(1).clamp(min=1)[:, None, None]  # (B, 1, 1)
        inside = members.sum(2)[:, None, :, None]  # (B, 1, S, 1)
        center = (z * inside).sum(2, keepdim=True) / n.unsqueeze(-1)  # (B, F, 1, p)
        z = (z - center) * inside
        sums = members.transpose(1, 2).unsqueeze(1) @ z  # (B, F, C, p)
        offsets = sums / counts.clamp(min=1)[:, None, :, None]
        shares = counts[:, None, :, None] / n.unsqueeze(-1)  # (B, 1, C, 1)
        between = (offsets.square() * shares).sum((2, 3))  # (B, F)
        within = (z.square().sum((2, 3)) / n.squeeze(-1) - between).clamp(min=0)
        weight = self._weights(between, within, counts, usable)
        found = {"center": center, "offsets": offsets, "weight": weight}
        return found, self._leave_one_out(z, members, sums, found)

    def forward(self, features: Tensor, summary: dict[str, Tensor]) -> Tensor:
        """Score rows: (B, F, N, k) -> (B, N, C)."""
        z = self.project(features).to(summary["center"].dtype) - summary["center"]  # (B, F, N, p)
        return _cap(_column_scores(z, summary["offsets"], summary["weight"]))

    def _weights(self, between: Tensor, within: Tensor, counts: Tensor, usable: Tensor) -> Tensor:
        """Weigh columns: (B, F), divided by the variance within classes."""
        n, n_classes = counts.sum(1, keepdim=True), (counts > 0).sum(1, keepdim=True)  # (B, 1)
        spare = (n - n_classes).clamp(min=1)
        variance = (within * n / spare + 0.05 * (between + within)) / self.width + 1e-6
        ratio = between * spare / ((n_classes - 1).clamp(min=1) * (within + 0.01))
        facts = [n, n_classes, usable.sum(1, keepdim=True).clamp(min=1)]
        parts = [ratio.log1p(), between / (between + within + 1e-6)]
        parts += [fact.to(ratio.dtype).log().expand_as(ratio) for fact in facts]
        gate = F.softplus(self.gate(torch.stack(parts, -1)).squeeze(-1)).to(ratio.dtype)  # (B, F)
        return gate * usable / (facts[2].sqrt() * variance.clamp(min=1e-4))

    def _leave_one_out(
        self, z: Tensor, members: Tensor, sums: Tensor, summary: dict[str, Tensor]
    ) -> Tensor:
        """Score labelled rows, their own class by its other rows."""
        scores = _column_scores(z, summary["offsets"], summary["weight"])  # (B, S, C)
        counts = (members @ members.sum(1).unsqueeze(-1)).unsqueeze(1)  # (B, 1, S, 1), own class
        others = (members.unsqueeze(1) @ sums - z) / (counts - 1).clamp(min=1)  # (B, F, S, p)
        others = others * (counts > 1)
        own = (z * others).sum(-1) - others.square().sum(-1) / 2  # (B, F, S)
        own = (own * summary["weight"].unsqueeze(-1)).sum(1)  # (B, S)
        return _cap(scores * (1 - members) + own.unsqueeze(-1) * members)


def _column_scores(z: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Sum the columns' scores: (B, F, N, p), (B, F, C, p) and (B, F) -> (B, N, C)."""
    weighted = offsets * weight[:, :, None, None]  # (B, F, C, p)
    rows = z.transpose(1, 2).flatten(2)  # (B, N, F p)
    linear = rows @ weighted.transpose(2, 3).flatten(1, 2)  # (B, N, C)
    return linear - (weighted * offsets).sum((1, 3)).unsqueeze(1) / 2


def _cap(scores: Tensor) -> Tensor:
    """Bound scores smoothly."""
    return _CAP * (scores / _CAP).tanh()
