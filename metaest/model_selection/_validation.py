"""Cross-validation over episodes."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, Literal

import numpy as np
from sklearn.base import is_regressor
from sklearn.exceptions import FitFailedWarning
from sklearn.utils import indexable
from sklearn.utils.parallel import Parallel, delayed

from metaest._checks import check_episodes, check_groups, check_targets, find_kind, plain_labels
from metaest._warn import warn
from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError
from metaest.model_selection._checks import count_rows
from metaest.model_selection._describe import describe_episodes
from metaest.model_selection._result import EpisodeScores
from metaest.model_selection._run import Episode, EpisodeResult, predicts_episodes, run_chunk
from metaest.model_selection._scoring import Scoring, make_scorer, name_score
from metaest.model_selection._split import EpisodicSplit
from metaest.model_selection._task_split import TaskSplit

__all__ = ["cross_validate_episodes"]

#: Episodes per job: a constant, so that results do not depend on the number of workers.
_CHUNK = 50


def cross_validate_episodes(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    scoring: Scoring = None,
    n_jobs: int | None = None,
    confidence: float = 0.95,
    error_score: float | Literal["raise"] = "raise",
    fast: bool = True,
    verbose: int = 0,
) -> EpisodeScores:
    """Score estimators on episodes: mean, confidence interval, paired differences.

    For each episode a clone of the estimator is fitted on the support rows and scored on the
    query rows. A clone of a meta-fitted estimator keeps its meta-training, so meta-train on other
    classes (or groups) than those in `y` (:class:`TaskSplit`).

    Parameters
    ----------
    estimator : estimator or dict of name to estimator
        Any scikit-learn classifiers or regressors, pipelines and searches among them. All see
        the same episodes.
    X : array-like, DataFrame or sparse matrix of shape (n_rows, ...)
    y : array-like of shape (n_rows,)
    groups : array-like of shape (n_rows,), default=None
        The task of each row; passed to the splitter.
    cv : splitter or iterable of (support, query), default=None
        None: ``EpisodicSplit()``. A random splitter is asked once.
    scoring : str, callable, collection of str or dict, default=None
        As in :func:`sklearn.model_selection.cross_validate`. None: the estimator's ``score``.
    n_jobs : int, default=None
        Workers of joblib; :func:`joblib.parallel_config` is heeded. The scores do not depend on
        it.
    confidence : float, default=0.95
        Confidence level of the intervals.
    error_score : "raise" or float, default="raise"
        What an episode scores, in every metric, when its fit or score raises. NaN leaves it out
        of the mean. A warning tells how many they are.
    fast : bool, default=True
        Adapt many episodes at once where the estimator can (it has a method
        ``predict_episodes(X, y, episodes)``). Same scores, less time. The fit times are then
        each episode's share.
    verbose : int, default=0
        Progress messages of joblib.

    Returns
    -------
    EpisodeScores

    Raises
    ------
    EpisodeError
        If the episodes cannot be drawn, or all of them fail.
    TaskError
        If `y` or `groups` cannot be used.
    InvalidParameterError
        If a parameter has a value that is not allowed.

    Warns
    -----
    UserWarning
        If an episode has query rows that are in its support set, too.

    Notes
    -----
    The interval is about the mean over episodes drawn from *these* rows: with few classes,
    episodes share rows, and a statement about other classes needs a wider one.

    An estimator with ``random_state=None`` gives other scores in each call.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.svm import SVC
    >>> from metaest.model_selection import EpisodicSplit, cross_validate_episodes
    >>> X, y = load_digits(return_X_y=True)
    >>> cv = EpisodicSplit(50, n_ways=5, n_shots=5, random_state=0)
    >>> models = {"svm": SVC(), "1-nn": KNeighborsClassifier(1)}
    >>> result = cross_validate_episodes(models, X, y, cv=cv)
    >>> result
    EpisodeScores (50 episodes): mean ± 95 % interval
          accuracy
    svm   90.3 ± 1.4 %
    1-nn  91.0 ± 1.3 %
    >>> result.compare("svm")
    difference to svm (50 episodes): mean ± 95 % interval
          accuracy
    1-nn  +0.6 ± 1.0 %
    """
    _check_numbers(confidence, error_score)
    estimators = check_estimators(estimator)
    if y is None:
        raise TaskError("cross_validate_episodes needs y.")
    labels = check_targets(y, count_rows(X), "the table")
    if groups is not None:
        groups = check_groups(groups, len(labels))
    X, y = indexable(X, plain_labels(y))
    cv, kind = _check_cv(cv, labels, estimators)
    episodes = _list_episodes(cv, X, y, groups, len(labels))
    results = _run(estimators, X, y, episodes, scoring, n_jobs, error_score, fast, verbose)
    return EpisodeScores(
        _collect_scores(results, error_score),
        episodes,
        describe=describe_episodes(episodes, labels if kind == "classification" else None, groups),
        fit_times={name: np.array([r.fit_time for r in own]) for name, own in results.items()},
        score_times={name: np.array([r.score_time for r in own]) for name, own in results.items()},
        confidence=float(confidence),
    )


def _check_numbers(confidence: Any, error_score: Any) -> None:
    if not isinstance(confidence, Real) or not 0 < float(confidence) < 1:
        raise InvalidParameterError(f"confidence must be a float in (0, 1), got {confidence!r}.")
    if error_score != "raise" and not isinstance(error_score, Real):
        raise InvalidParameterError(
            f"error_score must be 'raise' or a number, got {error_score!r}."
        )


def check_estimators(estimator: Any) -> dict[str, Any]:
    """Return the estimators by name."""
    named = estimator if isinstance(estimator, dict) else {type(estimator).__name__: estimator}
    if not named:
        raise InvalidParameterError("estimator is an empty dict; pass at least one estimator.")
    for name, value in named.items():
        if isinstance(value, type) or not hasattr(value, "fit"):
            raise InvalidParameterError(
                "estimator must be an instance with a fit method, or a dict of name to such; got "
                f"{value!r}" + (f" for {name!r}." if isinstance(estimator, dict) else ".")
            )
    if len(set(map(str, named))) < len(named):
        raise InvalidParameterError(
            f"estimator has names that read alike: {list(named)}. Give each estimator its own."
        )
    return {str(name): value for name, value in named.items()}


def fill_cv(cv: Any, estimators: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return `cv`, for None the splitter of these estimators, and whether all are regressors."""
    regress = all(is_regressor(estimator) for estimator in estimators.values())
    return EpisodicSplit(kind="regression" if regress else "auto") if cv is None else cv, regress


