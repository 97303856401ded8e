"""Reading a table from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from metaest.exceptions import DatasetError, TaskError, did_you_mean, missing_dependency


class TableFile(NamedTuple):
    """A table to classify.

    Attributes
    ----------
    X : DataFrame of shape (n_rows, n_columns)
    y : ndarray of shape (n_rows,)
    n_left_out : int
        Rows that had no target.
    """

    X: Any
    y: Any
    n_left_out: int


def read_table(path: str, target: str, *, separator: str = ",") -> TableFile:
    """Read a CSV file with a header, and part the target from the other columns.

    Parameters
    ----------
    path : str
    target : str
        Name of a column. Rows where it is missing are left out.
    separator : str, default=","
        One character.

    Returns
    -------
    TableFile

    Raises
    ------
    DatasetError
        If the file cannot be read.
    TaskError
        If it has no such column, no other column, or no row with a target.
    MissingDependencyError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing_dependency("pandas", "frame", "metaest suggest") from error
    try:
        options: dict[str, Any] = {"skipinitialspace": True, "low_memory": False}
        frame = pd.read_csv(Path(path).expanduser(), sep=separator, **options)
    except pd.errors.EmptyDataError as error:
        raise DatasetError(f"{path} is empty; it must have a header and rows.") from error
    except (OSError, ValueError) as error:  # of pandas' own errors, most are ValueErrors
        raise DatasetError(f"{path} cannot be read as a CSV file: {_first_line(error)}") from error
    names = [str(name) for name in frame.columns]
    frame.columns = names
    if target not in names:
        raise TaskError(_say_no_column(path, target, names, separator))
    has_target = frame[target].notna()
    frame = frame[has_target]
    if len(names) < 2:
        raise TaskError(f"{path} has no column but the target {target!r}.")
    if not len(frame):
        raise TaskError(f"{path} has no row with a value in the target column {target!r}.")
    n_left_out = int((~has_target).sum())
    return TableFile(frame.drop(columns=target), frame[target].to_numpy(), n_left_out)


def _say_no_column(path: str, target: str, names: list[str], separator: str) -> str:
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    hint = did_you_mean(target, names)
    others = [sign for sign in (";", "\t", "|") if sign in names[0]]
    if len(names) == 1 and others:
        hint = f" Is {others[0]!r} the separator? Give it with --separator."
    return f"{path} has no column {target!r}; it has {shown}.{hint}"


def _first_line(error: BaseException) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return reason.strip().splitlines()[0] if reason.strip() else type(error).__name__
