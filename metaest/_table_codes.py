"""Tables as users have them, with strings and gaps, as numbers with NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from metaest._checks import check_rows
from metaest._table import Table, is_missing, parse
from metaest.exceptions import TaskError


def has_categories(X: Any) -> bool:
    """Whether a table has columns that are not plain numbers, or may have."""
    if hasattr(X, "dtypes") and hasattr(X, "columns"):
        kinds = [getattr(dtype, "kind", "O") for dtype in X.dtypes]
        plain = [hasattr(dtype, "itemsize") and hasattr(dtype, "names") for dtype in X.dtypes]
        return not all(p and k in "biufc" for p, k in zip(plain, kinds, strict=True))
    if hasattr(X, "dtype"):
        return X.dtype.kind in "OSUmM" and np.ndim(X) == 2
    if not isinstance(X, (list, tuple)):
        return False
    rows = [row for row in X if isinstance(row, (list, tuple))]
    return any(isinstance(value, str) or value is None for row in rows for value in row)


class TableCodes(NamedTuple):
    """How the columns of a table became numbers.

    Attributes
    ----------
    levels : tuple
        Of each column: its categories in order, or None where it holds numbers.
    """

    levels: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def learn(cls, X: Any, label: str = "the support set") -> Self:
        """Find the columns of categories, and these in the order of their names.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)
        label : str
            Names the table in messages.
        """
        table = Table(X, label)
        columns = [table.column(i) for i in range(table.n_columns)]
        return cls(
            tuple(
                tuple(sorted(set(column.levels))) if column.levels else None for column in columns
            )
        )

    @classmethod
    def of(cls, categories: Sequence[np.ndarray | None]) -> Self:
        """Return the codes that have these :attr:`categories`."""
        return cls(tuple(None if c is None else tuple(c.tolist()) for c in categories))

    @property
    def categories(self) -> list[np.ndarray | None]:
        """Of each column: its categories, ndarray of str, or None where it holds numbers."""
        return [None if levels is None else np.array(levels) for levels in self.levels]

    def encode(self, X: Any) -> np.ndarray:
        """Return numbers: codes for categories, NaN for gaps and for categories not seen in `fit`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)

        Raises
        ------
        TaskError
            If a column of numbers has a value that is none.
        """
        table = Table(X, "X")
        encoded = np.empty((table.n_rows, table.n_columns))
        for i, levels in enumerate(self.levels):
            raw = table.raw(i)
            if levels is None:
                encoded[:, i] = _numbers(raw, X.columns[i] if hasattr(X, "columns") else i)
                continue
            codes = {level: float(code) for code, level in enumerate(levels)}
            encoded[:, i] = [
                np.nan if is_missing(v) else codes.get(str(v), np.nan) for v in raw.tolist()
            ]
        return encoded


def _numbers(raw: np.ndarray, name: Any) -> np.ndarray:
    column = parse(raw)
    if column.kind == "numeric":
        return column.values
    if not column.levels:  # nothing but gaps
        return np.full(len(raw), np.nan)
    raise TaskError(
        f"column {name!r} held numbers in fit and has {column.levels[0]!r} now. Give it the same "
        "type in both, or missing values where there is no number."
    )


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
    known = None if all(levels is None for levels in codes.levels) else codes.categories
    return check_rows(codes.encode(X), label, gaps=True), known
