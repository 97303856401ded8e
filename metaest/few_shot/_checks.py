"""Checks of data and parameters against each other, with messages that say what to do."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import joblib
import numpy as np

from metaest._checks import check_int_range, remedy_for
from metaest.exceptions import ArchitectureMismatchError, InvalidParameterError, TaskError
from metaest.tasks import TaskSet, as_task_set
from metaest.training import MetaState

_AGAIN = "or call fit_meta again with tasks like these"


@contextmanager
def explain_bad_values(*, gaps: bool) -> Iterator[None]:
    """Add the remedy to scikit-learn's errors about values that are no finite numbers.

    Parameters
    ----------
    gaps : bool
        Whether missing values can be read.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        remedy = remedy_for(str(error), gaps=gaps)
        if not remedy:
            raise
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{error}\n{remedy}") from error


def as_rows(X: np.ndarray, input_shape: Any) -> np.ndarray:
    """Give rows the shape (n, n_features) or (n, channels, height, width).

    Parameters
    ----------
    X : ndarray of shape (n, ...)
    input_shape : (channels, height, width), (n_features,) or None
        Of one row; flat rows are reshaped to it.

    Raises
    ------
    InvalidParameterError
        If X does not fit `input_shape`, or is neither a table nor images.
    """
    shape = None if input_shape is None else _check_input_shape(input_shape)
    if X.ndim == 2 and shape is not None:
        if X.shape[1] != math.prod(shape):
            raise InvalidParameterError(
                f"input_shape={shape} has {math.prod(shape)} values a row, but X has "
                f"{X.shape[1]} columns. Pass the shape of one row."
            )
        return X.reshape(len(X), *shape)
    if X.ndim not in (2, 4):
        raise InvalidParameterError(
            "X must be a table (n_rows, n_features) or images (n_rows, channels, height, width); "
            f"got {X.ndim} dimensions. Give grey images a channel: X[:, None]."
        )
    if shape is not None and X.shape[1:] != shape:
        raise InvalidParameterError(
            f"input_shape={shape}, but X has rows of shape {X.shape[1:]}. "
            "Set input_shape to that of X, or to None."
        )
    return X


def _check_input_shape(input_shape: Any) -> tuple[int, ...]:
    whole = all(isinstance(n, (int, np.integer)) and n > 0 for n in input_shape)
    if len(input_shape) not in (1, 3) or not whole:
        raise InvalidParameterError(
            "input_shape must be (channels, height, width), (n_features,) or None; got "
            f"{input_shape!r}."
        )
    return tuple(int(n) for n in input_shape)


def check_checkpoint(checkpoint: Any, random_state: Any) -> None:
    """Raise if a run has no seed of its own and so could not be gone on with.

    Raises
    ------
    InvalidParameterError
    """
    if checkpoint is not None and not isinstance(random_state, (int, np.integer)):
        raise InvalidParameterError(
            f"checkpoint= needs an int as random_state, got {random_state!r}: another seed is "
            "another run, which could not go on from the checkpoint."
        )


def check_architecture(meta: MetaState, backbone: Any, row_shape: tuple[int, ...]) -> None:
    """Raise if rows or the parameter `backbone` are not those of the network.

    Raises
    ------
    ArchitectureMismatchError
    """
    if meta.learner.any_columns:
        return
    origin = "meta-trained" if meta.source == "fit_meta" else "fitted"
    if tuple(row_shape) != tuple(meta.spec.input_shape):
        raise ArchitectureMismatchError(
            f"X has {_describe(row_shape)}, but the network was {origin} on "
            f"{_describe(meta.spec.input_shape)}. Pass the same columns (flat images: set "
            f"input_shape to the images' shape), {_AGAIN}."
        )
    if not _same_backbone(backbone, meta.spec.backbone):
        raise ArchitectureMismatchError(
            f"backbone={backbone!r}, but the network was {origin} with "
            f"backbone={meta.spec.backbone!r}. Set it back, or call fit_meta again."
        )


def check_feature_names(meta: MetaState, names: np.ndarray | None) -> None:
    """Raise if a table's columns have other names, or another order, than at meta-training.

    Raises
    ------
    ArchitectureMismatchError
    """
    expected = meta.feature_names
    if meta.learner.any_columns:
        return
    if names is None or expected is None or not all(isinstance(n, str) for n in expected):
        return
    if list(names) == list(expected):
        return
    new, gone = [n for n in names if n not in expected], [n for n in expected if n not in names]
    what = f"new: {new[:5]}, missing: {gone[:5]}" if new or gone else "the order differs"
    raise ArchitectureMismatchError(
        f"the columns of X are not those of meta-training ({what}). Rename or reorder them, "
        f"X[{list(expected[:3])!r} + ...], {_AGAIN}."
    )


def _describe(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f"{shape[0]} column{'s' if shape[0] != 1 else ''}"
    return f"images of shape {tuple(shape)}"


def _same_backbone(a: Any, b: Any) -> bool:
    """Whether two values of `backbone` mean the same; clone copies factories that are objects."""
    if a is b or isinstance(a, str) or inspect.isfunction(a) or type(a) is not type(b):
        return bool(a is b or a == b)
    try:
        return joblib.hash(a) == joblib.hash(b)
    except Exception:  # anything may go wrong in pickling a stranger's object
        return True  # copies that cannot be compared: their weights are, when they are loaded


def prepare_tasks(
    tasks: Any,
    y: Any,
    groups: Any,
    validation_tasks: Any,
    *,
    kind: Literal["classification", "regression"],
    input_shape: Any,
) -> tuple[TaskSet, TaskSet | None]:
    """Turn the arguments of ``fit_meta`` into task sets.

    Raises
    ------
    TaskError
        If the tasks cannot be used.
    """
    train = _reshape(as_task_set(tasks, y, groups, kind=kind), input_shape)
    if validation_tasks is None:
        return train, None
    held_out = _reshape(as_task_set(validation_tasks, kind=kind), input_shape)
    if held_out.description_size != train.description_size:
        raise TaskError(
            f"validation_tasks have class descriptions of length {held_out.description_size}, the "
            f"tasks to train on of length {train.description_size}. Give both the same."
        )
    return train, held_out


def _reshape(tasks: TaskSet, input_shape: Any) -> TaskSet:
    parts = []
    for task in tasks:
        part = copy.copy(task)  # keeps names and classes
        part.X = as_rows(task.X, input_shape)
        parts.append(part)
    return TaskSet(parts, augment=tasks.augment)


def hold_out(
    tasks: TaskSet, fraction: float, n_ways: Any, seed: int
) -> tuple[TaskSet, TaskSet | None]:
    """Hold out some tasks or classes, unless too few would be left for the episodes."""
    if fraction == 0:
        return tasks, None
    kept, held_out = tasks.split(fraction, random_state=seed)
    has_all = len(kept) > 1 and not kept._shares_rows  # tasks with all their classes
    if has_all or kept.kind == "regression" or n_ways is None:
        return kept, held_out
    n_classes = max(len(task.classes) for task in kept)
    enough = n_classes >= check_int_range(n_ways, "n_ways", low=2)[0]
    return (kept, held_out) if enough else (tasks, None)
