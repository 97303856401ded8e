"""The scorer of an estimator, and its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import check_scoring, get_scorer_names

from metaest._sklearn import name_of_score
from metaest.exceptions import InvalidParameterError, did_you_mean

#: What scikit-learn takes as ``scoring`` (a str is a Collection of them).
Scoring = Callable[..., Any] | Collection[str] | Mapping[str, Any] | None


def make_scorer(estimator: Any, scoring: Scoring, y: Any, fast: bool) -> Callable[..., Any]:
    """Return ``scorer(estimator, X, y)``, which gives a number or a dict of them.

    Parameters
    ----------
    estimator : estimator
    scoring : str, callable, collection of str, dict or None
    y : array-like of shape (n_rows,)
        Checked.
    fast : bool
        Whether accuracy may be computed without scikit-learn's checks of its input, which take
        longer than all else once the predictions are there.

    Raises
    ------
    InvalidParameterError
        If `scoring` is no scorer, nor the name of one.
    """
    parts = _parts(scoring)
    kinds = [part is None or callable(part) or isinstance(part, Collection) for part in parts]
    if not kinds or not all(kinds):
        raise InvalidParameterError(
            f"scoring must be a scorer's name, a callable, or several of them; got {scoring!r}."
        )
    _check_names(parts)
    score: Any = getattr(type(estimator), "score", None)
    default = inspect.unwrap(score) is ClassifierMixin.score
    is_accuracy = scoring == "accuracy" or (scoring is None and default)
    if fast and is_accuracy and np.asarray(y).dtype.kind in "biuU":
        return _plain_accuracy
    return check_scoring(estimator, scoring)


def _parts(scoring: Any) -> list[Any]:
    if isinstance(scoring, Mapping):
        return list(scoring.values())
    if isinstance(scoring, Collection) and not isinstance(scoring, str):
        return list(scoring)
    return [scoring]


def _check_names(parts: list[Any]) -> None:
    known = get_scorer_names()
    for name in parts:
        if isinstance(name, str) and name not in known:
            raise InvalidParameterError(
                f"scoring={name!r} is no scorer of scikit-learn.{did_you_mean(name, known)} "
                "sklearn.metrics.get_scorer_names() lists them."
            )


def _plain_accuracy(estimator: Any, X: Any, y: Any) -> float:
    return float(np.average(np.asarray(y) == estimator.predict(X)))


def name_score(scoring: Scoring, estimators: Mapping[str, Any]) -> str:
    """Name a score that comes as a number, for all estimators.

    Raises
    ------
    InvalidParameterError
        If it is the accuracy of some and R2 of others.
    """
    names = {name_of_score(scoring, estimator) for estimator in estimators.values()}
    if {"accuracy", "r2"} <= names:
        raise InvalidParameterError(
            "scoring=None is the accuracy of classifiers and R2 of regressors, and the estimators "
            "are both. Pass one score for all, such as scoring='neg_mean_squared_error', or score "
            "them apart."
        )
    return names.pop() if len(names) == 1 else "score"
