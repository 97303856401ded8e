"""OpenML's split files: there is no md5 for them, so they are checked against the task."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaest.exceptions import DatasetError
from metaest.openml._task import Split

#: Splits by (repeat, fold, sample).
Splits = dict[tuple[int, int, int], Split]

_REMEDY = "It or the data set was damaged or changed on the server; try again later."


def download_splits(task: Any, n_rows: int) -> Splits:
    """Download the splits of a task of the client's."""
    nested = task.download_split().split
    splits = {
        (int(repeat), int(fold), int(sample)): (np.asarray(rows.train), np.asarray(rows.test))
        for repeat, folds in nested.items()
        for fold, samples in folds.items()
        for sample, rows in samples.items()
    }
    label = f"the split file of task {task.task_id}"
    _check_rows(splits, n_rows, label)
    _check_counts(splits, task.estimation_procedure["parameters"] or {}, label)
    if task.estimation_procedure["type"] == "crossvalidation":
        _check_folds(splits, label)
    return splits


def _check_rows(splits: Splits, n_rows: int, label: str) -> None:
    for key, (train, test) in splits.items():
        rows = np.concatenate([train, test])
        if not len(train) or not len(test):
            raise DatasetError(f"{label} has no train or no test rows in split {key}. {_REMEDY}")
        if rows.min() < 0 or rows.max() >= n_rows:
            raise DatasetError(
                f"{label} names row {rows.max()}, but the data set has {n_rows} rows. {_REMEDY}"
            )


def _check_counts(splits: Splits, announced: dict[str, Any], label: str) -> None:
    for index, name in enumerate(("repeats", "folds", "samples")):
        number = str(announced.get(f"number_{name}") or "")
        found = len({key[index] for key in splits})
        if number.isdecimal() and int(number) and found != int(number):
            raise DatasetError(f"{label} has {found} {name} in place of {number}. {_REMEDY}")


def _check_folds(splits: Splits, label: str) -> None:
    """Check that each split has each row of the file once: a cut file lacks some of the last."""
    every = np.unique(np.concatenate([rows for split in splits.values() for rows in split]))
    for key, split in splits.items():
        if not np.array_equal(np.sort(np.concatenate(split)), every):
            raise DatasetError(
                f"split {key} in {label} does not have each of the {len(every)} rows once. "
                f"{_REMEDY}"
            )
