"""When a conditional parameter is active, learned from what past trials had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Condition(NamedTuple):
    """A parameter is active where another one is active and has one of some values.

    Attributes
    ----------
    parent : int
        Column of the other parameter.
    low, high : float
        Smallest and largest value of a number.
    choices : frozenset of float or None
        Indices of categories, instead.
    """

    parent: int
    low: float
    high: float
    choices: frozenset[float] | None = None

    def holds(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Return where it holds: bool, shape (n,)."""
        column = values[:, self.parent]
        if self.choices is not None:
            inside = np.isin(column, list(self.choices))
        else:
            inside = (self.low <= column) & (column <= self.high)
        return inside & active[:, self.parent]


_ALWAYS = Condition(0, -np.inf, np.inf)


def learn_conditions(
    values: np.ndarray, active: np.ndarray, is_categorical: Sequence[bool]
) -> dict[int, Condition]:
    """Find a condition for each parameter that some rows have and some have not.

    Parameters
    ----------
    values : ndarray of shape (n, n_params)
    active : ndarray of bool, shape (n, n_params)
    is_categorical : sequence of bool

    Returns
    -------
    dict of column to Condition
        One that says "always" where no single parent explains all rows.
    """
    found = {}
    for child in range(values.shape[1]):
        share = active[:, child].mean() if len(active) else 1.0
        if share == 1.0:
            continue
        fitting = []
        for parent in map(int, np.flatnonzero(active.sum(0) >= active[:, child].sum())):
            if parent != child:
                rows = active[:, parent]
                condition = _separate(
                    values[rows, parent], active[rows, child], parent, is_categorical[parent]
                )
                if condition is not None and not active[~rows, child].any():
                    fitting.append(condition)
        # Of several that fit, a category rather than a number, and a parent that is often there.
        fitting.sort(key=lambda c: (c.choices is None, -active[:, c.parent].sum()))
        found[child] = fitting[0] if fitting else _ALWAYS
    return found


def _separate(
    values: np.ndarray, active: np.ndarray, parent: int, is_categorical: bool
) -> Condition | None:
    """Return the values that have the child, if no value has it only sometimes."""
    yes, no = values[active], values[~active]
    if not len(yes):
        return None
    if is_categorical:
        choices = frozenset(map(float, yes))
        return None if choices & set(map(float, no)) else Condition(parent, 0, 0, choices)
    low, high = float(yes.min()), float(yes.max())
    if not len(no):  # the same as its parent
        return Condition(parent, -np.inf, np.inf)
    if low > no.max():
        return Condition(parent, (low + float(no.max())) / 2, np.inf)
    if high < no.min():
        return Condition(parent, -np.inf, (high + float(no.min())) / 2)
    return None
