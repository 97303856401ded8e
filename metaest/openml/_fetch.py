"""Fetching tasks: which ones, from the server to the folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from metaest._checks import check_int
from metaest.exceptions import DatasetError, InvalidParameterError
from metaest.openml._client import Access
from metaest.openml._files import (
    data_file,
    has_data,
    has_task,
    task_file,
    write_data,
    write_task,
)
from metaest.openml._splits import download_splits
from metaest.openml._store import read_json, write_json
from metaest.openml._task import OpenMLTask
from metaest.openml._task_list import OpenMLTaskList

_KINDS = {
    "SUPERVISED_CLASSIFICATION": "classification",
    "LEARNING_CURVE": "classification",
    "SUPERVISED_REGRESSION": "regression",
}


def fetch_tasks(
    suite_or_ids: str | Iterable[int],
    *,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    refresh: bool = False,
    n_retries: int = 3,
    timeout: float = 60.0,
) -> OpenMLTaskList:
    """Fetch tasks with OpenML's own data, targets and splits.

    Each task is downloaded once; the files are ARFF, checked against OpenML's md5 checksum, its
    row numbers and its announced folds.

    Parameters
    ----------
    suite_or_ids : str or iterable of int
        A suite by alias or id (``"OpenML-CC18"``, ``"99"``), or the ids of tasks (``[3, 59]``).
    data_home : path, default=None
        Cache folder. None: the environment variable ``METAEST_CACHE_DIR``, else
        ``~/metaest_data``.
    download_if_missing : bool, default=True
        False: raise an error where a task is not on this machine.
    refresh : bool, default=False
        Ask again which tasks a suite has. (Tasks and data sets never change at OpenML.)
    n_retries : int, default=3
        How often a broken connection or a damaged file is tried again.
    timeout : float, default=60.0
        Seconds without a byte until the server is given up.

    Returns
    -------
    tasks : OpenMLTaskList
        Read from the cache when asked for, so that a large suite need not fit into memory.
        ``tasks.to_task_set()`` makes numbers of them for meta-training.

    Raises
    ------
    InvalidParameterError
        If neither a suite nor ids were passed.
    DatasetError
        If something is not here and may not or cannot be fetched, or is damaged; or if a task is
        of a kind without a target, or its data set sparse.
    MissingDependencyError
        If openml is not installed.

    References
    ----------
    Bischl et al., OpenML Benchmarking Suites, NeurIPS Datasets and Benchmarks (2021).

    Examples
    --------
    >>> from metaest.openml import fetch_tasks
    >>> tasks = fetch_tasks("OpenML-CC18")  # doctest: +SKIP
    >>> len(tasks)  # doctest: +SKIP
    72
    >>> train, test = tasks[0].split(fold=3)  # doctest: +SKIP
    """
    access = Access.make(data_home, download_if_missing, n_retries, timeout)
    ids = task_ids_of(suite_or_ids, access, refresh=refresh)
    missing = [task_id for task_id in ids if not has_task(access.folder, task_id)]
    access.check_may_download([f"task {task_id}" for task_id in missing])
    for task_id in missing:
        obtain_task(access, task_id)
    return OpenMLTaskList(access.folder, ids)


def task_ids_of(suite_or_ids: Any, access: Access, *, refresh: bool = False) -> list[int]:
    """Turn a suite, ids or tasks into ids."""
    if isinstance(suite_or_ids, str):
        return _suite(suite_or_ids, access, refresh=refresh)
    if not isinstance(suite_or_ids, Iterable):
        raise InvalidParameterError(
            f"expected the name of a suite or a list of task ids, got {suite_or_ids!r}. "
            "For one task pass [59]; a suite by its id is a str, '99'."
        )
    ids = [item.task_id if isinstance(item, OpenMLTask) else item for item in suite_or_ids]
    if not ids:
        raise InvalidParameterError("the list of task ids is empty; pass at least one.")
    return [check_int(task_id, "a task id") for task_id in ids]


def _suite(suite: str, access: Access, *, refresh: bool) -> list[int]:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", suite):
        raise InvalidParameterError(
            f"a suite is an alias or an id such as 'OpenML-CC18' or '99', got {suite!r}."
        )
    path = access.folder / "suites" / f"suite_{suite}.json"
    what = f"suite {suite!r}"

    def download() -> None:
        with access.client(what) as openml:
            found = openml.study.get_suite(int(suite) if suite.isdecimal() else suite)
            ids = [int(task_id) for task_id in found.tasks or []]
            write_json(path, {"suite_id": found.study_id, "name": found.name, "task_ids": ids})

    access.obtain(path, what, path.is_file, download, refresh=refresh)
    ids = read_json(path).get("task_ids")
    if not ids:
        raise DatasetError(f"{what} of {access.server} has no tasks ({path}).")
    return [int(task_id) for task_id in ids]


def obtain_task(access: Access, task_id: int) -> None:
    """Make sure that a task and its data set are in the folder."""
    access.obtain(
        task_file(access.folder, task_id),
        f"task {task_id}",
        lambda: has_task(access.folder, task_id),
        lambda: _download(access, task_id),
    )


def _download(access: Access, task_id: int) -> None:
    folder = access.folder
    with access.client(f"task {task_id}") as openml:
        task = openml.tasks.get_task(task_id, download_splits=False, download_data=False)
        kind = _KINDS.get(task.task_type_id.name)
        if kind is None:
            raise DatasetError(
                f"task {task_id} is of the kind {task.task_type!r}; only supervised "
                "classification, regression and learning curves can be fetched. Leave it out."
            )
        if not has_data(folder, task.dataset_id):
            _download_data(openml, task_id, task.dataset_id, folder)
        about = read_json(data_file(folder, task.dataset_id))
        if task.target_name not in about["columns"]:
            raise DatasetError(
                f"task {task_id} wants to predict {task.target_name!r}, which is no column of its "
                f"data set {task.dataset_id}, or one to ignore. Leave the task out."
            )
        splits = download_splits(task, about["n_rows"])
    metric = task.evaluation_measure
    metric = metric[0] if isinstance(metric, list) else metric
    said = {"data_id": task.dataset_id, "kind": kind, "target_name": task.target_name}
    write_task(folder, task_id, splits, {**said, "metric": metric if metric else None})


def _download_data(openml: Any, task_id: int, data_id: int, folder: Path) -> None:
    data = openml.datasets.get_dataset(data_id, download_data=True)
    if str(data.format).lower() != "arff":
        raise DatasetError(
            f"data set {data_id} of task {task_id} has the format {data.format!r}; only 'ARFF' can "
            "be fetched, no sparse data. Leave the task out."
        )
    frame, _, is_nominal, names = data.get_data()
    about = {
        "name": data.name,
        "version": data.version,
        "md5": data.md5_checksum,
        "columns": [str(name) for name in names],
        "nominal": [str(name) for name, nominal in zip(names, is_nominal, strict=True) if nominal],
    }
    write_data(folder, data_id, frame, about)
