"""The past searches that a new one can learn from, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial

from metaest.tuning._configurations import Configurations, Rows, Space
from metaest.tuning._record import SearchRecord
from metaest.tuning._scaling import (
    are_reordered,
    has_fewer_choices,
    is_list_of_numbers,
    to_unit,
)
from metaest.tuning._trials import merge_distributions

#: Of a longer search, its best trials and a random part of the others.
_MOST_TRIALS = 300
#: Of the parameters that either space has, both must have this share.
_SHARED = 0.5
#: A list of numbers that spans more is one of magnitudes.
_MANY_TIMES = 100


@dataclass(frozen=True)
class SourceTask:
    """One past search.

    Attributes
    ----------
    name : str
    rows : Rows
    raw : ndarray of shape (n,)
        Scores, higher for better.
    scores : ndarray of shape (n,)
        The same, squashed at the bottom (see :func:`squash`).
    meta_features : mapping of str to float, or None
        Of its data set.
    """

    name: str
    rows: Rows
    raw: np.ndarray
    scores: np.ndarray
    meta_features: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Sources:
    """Past searches of one space.

    Attributes
    ----------
    configurations : Configurations
        Of the space that holds them all.
    tasks : list of SourceTask
    """

    configurations: Configurations
    tasks: list[SourceTask]


def find_sources(
    records: Iterable[SearchRecord],
    *,
    direction: str,
    metric: str | None = None,
    space: Space | None = None,
    known: Mapping[str, BaseDistribution] | None = None,
    estimator: str | None = None,
) -> Sources | None:
    """Choose the past searches that fit a new one; None if there are none.

    Of several spaces, that of most searches; one's own before shipped ones, unless they lack a
    parameter that is known.

    Parameters
    ----------
    records : iterable of SearchRecord
    direction : {"maximize", "minimize"}
    metric : str or None
        Searches of another one are left out; unknown ones are not. None: of what fits the space,
        the metric that most searches have.
    space : mapping of str to optuna distribution, default=None
        The new search space, if it is known. Otherwise the one that most searches have.
    known : mapping of str to optuna distribution, default=None
        Parameters that the new search is known to have, of perhaps more.
    estimator : str or None, default=None
        Class name of what is tuned. Searches of another one are left out; unknown ones are not.
    """
    groups: list[list[SearchRecord]] = []
    for record in records:
        if why_unusable(record, direction, metric, estimator) is not None:
            continue
        for group in groups:
            if are_compatible(record.space, group[0].space):
                group.append(record)
                break
        else:
            groups.append([record])
    fitting = [
        of_one_metric(group)
        for group in groups
        if (space is None or are_compatible(_narrowed(group[0].space, space), space))
        and (not known or has_most(group[0].space, known))
    ]
    if not fitting:
        return None
    is_shipped = [all(record.is_shipped for record in group) for group in fitting]
    first = [
        any(is_shipped) and not shipped and (known or {}).keys() <= group[0].space.keys()
        for group, shipped in zip(fitting, is_shipped, strict=True)
    ]
    most = max(zip(first, fitting, strict=True), key=lambda pair: (pair[0], len(pair[1])))[1]
    return _as_numbers(most, dict(space or known or {}), direction)


def are_compatible(a: Space, b: Space) -> bool:
    """Whether two spaces share most parameters, and these mean the same in both."""
    shared = a.keys() & b.keys()
    if len(shared) < _SHARED * len(a.keys() | b.keys()):
        return False
    return all(_join(a[name], b[name]) is not None for name in shared)


def _narrowed(space: Space, asked: Space) -> Space:
    """Take the asked choices where a list has them and others; of these the trials are left out."""
    return {
        name: asked[name] if name in asked and has_fewer_choices(asked[name], own) else own
        for name, own in space.items()
    }


def has_most(space: Space, known: Mapping[str, BaseDistribution]) -> bool:
    """Whether a space has most of the known parameters, with the same meaning."""
    same = [name in space and _join(space[name], own) is not None for name, own in known.items()]
    return sum(same) >= _SHARED * len(same)


def squash(scores: np.ndarray) -> np.ndarray:
    """Pull very bad scores nearer, so that a model of the scores is about the good ones.

    Twice as far below the median as the best is above it, a logarithm begins.
    """
    median, best = float(np.median(scores)), float(scores.max())
    unit = best - median
    if len(scores) < 3 or not unit > 0:
        return scores
    edge = median - 2 * unit
    return np.where(
        scores < edge, edge - unit * np.log1p(np.maximum(edge - scores, 0) / unit), scores
    )


def score_of(trial: FrozenTrial, direction: str) -> float:
    """Return a complete trial's value, higher for better."""
    assert trial.value is not None
    return trial.value if direction == "maximize" else -trial.value


