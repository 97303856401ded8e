"""What distances between data sets are worth: the regret of a new search's first trial."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from _common import markdown_row

from metaest.tuning._portfolio import greedy_portfolio
from metaest.tuning._similarity import choose_weights, weigh_by_distance

N_BOOTSTRAPS = 2000
#: Weights at the width that MetaSampler tries first, and as it decides on them.
WAYS = ("always", "as MetaSampler decides")


class FirstTrials:
    """First trials of held-out data sets, chosen among the random configurations of the surfaces.

    The plain choice is the best mean over the other data sets; the other ones weigh these by
    distance. Scores are scaled to [0, 1] on each data set: a regret is what the best has more.
    """

    def __init__(self) -> None:
        self._plain: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        self._gains: dict[tuple[str, str, str], list[float]] = defaultdict(list)

    def add(
        self,
        method: str,
        surface: str,
        scores: np.ndarray,
        distances: np.ndarray,
        rest: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """Add the held-out data sets of a split.

        Parameters
        ----------
        method, surface : str
        scores : ndarray of shape (n_data_sets, n_configurations)
            NaN in rows of data sets without a surface.
        distances : ndarray of shape (n_data_sets, n_data_sets)
        rest, out : ndarray of int
        """
        known = np.isfinite(scores).all(axis=1) & (np.ptp(scores, axis=1) > 0)
        rest, out = rest[known[rest]], out[known[out]]
        low, high = scores.min(axis=1, keepdims=True), scores.max(axis=1, keepdims=True)
        unit = (scores - low) / np.where(high > low, high - low, 1.0)
        between = distances[np.ix_(rest, rest)]
        width = np.median(between[~np.eye(len(rest), dtype=bool)])
        first = greedy_portfolio(unit[rest], 1)[0]
        for own in out:
            to_new = distances[own, rest]
            always = weigh_by_distance(to_new, width)
            guarded = choose_weights(unit[rest], to_new, between, 1)
            for way, found in zip(WAYS, (always, guarded), strict=True):
                chosen = greedy_portfolio(unit[rest], 1, found)[0]
                key = method, surface, way
                self._plain[key].append(1 - unit[own, first])
                self._gains[key].append(unit[own, chosen] - unit[own, first])

    def print(self, methods: list[str], surfaces: list[str]) -> None:
        """Print the change of the mean regret x 1000 with its interval; minus is better."""
        print("\nregret x 1000 at trial 1, change against the unweighted choice\n")
        print(markdown_row("weights", "method", *surfaces))
        print(markdown_row(*["---"] * (2 + len(surfaces))))
        plain = [f"{1000 * np.mean(self._plain[methods[0], s, WAYS[0]]):.0f}" for s in surfaces]
        print(markdown_row("none", "(the regret itself)", *plain))
        for way in WAYS:
            for method in methods:
                cells = [_interval(self._gains[method, s, way]) for s in surfaces]
                print(markdown_row(way, method, *cells))


def _interval(gains: list[float]) -> str:
    values = -1000 * np.array(gains)
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(N_BOOTSTRAPS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():+.0f} ({low:+.0f} to {high:+.0f})"