def _check_cv(cv: Any, y: np.ndarray, estimators: dict[str, Any]) -> tuple[Any, str]:
    """Return the splitter and the kind of the tasks."""
    cv, regress = fill_cv(cv, estimators)
    if not isinstance(cv, EpisodicSplit):
        _check_splitter(cv)
        return cv, "regression" if regress else find_kind(y)
    kind = find_kind(y, cv.kind)
    if regress and kind == "classification" and cv.kind == "auto":
        raise EpisodeError(
            "the estimators are regressors, but y holds whole numbers, which read as labels: "
            "episodes would be drawn by class. Pass EpisodicSplit(..., kind='regression'), or "
            "kind='classification' if that is meant."
        )
    return cv, kind


def _check_splitter(cv: Any) -> None:
    splits = hasattr(cv, "split") or isinstance(cv, Iterable)
    if not splits or isinstance(cv, (str, type, Mapping)):
        raise InvalidParameterError(
            "cv must be a splitter or an iterable of (support, query) row positions, got "
            f"{cv!r}. Pass EpisodicSplit(n_episodes=600, n_ways=5, n_shots=1)."
        )
    if isinstance(cv, TaskSplit):
        raise InvalidParameterError(
            "cv=TaskSplit(...) gives folds of other tasks, whose labels no support row has. "
            "Meta-train on the training rows of each fold, and score on its test rows with "
            "cv=EpisodicSplit(...)."
        )


