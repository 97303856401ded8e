"""Fit and score an estimator on some episodes: one by one, or all adapted in one call."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from functools import cached_property
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags

from metaest._sklearn import safe_split
from metaest.exceptions import InvalidParameterError

#: Row positions (support, query) of one episode.
Episode = tuple[np.ndarray, np.ndarray]

#: Names that no score can have: those of the other columns of ``EpisodeScores.to_frame``.
_TAKEN = frozenset(
    ("estimator", "episode", "group", "n_ways", "n_shots", "n_queries", "fit_time", "score_time")
)


class EpisodeResult(NamedTuple):
    """What one episode gave."""

    scores: dict[str, float] | None  # None where it failed
    fit_time: float
    score_time: float
    error: str | None = None


def predicts_episodes(estimator: Any) -> bool:
    """Whether an estimator's `predict_episodes` does what its `fit` and `predict` do.

    Not where a subclass has a `fit` or `predict` of its own, and the former from its parent.
    """
    classes = type(estimator).__mro__
    names = ("predict_episodes", "fit", "predict", "predict_proba")
    owners = [next((i for i, c in enumerate(classes) if n in vars(c)), None) for n in names]
    return owners[0] is not None and all(i is None or i >= owners[0] for i in owners[1:])


def run_chunk(
    estimator: Any,
    X: Any,
    y: Any,
    episodes: Sequence[Episode],
    scorer: Callable[..., Any],
    *,
    name: str,
    first: int,
    metric: str,
    fast: bool,
    raises: bool,
) -> list[EpisodeResult]:
    """Score an estimator on some episodes.

    Parameters
    ----------
    estimator : estimator
    X : array-like of shape (n_rows, ...)
    y : array-like of shape (n_rows,)
    episodes : sequence of (support, query)
    scorer : callable
        ``scorer(estimator, X, y)`` gives a number, or a dict of name to number.
    name : str
        The estimator's name; with `first`, the number of the first episode, it stands in the
        notes of errors.
    metric : str
        Name of the score where the scorer gives a number.
    fast : bool
        Whether to call ``estimator.predict_episodes`` once rather than fit a clone per episode.
    raises : bool
        Whether an error stops everything; otherwise it is kept in the result.
    """
    start = time.perf_counter()
    outputs, failure = None, None
    if fast:
        outputs, failure = _predict_all(estimator, X, y, episodes, raises)
    shared_time = (time.perf_counter() - start) / len(episodes)
    tags = get_tags(estimator)
    is_plain = isinstance(X, np.ndarray) and isinstance(y, np.ndarray)
    is_plain = is_plain and not tags.input_tags.pairwise
    results = []
    for number, (support, query) in enumerate(episodes):
        start = time.perf_counter()
        fit_time = 0.0

        def fit(support: np.ndarray = support) -> Any:
            return clone(estimator).fit(*safe_split(estimator, X, y, support))

        try:
            if is_plain:  # what safe_split does, without its many questions about types
                X_query, y_query = X[query], y[query]
            else:
                X_query, y_query = safe_split(estimator, X, y, query, support)
            if outputs is None:
                fitted = fit()
                fit_time = time.perf_counter() - start
            else:
                fitted = stand_in(estimator, tags, fit, X_query, outputs[number])
            scores = _as_scores(scorer(fitted, X_query, y_query), metric)
        except Exception as error:
            if raises:
                error.add_note(f"This was episode {first + number} of estimator {name!r}.")
                raise
            results.append(EpisodeResult(None, fit_time, 0.0, traceback.format_exc()))
            continue
        score_time = time.perf_counter() - start - fit_time
        results.append(EpisodeResult(scores, shared_time + fit_time, score_time))
    if failure is not None:  # though no episode fails by itself
        last = first + len(episodes) - 1
        failure.add_note(f"This was in episodes {first} to {last} of {name!r}, adapted at once.")
        raise failure
    return results


def _predict_all(
    estimator: Any, X: Any, y: Any, episodes: Sequence[Episode], raises: bool
) -> tuple[list[Any] | None, Exception | None]:
    """Return the outputs for all episodes, or None where that failed and each is to be tried.

    The error comes beside them if it is to be raised in the end: the single episode that fails
    is known only after the tries.
    """
    try:
        return list(estimator.predict_episodes(X, y, episodes)), None
    except Exception as error:
        return None, error if raises else None


def _as_scores(result: Any, metric: str) -> dict[str, float]:
    scores = result if isinstance(result, dict) else {metric: result}
    for name, value in scores.items():
        if name in _TAKEN:
            raise InvalidParameterError(
                f"scoring has a score named {name!r}, as a column of to_frame is. Rename it."
            )
        is_scalar = hasattr(value, "item") and np.ndim(value) == 0  # of any array library
        if not isinstance(value, Number) and not is_scalar:
            raise InvalidParameterError(
                f"scoring must give a number, got {type(value).__name__} for {name!r}."
            )
    return {str(name): float(value) for name, value in scores.items()}


def stand_in(estimator: Any, tags: Any, fit: Callable[[], Any], X: Any, output: Any) -> _Predicted:
    """Return what a scorer takes for the fitted estimator, with known predictions for `X`.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    tags : Tags
        Tags of `estimator`.
    fit : callable
        Makes the fitted estimator.
    X : array-like of shape (n_queries, ...)
    output : (classes, proba) or ndarray of shape (n_queries,)
        From ``predict_episodes``: a tuple of a classifier, the mean of a regressor.
    """
    if tags.estimator_type == "classifier":
        return _PredictedClassifier(estimator, tags, fit, X, output)
    return _Predicted(estimator, tags, fit, X, output)


class _Predicted:
    """A fitted regressor whose predictions for one X are known.

    Whatever a scorer asks beyond them (other rows, other attributes) fits the estimator and
    comes from there: slower, and never different.
    """

    def __init__(
        self, estimator: Any, tags: Any, fit: Callable[[], Any], X: Any, output: Any
    ) -> None:
        self._estimator = estimator
        self._tags = tags
        self._fit = fit
        self._X = X
        self._output = output

    @cached_property
    def _fitted(self) -> Any:
        return self._fit()

    def predict(self, X: Any, **options: Any) -> Any:
        is_known = X is self._X and not options
        return self._output if is_known else self._fitted.predict(X, **options)

    def score(self, X: Any, y: Any, **kwargs: Any) -> Any:
        # The class's own definition of its score, run on the known predictions.
        return type(self._estimator).score(self, X, y, **kwargs)

    def __sklearn_tags__(self) -> Any:
        return self._tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        is_there = name.endswith("_") or hasattr(self._estimator, name)
        if name.startswith("_") or not is_there:
            raise AttributeError(f"{type(self._estimator).__name__} has no attribute {name!r}")
        return getattr(self._fitted, name)


class _PredictedClassifier(_Predicted):
    """A fitted classifier whose probabilities for one X are known."""

    def __init__(
        self, estimator: Any, tags: Any, fit: Callable[[], Any], X: Any, output: Any
    ) -> None:
        super().__init__(estimator, tags, fit, X, output)
        self.classes_, self._proba = output

    def predict(self, X: Any, **options: Any) -> Any:
        if X is not self._X or options:
            return self._fitted.predict(X, **options)
        return self.classes_[self._proba.argmax(axis=1)]

    def predict_proba(self, X: Any, **options: Any) -> Any:
        is_known = X is self._X and not options
        return self._proba if is_known else self._fitted.predict_proba(X, **options)
