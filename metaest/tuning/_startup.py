"""Start-up trials: the portfolio of the past searches, as the new one can try it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from metaest.tuning._configurations import Configurations
from metaest.tuning._observations import Observations, is_new
from metaest.tuning._plan import Plan
from metaest.tuning._portfolio import Candidates, evaluate_candidates, greedy_portfolio
from metaest.tuning._record import PREFIX
from metaest.tuning._similarity import choose_weights, distances_from
from metaest.tuning._sources import Sources


class Startup:
    """Plans trials from the portfolio.

    Parameters
    ----------
    n_portfolio : int
    meta_features : mapping of str to float, or None
        Of the new data set.
    defaults : mapping of str to value, or None
        See MetaSampler.
    """

    def __init__(
        self,
        n_portfolio: int,
        meta_features: Mapping[str, float] | None,
        defaults: Mapping[str, Any] | None,
    ) -> None:
        self._n = n_portfolio
        self._meta_features = meta_features
        self._defaults = defaults

    def plan(
        self,
        sources: Sources,
        configurations: Configurations,
        seen: Observations,
        trials: Sequence[FrozenTrial],
        fixed: Collection[str],
    ) -> Plan | None:
        """Return the first entry that was not tried, unless all were.

        Parameters
        ----------
        sources : Sources
        configurations : Configurations
            Of the new search.
        seen : Observations
        trials : sequence of FrozenTrial
        fixed : collection of str
            Parameters of the trial that are not free.
        """
        if self._is_over(trials, fixed):
            return None
        candidates = evaluate_candidates(sources, configurations, is_quick=bool(fixed))
        weights, distances = self._weigh(sources, candidates)
        n_tried = len(seen.rows) + len(seen.pending)
        chosen = greedy_portfolio(candidates.scores, self._n + n_tried, weights)
        entries = configurations.bring_inside(candidates.rows.take(chosen), self._defaults)
        fresh = np.flatnonzero(is_new(entries, seen))
        if not len(fresh):
            return None
        rank = int(fresh[0])
        task = int(candidates.origins[chosen[rank]])
        is_moved = bool(candidates.moved[chosen[rank]])
        source = {
            "task": sources.tasks[task].name,
            "distance": None if distances is None else _finite(distances[task]),
            "rank": rank,
            "weighted": weights is not None,
        }
        attributes = {
            "origin": "adapted" if is_moved and fixed else "portfolio",
            "source": {**source, "moved": True} if is_moved else source,
        }
        return Plan(configurations.write(entries, rank), attributes)

    def _is_over(self, trials: Sequence[FrozenTrial], fixed: Collection[str]) -> bool:
        """Whether the trials of a model began, or the portfolio had its number.

        Trials count that were as free as this one or freer: to try the portfolio's values of some
        parameters only is not to try the portfolio.
        """
        origins = [
            trial.user_attrs.get(PREFIX + "origin")
            for trial in trials
            if set(trial.user_attrs.get(PREFIX + "fixed", ())) <= set(fixed)
        ]
        if {"surrogate", "cold"}.intersection(origins):
            return True
        return origins.count("portfolio") + origins.count("adapted") >= self._n

    def _weigh(
        self, sources: Sources, candidates: Candidates
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the weights of the past searches, if that helps, and their distances."""
        found = distances_from(sources.tasks, self._meta_features or {})
        if found is None:
            return None, None
        to_new, between = found
        return choose_weights(candidates.scores, to_new, between, self._n), to_new


def _finite(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
