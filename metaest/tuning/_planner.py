"""Deciding what a trial is to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from metaest.tuning._acquisition import climb, log_expected_improvement, propose
from metaest.tuning._configurations import Configurations, Rows
from metaest.tuning._observations import Observations, is_past_in_vain, observe
from metaest.tuning._portfolio import Candidates, evaluate_candidates, greedy_portfolio
from metaest.tuning._posterior import Features, Posterior, Prior
from metaest.tuning._record import PREFIX, SearchRecord
from metaest.tuning._similarity import choose_weights, distances_from
from metaest.tuning._sources import Sources, find_sources
from metaest.tuning._surrogate import Surrogate, train_surrogate

#: Nats by which a cold model must explain the scores better, to take over; and from which trial.
_MARGIN, _SWITCH_FROM = 3.0, 8
#: A configuration that is nearer than this to a known one is the same.
_SAME = 1e-9
#: Random configurations that are drawn, at most, to find one that was not tried.
_MOST_DRAWS = 64


@dataclass(frozen=True)
class Plan:
    """What a trial is to try, and where that is from.

    Attributes
    ----------
    params : dict
        Also those that are not active.
    attributes : dict
        "origin" and, for the portfolio, "source".
    """

    params: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)


class Planner:
    """Plans trials from the past searches and those of the running one.

    Parameters
    ----------
    meta_features : mapping of str to float, or None
        Of the new data set.
    n_portfolio : int
    is_meta : bool
        Whether a meta-trained model follows.
    n_random, verbose : int
        See MetaSampler.
    defaults : mapping of str to value, default=None
        See MetaSampler.
    """

    def __init__(
        self,
        meta_features: Mapping[str, float] | None,
        n_portfolio: int,
        is_meta: bool,
        n_random: int,
        verbose: int,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        self._meta_features = meta_features
        self._n_portfolio = n_portfolio
        self._is_meta = is_meta
        self._n_random = n_random
        self._verbose = verbose
        self._defaults = defaults
        self._known: tuple[Any, ...] | None = None
        self._sources: Sources | None = None
        self._starts: dict[str, torch.Tensor] = {}

    def plan(
        self,
        records: Sequence[SearchRecord],
        trials: Sequence[FrozenTrial],
        *,
        known: Mapping[str, BaseDistribution],
        direction: str,
        metric: str | None,
        rng: np.random.Generator,
        planned: Mapping[int, Mapping[str, Any]],
    ) -> Plan:
        """Plan the next trial.

        Parameters
        ----------
        records : sequence of SearchRecord
        trials : sequence of FrozenTrial
            Of the running search.
        known : mapping of str to optuna distribution
            Its parameters, as far as they are known.
        direction : {"maximize", "minimize"}
        metric : str or None
        rng : numpy.random.Generator
        planned : mapping of int to dict
            Plans of trials that run, by their id: they may not have asked for all of it yet.
        """
        sources = self._find(records, known, direction, metric)
        whole = sources.configurations if sources else Configurations(known)
        told = [trial for trial in trials if trial._trial_id not in planned]
        seen = observe(told, whole, direction)
        if sources is None and len(seen.rows):
            whole = whole.with_conditions(seen.rows)
        configurations = whole.narrowed(known, _absent(whole, seen))
        if planned:
            others = configurations.bring_inside(configurations.read(list(planned.values())))
            seen = seen._replace(pending=seen.pending.join(others))
        if sources is not None:
            entry = self._from_portfolio(sources, configurations, seen, trials)
            if entry is not None:
                return entry
        if len(seen.rows) < (1 if sources else self._n_random):
            drawn = _draw_new(configurations, seen, rng)
            return Plan(configurations.write(drawn, 0), {"origin": "random"})
        is_vain = is_past_in_vain(trials, direction)
        return self._from_model(sources, configurations, seen, is_vain, rng)

    def _find(
        self,
        records: Sequence[SearchRecord],
        known: Mapping[str, BaseDistribution],
        direction: str,
        metric: str | None,
    ) -> Sources | None:
        key = (direction, metric, tuple(sorted((n, repr(d)) for n, d in known.items())))
        if key != self._known:
            found = find_sources(records, direction=direction, metric=metric, known=known)
            self._known, self._sources = key, found
            self._starts = {}
        return self._sources

    def _from_portfolio(
        self,
        sources: Sources,
        configurations: Configurations,
        seen: Observations,
        trials: Sequence[FrozenTrial],
    ) -> Plan | None:
        """Return the first entry that was not tried, unless all were."""
        origins = [trial.user_attrs.get(PREFIX + "origin") for trial in trials]
        is_over = {"surrogate", "cold"}.intersection(origins)
        if is_over or origins.count("portfolio") >= self._n_portfolio:
            return None
        candidates = evaluate_candidates(sources)
        weights, distances = self._weigh(sources, candidates)
        n_tried = len(seen.rows) + len(seen.pending)
        chosen = greedy_portfolio(candidates.scores, self._n_portfolio + n_tried, weights)
        entries = configurations.bring_inside(candidates.rows.take(chosen), self._defaults)
        fresh = np.flatnonzero(_is_new(entries, seen))
        if not len(fresh):
            return None
        rank = int(fresh[0])
        source = int(candidates.origins[chosen[rank]])
        attributes = {
            "origin": "portfolio",
            "source": {
                "task": sources.tasks[source].name,
                "distance": None if distances is None else _finite(distances[source]),
                "rank": rank,
                "weighted": weights is not None,
            },
        }
        return Plan(configurations.write(entries, rank), attributes)

    def _weigh(
        self, sources: Sources, candidates: Candidates
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the weights of the past searches, if that helps, and their distances."""
        found = distances_from(sources.tasks, self._meta_features or {})
        if found is None:
            return None, None
        to_new, between = found
        return choose_weights(candidates.scores, to_new, between, self._n_portfolio), to_new

    def _from_model(
        self,
        sources: Sources | None,
        configurations: Configurations,
        seen: Observations,
        is_vain: bool,
        rng: np.random.Generator,
    ) -> Plan:
        best = None if sources is None else evaluate_candidates(sources).rows
        others = None if best is None else configurations.bring_inside(best, self._defaults)
        proposed = propose(configurations, seen.rows, seen.scores, others, rng)
        origin, posterior, surrogate = self._model(sources, configurations, seen, is_vain)

        def merit(rows: Rows) -> np.ndarray:
            mean, std = posterior.predict(_features(surrogate, configurations, rows))
            worth = log_expected_improvement(mean, std, float(seen.scores.max()))
            return np.where(_is_new(rows, seen), worth, -np.inf)

        found, worth = climb(configurations, proposed, merit, rng)
        if worth == -np.inf:  # all that can be tried was
            found, origin = configurations.draw(1, rng), "random"
        return Plan(configurations.write(found, 0), {"origin": origin})

    def _model(
        self,
        sources: Sources | None,
        configurations: Configurations,
        seen: Observations,
        is_vain: bool,
    ) -> tuple[str, Posterior, Surrogate | None]:
        """Return the model that explains the scores best: the meta-trained or the cold one."""
        surrogate = None
        if sources is not None and self._is_meta:
            encode = sources.configurations.encode
            tasks = [(encode(task.rows), task.scores) for task in sources.tasks]
            surrogate = train_surrogate(tasks, self._verbose)
        if surrogate is None:
            return "cold", self._fit("cold", None, configurations, seen), None
        warm = self._fit("surrogate", surrogate, configurations, seen)
        if len(seen.rows) >= _SWITCH_FROM:
            cold = self._fit("cold", None, configurations, seen)
            if is_vain or cold.loss + _MARGIN < warm.loss:
                return "cold", cold, None
        return "surrogate", warm, surrogate

    def _fit(
        self,
        origin: str,
        surrogate: Surrogate | None,
        configurations: Configurations,
        seen: Observations,
    ) -> Posterior:
        """Fit a model; what runs is taken to score what the model expects of it."""
        features = _features(surrogate, configurations, seen.rows)
        prior = Prior.cold(features.raw) if surrogate is None else surrogate.prior()
        posterior = Posterior(features, seen.scores, prior, self._starts.get(origin))
        self._starts[origin] = posterior.parameters
        if not len(seen.pending):
            return posterior
        expected, _ = posterior.predict(_features(surrogate, configurations, seen.pending))
        both = _features(surrogate, configurations, seen.rows.join(seen.pending))
        scores = np.concatenate([seen.scores, expected])
        return Posterior(both, scores, prior, posterior.parameters, n_steps=0)


