"""Tables of tasks as a learner can read them."""

from __future__ import annotations

import copy

import numpy as np

from metaest._checks import PREPARE
from metaest.exceptions import TaskError
from metaest.learners import Learner
from metaest.tasks import Task, TaskSet
from metaest.tasks._columns import align_columns, first_named, share_names


def readable(
    tasks: TaskSet, validation_tasks: TaskSet | None, learner: Learner
) -> tuple[TaskSet, TaskSet | None]:
    """Check that the learner can read the rows; give all tables the same columns.

    Parameters
    ----------
    tasks : TaskSet
    validation_tasks : TaskSet or None
    learner : Learner
        One that reads any columns takes gaps, codes of categories, and tasks of different
        columns: these are filled up with columns of gaps, which do not count. For others,
        columns with names are put in one order, that of the first task.

    Raises
    ------
    TaskError
        If rows have gaps or text that the learner cannot read, or tasks differ in their columns.
    """
    if learner.any_columns:
        held_out = None if validation_tasks is None else _of_one_width(validation_tasks)
        return _of_one_width(tasks), held_out
    model = first_named((*tasks, *(validation_tasks or ())))
    if model is not None:
        tasks = align_columns(tasks, model)
        if validation_tasks is not None:
            validation_tasks = align_columns(validation_tasks, model, "validation task")
    shape = tasks.check_input_shape()
    for task in (*tasks, *(validation_tasks or ())):
        _check_plain(task, learner)
    if validation_tasks is not None and validation_tasks.input_shape != shape:
        raise TaskError(
            f"validation_tasks have rows of shape {validation_tasks.input_shape}, the tasks to "
            f"train on {shape}. Give both the same columns."
        )
    return tasks, validation_tasks


def is_plain(tasks: TaskSet) -> bool:
    """Whether all tasks have the same columns, of numbers without gaps."""
    if tasks.input_shape is None or not share_names(tasks):
        return False
    return not any(_bad_columns(task).any() for task in tasks)


def _bad_columns(task: Task) -> np.ndarray:
    if task.categories is not None:
        return np.array([levels is not None for levels in task.categories])
    if task.X.dtype.kind != "f":
        return np.zeros(1, dtype=bool)
    return np.isnan(task.X).reshape(len(task), -1).any(axis=0)


def _check_plain(task: Task, learner: Learner) -> None:
    bad = _bad_columns(task)
    if not bad.any():
        return
    column = int(bad.argmax())
    name = column if task.feature_names is None else task.feature_names[column]
    where = f" in column {name!r}" if task.X.ndim == 2 else ""
    what = "missing values (NaN)" if task.categories is None else "text or categories"
    raise TaskError(
        f"{task.label} has {what}{where}, which {type(learner).__name__} cannot read. {PREPARE} "
        "Or use learner='in_context', which reads both."
    )


def _of_one_width(tasks: TaskSet) -> TaskSet:
    if tasks.input_shape is not None or any(task.X.ndim > 2 for task in tasks):
        tasks.check_input_shape()  # images have one shape
        return tasks
    widest = max(task.X.shape[1] for task in tasks)
    return TaskSet([_widened(task, widest) for task in tasks], augment=tasks.augment)


def _widened(task: Task, n_columns: int) -> Task:
    part = copy.copy(task)
    part.X = np.full((len(task), n_columns), np.nan)
    part.X[:, : task.X.shape[1]] = task.X
    return part
