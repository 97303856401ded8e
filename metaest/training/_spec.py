"""What the tasks ask of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from metaest.nets import NetSpec
from metaest.nets._spec import input_statistics, target_statistics
from metaest.tasks import TaskSet


def spec_of(tasks: TaskSet, backbone: Any, standardize: bool) -> NetSpec:
    """Return the specification of a network for `tasks`."""
    input_shape = tasks.check_input_shape()
    parts = [task.X for task in tasks]
    return NetSpec(
        input_shape,
        tasks.kind,
        int(tasks.class_offsets[-1]) if tasks.kind == "classification" else 1,
        backbone,
        input_statistics(parts, input_shape) if standardize else None,
        tasks.description_size,
        _description_statistics(tasks),
    )


def target_statistics_of(tasks: TaskSet) -> tuple[float, float]:
    """Return the mean and standard deviation of all targets (classification: 0 and 1)."""
    if tasks.kind == "classification":
        return 0.0, 1.0
    return target_statistics(np.concatenate([task.y for task in tasks]))


def _description_statistics(tasks: TaskSet) -> tuple[Tensor, Tensor] | None:
    tables = [task.class_descriptions for task in tasks if task.class_descriptions is not None]
    return input_statistics(tables, tables[0].shape[1:]) if tables else None
