"""A table of any kind, one column at a time, without pandas of our own."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import math
import numbers
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from metaest.exceptions import TaskError

ColumnKind = Literal["numeric", "categorical"]
Moments = Literal["dates", "spans of time"]
_EPOCH = datetime.datetime(1970, 1, 1)  # in UTC, as is all that has a time zone
_MOMENTS: dict[type, Moments] = {datetime.date: "dates", datetime.timedelta: "spans of time"}
_NAN_BITS = np.uint64(0x7FF8000000000000)


class Column(NamedTuple):
    """One column: numbers with NaN for a gap, or codes with -1 for a gap."""

    kind: ColumnKind
    values: np.ndarray  # (n_rows,) float64 or int64
    levels: Sequence[str] = ()
    dates: Moments | Literal[False] = False  # whether the numbers are seconds, and what of


class Table:
    """Columns of a DataFrame (pandas, polars), an array or nested lists.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_columns)
        More axes than two are flattened into columns; one axis is one column.
    label : str
        Names the data set in messages.

    Attributes
    ----------
    n_rows, n_columns : int
    """

    def __init__(self, X: Any, label: str) -> None:
        label = label if label == "X" else f"X of {label}"
        if sp.issparse(X):
            raise TaskError(f"{label} is sparse; pass X.toarray() or fewer columns.")
        self._frame: Any = X if hasattr(X, "columns") and hasattr(X, "shape") else None
        self._array = None if self._frame is not None else _as_matrix(X, label)
        self._types = [] if self._frame is None else list(self._frame.dtypes)
        shape = X.shape if self._array is None else self._array.shape
        self.n_rows, self.n_columns = int(shape[0]), int(shape[1])
        if self.n_rows == 0 or self.n_columns == 0:
            raise TaskError(
                f"{label} has {self.n_rows} rows and {self.n_columns} columns; at least one "
                "of each is needed."
            )

    def raw(self, index: int, rows: np.ndarray | None = None) -> np.ndarray:
        """Return a column as it came, or the chosen rows of it, as an array.

        Of a pandas category the texts of its values, with None for a gap: that 1 and 2 are no
        numbers there is what its user says.
        """
        if self._array is not None:
            values = self._array[:, index]
            return values if rows is None else values[rows]
        if hasattr(self._frame, "iloc"):
            series = self._frame.iloc[:, index]
            series = series if rows is None else series.iloc[rows]
            if type(self._types[index]).__name__ == "PeriodDtype":
                series = series.dt.to_timestamp()
            return _texts(series.cat) if self.says_category(index) else np.asarray(series)
        series = self._frame[:, int(index)]  # polars
        return np.asarray(series.to_numpy() if rows is None else series.to_numpy()[rows])

    def says_category(self, index: int) -> bool:
        """Whether the type of a column, of pandas or polars, says that it has categories."""
        if self._frame is None:
            return False
        kind = type(self._types[index]).__name__
        return kind in ("CategoricalDtype", "Categorical", "Enum")

    def ranks(self, index: int) -> list[str] | None:
        """Return the texts of all categories of a column whose type says that they are ordered."""
        kind = self._types[index] if self.says_category(index) else None
        if kind is None or not getattr(kind, "ordered", type(kind).__name__ == "Enum"):
            return None
        return [as_text(value) for value in kind.categories.to_list()]

    def column(self, index: int, rows: np.ndarray | None = None) -> Column:
        """Return a column, or the chosen rows of it, as numbers or codes."""
        return parse(self.raw(index, rows))


def parse(raw: np.ndarray) -> Column:
    """Read a column as numbers (also dates, as seconds) or as categories (also truth values).

    Truth values among numbers are the numbers 1 and 0, and among text the categories True and
    False: whatever the order of the rows.
    """
    if raw.dtype.kind in "iuf":
        return Column("numeric", raw.astype(np.float64))
    if raw.dtype.kind in "mM":
        is_date = raw.dtype.kind == "M"
        unit = "datetime64[us]" if is_date else "timedelta64[us]"
        seconds = raw.astype(unit).astype(np.int64) / 1e6
        values = np.where(np.isnat(raw), np.nan, seconds)
        return Column("numeric", values, dates="dates" if is_date else "spans of time")
    if raw.dtype.kind == "c":
        return Column("numeric", np.abs(raw).astype(np.float64))
    codes, uniques = _factorize(raw.tolist())
    plain = [_without_unit(value) for value in uniques]
    are_truths = [_is_truth(value) for value in uniques]
    are_numbers = [_is_number(value) for value in plain]
    if all(np.logical_or(are_numbers, are_truths)) and (any(are_numbers) or not uniques):
        floats = [float(value) for value in uniques]
        return Column("numeric", np.array([*floats, np.nan])[codes])
    for kind, moments in _MOMENTS.items():
        if all(isinstance(value, kind) for value in plain):
            floats = [_seconds(value) for value in plain]
            return Column("numeric", np.array([*floats, np.nan])[codes], dates=moments)
    return Column("categorical", codes, [as_text(value) for value in uniques])


def cell_hashes(column: Column) -> np.ndarray:
    """Hash each value to 64 bits; equal values of any table hash alike. Shape (n_rows,)."""
    if column.kind == "numeric":
        bits = (column.values + 0.0).view(np.uint64)  # + 0.0: the zeros of both signs are one
        bits = np.where(np.isnan(column.values), _NAN_BITS, bits)
        return mix(bits)
    digests = [hashlib.blake2b(_bytes(text), digest_size=8).digest() for text in column.levels]
    of_levels = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    return mix(np.append(of_levels, _NAN_BITS)[column.values])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # names of files may have half characters


def mix(bits: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers (the finaliser of splitmix64)."""
    with np.errstate(over="ignore"):
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _as_matrix(X: Any, label: str) -> np.ndarray:
    try:
        array = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)
    except ValueError as error:
        raise TaskError(f"{label} cannot be read as a table: {error}") from error
    if array.ndim == 0:
        raise TaskError(f"{label} must be a table, got {type(X).__name__}.")
    if array.ndim == 1 and len(array) and isinstance(array[0], (list, tuple, np.ndarray)):
        raise TaskError(f"{label} has rows of different lengths.")
    return array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0)


