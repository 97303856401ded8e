"""The only importer of scikit-learn names that are private or experimental."""

from typing import Any

from sklearn.base import _fit_context as fit_context
from sklearn.base import is_classifier, is_regressor
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
    "safe_indexing",
    "safe_split",
    "validate_parameter_constraints",
    "warn_or_raise_about_fit_failures",
]


def name_of_score(scoring: Any, estimator: Any) -> str:
    """Name a score that comes as a number; "score" where nothing better is known.

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
    return sign + name.removesuffix("_score")


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
