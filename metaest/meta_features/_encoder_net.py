"""The set network of the encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metaest.meta_features._encoder_views import N_CHANNELS, STATISTICS, Batch

WIDTH = 32


class SetNetwork(nn.Module):
    r"""Dataset2Vec: means over rows, then over pairs of a column and a class.

    .. math:: h\Big(\sum_{m,c} p_c\, g\big(\tfrac1N \sum_n f(x_{nm}, y_{nc})\big)\Big)

    As y is 0 or 1, the mean of f over rows is a mean of one function within the class and one of
    another over all rows: classes cost a matrix product, no further pass through f.

    Parameters
    ----------
    n_outputs : int

    References
    ----------
    Jomaa, Schmidt-Thieme and Grabocka, Dataset2Vec: learning dataset meta-features, Data Mining
    and Knowledge Discovery 2021.
    """

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        self.cell = nn.Sequential(
            nn.Linear(N_CHANNELS, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.pair = nn.Sequential(
            nn.Linear(2 * WIDTH + 2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.whole = nn.Sequential(
            nn.Linear(2 * WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_outputs)
        )
        self.shortcut = nn.Linear(len(STATISTICS), n_outputs, bias=False)

    def forward(self, batch: Batch, statistics: Tensor) -> Tensor:
        """Embed V views.

        Parameters
        ----------
        batch : Batch
        statistics : Tensor of shape (V, n_statistics)
            Standardised.

        Returns
        -------
        Tensor of shape (V, n_outputs)
            Unit vectors.
        """
        return F.normalize(self.whole(self._pool(batch)) + self.shortcut(statistics), dim=-1)

    def _pool(self, batch: Batch) -> Tensor:
        n_views, n_rows, n_columns, _ = batch.cells.shape
        members = batch.members  # (V, N, C)
        cells = self.cell(batch.cells).view(n_views, n_rows, -1)  # (V, N, M * H)
        counts = members.sum(dim=1)  # (V, C)
        total = counts.sum(dim=1, keepdim=True)  # (V, 1)
        sums = members.transpose(1, 2) @ cells  # (V, C, M * H)
        everywhere = (sums.sum(dim=1) / total).view(n_views, 1, n_columns, -1)  # (V, 1, M, H)
        within = sums / counts.clamp(min=1).unsqueeze(-1)
        within = within.view(n_views, members.shape[2], n_columns, -1)  # (V, C, M, H)
        priors = counts / total  # (V, C)
        extra = torch.stack(
            [priors.clamp(min=1e-4).log() / 4, batch.kinds[:, None].expand_as(priors)], dim=-1
        )
        extra = extra.unsqueeze(2).expand(-1, -1, n_columns, -1)  # (V, C, M, 2)
        joined = torch.cat([within - everywhere, everywhere.expand_as(within), extra], dim=-1)
        pairs = self.pair(joined)  # (V, C, M, H)
        weights = priors.unsqueeze(-1) * batch.columns.unsqueeze(1)  # (V, C, M)
        weights = (weights / weights.sum(dim=(1, 2), keepdim=True)).unsqueeze(-1)
        mean = (weights * pairs).sum(dim=(1, 2))  # (V, H)
        spread = (weights * (pairs - mean[:, None, None]) ** 2).sum(dim=(1, 2))
        return torch.cat([mean, (spread + 1e-6).sqrt()], dim=-1)  # (V, 2 H)
