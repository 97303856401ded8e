"""Reading a table from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from metaest.exceptions import DatasetError, TaskError, did_you_mean, missing_dependency

#: What stands for a missing value among numbers: what pandas knows as such, and the "?" of UCI.
_GAPS = {"", "#N/A", "<NA>", "?", "N/A", "NA", "NULL", "NaN", "None", "-nan", "n/a", "nan", "null"}
#: A number with points between its thousands and, where it has decimals, a comma before these.
_THOUSANDS = r"\s*[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?\s*"
_TRUTHS = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}


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


def read_table(path: str, target: str, *, separator: str = ",", decimal: str = ".") -> TableFile:
    """Read a CSV file with a header, and part the target from the other columns.

    Empty cells are missing. In a column that is else of numbers, or of "True" and "False", so are
    "NA", "NaN", "null", "?" and their like; elsewhere these are texts, such as the name of a class.

    Parameters
    ----------
    path : str
        In UTF-8.
    target : str
        Name of a column. Rows where it is missing are left out.
    separator : str, default=","
        One character.
    decimal : str, default="."
        What numbers have before their decimals. Where that is a comma and all points in a column
        stand before three digits, they part thousands: "1.234" is 1234.

    Returns
    -------
    TableFile

    Raises
    ------
    DatasetError
        If the file cannot be read, or a row has more fields than the header.
    TaskError
        If it has no such column or several, no other column, or no row with a target.
    MissingDependencyError
        If pandas is not installed.
    """
    table = _read_texts(path, separator)
    header, table = table.iloc[0].tolist(), table.iloc[1:]
    names = [name or f"Unnamed: {number}" for number, name in enumerate(header)]
    if target not in names:
        raise TaskError(_say_no_column(path, target, names, separator))
    if names.count(target) > 1:
        raise TaskError(
            f"{path} has {names.count(target)} columns named {target!r}; rename all but the target."
        )
    position = names.index(target)
    labels = _parse(table[position], decimal)
    has_target = labels.notna()
    if len(names) < 2:
        raise TaskError(f"{path} has no column but the target {target!r}.")
    if not has_target.any():
        raise TaskError(f"{path} has no row with a value in the target column {target!r}.")
    X = table.drop(columns=position).apply(_parse, decimal=decimal)[has_target]
    X.columns = names[:position] + names[position + 1 :]
    return TableFile(X, labels[has_target].to_numpy(), int((~has_target).sum()))


def _read_texts(path: str, separator: str) -> Any:
    """Return all cells as they stand in the file, the header as the first row.

    pandas itself would take a first field too many for row labels, and names for gaps.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing_dependency("pandas", "frame", "metaest suggest") from error
    options: dict[str, Any] = {"header": None, "dtype": object, "na_filter": False}
    options |= {"skipinitialspace": True, "low_memory": False}
    try:
        return pd.read_csv(Path(path).expanduser(), sep=separator, **options)
    except pd.errors.EmptyDataError as error:
        raise DatasetError(f"{path} is empty; it must have a header and rows.") from error
    except (OSError, ValueError) as error:  # of pandas' own errors, most are ValueErrors
        remedy = ""
        if isinstance(error, UnicodeDecodeError):
            remedy = ". Save it as UTF-8"
        elif "fields in line" in str(error):
            remedy = (
                ". No row may have more fields than the header; put a field that has the "
                f"separator {separator!r} in it in quotes, or give another with --separator"
            )
        reason = _first_line(error).rstrip(".")
        raise DatasetError(f"{path} cannot be read as a CSV file: {reason}{remedy}") from error


def _parse(cells: Any, decimal: str) -> Any:
    """Return a column of texts as numbers or truth values if it has no others, with gaps."""
    import pandas as pd

    plain = cells if decimal == "." else _with_points(cells, decimal)
    numbers = pd.to_numeric(plain, errors="coerce")
    others = cells[numbers.isna()]
    known = others[~others.str.strip().isin(_GAPS)]
    if not len(known) and len(others) < len(cells):
        return numbers
    if len(known) and known.isin(_TRUTHS).all() and len(others) == len(cells):
        return known.map(_TRUTHS).astype(bool).reindex(cells.index)
    return cells.mask(cells == "", None)


def _with_points(cells: Any, decimal: str) -> Any:
    """Return texts whose numbers have a point before their decimals, and none for thousands."""
    pointed = cells[cells.str.contains(".", regex=False)]
    if pointed.str.fullmatch(_THOUSANDS).all():
        cells = cells.str.replace(".", "", regex=False)
    return cells.str.replace(decimal, ".", regex=False)


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
