"""Checked records of searches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from metaest.exceptions import HistoryError, InvalidParameterError
from metaest.meta_features._fingerprint import fingerprint
from metaest.tuning._description import describe_data
from metaest.tuning._record import SearchRecord
from metaest.tuning._spaces import model_name
from metaest.tuning._trials import check_choices, check_direction

_MAX_NAME = 512  # of Optuna's tables


def make_record(
    task: Any,
    trials: list[FrozenTrial],
    space: Mapping[str, BaseDistribution],
    direction: Any,
    metric: str | None,
    X: Any = None,
    y: Any = None,
    meta_features: Any = None,
    estimator: Any = None,
) -> SearchRecord:
    """Check a search and make its record.

    Raises
    ------
    InvalidParameterError
        If the name, the metric, the direction, the meta-features or the estimator are none, or one
        of X and y is missing.
    HistoryError
        If the trials are of no use, or the space has choices that cannot be stored.
    TaskError
        If X and y cannot be used.
    """
    if not isinstance(task, str) or not 0 < len(task) <= _MAX_NAME:
        raise InvalidParameterError(
            f"task must be a name of 1 to {_MAX_NAME} letters, got {task!r}."
        )
    if metric is not None and not isinstance(metric, str):
        raise InvalidParameterError(
            f"metric must be a name, such as 'accuracy', or None, got {metric!r}."
        )
    check_direction(direction)
    check_choices(space)
    if not any(t.state == TrialState.COMPLETE for t in trials):
        raise HistoryError(
            f"the search on task {task!r} has no trial with a finite value ({len(trials)} "
            "finished trials); there is nothing to learn from it."
        )
    meta_features = describe_data(X, y, meta_features)
    return SearchRecord(
        task=task,
        space=dict(space),
        direction=direction,
        metric=metric,
        meta_features=meta_features,
        fingerprint=None if X is None else fingerprint(X, y),
        trials=tuple(trials),
        estimator=model_name(estimator),
    )


def are_same(a: list[FrozenTrial], b: list[FrozenTrial]) -> bool:
    """Whether these are the trials of one study: nobody starts two in one microsecond."""

    def key(trial: FrozenTrial) -> Any:
        return trial.number, trial.state, trial.params, trial.datetime_start

    return list(map(key, a)) == list(map(key, b))