def _features(surrogate: Surrogate | None, configurations: Configurations, rows: Rows) -> Features:
    if surrogate is not None:
        return surrogate.features(configurations.encode(rows))
    # What knows nothing of past searches looks no farther than this one's space.
    return Features(torch.from_numpy(configurations.encode(rows, in_limits=True)))


def _is_new(rows: Rows, seen: Observations) -> np.ndarray:
    """Whether each configuration was not tried yet, and does not run: bool, shape (n,).

    What has all the values that a trial asked for would become the same trial, whatever else it
    has.
    """
    known = seen.rows.join(seen.pending)
    known = known.take(known.active.any(1))
    if not len(known):
        return np.ones(len(rows), dtype=bool)
    differences = np.abs(rows.values[:, None] - known.values) * known.active
    return differences.max(2).min(1) > _SAME


def _draw_new(configurations: Configurations, seen: Observations, rng: np.random.Generator) -> Rows:
    """Draw a configuration, and again while it was tried; a small space may have no other."""
    drawn = configurations.draw(1, rng)
    for _ in range(_MOST_DRAWS - 1):
        if _is_new(drawn, seen)[0]:
            break
        drawn = configurations.draw(1, rng)
    return drawn


def _absent(configurations: Configurations, seen: Observations) -> list[str]:
    """Return the parameters that trials should have by what the past says, and none of them has."""
    expected = configurations.activate(seen.rows.values).active.any(0)
    never = ~seen.rows.active.any(0)
    return [str(name) for name in np.array(configurations.names)[expected & never]]


def _finite(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
