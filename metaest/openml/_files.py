"""How a task and its data set lie in the folder, and how they are read back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metaest.exceptions import DatasetError
from metaest.openml._store import (
    damaged,
    import_pandas,
    read_frame,
    read_json,
    reading,
    write_frame,
    write_json,
)
from metaest.openml._task import OpenMLTask, Split

if TYPE_CHECKING:
    import pandas as pd

_KEY = ["repeat", "fold", "sample"]


def task_file(folder: Path, task_id: int) -> Path:
    return folder / "tasks" / f"{task_id}.json"


def data_file(folder: Path, data_id: int) -> Path:
    return folder / "data" / f"{data_id}.json"


def has_data(folder: Path, data_id: int) -> bool:
    path = data_file(folder, data_id)
    return path.is_file() and path.with_suffix(".parquet").is_file()


def has_task(folder: Path, task_id: int) -> bool:
    """Tell whether all four files of a task are there."""
    path = task_file(folder, task_id)
    if not (path.is_file() and path.with_suffix(".parquet").is_file()):
        return False
    return has_data(folder, _data_id(read_json(path), path))


def write_data(folder: Path, data_id: int, frame: pd.DataFrame, about: dict[str, Any]) -> None:
    """Keep a data set: strings for nominal columns in parquet, their categories in JSON."""
    pd = import_pandas()
    columns, categories = {}, {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            # The client makes booleans of true and false; parquet dictionaries forget categories.
            labels = [str(label) for label in column.cat.categories]
            codes = column.cat.codes.tolist()
            categories[name] = labels
            values = [*labels, None]  # the code of missing is -1: the last
            columns[name] = pd.Series([values[code] for code in codes], dtype=object)
        elif column.isna().all():
            columns[name] = pd.Series(np.full(len(column), np.nan))
        else:
            columns[name] = column
    path = data_file(folder, data_id)
    write_frame(path.with_suffix(".parquet"), pd.DataFrame(columns))
    write_json(path, {**about, "n_rows": len(frame), "categories": categories})  # last: complete


def write_task(
    folder: Path, task_id: int, splits: dict[tuple[int, int, int], Split], about: dict[str, Any]
) -> None:
    """Keep what a task says beyond its data set: one row per split, part and row number."""
    pd = import_pandas()
    parts = [(key, i, rows) for key, split in splits.items() for i, rows in enumerate(split)]
    sizes = [len(rows) for _, _, rows in parts]
    frame = pd.DataFrame(
        {
            **{
                name: np.repeat([key[j] for key, _, _ in parts], sizes).astype(np.int32)
                for j, name in enumerate(_KEY)
            },
            "is_test": np.repeat([i == 1 for _, i, _ in parts], sizes),
            "row": np.concatenate([rows for _, _, rows in parts]).astype(np.int32),
        }
    )
    path = task_file(folder, task_id)
    write_frame(path.with_suffix(".parquet"), frame)
    write_json(path, about)


def read_task(folder: Path, task_id: int) -> OpenMLTask:
    path = task_file(folder, task_id)
    about = read_json(path)
    data_id = _data_id(about, path)
    with reading(data_file(folder, data_id)):
        data, is_nominal, name = _read_data(folder, data_id)
    target = _field(about, "target_name", path)
    if target not in list(data.columns):
        raise damaged(path)
    with reading(path.with_suffix(".parquet")):
        splits = _read_splits(path.with_suffix(".parquet"), len(data))
    X = data.drop(columns=[target])
    return OpenMLTask(
        task_id=task_id,
        data_id=data_id,
        name=name,
        kind=_field(about, "kind", path),
        target_name=target,
        metric=about.get("metric"),
        X=X,
        y=data[target],
        categorical=np.array([column in is_nominal for column in X.columns], dtype=bool),
        _splits=splits,
    )


def _read_data(folder: Path, data_id: int) -> tuple[pd.DataFrame, set[str], str]:
    pd = import_pandas()
    path = data_file(folder, data_id)
    about = read_json(path)
    data = read_frame(path.with_suffix(".parquet"))
    if len(data) != _field(about, "n_rows", path):
        raise DatasetError(
            f"{path} and its .parquet are not of the same data set. Delete both to have them "
            "fetched again."
        )
    categories = _field(about, "categories", path)
    for name, labels in categories.items():
        if not data[name].dropna().isin(labels).all():
            raise damaged(path)
        data[name] = pd.Categorical(data[name], categories=labels)
    nominal = {*categories, *_field(about, "nominal", path)}
    return data, nominal, str(_field(about, "name", path))


def _read_splits(path: Path, n_rows: int) -> dict[tuple[int, int, int], Split]:
    frame = read_frame(path)
    missing = {*_KEY, "is_test", "row"} - {*frame.columns}
    if missing or not frame["row"].between(0, n_rows - 1).all():
        raise damaged(path)
    splits: dict[tuple[int, int, int], Split] = {}
    for key, part in frame.groupby(_KEY, sort=True):
        rows, is_test = part["row"].to_numpy(np.intp), part["is_test"].to_numpy(bool)
        repeat, fold, sample = (int(number) for number in key)
        splits[repeat, fold, sample] = rows[~is_test], rows[is_test]
    return splits


def _data_id(about: dict[str, Any], path: Path) -> int:
    found = _field(about, "data_id", path)
    if not isinstance(found, int):
        raise damaged(path)
    return found


def _field(content: dict[str, Any], name: str, path: Path) -> Any:
    if name not in content:
        raise damaged(path)
    return content[name]
