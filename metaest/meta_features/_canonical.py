"""One bounded sample of a data set in one order, whatever the order it came in.

Rows and columns are drawn and sorted by hashes of their contents. So every number that is computed
from the sample is the same, to the last bit, for every order of the rows and columns and for every
naming of the classes (rows that are equal in X and different in y aside).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metaest._checks import Kind, check_numeric_targets, check_targets, find_kind
from metaest._table import Column, Table, cell_hashes, mix
from metaest.exceptions import TaskError

#: Of a larger data set, so many rows and columns.
MAX_ROWS, MAX_COLUMNS = 2000, 100

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Sample:
    """A bounded sample of a data set in its canonical order.

    Parameters
    ----------
    n_rows, n_columns : int
        Of the whole data set.
    columns : list of Column
        Of the sampled rows.
    y : ndarray of shape (n_sampled,)
        Class codes in order of first appearance, or target values.
    kind : {"classification", "regression"}
    class_counts : ndarray of int, shape (n_classes,)
        Of the whole data set, descending; empty for regression.
    """

    n_rows: int
    n_columns: int
    columns: list[Column]
    y: np.ndarray
    kind: Kind
    class_counts: np.ndarray

    @cached_property
    def numbers(self) -> np.ndarray:
        """The numeric columns, (n_sampled, n_numeric), each divided by its largest magnitude."""
        found = [c.values for c in self.columns if c.kind == "numeric"]
        if not found:
            return np.empty((len(self.y), 0))
        values = np.stack(found, axis=1)
        return values / largest_magnitude(values)

    @cached_property
    def codes(self) -> np.ndarray:
        """The categorical columns, (n_sampled, n_categorical), int with -1 for a gap."""
        found = [_by_appearance(c.values) for c in self.columns if c.kind == "categorical"]
        return np.stack(found, axis=1) if found else np.empty((len(self.y), 0), dtype=np.int64)


def largest_magnitude(values: np.ndarray) -> np.ndarray:
    """Return the largest finite magnitude of each column, 1 where there is none above zero."""
    size = np.abs(values).max(axis=0, where=np.isfinite(values), initial=0.0)
    return np.where(size > 0, size, 1.0)


def read_samples(datasets: Iterable[Any], kind: str) -> Iterator[Sample]:
    """Draw the canonical sample of each data set, one after another.

    Raises
    ------
    TaskError
        If there is no data set, or one cannot be used; the message names it.
    InvalidParameterError
        If `kind` is unknown.
    """
    number = -1
    for number, entry in enumerate(datasets):
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            raise TaskError(
                f"datasets must be a list of pairs (X, y), but entry {number} is "
                f"{type(entry).__name__}; for one data set pass [(X, y)]."
            )
        yield _read_sample(entry[0], entry[1], kind, f"data set {number}")
    if number < 0:
        raise TaskError("datasets is empty; pass at least one pair (X, y).")


def _read_sample(X: Any, y: Any, kind: str, label: str) -> Sample:
    table = Table(X, label)
    _check_real(X, label)
    y = check_targets(y, table.n_rows, label)
    with warnings.catch_warnings():  # of many classes, huge numbers
        warnings.simplefilter("ignore")
        found = find_kind(y, kind)
    if found == "regression":
        y = check_numeric_targets(y, label)
    return _draw_sample(table, y, found)


def _check_real(X: Any, label: str) -> None:
    """Raise TaskError for complex numbers, of which no feature says anything."""
    if hasattr(X, "columns"):
        is_complex = "c" in {getattr(kind, "kind", "") for kind in list(X.dtypes)}
    else:
        cells = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)
        is_complex = cells.dtype.kind == "c"
        if cells.dtype.kind == "O":
            is_complex = any(isinstance(v, (complex, np.complexfloating)) for v in cells.flat)
    if is_complex:
        raise TaskError(
            f"X of {label} has complex numbers; pass their real and imaginary parts, or magnitude "
            "and angle, as columns."
        )


def _draw_sample(table: Table, y: np.ndarray, kind: Kind) -> Sample:
    """Draw and sort a sample."""
    counts = np.empty(0, dtype=np.int64)
    tie_break = y
    if kind == "classification":
        _, codes, sizes = np.unique(y, return_inverse=True, return_counts=True)
        tie_break, counts, y = sizes[codes], np.sort(sizes)[::-1], codes
    chosen = _choose_columns(table)
    rows = np.arange(table.n_rows)
    if table.n_rows > MAX_ROWS:
        rows = _choose_rows(table, chosen, tie_break)
    columns = [table.column(j, rows) for j in chosen]
    row_order, column_order = _canonical_order(columns, tie_break[rows])
    columns = [columns[j] for j in column_order]
    columns = [c._replace(values=c.values[row_order]) for c in columns]
    y = y[rows][row_order]
    if kind == "classification":
        y = _by_appearance(y)
    return Sample(table.n_rows, table.n_columns, columns, y, kind, counts)


def _choose_columns(table: Table) -> np.ndarray:
    if table.n_columns <= MAX_COLUMNS:
        return np.arange(table.n_columns)
    keys = np.array(
        [column_key(cell_hashes(table.column(j))) for j in range(table.n_columns)],
        dtype=np.uint64,
    )
    return np.argsort(keys, kind="stable")[:MAX_COLUMNS]


def _choose_rows(table: Table, chosen: np.ndarray, tie_break: np.ndarray) -> np.ndarray:
    """Choose rows by the smallest hashes; equal rows count as often as they occur."""
    hashes = np.zeros(table.n_rows, dtype=np.uint64)
    for j in chosen:
        cells = cell_hashes(table.column(j))
        hashes += mix(cells ^ column_key(cells))
    order = np.lexsort((tie_break, hashes))
    ordered = hashes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    occurrence = np.arange(len(ordered)) - np.repeat(
        starts, np.diff(np.append(starts, len(ordered)))
    )
    drawn = mix(ordered + _GOLDEN * (occurrence.astype(np.uint64) + np.uint64(1)))
    return order[np.argsort(drawn, kind="stable")[:MAX_ROWS]]


def _canonical_order(columns: list[Column], tie_break: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort rows and columns by hashes, refined once so that few ties are left."""
    cells = np.stack([cell_hashes(column) for column in columns], axis=1)  # (rows, columns)
    rows = mix(mix(cells ^ _column_keys(cells)).sum(axis=1, dtype=np.uint64))
    keys = _column_keys(mix(cells ^ rows[:, None]))
    rows = mix(cells ^ keys).sum(axis=1, dtype=np.uint64)
    return np.lexsort((tie_break, rows)), np.argsort(keys, kind="stable")


def column_key(cells: np.ndarray) -> np.uint64:
    """Hash the hashed values of a column as a set with counts."""
    return _column_keys(cells[:, None])[0]


def _column_keys(cells: np.ndarray) -> np.ndarray:
    """Hash the values of each column as a set with counts: the order of rows does not matter."""
    return mix(cells.sum(axis=0, dtype=np.uint64))


def _by_appearance(codes: np.ndarray) -> np.ndarray:
    """Give codes numbers in order of first appearance: names do not matter; keep -1."""
    present, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    first = np.where(present == -1, -1, first)
    rank = np.argsort(np.argsort(first))
    return rank[inverse] - int(bool((present == -1).any()))
