"""The trials of the running search, as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from metaest.tuning._configurations import SAME, Configurations, Rows
from metaest.tuning._record import ABANDONED_KEY, LARGEST, PREFIX
from metaest.tuning._sources import squash
from metaest.tuning._trials import merge_distributions

#: Of a longer search, a model sees its best trials and its latest.
_MOST = 300

#: Of a trial: planned values that are not in its ranges, where these depend on other values.
PLANNED_KEY = PREFIX + "planned"

#: Trials that the meta-trained model has to find an improvement in.
_PATIENCE = 8


class Observations(NamedTuple):
    """What a search has seen.

    Attributes
    ----------
    rows : Rows
        n configurations that have a score: those of trials, and plans that became them.
    scores : ndarray of shape (n,)
        Higher is better; squashed at the bottom.
    pending : Rows
        Configurations that run, and while no trial has a score, those that were tried in vain.
    n_trials : int
        Trials that have a score.
    """

    rows: Rows
    scores: np.ndarray
    pending: Rows
    n_trials: int


def observe(
    trials: Sequence[FrozenTrial], configurations: Configurations, direction: str
) -> Observations:
    """Read the trials of a search.

    A failed trial counts as bad as the worst, so that it is not tried again; a pruned one as its
    last intermediate value, but not better than the median: it was stopped for being bad. While
    no trial has a value, both are pending. Infinite and immense values are cut off at the worst
    and the best of the others.

    Parameters
    ----------
    trials : sequence of FrozenTrial
        Without the one that is to be planned.
    configurations : Configurations
        Limited to what is known of the space. A plan inside, of which a trial had the nearest
        values that its own ranges hold, scores what the trial did.
    direction : {"maximize", "minimize"}
    """
    sign = 1.0 if direction == "maximize" else -1.0
    complete = [t.value for t in trials if t.state == TrialState.COMPLETE]
    values = sign * np.array([v for v in complete if v is not None and abs(v) <= LARGEST])
    finished = [t for t in trials if t.state.is_finished() and t.params]
    scored = [(t, _score(t, sign, values)) for t in finished] if len(values) else []
    done = _thin(scored)
    pending = [t for t in trials if t.state == TrialState.RUNNING and t.params]
    pending += [] if done else finished
    rows = configurations.read([t.params for t, _ in done])
    scores = squash(np.array([score for _, score in done])) if done else np.zeros(0)
    plans = configurations.read([_plan_of(t) for t, _ in done])
    became = [i for i, (t, _) in enumerate(done) if PLANNED_KEY in t.user_attrs]
    became = [i for i in became if not configurations.moves(plans.take([i]))[0]]
    return Observations(
        rows.join(plans.take(became)),
        np.concatenate([scores, scores[became]]),
        configurations.read([t.params for t in pending]),
        len(done),
    )


def without_interrupted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Leave out interrupted trials, so that they are tried again; but once only.

    What is interrupted twice may be the reason, by its time or memory.
    """
    interrupted = [t for t in trials if ABANDONED_KEY in t.user_attrs]
    again = [t.params for t in interrupted]
    once = {t.number for t in interrupted if again.count(t.params) == 1}
    return [t for t in trials if t.number not in once]


def known_space(
    trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution] | None
) -> dict[str, BaseDistribution]:
    """Return the parameters that a search is known to have, as its latest trials had them."""
    known: dict[str, Any] = dict(space or {})
    for trial in reversed(trials):
        for name, own in trial.distributions.items():
            merged = merge_distributions(known[name], own) if name in known else own
            known[name] = known[name] if merged is None else merged
    return known


def is_new(rows: Rows, seen: Observations) -> np.ndarray:
    """Whether each configuration was not tried yet, and does not run: bool, shape (n,).

    What has all the values that a trial asked for would become the same trial, whatever else it
    has.
    """
    known = seen.rows.join(seen.pending)
    known = known.take(known.active.any(1))
    if not len(known):
        return np.ones(len(rows), dtype=bool)
    differences = np.abs(rows.values[:, None] - known.values) * known.active
    return differences.max(2).min(1) > SAME


def _plan_of(trial: FrozenTrial) -> dict[str, Any]:
    return {**trial.params, **trial.user_attrs.get(PLANNED_KEY, {})}


def _score(trial: FrozenTrial, sign: float, values: np.ndarray) -> float:
    worst = float(values.min())
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return float(np.clip(sign * trial.value, worst, values.max()))
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        last = sign * trial.intermediate_values[max(trial.intermediate_values)]
        if math.isfinite(last):
            return float(np.clip(last, worst, np.median(values)))
    return worst


def _thin(scored: list[tuple[FrozenTrial, float]]) -> list[tuple[FrozenTrial, float]]:
    if len(scored) <= _MOST:
        return scored
    order = sorted(range(len(scored)), key=lambda i: -scored[i][1])
    latest = range(len(scored) - _MOST // 2, len(scored))
    kept = dict.fromkeys([*latest, *order])
    return [scored[i] for i in sorted(list(kept)[:_MOST])]


def is_past_in_vain(trials: Sequence[FrozenTrial], direction: str) -> bool:
    """Whether a model without a past has its turn, for the past's advice has brought nothing.

    So it is where the meta-trained model planned eight trials or more, the latest one that a model
    planned among them, and none was better than all before. It may be misled in a way that scores
    do not tell: where nearly all of them are equal, they contradict no model.

    Parameters
    ----------
    trials : sequence of FrozenTrial
    direction : {"maximize", "minimize"}
    """
    sign = 1.0 if direction == "maximize" else -1.0
    best, n_tried, latest = -math.inf, 0, None
    for trial in (t for t in trials if t.state.is_finished()):
        origin = trial.user_attrs.get(PREFIX + "origin")
        score = -math.inf if trial.state != TrialState.COMPLETE else sign * trial.values[0]
        if origin == "surrogate":
            if score > best:
                return False
            n_tried += 1
        latest = origin if origin in ("surrogate", "cold") else latest
        best = max(best, score)
    return n_tried >= _PATIENCE and latest == "surrogate"
