"""Fetching evaluations: what others measured with a flow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaest._checks import is_int
from metaest.exceptions import DatasetError, InvalidParameterError
from metaest.openml._client import Access
from metaest.openml._fetch import task_ids_of
from metaest.openml._store import damaged, import_pandas, read_frame, write_frame
from metaest.openml._task import OpenMLTask

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {
    "task_id": "int64",
    "data_id": "int64",
    "flow_id": "int64",
    "setup_id": "int64",
    "run_id": "int64",
    "value": "float64",
    "parameters": "object",
}
_MAX_PAGE = 1000  # more, and the server times out


def fetch_evaluations(
    flow: int,
    tasks: str | Iterable[int | OpenMLTask],
    *,
    metric: str = "predictive_accuracy",
    page: int = _MAX_PAGE,
    data_home: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    refresh: bool = False,
    n_retries: int = 3,
    timeout: float = 60.0,
) -> pd.DataFrame:
    """Fetch what the runs of one flow reached on some tasks, and with which parameters.

    The list of each task is kept once it is complete, an empty one, too.

    Parameters
    ----------
    flow : int
        Id of one flow. Flows differ in their parameters, so there is one search space per call.
    tasks : str, or iterable of int or OpenMLTask
        A suite or tasks, as in :func:`fetch_tasks`.
    metric : str, default="predictive_accuracy"
        OpenML's name of the measure.
    page : int, default=1000
        Rows per request, 1 to 1,000.
    data_home, download_if_missing, n_retries, timeout
        As in :func:`fetch_tasks`.
    refresh : bool, default=False
        Fetch lists that are in the cache again: people upload runs every day.

    Returns
    -------
    evaluations : DataFrame
        One row per run, sorted by task (in the order asked for) and run: ``task_id``, ``data_id``,
        ``flow_id``, ``setup_id``, ``run_id``, ``value`` (NaN where the server has none) and
        ``parameters``: a dict of OpenML's full parameter names to values, decoded from JSON where
        they are JSON and strings where not; None where the server does not know the setup.

    Raises
    ------
    InvalidParameterError
        If a parameter is not allowed.
    DatasetError
        If something is not here and may not or cannot be fetched, or is damaged.
    MissingDependencyError
        If openml is not installed.

    Examples
    --------
    >>> from metaest.openml import fetch_evaluations
    >>> rows = fetch_evaluations(6767, [3, 31])  # doctest: +SKIP
    >>> rows.groupby("task_id")["value"].max()  # doctest: +SKIP
    """
    _check(flow, metric, page)
    access = Access.make(data_home, download_if_missing, n_retries, timeout)
    ids = list(dict.fromkeys(task_ids_of(tasks, access, refresh=refresh)))
    folder = access.folder / "evaluations" / metric / f"flow_{int(flow)}"
    files = {task_id: folder / f"task_{task_id}.parquet" for task_id in ids}
    labels = {i: f"{metric} of flow {int(flow)} on task {i}" for i in ids}
    missing = [i for i in ids if refresh or not files[i].is_file()]
    access.check_may_download([labels[i] for i in missing], refresh=refresh)
    for i in missing:

        def download(task_id: int = i) -> None:
            rows = _download(access, int(flow), task_id, metric, page, labels[task_id])
            write_frame(files[task_id], rows)

        access.obtain(files[i], labels[i], files[i].is_file, download, refresh=refresh)
    frames = [_read(files[i]) for i in ids]
    full = [frame for frame in frames if len(frame)]
    return import_pandas().concat(full, ignore_index=True) if full else frames[0]


def _check(flow: Any, metric: Any, page: Any) -> None:
    if not is_int(flow) or flow < 1:
        raise InvalidParameterError(
            f"flow must be the id of exactly one flow, an int >= 1, got {flow!r}. "
            "For several flows call once for each: they differ in their parameters."
        )
    if not isinstance(metric, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", metric):
        raise InvalidParameterError(
            f"metric must be OpenML's name of a measure, such as 'predictive_accuracy' or "
            f"'area_under_roc_curve', got {metric!r}."
        )
    if not is_int(page) or not 1 <= page <= _MAX_PAGE:
        raise InvalidParameterError(f"page must be an int in 1..{_MAX_PAGE}, got {page!r}.")


def _download(
    access: Access, flow: int, task_id: int, metric: str, page: int, what: str
) -> pd.DataFrame:
    """Ask for pages until one brings nothing new; a run that came twice counts once."""
    rows: dict[int, dict[str, Any]] = {}
    with access.client(what) as openml:
        offset = 0
        while True:
            answer = _page(openml, flow, task_id, metric, offset, int(page), what)
            new = [row for row in answer if row["run_id"] not in rows]
            rows.update((row["run_id"], row) for row in new)
            offset += int(page)
            if not new:
                break
    found = [rows[run] for run in sorted(rows)]
    frame = import_pandas().DataFrame(found, columns=list(_DTYPES))
    return frame.astype(_DTYPES)


def _page(
    openml: Any, flow: int, task_id: int, metric: str, offset: int, size: int, what: str
) -> list[dict[str, Any]]:
    try:
        frame = openml.evaluations.list_evaluations_setups(
            function=metric, offset=offset, size=size, tasks=[task_id], flows=[flow]
        )
    except KeyError as error:  # the client trips over an answer without setups
        raise DatasetError(
            f"could not fetch {what}: the server lists runs, but not their setups ({error}). "
            "Try again later."
        ) from error
    rows = []
    for record in frame.to_dict(orient="records"):
        row = {name: record[name] for name in _DTYPES if name != "parameters"}
        if (row["flow_id"], row["task_id"]) != (flow, task_id):
            raise DatasetError(
                f"could not fetch {what}: the server answered with flow {row['flow_id']} on task "
                f"{row['task_id']}. Try again later."
            )
        known = record["parameters"]  # a setup that the server does not list is NaN here
        row["parameters"] = json.dumps(_decoded(known)) if isinstance(known, dict) else None
        rows.append(row)
    return rows


def _decoded(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(text) for name, text in sorted(parameters.items())}


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # flows of other tools write plain text


def _read(path: Path) -> pd.DataFrame:
    frame = read_frame(path)
    if list(frame.columns) != list(_DTYPES):
        raise damaged(path)
    texts = frame["parameters"]
    try:
        decoded = [json.loads(text) if isinstance(text, str) else None for text in texts]
    except ValueError as error:
        raise DatasetError(
            f"{path} cannot be read: {error}. Delete it to have it fetched again."
        ) from error
    frame["parameters"] = import_pandas().Series(decoded, index=frame.index, dtype=object)
    return frame
