"""Deciding what a trial is to try."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from metaest.tuning._acquisition import climb, log_expected_improvement, propose
from metaest.tuning._configurations import Configurations, Rows
from metaest.tuning._observations import Observations, is_new, is_past_in_vain, observe
from metaest.tuning._plan import Plan
from metaest.tuning._portfolio import collect_candidates
from metaest.tuning._posterior import Features, Posterior, Prior
from metaest.tuning._record import SearchRecord
from metaest.tuning._sources import Sources, find_sources
from metaest.tuning._startup import Startup
from metaest.tuning._surrogate import Surrogate, train_surrogate

#: Nats by which a cold model must explain the scores better, to take over; and from which trial.
_MARGIN, _SWITCH_FROM = 3.0, 8
#: Random configurations that are drawn, at most, to find one that was not tried.
_MOST_DRAWS = 64


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
        self._startup = Startup(n_portfolio, meta_features, defaults)
        self._is_meta = is_meta
        self._n_random = n_random
        self._verbose = verbose
        self._defaults = defaults
        self._known: tuple[Any, ...] | None = None
        self._sources: Sources | None = None
        self._starts: dict[str, torch.Tensor] = {}
        self._advice: tuple[str, Rows] | None = None

    def plan(
        self,
        records: Sequence[SearchRecord],
        trials: Sequence[FrozenTrial],
        *,
        known: Mapping[str, BaseDistribution],
        direction: str,
        metric: str | None,
        estimator: str | None,
        rng: np.random.Generator,
        planned: Mapping[int, Mapping[str, Any]],
        fixed: Mapping[str, Any],
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
        metric, estimator : str or None
        rng : numpy.random.Generator
        planned : mapping of int to dict
            Plans of trials that run, by their id: they may not have asked for all of it yet.
        fixed : mapping of str to value
            Parameters of the trial that are not free; the others are planned to go with them.
        """
        sources = self._find(records, known, direction, metric, estimator)
        whole = sources.configurations if sources else Configurations(known)
        told = [trial for trial in trials if trial._trial_id not in planned]
        seen = observe(told, whole.narrowed(known), direction)
        if sources is None and len(seen.rows):
            whole = whole.with_conditions(seen.rows)
        configurations = whole.narrowed(known, _absent(whole, seen))
        if planned:
            others = configurations.bring_inside(configurations.read(list(planned.values())))
            seen = seen._replace(pending=seen.pending.join(others))
        if not fixed:
            return self._choose(sources, configurations, seen, trials, direction, rng)
        configurations = configurations.fixed_at(fixed)
        found = self._choose(sources, configurations, seen, trials, direction, rng, fixed)
        said = {**found.attributes, "fixed": sorted(fixed)}
        return Plan({**found.params, **fixed}, said)

    def _find(
        self,
        records: Sequence[SearchRecord],
        known: Mapping[str, BaseDistribution],
        direction: str,
        metric: str | None,
        estimator: str | None,
    ) -> Sources | None:
        space = tuple(sorted((n, repr(d)) for n, d in known.items()))
        key = (direction, metric, estimator, space)
        if key != self._known:
            found = find_sources(
                records, direction=direction, metric=metric, known=known, estimator=estimator
            )
            self._known, self._sources = key, found
            self._starts, self._advice = {}, None
        return self._sources

    def _choose(
        self,
        sources: Sources | None,
        configurations: Configurations,
        seen: Observations,
        trials: Sequence[FrozenTrial],
        direction: str,
        rng: np.random.Generator,
        fixed: Collection[str] = (),
    ) -> Plan:
        if sources is not None:
            entry = self._startup.plan(sources, configurations, seen, trials, fixed)
            if entry is not None:
                return entry
        if seen.n_trials < (1 if sources else self._n_random):
            drawn = _draw_new(configurations, seen, rng)
            return Plan(configurations.write(drawn, 0), {"origin": "random"})
        is_vain = is_past_in_vain(trials, direction)
        return self._from_model(sources, configurations, seen, is_vain, rng)

    def _from_model(
        self,
        sources: Sources | None,
        configurations: Configurations,
        seen: Observations,
        is_vain: bool,
        rng: np.random.Generator,
    ) -> Plan:
        others = None if sources is None else self._advise(sources, configurations)
        proposed = propose(configurations, seen.rows, seen.scores, others, rng)
        origin, posterior, surrogate = self._model(sources, configurations, seen, is_vain)

        def merit(rows: Rows) -> np.ndarray:
            mean, std = posterior.predict(_features(surrogate, configurations, rows))
            worth = log_expected_improvement(mean, std, float(seen.scores.max()))
            return np.where(is_new(rows, seen), worth, -np.inf)

        found, worth = climb(configurations, proposed, merit, rng)
        if worth == -np.inf:  # all that can be tried was
            found, origin = configurations.draw(1, rng), "random"
        return Plan(configurations.write(found, 0), {"origin": origin})

    def _advise(self, sources: Sources, configurations: Configurations) -> Rows:
        """Return the best configurations of past searches; they are sought once for a space."""
        if self._advice is None or self._advice[0] != configurations.limits:
            best, *_ = collect_candidates(sources.tasks, configurations)
            self._advice = (configurations.limits, best)
        return configurations.bring_inside(self._advice[1], self._defaults)

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
        if seen.n_trials >= _SWITCH_FROM:
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
        start = self._starts.get(origin)
        if start is not None and start.shape != prior.center.shape:  # since then, a condition
            start = None
        posterior = Posterior(features, seen.scores, prior, start)
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


def _draw_new(configurations: Configurations, seen: Observations, rng: np.random.Generator) -> Rows:
    """Draw a configuration, and again while it was tried; a small space may have no other."""
    drawn = configurations.draw(1, rng)
    for _ in range(_MOST_DRAWS - 1):
        if is_new(drawn, seen)[0]:
            break
        drawn = configurations.draw(1, rng)
    return drawn


def _absent(configurations: Configurations, seen: Observations) -> list[str]:
    """Return the parameters that trials should have by what the past says, and none of them has."""
    expected = configurations.activate(seen.rows.values).active.any(0)
    never = ~seen.rows.active.any(0)
    return [str(name) for name in np.array(configurations.names)[expected & never]]
