"""Tasks and suites, fetched by the real client from a local server."""

import json
import threading
from pathlib import Path

import numpy as np
import openml
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from metaest.exceptions import DatasetError, InvalidParameterError, TaskError
from metaest.openml import OpenMLTask, fetch_evaluations, fetch_tasks
from metaest.openml._client import Access
from tests.openml.server import (
    CLUSTERING,
    LEARNING_CURVE,
    Dataset,
    Server,
    local_dataset,
    shipped_dataset,
)


def _same(a: OpenMLTask, b: OpenMLTask) -> None:
    pd.testing.assert_frame_equal(a.X, b.X)
    pd.testing.assert_series_equal(a.y, b.y)
    np.testing.assert_array_equal(a.categorical, b.categorical)
    for one, other in zip(a.splits, b.splits, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    assert repr(a) == repr(b)
    assert (a.metric, a.target_name) == (b.metric, b.target_name)


def _stop(server: Server) -> None:
    server.shutdown()
    server.server_close()


def test_task_has_the_data_and_the_splits_of_the_server(server: Server) -> None:
    (task,) = fetch_tasks([59])
    X, y = load_iris(return_X_y=True)
    assert repr(task) == "OpenMLTask(59, 'iris', classification, 150 rows, 4 columns, 10 splits)"
    assert (task.data_id, task.target_name, task.metric) == (61, "class", "predictive_accuracy")
    # scikit-learn's copy of iris has two rows that differ from the UCI file.
    assert (np.abs(task.X.to_numpy() - X) > 1e-9).any(axis=1).sum() <= 2
    assert list(task.y.cat.codes) == list(y)
    assert not task.categorical.any()
    assert task.split_shape == (1, 10, 1)
    for fold, (train, test) in enumerate(server.tasks[59].splits):
        np.testing.assert_array_equal(task.split(fold=fold)[0], train)
        np.testing.assert_array_equal(task.splits[fold][1], test)
    scores = cross_val_score(DecisionTreeClassifier(random_state=0), task.X, task.y, cv=task.splits)
    assert scores.mean() > 0.9


def test_asked_split_that_is_not_there(server: Server) -> None:
    (task,) = fetch_tasks([59])
    with pytest.raises(InvalidParameterError, match=r"no split repeat=0, fold=10.*10 fold\(s\)"):
        task.split(fold=10)
    with pytest.raises(InvalidParameterError, match=r"no split repeat=1"):
        task.split(repeat=1)
    with pytest.raises(InvalidParameterError, match=r"sample=1; it has .* 1 sample\(s\)"):
        task.split(sample=1)


@pytest.mark.parametrize(("suite", "ids"), [("tiny", (59, 2295)), ("99", (59,))])
def test_suite_by_alias_or_id(server: Server, suite: str, ids: tuple[int, ...]) -> None:
    tasks = fetch_tasks(suite)
    assert tasks.task_ids == ids
    assert [task.task_id for task in tasks] == list(ids)


def test_ids_may_be_numpy_integers(server: Server) -> None:
    tasks = fetch_tasks(np.array([2295, 59]))
    assert repr(tasks) == "OpenMLTaskList(2 tasks: 2295, 59)"
    assert [task.kind for task in tasks] == ["regression", "classification"]
    assert tasks[0].y.dtype == np.float64 or tasks[0].y.dtype.kind in "iu"
    assert repr(tasks[1:]) == "OpenMLTaskList(1 task: 59)"


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        (59, "For one task pass"),
        ([], "empty"),
        ([0], "int >= 1, got 0"),
        ([True], "got True"),
        (["59"], "got '59'"),
        ("no/suite", "alias or an id"),
        (None, "name of a suite"),
    ],
)
def test_what_is_neither_suite_nor_ids(server: Server, asked: object, match: str) -> None:
    with pytest.raises(InvalidParameterError, match=match):
        fetch_tasks(asked)  # type: ignore[arg-type]
    assert server.requests == []


