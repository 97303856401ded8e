"""Suggest."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution

from metaest._checks import check_int, check_targets, find_kind
from metaest._table import Table
from metaest.exceptions import HistoryError, InvalidParameterError, TaskError
from metaest.meta_features._fingerprint import fingerprint
from metaest.tuning._candidates import Searches
from metaest.tuning._configurations import Space
from metaest.tuning._description import describe_data
from metaest.tuning._embedded import METRICS, MODELS, embedded_history
from metaest.tuning._ranking import Ranking
from metaest.tuning._read_history import read_history
from metaest.tuning._record import SearchRecord
from metaest.tuning._sources import Sources, find_sources, usual_metric, why_unusable
from metaest.tuning._spaces import model_name
from metaest.tuning._suggestion import Suggestion
from metaest.tuning._trials import check_direction, check_space

#: A target with fewer rows per class than this, and more classes than that, is none.
_MIN_ROWS_PER_CLASS, _MAX_SMALL_CLASSES = 5, 20


def suggest(
    history: Any,
    X: Any = None,
    y: Any = None,
    n: int = 5,
    *,
    estimator: Any = None,
    space: Mapping[str, BaseDistribution] | None = None,
    metric: str | None = None,
    direction: Literal["maximize", "minimize"] = "maximize",
) -> list[Suggestion]:
    """Rank configurations for a data set, and say why, without running anything on it.

    Candidates are the best configurations of past searches. What each is worth on the data set of
    each other search is estimated from that search's trials. The suggestions are in the order in
    which to try them: the first is the best on average, and each later one adds most to the best
    of those before it. Searches on similar data sets weigh more, where that would have helped
    among the past searches. If one was on this very data set, the others decide between equals
    only, and what was tried there keeps the score that was measured. In a `space`, configurations
    are judged where they are moved to; a parameter that it lacks has any value.

    Parameters
    ----------
    history : "embedded", History, path, URL or sequence of SearchRecord
        Past searches. "embedded": those that metaest ships, on classification data sets.
    X : array-like or DataFrame of shape (n_rows, n_columns), default=None
        The new data set. Without it, all past data sets count alike.
    y : array-like of shape (n_rows,), default=None
    n : int, default=5
        Suggestions, at most.
    estimator : estimator, default=None
        What is to be tuned, or a Pipeline that ends in it. With "embedded", None stands for all
        shipped models; with a history of your own, for no restriction, and otherwise searches of
        another, known estimator or over parameters that this one does not have are left out.
    space : mapping of str to optuna distribution, default=None
        The new search space. Without it, the one that most past searches have.
    metric : str, default=None
        Searches of another metric are left out. None: "accuracy" for "embedded", otherwise the
        one that most searches have.
    direction : {"maximize", "minimize"}, default="maximize"

    Returns
    -------
    list of Suggestion

    Raises
    ------
    HistoryError
        If the history cannot be read, or no search in it can be used; the message counts why.
    InvalidParameterError
        If a parameter is wrong.
    TaskError
        If the data set cannot be described or, with "embedded", is none to classify.

    References
    ----------
    Feurer et al., Auto-Sklearn 2.0: Hands-free AutoML via Meta-Learning, JMLR 2022, section 3.1.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.svm import SVC
    >>> from metaest.tuning import suggest
    >>> found = suggest("embedded", *load_wine(return_X_y=True), n=2, estimator=SVC())
    >>> [suggestion.rank for suggestion in found], sorted(found[0].params)
    ([1, 2], ['C', 'class_weight', 'gamma'])
    """
    check_int(n, "n")
    check_direction(direction)
    wanted = None if space is None else check_space(space)
    if isinstance(estimator, type):
        raise InvalidParameterError(
            f"estimator must be an instance, got a class: pass {estimator.__name__}()."
        )
    if isinstance(estimator, str):
        raise InvalidParameterError(
            f"estimator must be an instance, such as SVC(), got the text {estimator!r}."
        )
    if isinstance(history, str) and history == "embedded":
        _check_classification(X, y)
        metric = metric or "accuracy"
        found = _embedded(estimator, metric)
    else:
        records = _fitting(_read(history), estimator)
        found = {model_name(estimator): records}
        metric = metric or _usual_metric(records, direction, model_name(estimator))
    own, name = _describe(X, y)
    searches = [
        Searches(
            model,
            _find(records, direction, metric, wanted, model),
            {record.task: record.fingerprint for record in records},
            {record.task: record.estimator for record in records},
        )
        for model, records in found.items()
    ]
    return Ranking(searches, own, name, wanted).suggest(n, direction, metric)


def _describe(X: Any, y: Any) -> tuple[dict[str, float] | None, str | None]:
    """Return the meta-features and the fingerprint of a data set."""
    try:
        return describe_data(X, y, None), None if X is None else fingerprint(X, y)
    except TypeError as error:
        raise TaskError(
            f"X and y cannot be described ({error}). X must be a table of numbers, strings, "
            "categories or dates; without X and y, all past data sets count alike."
        ) from error


def _check_classification(X: Any, y: Any) -> None:
    """Raise an error if targets are none of a classification."""
    if X is None or y is None:
        return  # one without the other is refused later
    labels = check_targets(y, Table(X, "the data set").n_rows, "the data set")
    n_rows, n_classes = len(labels), len(np.unique(labels))
    if n_classes == 1:
        raise TaskError(
            f"y has one class only ({labels.tolist()[0]!r}); there is nothing to tell apart."
        )
    is_sparse = n_classes > max(_MAX_SMALL_CLASSES, n_rows / _MIN_ROWS_PER_CLASS)
    with warnings.catch_warnings():  # of many classes in few rows
        warnings.simplefilter("ignore")
        is_regression = find_kind(labels) == "regression"
    if is_sparse or is_regression:
        raise TaskError(
            f"y looks like the target of a regression or a column of names ({n_classes} different "
            f"values in {n_rows} rows), but the history that comes with metaest is of "
            "classification. Choose another target, make classes of it, or give a history of your "
            "own."
        )


def _embedded(estimator: Any, metric: str) -> dict[str | None, list[SearchRecord]]:
    """Return the shipped searches of the estimator, or of every model."""
    estimators = [make() for make in MODELS.values()] if estimator is None else [estimator]
    found = {model_name(own): embedded_history(own, metric=metric) for own in estimators}
    if any(found.values()):
        return {
            name: [dataclasses.replace(record, estimator=name) for record in records]
            for name, records in found.items()
            if records
        }
    models = ", ".join(make.__name__ for make in MODELS.values())
    *metrics, last = map(repr, METRICS)
    what = model_name(estimator) or "a model"
    raise HistoryError(
        f"no searches of {what} with the metric {metric!r} come with metaest. There are some of "
        f"{models}, and of pipelines that end in one, with {', '.join(metrics)} and, but for SVC, "
        f"{last}. Or give a history of your own."
    )


def _read(history: Any) -> list[SearchRecord]:
    records = read_history(history)
    if not records:
        raise HistoryError(
            "history holds no searches. Add some with History.add_study or MetaSearchCV(..., "
            "history=...), or give history='embedded'."
        )
    return records


def _fitting(records: Sequence[SearchRecord], estimator: Any) -> list[SearchRecord]:
    """Return the searches over parameters that the estimator has."""
    if estimator is None:
        return list(records)
    names = estimator.get_params(deep=True).keys()
    fitting = [record for record in records if record.space.keys() <= names]
    if not fitting:
        raise HistoryError(
            f"none of {len(records)} past searches can be used: all have parameters that "
            f"{type(estimator).__name__} does not have, such as "
            f"{min(records[0].space.keys() - names)!r}."
        )
    return fitting


def _usual_metric(
    records: Sequence[SearchRecord], direction: str, estimator: str | None
) -> str | None:
    """Return the metric that most of the searches have that can be used."""
    return usual_metric(r for r in records if why_unusable(r, direction, None, estimator) is None)


def _find(
    records: Sequence[SearchRecord],
    direction: str,
    metric: str | None,
    space: Space | None,
    estimator: str | None,
) -> Sources:
    sources = find_sources(
        records, direction=direction, metric=metric, space=space, estimator=estimator
    )
    if sources is not None:
        return sources
    asked = (direction, metric, estimator)
    reasons = Counter(why_unusable(r, *asked) or "another space" for r in records)
    counts = ", ".join(f"{n} with {reason}" for reason, n in reasons.items())
    model = "" if estimator is None else f" for {estimator}"
    raise HistoryError(
        f"none of {len(records)} past searches can be used{model} (direction {direction!r}, metric "
        f"{metric!r}): {counts}. Change direction, metric, estimator or space, or leave them out."
    )
