"""The only importer of scikit-learn names that are private or experimental."""

import pickle
import re
from typing import Any

import joblib
from sklearn.base import _fit_context as fit_context
from sklearn.base import is_classifier, is_regressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.metrics._scorer import _MultimetricScorer as MultimetricScorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import _fit_and_score as fit_and_score
from sklearn.model_selection._validation import (
    _warn_or_raise_about_fit_failures as warn_or_raise_about_fit_failures,
)
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import _safe_split as safe_split
from sklearn.utils.validation import _check_method_params as check_method_params

__all__ = [
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "MultimetricScorer",
    "StrOptions",
    "check_method_params",
    "fit_and_score",
    "fit_context",
    "name_of_score",
    "parts_of_score",
    "safe_indexing",
    "safe_split",
    "validate_parameter_constraints",
    "warn_or_raise_about_fit_failures",
]


def name_of_score(scoring: Any, estimator: Any) -> str:
    """Name a score that comes as a number; "score" where nothing better is known.

    What ``make_scorer`` got for the metric is part of the name, such as "fbeta(beta=2)".

    Parameters
    ----------
    scoring : str, callable or None
        None: what ``estimator.score`` gives.
    estimator : estimator
    """
    if isinstance(scoring, str):
        return scoring
    if scoring is None:
        return _name_own_score(estimator)
    metric = getattr(scoring, "_score_func", None)  # of make_scorer
    name = str(getattr(scoring if metric is None else metric, "__name__", "score"))
    if not name.isidentifier():
        return "score"
    if metric is None:
        return name
    sign = "neg_" if getattr(scoring, "_sign", 1) < 0 else ""
    name = sign + name.removesuffix("_score")
    options = _options(scoring)
    if not options:
        return name
    return _shipped_name(scoring) or f"{name}({options})"


def parts_of_score(scoring: Any) -> tuple[Any, dict[str, Any]]:
    """Return the metric of a scorer that ``make_scorer`` made, and what else it got.

    Anything else is returned as it is, with nothing else.
    """
    if not hasattr(scoring, "_score_func"):
        return scoring, {}
    others = {"sign": scoring._sign, "response_method": scoring._response_method}
    return scoring._score_func, others | {"kwargs": scoring._kwargs}


def _options(scorer: Any) -> str:
    options = sorted(getattr(scorer, "_kwargs", {}).items())
    return ", ".join(f"{name}={_text(value)}" for name, value in options)


def _text(value: Any) -> str:
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # addresses change
    if len(text) <= 40 and "..." not in text:
        return text
    try:
        return str(joblib.hash(value))  # long arrays are shortened: two could look the same
    except (TypeError, ValueError, AttributeError, pickle.PicklingError):
        return text


def _shipped_name(scorer: Any) -> str | None:
    """Return the name under which scikit-learn has the scorer, such as "f1_macro"."""

    def key(own: Any) -> Any:
        return own._score_func, own._sign, own._response_method, _options(own)

    known = ((name, get_scorer(name)) for name in get_scorer_names())
    return next((name for name, own in known if key(own) == key(scorer)), None)


def _name_own_score(estimator: Any) -> str:
    """Name what ``estimator.score`` gives, where it is scikit-learn's usual score."""
    final = estimator
    while hasattr(final, "steps"):
        final = final.steps[-1][1]
    method = getattr(type(final), "score", None)
    is_usual = getattr(method, "__module__", "").startswith("sklearn.")
    if not is_usual or getattr(final, "scoring", None) is not None:
        return "score"
    if is_classifier(final):
        return "accuracy"
    return "r2" if is_regressor(final) else "score"
