"""A name for the contents of a data set."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from metaest._checks import check_targets
from metaest._table import Table, cell_hashes, mix, parse
from metaest.meta_features._canonical import column_key


def fingerprint(X: Any, y: Any) -> str:
    """Name the contents of a data set, to know it again.

    Equal for every order of the rows and the columns and for every container (array, list,
    DataFrame); different, but for accidents, as soon as a value or the name of a class differs.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_columns)
        Numbers, strings, categories, dates, missing values.
    y : array-like of shape (n_rows,)

    Returns
    -------
    str
        32 hexadecimal digits. A name, no proof: it is not made to withstand forgery.

    Raises
    ------
    TaskError
        If X is no table, is empty, or X and y differ in length.

    Examples
    --------
    >>> from metaest.meta_features import fingerprint
    >>> fingerprint([[1, 2], [3, 4]], ["a", "b"]) == fingerprint([[4, 3], [2, 1]], ["b", "a"])
    True
    """
    table = Table(X, "the data set")
    targets = check_targets(y, table.n_rows, "the data set")
    rows = mix(cell_hashes(parse(targets)) + np.uint64(1))
    keys = []
    for j in range(table.n_columns):
        cells = cell_hashes(table.column(j))
        key = column_key(cells)
        keys.append(int(key))
        rows += mix(cells ^ key)
    content = [table.n_rows, table.n_columns, *sorted(keys), int(mix(rows).sum(dtype=np.uint64))]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]
