"""Tables as users have them, with strings and gaps, as numbers with NaN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from metaest._table import Table, is_missing, parse
from metaest.exceptions import TaskError


class TableCodes(NamedTuple):
    """How the columns of a support set became numbers.

    Attributes
    ----------
    levels : tuple
        Of each column: its categories in order, or None where it holds numbers.
    """

    levels: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def learn(cls, X: Any) -> Self:
        """Find the columns of categories, and these in the order of their names.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)
        """
        table = Table(X, "the support set")
        columns = (table.column(i) for i in range(table.n_columns))
        return cls(
            tuple(
                tuple(sorted(set(c.levels))) if c.kind == "categorical" else None for c in columns
            )
        )

    def encode(self, X: Any, names: Sequence[Any]) -> np.ndarray:
        """Return numbers: codes for categories, NaN for gaps and for categories not seen in `fit`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_rows, n_columns)
        names : sequence
            Of the columns, for messages.

        Raises
        ------
        TaskError
            If a column of numbers has a value that is none.
        """
        table = Table(X, "X")
        encoded = np.empty((table.n_rows, table.n_columns))
        for i, levels in enumerate(self.levels):
            if levels is None:
                encoded[:, i] = _numbers(table.raw(i), names[i])
                continue
            codes = {level: float(code) for code, level in enumerate(levels)}
            values = table.raw(i).tolist()
            encoded[:, i] = [np.nan if is_missing(v) else codes.get(str(v), np.nan) for v in values]
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
