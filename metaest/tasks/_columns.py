"""Columns of tasks that came as DataFrames: by name, not by position."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from operator import is_

import numpy as np

from metaest.exceptions import TaskError
from metaest.tasks._task import Task
from metaest.tasks._task_set import TaskSet


def share_names(tasks: Iterable[Task]) -> bool:
    """Whether all tasks whose columns have names have the same ones, in any order."""
    orders = {tuple(names) for task in tasks if (names := _names_of(task)) is not None}
    return len({frozenset(names) for names in orders}) <= 1


def first_named(tasks: Iterable[Task]) -> Task | None:
    """Return the first task whose columns have names, all of them strings."""
    return next((task for task in tasks if _names_of(task) is not None), None)


def align_columns(tasks: TaskSet, model: Task, what: str = "task") -> TaskSet:
    """Return the tasks with their columns in the order of another's.

    Those without names are read by position, as scikit-learn reads such tables. Those in that
    order already are not copied.

    Parameters
    ----------
    tasks : TaskSet
    model : Task
        From :func:`first_named`.
    what : str
        Names the tasks in messages.

    Raises
    ------
    TaskError
        If a task has columns of other names.
    """
    aligned = [
        _in_order_of(model, task, f"{what} {task.name or number!r}")
        for number, task in enumerate(tasks)
    ]
    return tasks if all(map(is_, aligned, tasks)) else TaskSet(aligned, augment=tasks.augment)


def _names_of(task: Task) -> np.ndarray | None:
    names = task.feature_names
    return names if names is not None and all(isinstance(name, str) for name in names) else None


def _in_order_of(model: Task, task: Task, label: str) -> Task:
    own, wanted = _names_of(task), _names_of(model)
    if own is None or wanted is None or np.array_equal(own, wanted):
        return task
    _check_same_names(own, wanted, label)
    position = {name: i for i, name in enumerate(own)}
    order = [position[name] for name in wanted]
    part = copy.copy(task)
    part.feature_names = wanted
    rows = task.X.reshape(len(task), -1)  # images, where input_shape made them of flat rows
    part.X = rows[:, order].reshape(task.X.shape)
    if task.categories is not None:
        part.categories = [task.categories[i] for i in order]
    return part


def _check_same_names(own: np.ndarray, wanted: np.ndarray, label: str) -> None:
    missing, extra = ([n for n in a if n not in b] for a, b in ((wanted, own), (own, wanted)))
    if missing or extra:
        raise TaskError(
            f"the tasks differ in their columns: {label} lacks {missing[:5]} of the first task's "
            f"and has {extra[:5]} besides. Give all tasks the same columns, df[columns], or use "
            "learner='in_context', which reads any."
        )
