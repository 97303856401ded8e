"""Tables as users have them, with strings and gaps, as numbers with NaN."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np

from metaest._checks import check_rows
from metaest._table import Column, Moments, Table, as_text, is_missing, parse
from metaest._warn import warn
from metaest.exceptions import TaskError

#: What truth values are called where others write numbers, and the other way round.
_TRUTH = ({"True": "1", "False": "0"}, {"1": "True", "0": "False"})

#: Whether a column holds dates or spans of time; True: one of them, in files of older versions.
_Held = Moments | bool

#: The remedies where a column of numbers, dates or spans of time changed its type.
_REMEDIES: dict[str, str] = {
    "numbers": "Give it the same type in both, or missing values where there is no number.",
    "dates": "Make dates of them, with pd.to_datetime.",
    "spans of time": "Make spans of time of them, with pd.to_timedelta.",
}

#: The remedies where one became the other.
_CROSSED: dict[tuple[str, str], str] = {
    ("dates", "spans of time"): "Add the date that they are counted from.",
    ("spans of time", "dates"): "Subtract the date that those in fit are counted from.",
}

#: Text with more different values than this may be numbers that were read as text,
_MANY = 10
#: if so many of them are: one "?" makes text of a column.
_MOST = 0.9


def has_categories(X: Any) -> bool:
    """Whether a table has columns that are not plain numbers, or may have."""
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        kinds = [getattr(dtype, "kind", "O") for dtype in X.dtypes]
        plain = [hasattr(dtype, "itemsize") and hasattr(dtype, "names") for dtype in X.dtypes]
        if not all(p and k in "biufc" for p, k in zip(plain, kinds, strict=True)):
            return True
        return len(X) > 0 and bool(X.isna().all().any())  # gaps only: gaps in anything
    if hasattr(X, "dtype"):
        return getattr(X.dtype, "kind", "f") in "OSTUmM" and np.ndim(X) == 2
    if not isinstance(X, (list, tuple)):
        return False
    arrays = [row for row in X if isinstance(row, np.ndarray) and row.ndim == 1]
    rows = [row for row in X if isinstance(row, (list, tuple))]
    rows += [row.tolist() for row in arrays if row.dtype == object]
    others = any(row.dtype.kind in "STUmM" for row in arrays)
    return others or not all(map(_is_plain, {type(value) for row in rows for value in row}))


def _is_plain(kind: type) -> bool:
    """Whether cells of a type are numbers, or what numpy reads as numbers, or rows of an image."""
    if issubclass(kind, np.generic):
        return np.dtype(kind).kind in "biufc"
    has_value = hasattr(kind, "__float__") or hasattr(kind, "__array__")
    return has_value or issubclass(kind, (numbers.Number, list, tuple))


class TableCodes(NamedTuple):
    """How the columns of a table became numbers.

    Attributes
    ----------
    levels : tuple
        Of each column: its categories in order, or None where it holds numbers. A column of gaps
        only has no categories; whatever it holds later is missing, too.
    dates : tuple of {False, True, "dates", "spans of time"}, or None
        Of each column: whether its numbers are dates or spans of time. None: not known.
    """

    levels: tuple[tuple[str, ...] | None, ...]
    dates: tuple[_Held, ...] | None = None

    @classmethod
    def learn(cls, X: Any, label: str = "the support set") -> Self:
        """Find the columns of categories, and these in their own order or that of their names.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)
        label : str
            Names the table in messages.

        Raises
        ------
        TaskError
            If a column holds complex numbers.
        """
        table = Table(X, label)
        columns = [parse(_raw(table, X, i)) for i in range(table.n_columns)]
        levels = tuple(_levels(column, table.ranks(i)) for i, column in enumerate(columns))
        return cls(levels, tuple(column.dates for column in columns))

    @classmethod
    def of(
        cls, categories: Sequence[np.ndarray | None], dates: Sequence[_Held] | None = None
    ) -> Self:
        """Return the codes that have these :attr:`categories` and :attr:`dates`."""
        levels = tuple(None if c is None else tuple(c.tolist()) for c in categories)
        return cls(levels, None if dates is None else tuple(dates))

    @property
    def categories(self) -> list[np.ndarray | None]:
        """Of each column: its categories, ndarray of str, or None where it holds numbers."""
        return [None if c is None else np.array(c, dtype=str) for c in self.levels]

    def encode(self, X: Any) -> np.ndarray:
        """Return numbers: codes for categories, NaN for gaps and for categories not seen in `fit`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)

        Raises
        ------
        TaskError
            If a column of numbers has a value that is none or is complex, or one of numbers,
            dates or spans of time has another of these.

        Warns
        -----
        UserWarning
            For each column of categories that has none of those seen in `fit`.
        """
        table = Table(X, "X")
        encoded = np.empty((table.n_rows, table.n_columns))
        for i, levels in enumerate(self.levels):
            raw, name = _raw(table, X, i), _name(X, i)
            if levels is not None:
                encoded[:, i] = _codes(raw, name, levels)
                continue
            column = _numbers(raw, name, self.dates[i] if self.dates else False)
            encoded[:, i] = column.values
            if self.dates is not None and not np.isnan(column.values).all():
                _check_dates(column, name, self.dates[i])
        return encoded

    def warn_of_numbers(self, X: Any) -> None:
        """Warn of each column of text that seems to be numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)
            The table that the codes were learned from.
        """
        table = Table(X, "X")
        for i, levels in enumerate(self.levels):
            if levels is None or len(levels) <= _MANY or table.says_category(i):
                continue
            found = [level for level in levels if _is_finite(level)]
            if len(found) < _MOST * len(levels):
                continue
            others = [level for level in levels if not _is_finite(level)]
            but = f", all but {', '.join(map(repr, others[:3]))}," if others else ""
            column = f"X[{_name(X, i)!r}]" if hasattr(X, "columns") else f"X[:, {i}]"
            warn(
                f"column {_name(X, i)!r} holds text that reads as numbers, such as {found[0]!r}"
                f"{but} and is taken as categories. Make amounts numbers, "
                f"pd.to_numeric({column}, errors='coerce'), and categories such as postcodes a "
                "pandas category."
            )


def _raw(table: Table, X: Any, index: int) -> np.ndarray:
    raw = table.raw(index)
    if raw.dtype.kind == "c":
        raise TaskError(
            f"Complex data not supported: column {_name(X, index)!r}. Make two columns of it, its "
            "real and its imaginary part."
        )
    return raw


def _levels(column: Column, ranks: list[str] | None) -> tuple[str, ...] | None:
    if ranks is None and column.kind == "numeric" and not np.isnan(column.values).all():
        return None
    seen = set(column.levels)
    return tuple(sorted(seen) if ranks is None else (level for level in ranks if level in seen))


def _name(X: Any, index: int) -> Any:
    return X.columns[index] if hasattr(X, "columns") else index


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _codes(raw: np.ndarray, name: Any, levels: tuple[str, ...]) -> np.ndarray:
    codes = {level: float(code) for code, level in enumerate(levels)}
    for other_name in _TRUTH:
        if codes.keys() <= other_name.keys():
            codes |= {other_name[level]: code for level, code in codes.items()}
    if raw.dtype.kind == "M":
        raw = raw.astype("datetime64[us]")  # of which tolist makes dates, of finer ones integers
    values = [None if is_missing(value) else value for value in raw.tolist()]
    found = [
        np.nan if v is None else codes.get(as_text(v), codes.get(str(v), np.nan)) for v in values
    ]
    new = next((v for v in values if v is not None), None)
    if levels and new is not None and np.isnan(found).all():
        warn(
            f"column {name!r} has none of the categories that it had in fit, such as "
            f"{levels[0]!r}: it has {as_text(new)!r} now, and counts as missing. Write them as in "
            "fit."
        )
    return np.array(found)


def _check_dates(column: Column, name: Any, held: _Held) -> None:
    if column.dates != held and not (held is True and column.dates):
        _refuse(name, held, column.dates or "numbers")


def _refuse(name: Any, held: _Held, has: str) -> NoReturn:
    then = "dates" if held is True else held or "numbers"
    remedy = _CROSSED.get((then, has), _REMEDIES[then])
    raise TaskError(f"column {name!r} held {then} in fit and has {has} now. {remedy}")


def _numbers(raw: np.ndarray, name: Any, held: _Held) -> Column:
    column = parse(raw)
    if column.kind == "numeric":
        return column
    values = raw.astype(object)  # a truth value among them is the number that it was in fit
    values[[isinstance(value, (bool, np.bool_)) for value in values]] *= 1
    if (numbers := parse(values)).kind == "numeric":
        return numbers
    text = next((level for level in column.levels if not _is_finite(level)), column.levels[0])
    _refuse(name, held, repr(text))


def read_table(X: Any, label: str) -> tuple[np.ndarray, list[np.ndarray | None] | None]:
    """Return rows as numbers, with NaN for gaps, and what the codes in them stand for.

    Parameters
    ----------
    X : DataFrame or array-like of shape (n_rows, ...)
    label : str
        Names the table in messages.

    Returns
    -------
    rows : ndarray of shape (n_rows, ...)
    categories : list of (ndarray of str or None), or None
        Of each column; None where all of them hold numbers.
    """
    if hasattr(X, "columns"):
        Table(X, label)  # says so where a frame has no rows or no columns
    if not has_categories(X):
        return check_rows(X, label, gaps=True), None
    codes = TableCodes.learn(X, label)
    # A column of gaps only is as good as numbers: nothing else will be read by these codes.
    known = [c if c is not None and c.size else None for c in codes.categories]
    rows = check_rows(codes.encode(X), label, gaps=True)
    return rows, None if all(c is None for c in known) else known