def test_bad_parameters_of_the_connection(server: Server) -> None:
    with pytest.raises(InvalidParameterError, match="n_retries must be an int >= 0, got -1"):
        fetch_tasks([59], n_retries=-1)
    with pytest.raises(InvalidParameterError, match="timeout must be seconds > 0, got 0"):
        fetch_tasks([59], timeout=0)


def test_second_call_needs_no_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch_tasks("tiny")
    first_tasks = list(first)
    asked = len(server.requests)
    assert fetch_tasks("tiny").task_ids == first.task_ids
    assert len(server.requests) == asked
    _stop(server)
    for offline in (None, "1"):
        if offline:
            monkeypatch.setenv("METAEST_OFFLINE", offline)
        again = fetch_tasks("tiny", n_retries=0)
        for a, b in zip(first_tasks, again, strict=True):
            _same(a, b)


def test_cold_cache_offline(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_tasks([59])
    monkeypatch.setenv("METAEST_OFFLINE", "1")
    asked = len(server.requests)
    with pytest.raises(DatasetError, match=r"task 1, task 2 of http.* METAEST_OFFLINE is set\. "):
        fetch_tasks([59, 1, 2])
    with pytest.raises(DatasetError, match=r"suite 'tiny' of http.*not in .*Make the same call"):
        fetch_tasks("tiny")
    with pytest.raises(DatasetError, match="task 5, task 6, task 7, task 8, task 9 and 1 more"):
        fetch_tasks(range(5, 11))
    monkeypatch.delenv("METAEST_OFFLINE")
    with pytest.raises(DatasetError, match="download_if_missing=False"):
        fetch_tasks([1], download_if_missing=False)
    assert len(server.requests) == asked


def test_offline_nothing_is_deleted(server: Server, cache: Path) -> None:
    # openml-python's own get_task deletes the task's and data set's folders in this case.
    fetch_tasks([59, 2295])
    (splits,) = cache.rglob("tasks/59.parquet")
    splits.unlink()
    before = sorted(cache.rglob("*"))
    _stop(server)
    with pytest.raises(DatasetError, match=r"could not fetch task 59 .*Check the connection"):
        fetch_tasks([59], n_retries=0)
    after = sorted(path for path in cache.rglob("*") if path.suffix != ".lock")
    assert [path for path in before if path.suffix != ".lock"] == after
    assert fetch_tasks([2295])[0].data_id == 561


def test_refresh_asks_for_the_suite_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_tasks("tiny")
    server.suites["tiny"] = [59]
    assert len(fetch_tasks("tiny")) == 2
    assert len(fetch_tasks("tiny", refresh=True)) == 1
    monkeypatch.setenv("METAEST_OFFLINE", "1")
    with pytest.raises(DatasetError, match="refresh=True, but METAEST_OFFLINE is set"):
        fetch_tasks("tiny", refresh=True)


def test_settings_and_cache_of_the_client_stay_as_they_were(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    (own / "org").mkdir(parents=True)
    monkeypatch.setattr(openml.config, "_root_cache_directory", own)
    monkeypatch.setattr(openml.config, "connection_n_retries", 17)
    before, requests = openml.config.get_config_as_dict(), openml._api_calls.requests
    fetch_tasks([59])
    with pytest.raises(DatasetError):
        fetch_tasks([1], n_retries=0)
    assert openml.config.get_config_as_dict() == before
    assert openml._api_calls.requests is requests
    assert [path.name for path in own.rglob("*")] == ["org"]


def test_nothing_of_the_scratch_folder_stays(server: Server, cache: Path) -> None:
    fetch_tasks([59])
    with pytest.raises(DatasetError):
        fetch_tasks([1], n_retries=0)
    files = {path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert files == {"59.json", "59.parquet", "61.json", "61.parquet"}
    assert not list(cache.rglob(".fetch-*"))


def test_servers_do_not_share_a_folder(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access.make(None, True, 0, 1.0)
    assert access.folder.name == f"127.0.0.1_{server.server_port}"
    monkeypatch.setattr(openml.config, "server", "https://www.openml.org/api/v1/xml")
    assert Access.make(None, True, 0, 1.0).folder.name == "www.openml.org"


def test_data_set_of_two_tasks_is_fetched_once(server: Server, iris: Dataset) -> None:
    server.add(60, iris, "petallength", kind=2, folds=3)
    classes, numbers = fetch_tasks([59, 60])
    assert sum(path.startswith("/files/") for path in server.requests) == 1
    assert numbers.kind == "regression"
    assert numbers.split_shape == (1, 3, 1)
    assert list(numbers.X.columns) == ["sepallength", "sepalwidth", "petalwidth", "class"]
    assert list(numbers.categorical) == [False, False, False, True]
    assert "class" not in classes.X


def test_learning_curve_with_samples(server: Server, iris: Dataset) -> None:
    task = server.add(6, iris, "class", kind=LEARNING_CURVE, folds=2, procedure="learningcurve")
    lines = ["@RELATION splits", "@ATTRIBUTE type {TRAIN,TEST}"]
    lines += [f"@ATTRIBUTE {name} INTEGER" for name in ("rowid", "repeat", "fold", "sample")]
    lines += ["@DATA"]
    for fold in (1, 0):  # in any order
        for sample in range(3):
            lines += [f"TRAIN,{row},0,{fold},{sample}" for row in range(4 * 2**sample, 0, -1)]
            lines += [f"TEST,{row},0,{fold},{sample}" for row in range(100 + fold, 150, 2)]
    task.split_file = "\n".join([*lines, ""])
    (fetched,) = fetch_tasks([6])
    assert fetched.kind == "classification"
    assert fetched.split_shape == (1, 2, 3)
    train, test = fetched.split(fold=1, sample=2)
    assert list(train) == list(range(16, 0, -1))
    assert list(test) == list(range(101, 150, 2))
    np.testing.assert_array_equal(fetched.splits[-1][0], train)


def test_true_and_false_are_categories_too(server: Server) -> None:
    text = b"@RELATION r\n@ATTRIBUTE a {true,false}\n@ATTRIBUTE b {z,y,x}\n@ATTRIBUTE c NUMERIC\n"
    text += b"@ATTRIBUTE class {TRUE,FALSE}\n@DATA\n"
    text += b"true,x,?,TRUE\nfalse,?,?,FALSE\n?,x,?,FALSE\ntrue,y,?,TRUE\n"
    server.add(8, Dataset.make(80, "small", text), "class", folds=2)
    (task,) = fetch_tasks([8])
    assert list(task.y) == ["True", "False", "False", "True"]
    assert list(task.X["a"].cat.categories) == ["True", "False"]
    assert list(task.X["b"].cat.categories) == ["z", "y", "x"]  # z is in no row
    assert list(task.X["b"].isna()) == [False, True, False, False]
    assert task.X["c"].dtype == np.float64
    (encoded,) = fetch_tasks([8]).to_task_set()
    assert encoded.X.shape == (4, 1 + 3 + 3)
    assert list(encoded.classes) == ["False", "True"]


# ------------------------------------------------------------------------ strings, gaps, encoding


def test_strings_categories_and_gaps(server: Server) -> None:
    server.add(40, shipped_dataset(40945), "survived", folds=2)
    (task,) = fetch_tasks([40])
    assert task.X.shape == (1309, 13)
    assert list(task.X.columns[task.categorical]) == ["sex", "embarked"]
    assert list(task.X["sex"].cat.categories) == ["female", "male"]
    assert not task.X["sex"].cat.ordered
    assert task.X["embarked"].isna().sum() == 2
    assert task.X["age"].isna().sum() == 263
    assert task.X.loc[0, "name"] == "Allen, Miss. Elisabeth Walton"
    assert list(task.y.cat.categories) == ["0", "1"]


@pytest.mark.parametrize("encode", ["onehot", "ordinal"])
def test_task_set(server: Server, encode: str) -> None:
    server.add(40, shipped_dataset(40945), "survived", folds=2)
    tasks = fetch_tasks([59, 40]).to_task_set(encode=encode)  # type: ignore[arg-type]
    assert tasks.kind == "classification"
    assert [len(task) for task in tasks] == [150, 1309]
    assert tasks[1].name == "Titanic (40)"
    assert tasks[0].input_shape == (4,)
    assert all(np.isfinite(task.X).all() for task in tasks)
    if encode == "ordinal":
        assert tasks[1].input_shape == (13,)
        assert (tasks[1].X == -1).any()
    else:
        assert tasks[1].input_shape[0] <= 6 + 2 + 4 + 5 * 20


def test_task_set_with_an_own_transformer(server: Server) -> None:
    tasks = fetch_tasks([59])
    own = FunctionTransformer(lambda X: 2 * X.to_numpy(dtype=float))
    (task,) = tasks.to_task_set(encode=own)
    np.testing.assert_allclose(task.X, 2 * tasks[0].X)
    with pytest.raises(InvalidParameterError, match="encode must be 'onehot'"):
        tasks.to_task_set(encode="target")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="mix classification and regression"):
        fetch_tasks([59, 2295]).to_task_set()


@pytest.mark.parametrize("data_id", [4, 38])
def test_real_data_with_gaps(server: Server, data_dir: Path, data_id: int) -> None:
    data = local_dataset(data_dir, data_id)
    target = data.attributes[-1][0]
    server.add(7, data, target, folds=3)
    (task,) = fetch_tasks([7])
    assert len(task.X) == data.n_rows
    nominal = [isinstance(kind, list) for name, kind in data.attributes if name != target]
    assert list(task.categorical) == nominal
    assert task.X.isna().any(axis=None)
    (encoded,) = fetch_tasks([7]).to_task_set(encode="ordinal")
    assert encoded.X.shape == task.X.shape


def test_ignored_columns_are_left_out(server: Server) -> None:
    server.data[61].ignore = "petalwidth"
    try:
        (task,) = fetch_tasks([59])
    finally:
        server.data[61].ignore = ""
    assert list(task.X.columns) == ["sepallength", "sepalwidth", "petallength"]


# ----------------------------------------------------------------------------- tasks of other kinds


def test_tasks_that_cannot_be_used(server: Server, iris: Dataset) -> None:
    server.add(1, iris, "class", kind=CLUSTERING)
    with pytest.raises(DatasetError, match="task 1 is of the kind 'Clustering'"):
        fetch_tasks([1], n_retries=0)
    server.add(2, iris, "colour")
    with pytest.raises(DatasetError, match="wants to predict 'colour', which is no column"):
        fetch_tasks([2], n_retries=0)
    sparse = Dataset(**{**vars(iris), "data_id": 62, "format": "Sparse_ARFF"})
    server.add(3, sparse, "class")
    with pytest.raises(DatasetError, match="data set 62 of task 3 has the format 'Sparse_ARFF'"):
        fetch_tasks([3], n_retries=0)


def test_suite_without_tasks(server: Server) -> None:
    server.suites["none"] = []
    with pytest.raises(DatasetError, match=r"suite 'none' .* has no tasks"):
        fetch_tasks("none", n_retries=0)


# ------------------------------------------------------------------------------------- at once


# The client never closes its file of splits. metaest silences that, but `warnings.catch_warnings`
# of one thread may end that of another.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_two_threads_with_two_folders(server: Server, tmp_path: Path) -> None:
    # openml.config is one for the process: the folders must not get mixed up.
    def fetch(name: str) -> None:
        fetch_tasks("tiny", data_home=tmp_path / name)

    threads = [threading.Thread(target=fetch, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("a", "b"):
        files = [p.name for p in (tmp_path / name).rglob("tasks/*.json")]
        assert sorted(files) == ["2295.json", "59.json"]


def test_evaluations_take_tasks_too(server: Server, runs: list) -> None:
    rows = fetch_evaluations(7, fetch_tasks([59]), n_retries=0)
    assert len(rows) == 1234
    assert json.dumps(rows["parameters"][0])
