"""Do distances between data sets predict how similarly configurations rank on them?"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

N_BOOTSTRAPS = 500


class Pairs:
    """Distances and similarities of pairs of data sets, from several splits."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def add(self, distances: np.ndarray, similarity: np.ndarray, mask: np.ndarray) -> None:
        i, j = np.nonzero(mask & np.isfinite(similarity))
        self.rows.append(np.stack([i, j, distances[i, j], similarity[i, j]], axis=1))

    def correlation(self) -> tuple[float, np.ndarray]:
        rows = np.concatenate(self.rows)
        owners = rows[:, :2].astype(int)
        ids = np.unique(owners)
        rng = np.random.default_rng(0)
        values = []
        for _ in range(N_BOOTSTRAPS):
            count = np.zeros(ids.max() + 1, dtype=int)
            np.add.at(count, rng.choice(ids, len(ids)), 1)
            drawn = np.repeat(rows, count[owners[:, 0]] * count[owners[:, 1]], axis=0)
            values.append(-spearmanr(drawn[:, 2], drawn[:, 3]).statistic)
        return -spearmanr(rows[:, 2], rows[:, 3]).statistic, np.nanquantile(values, [0.025, 0.975])