def _factorize(values: list[Any]) -> tuple[np.ndarray, list[Any]]:
    index: dict[Any, int] = {}
    codes = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values):
        if is_missing(value):
            codes[i] = -1
            continue
        try:
            codes[i] = index.setdefault((_is_truth(value), value), len(index))  # True is no 1
        except TypeError:  # a list, a dict
            codes[i] = index.setdefault((False, repr(value)), len(index))
    return codes, [value for _, value in index]


def is_missing(value: Any) -> bool:
    """Tell None, NaN, NaT and pandas' NA from values, such as a whole array in a cell."""
    if value is None or type(value).__name__ == "NAType":  # which differs from nothing
        return True
    try:
        differs = value != value
    except (TypeError, ValueError):
        return False
    return isinstance(differs, (bool, np.bool_)) and bool(differs)


def _seconds(value: Any) -> float:
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if not isinstance(value, datetime.datetime):
        return (value.toordinal() - _EPOCH.toordinal()) * 86400.0
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return (value - _EPOCH).total_seconds()


def _without_unit(value: Any) -> Any:
    """Return a date or span of time of numpy's as one of Python's, all else as it is."""
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    return value.astype("timedelta64[us]").item() if isinstance(value, np.timedelta64) else value


def _is_truth(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, decimal.Decimal)) and not _is_truth(value)


def as_text(value: Any) -> str:
    """Name a category; 10 and 10.0 are one, since pandas makes floats of integers with a gap."""
    real = isinstance(value, (float, np.floating, decimal.Decimal))
    whole = real and math.isfinite(value) and value == int(value)
    return str(int(value) if whole else value)


def _texts(categories: Any) -> np.ndarray:
    """Return the texts of a pandas category's values (its ``.cat``), None for a gap."""
    texts = [as_text(value) for value in categories.categories]
    return np.array([*texts, None], dtype=object)[categories.codes.to_numpy()]  # -1: a gap
