"""Packages that only an extra installs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from metaest.exceptions import missing_dependency


def import_optional(name: str, extra: str, purpose: str) -> Any:
    """Return a module of a package that may not be installed.

    Parameters
    ----------
    name : str
        Such as "pandas" or "matplotlib.pyplot".
    extra : str
        Extra of metaest that installs the package.
    purpose : str
        Who needs it: the subject of the error's sentence.

    Raises
    ------
    MissingDependencyError
        If it cannot be imported.
    """
    package = name.partition(".")[0]
    try:
        import_module(package)  # first, since a module of it may be loaded where it is blocked
        return import_module(name)
    except ImportError as error:
        raise missing_dependency(package, extra, purpose) from error