def merge_spaces_of(spaces: Iterable[Space]) -> dict[str, BaseDistribution]:
    """Return the space that holds all; what does not fit the first is left out."""
    merged: dict[str, BaseDistribution] = {}
    for space in spaces:
        for name, own in space.items():
            both = _join(merged[name], own) if name in merged else own
            merged[name] = merged[name] if both is None else both
    return merged


def _join(a: Any, b: Any) -> BaseDistribution | None:
    """Return the distribution that holds two of one meaning, or None.

    Lists of numbers mean the same as their range: C in (0.1, 1, 10) and C from 0.01 to 1000. The
    order of other choices means nothing.
    """
    merged = merge_distributions(a, b)
    lists = [own for own in (a, b) if is_list_of_numbers(own)]
    ranges = [own for own in (a, b) if isinstance(own, FloatDistribution | IntDistribution)]
    if merged is None and len(lists) < 2 and are_reordered(a, b):
        return a
    if merged is not None or not lists or len(lists) + len(ranges) < 2:
        return merged
    choices = [choice for own in lists for choice in own.choices]
    low, high = min(choices), max(choices)
    log = ranges[0].log if ranges else low > 0 and high / low >= _MANY_TIMES
    for own in ranges:
        low, high = min(low, own.low), max(high, own.high)
    if log and low <= 0:
        return None
    if not ranges or isinstance(ranges[0], FloatDistribution):
        return FloatDistribution(low, high, log=log)
    is_whole = all(float(choice).is_integer() for choice in choices)
    return IntDistribution(int(low), int(high), log=log) if is_whole else None


def of_one_metric(records: Sequence[SearchRecord]) -> list[SearchRecord]:
    """Return the searches of the metric that most have, and those whose metric is unknown."""
    usual = usual_metric(records)
    return [record for record in records if record.metric in (None, usual)]


def usual_metric(records: Iterable[SearchRecord]) -> str | None:
    """Return the metric that most searches have, so that no two are mixed."""
    known = Counter(record.metric for record in records if record.metric is not None)
    return known.most_common(1)[0][0] if known else None


def why_unusable(
    record: SearchRecord, direction: str, metric: str | None, estimator: str | None = None
) -> str | None:
    """Return what a search has that says nothing of a new one, or None."""
    if not record.complete_trials or not record.space:
        return "no finished trial"
    if record.direction != direction:
        return "another direction"
    if metric is not None and record.metric is not None and record.metric != metric:
        return "another metric"
    if estimator is not None and record.estimator not in (None, estimator):
        return "another estimator"
    if record.is_constant and len(record.complete_trials) > 1:
        return "constant scores"
    return None


def _as_numbers(
    records: Sequence[SearchRecord], space: dict[str, BaseDistribution], direction: str
) -> Sources | None:
    wide = merge_spaces_of([space, *(record.space for record in records)])
    wide = dict(sorted(wide.items()))  # one order, whatever is asked for first
    plain = Configurations(wide)
    within = [(record, _offered(record, _thin(record, direction), wide)) for record in records]
    records = [record for record, trials in within if trials]
    if not records:
        return None
    kept = [trials for _, trials in within if trials]
    rows = [plain.read([trial.params for trial in trials]) for trials in kept]
    configurations = plain.with_conditions(rows[0].join(*rows[1:]))
    raw = [np.array([score_of(trial, direction) for trial in trials]) for trials in kept]
    tasks = [
        SourceTask(record.task, own, scores, squash(scores), record.meta_features)
        for record, scores, own in zip(records, raw, rows, strict=True)
    ]
    return Sources(configurations, tasks)


def _offered(record: SearchRecord, trials: list[FrozenTrial], space: Space) -> list[FrozenTrial]:
    """Leave out trials of a choice that a space does not have, though it has others of the list."""

    def holds(name: str, choice: Any) -> bool:
        return bool(np.isfinite(to_unit(space[name], choice)))

    cut = []
    for name, own in record.space.items():
        if all(isinstance(d, CategoricalDistribution) for d in (own, space[name])):
            held = [holds(name, choice) for choice in own.choices]  # type: ignore[attr-defined]
            cut += [name] if any(held) and not all(held) else []
    return [t for t in trials if all(n not in t.params or holds(n, t.params[n]) for n in cut)]


def _thin(record: SearchRecord, direction: str) -> list[FrozenTrial]:
    """Bound the work: half the best trials, half others."""
    trials = record.complete_trials
    if len(trials) <= _MOST_TRIALS:
        return trials
    order = np.argsort([-score_of(trial, direction) for trial in trials], kind="stable")
    best, others = np.split(order, [_MOST_TRIALS // 2])
    rng = np.random.default_rng(len(trials))
    drawn = rng.choice(others, _MOST_TRIALS - len(best), replace=False)
    return [trials[i] for i in sorted([*best, *drawn])]
