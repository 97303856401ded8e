"""The only importer of scikit-learn names that are private or experimental."""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.metaestimators import _safe_split as safe_split

__all__ = [
    "HasMethods",
    "Interval",
    "StrOptions",
    "fit_context",
    "safe_split",
    "validate_parameter_constraints",
]
