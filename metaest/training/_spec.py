"""What the tasks ask of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from metaest._warn import warn
from metaest.nets import NetSpec
from metaest.nets._spec import input_statistics, target_statistics
from metaest.tasks import TaskSet

#: A column of larger mean than so many standard deviations is rounded too much.
_MOST = 1e6


def spec_of(tasks: TaskSet, backbone: Any, standardize: bool) -> NetSpec:
    """Return the specification of a network for `tasks`."""
    input_shape = tasks.check_input_shape()
    parts = [task.X for task in tasks]
    statistics = input_statistics(parts, input_shape) if standardize else None
    if statistics is not None and len(input_shape) == 1:
        _warn_of_rounding(*statistics)
    return NetSpec(
        input_shape,
        tasks.kind,
        int(tasks.class_offsets[-1]) if tasks.kind == "classification" else 1,
        backbone,
        statistics,
        tasks.description_size,
        _description_statistics(tasks),
    )


def _warn_of_rounding(mean: Tensor, scale: Tensor) -> None:
    varies = scale != 1  # what input_statistics gives a constant column
    columns = ((mean.abs() > _MOST * scale) & varies).nonzero().flatten().tolist()
    if columns:
        warn(
            f"column {columns[0]} (of {len(columns)} such) varies by less than a millionth of its "
            "size, and meta-training, in single precision, cannot tell its values apart. Subtract "
            "its mean from the rows of all tasks first."
        )


def target_statistics_of(tasks: TaskSet) -> tuple[float, float]:
    """Return the mean and standard deviation of all targets (classification: 0 and 1)."""
    if tasks.kind == "classification":
        return 0.0, 1.0
    return target_statistics(np.concatenate([task.y for task in tasks]))


def _description_statistics(tasks: TaskSet) -> tuple[Tensor, Tensor] | None:
    tables = [task.class_descriptions for task in tasks if task.class_descriptions is not None]
    return input_statistics(tables, tables[0].shape[1:]) if tables else None
