"""Warm-started tuning: past searches, kept as Optuna studies."""

try:
    import optuna as _optuna  # noqa: F401
except ImportError as error:
    from metaest.exceptions import missing_dependency

    raise missing_dependency("optuna", "tuning", "metaest.tuning") from error

from metaest.tuning._history import History
from metaest.tuning._record import SearchRecord

__all__ = ["History", "SearchRecord"]
