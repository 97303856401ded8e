"""From what a user passes to a task set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metaest._checks import Kind
from metaest.exceptions import TaskError
from metaest.tasks._task_set import TaskSet


def as_task_set(tasks: Any, y: Any = None, groups: Any = None, *, kind: Kind) -> TaskSet:
    """Turn what ``fit_meta`` was given into a TaskSet.

    Parameters
    ----------
    tasks : TaskSet, iterable of (X, y), or array-like X
    y, groups : array-like of shape (n_rows,), default=None
    kind : {"classification", "regression"}

    Returns
    -------
    TaskSet

    Raises
    ------
    TaskError
        If the tasks cannot be used or are of the other kind, or the arguments do not go together.
    """
    if isinstance(tasks, TaskSet) and (y is not None or groups is not None):
        raise TaskError(
            "fit_meta got a TaskSet and also y or groups; the set holds its own: leave them out."
        )
    if groups is not None:
        if y is None:
            raise TaskError("fit_meta got groups but no y; call fit_meta(X, y, groups=groups).")
        return TaskSet.from_groups(tasks, y, groups, kind=kind)
    if y is not None:
        return TaskSet.from_pool(tasks, y, kind=kind)
    if not isinstance(tasks, TaskSet):
        rows = hasattr(tasks, "shape") or isinstance(tasks, (str, dict))
        if rows or not isinstance(tasks, Iterable):
            raise TaskError(
                "fit_meta takes a TaskSet, a list of (X, y) pairs, or X with y; got "
                f"{type(tasks).__name__} without y."
            )
        tasks = TaskSet.from_datasets(tasks, kind=kind)
    if tasks.kind != kind:
        other = "Regressor" if kind == "classification" else "Classifier"
        raise TaskError(
            f"expected {kind} tasks, got {tasks.kind} tasks. "
            f"Use MetaFewShot{other}, or pass kind={kind!r} when you make the TaskSet."
        )
    return tasks
