"""Warnings that point at the line of the user's own code."""

from __future__ import annotations

import sys
import warnings

#: Packages between a user's call and our warning.
_BETWEEN = {"contextlib", "joblib", "metaest", "sklearn", "skorch", "torch"}


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest caller that is neither metaest nor a library it is called through.

    Parameters
    ----------
    message : str
    category : type of Warning, default=UserWarning
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals) in _BETWEEN:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _package(module: dict[str, object]) -> str:
    return str(module.get("__name__")).partition(".")[0]