def _list_episodes(cv: Any, X: Any, y: Any, groups: Any, n_rows: int) -> list[Episode]:
    pairs = cv.split(X, y, groups) if hasattr(cv, "split") else cv
    episodes = check_episodes(pairs, n_rows)
    if not episodes:
        raise EpisodeError("cv gives no episodes; ask it for at least one.")
    empty = [number for number, (_, query) in enumerate(episodes) if len(query) == 0]
    if empty:
        raise EpisodeError(f"episode {empty[0]} has no query rows to score on.")
    shared = [number for number, pair in enumerate(episodes) if np.intersect1d(*pair).size]
    if shared:
        warn(
            f"{len(shared)} of {len(episodes)} episodes have query rows that are in their support "
            f"set, too (first episode {shared[0]}): these scores say little of new rows. Leave "
            "them out of the query set."
        )
    return episodes


def _run(
    estimators: dict[str, Any],
    X: Any,
    y: Any,
    episodes: list[Episode],
    scoring: Scoring,
    n_jobs: int | None,
    error_score: float | str,
    fast: bool,
    verbose: int,
) -> dict[str, list[EpisodeResult]]:
    """Return the results of each estimator, in the order of the episodes."""
    metric = name_score(scoring, estimators)
    is_fast = {name: fast and predicts_episodes(e) for name, e in estimators.items()}
    scorers = {name: make_scorer(e, scoring, y, is_fast[name]) for name, e in estimators.items()}
    jobs = [(name, first) for name in estimators for first in range(0, len(episodes), _CHUNK)]
    done = Parallel(n_jobs=n_jobs, verbose=verbose)(
        delayed(run_chunk)(
            estimators[name],
            X,
            y,
            episodes[first : first + _CHUNK],
            scorers[name],
            name=name,
            first=first,
            metric=metric,
            fast=is_fast[name],
            raises=error_score == "raise",
        )
        for name, first in jobs
    )
    results: dict[str, list[EpisodeResult]] = {name: [] for name in estimators}
    for (name, _), part in zip(jobs, done, strict=True):
        results[name] += part
    return results


def _check_metrics(results: list[EpisodeResult], metrics: list[str]) -> None:
    """Raise if a scorer gave other scores of some episodes than of the first."""
    for number, result in enumerate(results):
        if result.scores is not None and result.scores.keys() != set(metrics):
            raise InvalidParameterError(
                f"scoring must give the same scores of all episodes: episode {number} has "
                f"{list(result.scores)}, the first {metrics}. Give NaN where there is none."
            )


def _collect_scores(
    results: dict[str, list[EpisodeResult]], error_score: float | str
) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores by estimator and metric; failed episodes get `error_score`."""
    scores = {}
    found = {n: [list(r.scores) for r in own if r.scores is not None] for n, own in results.items()}
    usual = next((metrics for own in found.values() for metrics in own), None)
    for name, own in results.items():
        failed = [number for number, result in enumerate(own) if result.scores is None]
        metrics = found[name][0] if found[name] else usual
        if failed:
            message = (
                f"{len(failed)} of {len(own)} episodes of {name!r} failed. The error in episode "
                f"{failed[0]}:\n{own[failed[0]].error}"
            )
            if metrics is None or (not found[name] and error_score == "raise"):
                raise EpisodeError(message)
            warnings.warn(f"{message}They score {error_score}.", FitFailedWarning, stacklevel=3)
        assert metrics is not None
        _check_metrics(own, metrics)
        filler = dict.fromkeys(metrics, np.nan if error_score == "raise" else error_score)
        rows = [filler if result.scores is None else result.scores for result in own]
        scores[name] = {m: np.array([row[m] for row in rows], dtype=float) for m in metrics}
    return scores
