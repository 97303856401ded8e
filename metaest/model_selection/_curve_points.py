"""The points of an adaptation curve."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from metaest._checks import check_int
from metaest._torch import draw_seed
from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.model_selection._checks import check_seed
from metaest.model_selection._estimate import Estimate
from metaest.model_selection._scoring import Scoring
from metaest.model_selection._split import EpisodicSplit
from metaest.model_selection._validation import cross_validate_episodes, fill_cv

#: What learners call their steps at `fit`. The first one found counts: Reptile adapts by
#: ``adapt_steps`` and meta-trains by ``inner_steps``.
_STEPS = ("adapt_steps", "inner_steps", "head_steps")


def score_points(
    points: Iterable[tuple[Mapping[str, Any], EpisodicSplit]],
    X: Any,
    y: Any,
    *,
    groups: Any,
    scoring: Scoring,
    n_jobs: int | None,
    confidence: float,
) -> dict[str, list[Estimate]]:
    """Score named estimators at each point of a curve.

    Parameters
    ----------
    points : iterable of (estimators, cv)
    X, y, groups, scoring, n_jobs, confidence
        As in :func:`cross_validate_episodes`, but `scoring` is one score.

    Returns
    -------
    dict of estimator name to list of Estimate
        One per point.

    Raises
    ------
    InvalidParameterError
        If `scoring` gives several scores.
    """
    curves: dict[str, list[Estimate]] = {}
    for estimators, cv in points:
        result = cross_validate_episodes(
            estimators,
            X,
            y,
            groups=groups,
            cv=cv,
            scoring=scoring,
            n_jobs=n_jobs,
            confidence=confidence,
        )
        if len(result.metrics) != 1:
            raise InvalidParameterError(
                "scoring must give one score, the vertical axis; got "
                f"{', '.join(result.metrics)}. Pass one name, such as scoring='accuracy'."
            )
        for estimate in result.summary():
            curves.setdefault(estimate.estimator, []).append(estimate)
    return curves


def check_values(values: Any, name: str, low: int) -> list[int]:
    """Return distinct whole numbers, ascending.

    Raises
    ------
    InvalidParameterError
        If there are none, or one is not an int or too small.
    """
    items = list(values) if isinstance(values, Iterable) and not isinstance(values, str) else []
    if not items:
        raise InvalidParameterError(f"{name} must be some ints, such as (1, 5), got {values!r}.")
    return sorted({check_int(value, f"each of {name}", low=low) for value in items})


def with_seed(cv: Any, estimators: Mapping[str, Any]) -> EpisodicSplit:
    """Return a splitter that draws the same in every call.

    Raises
    ------
    InvalidParameterError
        If `cv` is neither None nor an EpisodicSplit.
    """
    cv, _ = fill_cv(cv, estimators)
    if not isinstance(cv, EpisodicSplit):
        raise InvalidParameterError(
            f"cv must be an EpisodicSplit or None, got {cv!r}. Pass EpisodicSplit(n_episodes=200)."
        )
    check_seed(cv.random_state)
    cv = copy.copy(cv)
    cv.random_state = draw_seed(cv.random_state)
    return cv


def with_shots(cv: EpisodicSplit, n_shots: int) -> EpisodicSplit:
    """Return the splitter with another number of shots; its episodes keep their classes."""
    cv = copy.copy(cv)
    cv.n_shots = n_shots
    return cv


def find_steps(name: str, estimator: Any, parameter: str | None) -> str:
    """Return the name of the parameter that counts an estimator's steps at `fit`.

    Raises
    ------
    InvalidParameterError
        If there is none.
    """
    known = list(estimator.get_params())
    if parameter is not None:
        if parameter in known:
            return parameter
        raise InvalidParameterError(
            f"estimator {name!r} has no parameter {parameter!r}.{did_you_mean(parameter, known)}"
            " If its learner is a name, pass an object: set_params(learner=MAML())."
        )
    for last in _STEPS:
        for key in known:
            if key.split("__")[-1] == last:
                return key
    raise InvalidParameterError(
        f"estimator {name!r} has no parameter {', '.join(_STEPS[:-1])} or {_STEPS[-1]}. If its "
        "learner is a name, pass an object, set_params(learner=MAML()); otherwise name the number "
        "of its steps, parameter='...'."
    )
