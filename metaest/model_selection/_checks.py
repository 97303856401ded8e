"""What the splitters and the validation check alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaest._checks import is_int
from metaest.exceptions import InvalidParameterError, TaskError


def check_seed(random_state: Any) -> None:
    """Raise InvalidParameterError unless this is what scikit-learn takes as ``random_state``."""
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return
    if not is_int(random_state) or random_state < 0:
        raise InvalidParameterError(
            "random_state must be None, an int >= 0 or a numpy.random.RandomState, got "
            f"{random_state!r}."
        )


def count_rows(*tables: Any) -> int:
    """Return the number of rows of the first that is not None.

    Raises
    ------
    TaskError
        If it has none, or all are None.
    """
    table = next((table for table in tables if table is not None), None)
    if table is None:
        raise TaskError("the table is None; pass its rows, X.")
    shape = getattr(table, "shape", None)
    n_rows = int(shape[0]) if shape else len(table)
    if n_rows == 0:
        raise TaskError("the table is empty; pass at least one row.")
    return n_rows
