"""Warm-started tuning: past searches, kept as Optuna studies."""

try:
    import optuna as _optuna  # noqa: F401
except ImportError as error:
    from metaest.exceptions import missing_dependency

    raise missing_dependency("optuna", "tuning", "metaest.tuning") from error

from metaest.tuning._embedded import embedded_history
from metaest.tuning._history import History
from metaest.tuning._record import SearchRecord
from metaest.tuning._sampler import MetaSampler
from metaest.tuning._search import MetaSearchCV
from metaest.tuning._search_report import WarmStartReport
from metaest.tuning._spaces import default_space
from metaest.tuning._suggest import suggest
from metaest.tuning._suggestion import Suggestion

__all__ = [
    "History",
    "MetaSampler",
    "MetaSearchCV",
    "SearchRecord",
    "Suggestion",
    "WarmStartReport",
    "default_space",
    "embedded_history",
    "suggest",
]
