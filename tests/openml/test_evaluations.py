"""Evaluations, fetched by the real client from a local server."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaest.exceptions import DatasetError, InvalidParameterError
from metaest.openml import fetch_evaluations
from tests.openml.server import Run, Server, error_page

COLUMNS = ["task_id", "data_id", "flow_id", "setup_id", "run_id", "value", "parameters"]


def _lists(server: Server) -> list[str]:
    return [path for path in server.requests if "/evaluation/list" in path]


@pytest.mark.parametrize(("page", "requests"), [(1000, 3), (500, 4)])
def test_more_rows_than_a_page(server: Server, runs: list[Run], page: int, requests: int) -> None:
    rows = fetch_evaluations(7, [59], page=page)
    assert list(rows.columns) == COLUMNS
    assert list(rows["run_id"]) == list(range(1234))
    assert set(rows["flow_id"]) == {7}
    assert rows["value"].isna().sum() == 1
    np.testing.assert_allclose(rows["value"].drop(5), [r / 2000 for r in range(1234) if r != 5])
    asked = _lists(server)  # the last one brings nothing
    assert len(asked) == requests
    assert all(f"/limit/{page}/" in path for path in asked)
    assert all("/function/predictive_accuracy/" in path for path in asked)


def test_parameters_are_decoded(server: Server, runs: list[Run]) -> None:
    rows = fetch_evaluations(7, [59]).set_index("run_id")
    assert rows.loc[151, "parameters"] == {
        "flow(7)_C": 0.1,
        "flow(7)_bounds": [1, 2],
        "flow(7)_criterion": "gini",
        "flow(7)_max_depth": None,
        "flow(7)_options": "-C 0.25 & more",
    }
    assert rows.loc[152, "parameters"]["flow(7)_criterion"] == "entropy"


def test_setup_that_the_server_does_not_list(server: Server, runs: list[Run]) -> None:
    server.runs[0].setup_id = 777
    server.setups[149] = {}  # a flow without parameters
    rows = fetch_evaluations(7, [59], n_retries=0)
    assert rows["parameters"][0] is None
    assert rows["parameters"][149] == {}
    assert len(rows) == 1234


def test_second_call_needs_no_server(
    server: Server, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch_evaluations(7, "tiny")
    server.shutdown()
    server.server_close()
    pd.testing.assert_frame_equal(fetch_evaluations(7, "tiny", n_retries=0), first)
    monkeypatch.setenv("METAEST_OFFLINE", "1")
    pd.testing.assert_frame_equal(fetch_evaluations(7, "tiny"), first)
    with pytest.raises(DatasetError, match="area_under_roc_curve of flow 7 on task 59"):
        fetch_evaluations(7, [59], metric="area_under_roc_curve")
    with pytest.raises(DatasetError, match="predictive_accuracy of flow 8 on task 59"):
        fetch_evaluations(8, [59])
    with pytest.raises(DatasetError, match="refresh=True, but METAEST_OFFLINE is set"):
        fetch_evaluations(7, [59], refresh=True)


def test_refresh(server: Server, runs: list[Run]) -> None:
    assert len(fetch_evaluations(7, [59])) == 1234
    server.runs.append(Run(2000, 59, 61, 7, 3, 0.9))
    assert len(fetch_evaluations(7, [59])) == 1234
    assert len(fetch_evaluations(7, [59], refresh=True)) == 1235


def test_tasks_without_runs(server: Server, runs: list[Run]) -> None:
    # "No results" is an answer (HTTP 412, code 542), and it is kept.
    rows = fetch_evaluations(7, [2295, 59, 59])
    assert len(rows) == 1234
    asked = len(server.requests)
    none = fetch_evaluations(7, [2295])
    assert len(none) == 0
    assert list(none.columns) == COLUMNS
    assert none["run_id"].dtype == np.int64
    assert len(server.requests) == asked


def test_what_was_fetched_before_an_error_is_kept(server: Server, runs: list[Run]) -> None:
    server.fault, server.fault_at = (500, "<html>broken"), "/task/2295"
    with pytest.raises(DatasetError, match="predictive_accuracy of flow 7 on task 2295"):
        fetch_evaluations(7, [59, 2295], n_retries=0)
    server.fault = None
    asked = len(server.requests)
    assert len(fetch_evaluations(7, [59, 2295], n_retries=0)) == 1234
    assert not any("/task/59/" in path for path in server.requests[asked:])


def test_error_on_the_second_page_keeps_nothing(
    server: Server, runs: list[Run], cache: Path
) -> None:
    server.fault, server.fault_at = (500, "<html>broken"), "/offset/1000/"
    with pytest.raises(DatasetError, match="Unexpected server error"):
        fetch_evaluations(7, [59], n_retries=0)
    assert not list(cache.rglob("*.parquet"))


def test_server_without_setups(server: Server, runs: list[Run]) -> None:
    server.fault, server.fault_at = (412, error_page(674, "No results")), "/setup/list"
    with pytest.raises(DatasetError, match="lists runs, but not their setups"):
        fetch_evaluations(7, [59], n_retries=0)


def test_server_that_ignores_the_filters(server: Server, runs: list[Run]) -> None:
    for run in server.runs:
        run.flow_id = 9
    evaluations = server._evaluations
    server._evaluations = lambda filters: evaluations({**filters, "flow": "9"})  # type: ignore[method-assign]
    with pytest.raises(DatasetError, match="the server answered with flow 9 on task 59"):
        fetch_evaluations(7, [59], n_retries=0)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"flow": [7]}, "exactly one flow, an int >= 1, got"),
        ({"flow": "sklearn.svm.SVC"}, "exactly one flow"),
        ({"flow": 0}, "got 0"),
        ({"page": 0}, r"page must be an int in 1\.\.1000, got 0"),
        ({"page": 1001}, "got 1001"),
        ({"metric": "acc/uracy"}, "metric must be OpenML's name"),
        ({"tasks": 59}, "For one task pass"),
    ],
)
def test_bad_parameters(server: Server, more: dict, match: str) -> None:
    with pytest.raises(InvalidParameterError, match=match):
        fetch_evaluations(**{"flow": 7, "tasks": [59], **more})
    assert server.requests == []
