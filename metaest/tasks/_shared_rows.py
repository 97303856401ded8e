"""Tasks that are different classes of the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metaest.tasks._task import Task


def divide_tables(
    kept: Sequence[Task], held_out: Sequence[Task], share: float, rng: np.random.Generator
) -> tuple[list[Task], list[Task]]:
    """Give the held-out tasks rows that the others do not have, of each table by itself.

    Tasks of rows of their own stay as they are, and so do those of a table that are all on one
    side. A table of too few classes to divide has all its tasks kept.

    Parameters
    ----------
    kept, held_out : sequence of Task
    share : float
        See :func:`divide_rows`.
    rng : numpy.random.Generator

    Returns
    -------
    kept, held_out : list of Task
    """
    all_kept: list[Task] = []
    all_held_out: list[Task] = []
    for table in dict.fromkeys(task._table for task in (*kept, *held_out)):
        own = [task for task in kept if task._table == table]
        out = [task for task in held_out if task._table == table]
        if table is not None and own and out:
            own, out = divide_rows(own, out, share, rng) or ([*own, *out], [])
        all_kept += own
        all_held_out += out
    return all_kept, all_held_out


def divide_rows(
    kept: Sequence[Task], held_out: Sequence[Task], share: float, rng: np.random.Generator
) -> tuple[list[Task], list[Task]] | None:
    """Give the held-out tasks rows that the others do not have.

    These are the rows of a share of the classes of the held-out task of most classes. Classes
    that are left with fewer rows than the smallest had are dropped, and so are tasks that are
    left with one class.

    Parameters
    ----------
    kept, held_out : sequence of Task
        Of the rows of one table.
    share : float
    rng : numpy.random.Generator

    Returns
    -------
    kept, held_out : list of Task
        None: the classes are too few.
    """
    parts = max(held_out, key=lambda task: len(task.classes))._split_classes(share, rng)
    if parts is None:
        return None
    rows = parts[1]._row_numbers
    least = min(np.bincount(task.codes).min() for task in (*kept, *held_out))
    divided = (
        _take(kept, rows, least, is_out=False),
        _take(held_out, rows, least, is_out=True),
    )
    return divided if all(divided) else None


def _take(
    tasks: Sequence[Task], held_out: np.ndarray | None, least: int, *, is_out: bool
) -> list[Task]:
    """Return what tasks have of the held-out rows, or of the others."""
    parts = []
    for task in tasks:
        assert task._row_numbers is not None
        assert held_out is not None
        rows = np.flatnonzero(np.isin(task._row_numbers, held_out) == is_out)
        codes = task.codes[rows]
        rows = rows[np.bincount(codes, minlength=len(task.classes))[codes] >= least]
        if len(np.unique(task.codes[rows])) > 1:
            parts.append(task._select(rows))
    return parts
