"""Checked records of searches."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from metaest.exceptions import HistoryError
from metaest.meta_features._fingerprint import fingerprint
from metaest.meta_features._transformer import MetaFeatures
from metaest.tuning._record import SearchRecord

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
) -> SearchRecord:
    """Check a search and make its record.

    Raises
    ------
    HistoryError
        If the name, the direction, the meta-features or the trials are of no use.
    """
    if not isinstance(task, str) or not 0 < len(task) <= _MAX_NAME:
        raise HistoryError(f"task must be a name of 1 to {_MAX_NAME} letters, got {task!r}.")
    if direction not in ("maximize", "minimize"):
        raise HistoryError(f"direction must be 'maximize' or 'minimize', got {direction!r}.")
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
    )


def describe_data(X: Any, y: Any, meta_features: Any) -> dict[str, float] | None:
    """Return given meta-features, checked, or those of a data set, or None.

    Raises
    ------
    HistoryError
        If one of X and y is missing, or meta-features are no finite numbers.
    TaskError
        If X and y cannot be used.
    """
    if (X is None) != (y is None):
        raise HistoryError("X and y must be given both, or neither.")
    if X is not None and meta_features is None:
        model = MetaFeatures(scale=False)
        found = model.transform([(X, y)])[0].tolist()
        return dict(zip(model.get_feature_names_out(), found, strict=True))
    return _check_meta_features(meta_features)


def are_same(a: list[FrozenTrial], b: list[FrozenTrial]) -> bool:
    """Whether these are the trials of one study: nobody starts two in one microsecond."""

    def key(trial: FrozenTrial) -> Any:
        return trial.number, trial.state, trial.params, trial.datetime_start

    return list(map(key, a)) == list(map(key, b))


def _check_meta_features(values: Any) -> dict[str, float] | None:
    if values is None:
        return None
    try:
        checked = {str(name): float(value) for name, value in values.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise HistoryError(
            "meta_features must be a dict (or Series) of name to number, for example "
            "dict(zip(model.get_feature_names_out(), model.transform([(X, y)])[0])); got "
            f"{type(values).__name__}."
        ) from error
    wrong = [name for name, value in checked.items() if not math.isfinite(value)]
    if wrong:
        raise HistoryError(f"meta_features must be finite; {wrong[0]!r} is {checked[wrong[0]]}.")
    return checked
