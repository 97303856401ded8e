"""What the tasks ask of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from metaest._warn import warn
from metaest.nets import NetSpec
from metaest.nets._spec import input_statistics, target_statistics
from metaest.tasks import TaskSet

#: A column of larger mean than so many standard deviations is rounded too much.
_MOST = 1e6
#: A column of larger size than this many ranges is constant but for rounding.
_CONSTANT = 1e9
#: Rounding errors of more than this share of a column's range are told.
_LARGEST_ERROR = 0.05


def spec_of(tasks: TaskSet, backbone: Any, standardize: bool) -> NetSpec:
    """Return the specification of a network for `tasks`."""
    input_shape = tasks.check_input_shape()
    parts = [task.X for task in tasks]
    statistics = _single_statistics(parts, input_shape) if standardize else None
    if len(input_shape) == 1:
        columns = _rounded_in_a_task(parts) if statistics is None else _rounded(*statistics)
        _warn_of_rounding(columns, "meta-training", "the rows of all tasks")
    return NetSpec(
        input_shape,
        tasks.kind,
        int(tasks.class_offsets[-1]) if tasks.kind == "classification" else 1,
        backbone,
        statistics,
        tasks.description_size,
        _description_statistics(tasks),
    )


def _single_statistics(
    parts: list[np.ndarray], input_shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Return mean and scale of rows in single precision, as meta-training computes."""
    mean, scale = input_statistics(parts, input_shape)
    return mean.float(), scale.float()


def _rounded(mean: Tensor, scale: Tensor) -> list[int]:
    """Return the columns that single precision rounds too much, for a network with these."""
    varies = scale != 1  # what input_statistics gives a constant column
    return ((mean.abs() > _MOST * scale) & varies).nonzero().flatten().tolist()


def _rounded_in_a_task(parts: Sequence[np.ndarray]) -> list[int]:
    """Return the columns that vary in a task by so little that single precision rounds them."""
    found = np.zeros(parts[0].shape[1:], dtype=bool)
    for part in parts:
        if part.dtype.itemsize > 4 and len(part):  # others are not rounded
            low, high = np.fmin.reduce(part), np.fmax.reduce(part)  # of gaps only: NaN
            with np.errstate(over="ignore"):
                size, spread = np.maximum(np.abs(low), np.abs(high)), high - low
                suspects = (size > _MOST * spread) & (size < _CONSTANT * spread)
                for column in np.flatnonzero(suspects & ~found):
                    values = part[:, column].astype(np.float64)
                    error = np.nanmax(np.abs(values.astype(np.float32) - values))
                    found[column] = error > _LARGEST_ERROR * spread[column]
    return np.flatnonzero(found).tolist()


def warn_of_rounding(mean: Tensor, scale: Tensor) -> None:
    """Warn of columns that a network of single precision rounds too much, by their statistics."""
    _warn_of_rounding(_rounded(mean, scale), "the network", "all rows")


def _warn_of_rounding(columns: list[int], who: str, rows: str) -> None:
    if columns:
        warn(
            f"column {columns[0]} (of {len(columns)} such) varies by less than a millionth of its "
            f"size, and {who}, in single precision, cannot tell its values apart. Subtract "
            f"its mean (of dates: the first) from {rows} first."
        )


def target_statistics_of(tasks: TaskSet) -> tuple[float, float]:
    """Return the mean and standard deviation of all targets (classification: 0 and 1).

    Warns
    -----
    UserWarning
        If those of a task cannot be told apart in single precision.
    """
    if tasks.kind == "classification":
        return 0.0, 1.0
    if _rounded_in_a_task([task.y[:, None] for task in tasks]):
        warn(
            "the targets of a task vary by less than a millionth of their size, and meta-training, "
            "in single precision, cannot tell them apart. Subtract their mean from the targets of "
            "all tasks first, and add it to what is predicted."
        )
    return target_statistics(np.concatenate([task.y for task in tasks]))


def _description_statistics(tasks: TaskSet) -> tuple[Tensor, Tensor] | None:
    tables = [task.class_descriptions for task in tasks if task.class_descriptions is not None]
    return _single_statistics(tables, tables[0].shape[1:]) if tables else None
