"""Servers that fail, files that break, processes that die or collide."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from metaest.exceptions import DatasetError, MissingDependencyError
from metaest.openml import _store, fetch_evaluations, fetch_tasks
from tests.openml.server import Run, Server, error_page


def _kept(cache: Path) -> list[str]:
    """Name the files that a later call would read, and what lies around."""
    files = (path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")
    return sorted(path.name for path in files)


def _recovers(server: Server) -> None:
    """Once the server works again, so does the call."""
    server.fault = None
    assert fetch_tasks([59], n_retries=0)[0].X.shape == (150, 4)


@pytest.mark.parametrize("code", [372, 482, 542, 674, 151])
@pytest.mark.parametrize("at", ["/task/59", "/data/61", "/data/features/61"])
def test_server_knows_nothing(server: Server, cache: Path, code: int, at: str) -> None:
    server.fault, server.fault_at = (412, error_page(code, "No results")), at
    with pytest.raises(DatasetError, match=rf"task 59 .* code {code}: No results.*Check the id"):
        fetch_tasks([59], n_retries=0)
    assert _kept(cache) == []
    _recovers(server)


@pytest.mark.parametrize("at", ["/task/59", "/files/", "/splits/"])
@pytest.mark.parametrize("body", ["", "<html>broken", error_page(1, "Internal")])
def test_server_answers_500(server: Server, at: str, body: str) -> None:
    server.fault, server.fault_at = (500, body), at
    with pytest.raises(DatasetError, match="could not fetch task 59"):
        fetch_tasks([59], n_retries=0)
    _recovers(server)


def test_unknown_suite(server: Server) -> None:
    with pytest.raises(DatasetError, match=r"suite 'nothing' .*code 601: Unknown study"):
        fetch_tasks("nothing", n_retries=0)


def test_answer_that_is_no_xml(server: Server) -> None:
    server.fault, server.fault_at = (200, "hello"), "/task/59"
    with pytest.raises(DatasetError, match="The answer was damaged or not as expected"):
        fetch_tasks([59], n_retries=0)
    _recovers(server)


@pytest.mark.parametrize("at", ["/task/59", "/files/", "/splits/"])
def test_connection_breaks_halfway(server: Server, cache: Path, at: str) -> None:
    server.fault, server.fault_at = "half", at
    with pytest.raises(DatasetError, match="Check the connection"):
        fetch_tasks([59], n_retries=0)
    assert "59.json" not in _kept(cache)
    _recovers(server)


def test_broken_connection_is_tried_again(server: Server) -> None:
    server.fault, server.fault_at = "half", "/files/"
    with pytest.raises(DatasetError):
        fetch_tasks([59], n_retries=1)  # a second apart
    assert sum("/files/" in path for path in server.requests) == 2


@pytest.mark.parametrize("keep", [0.5, 0.97])
def test_truncated_arff(server: Server, cache: Path, keep: float) -> None:
    whole = server.data[61].arff.decode()
    server.fault, server.fault_at = (200, whole[: int(keep * len(whole))]), "/files/"
    with pytest.raises(DatasetError, match=r"Checksum .* nothing was kept"):
        fetch_tasks([59], n_retries=0)
    assert _kept(cache) == []
    _recovers(server)


def test_wrong_md5(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.data[61], "md5", "0" * 32)
    with pytest.raises(DatasetError, match=r"Checksum .*0{32}.* nothing was kept"):
        fetch_tasks([59], n_retries=0)
    assert _kept(cache) == []


def test_rows_missing_without_a_checksum(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = server.data[61].arff.decode().rstrip().splitlines()
    lines = [line for line in lines if line and not line.startswith("%")]
    monkeypatch.setattr(server.data[61], "md5", "")
    server.fault, server.fault_at = (200, "\n".join(lines[:-20])), "/files/"
    with pytest.raises(DatasetError, match="names row 149, but the data set has 130 rows"):
        fetch_tasks([59], n_retries=0)


@pytest.mark.parametrize(
    ("cut", "match"),
    [
        (1, "does not have each of the 150 rows once"),
        (-150, "has 9 folds in place of 10"),
        (-15, "has no train or no test rows"),
    ],
)
def test_truncated_splits(server: Server, cache: Path, cut: int, match: str) -> None:
    lines = server.tasks[59].split_file.rstrip().splitlines()
    part = lines[:-cut] if cut > 0 else lines[:cut]
    server.fault, server.fault_at = (200, "\n".join([*part, ""])), "/splits/"
    with pytest.raises(DatasetError, match=match):
        fetch_tasks([59], n_retries=0)
    assert "59.json" not in _kept(cache)
    _recovers(server)


def test_task_without_a_split_file(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = server._task(59)
    start, end = whole.index("<oml:data_splits_url>"), whole.index("</oml:data_splits_url>")
    server.fault = (200, whole[:start] + whole[end + len("</oml:data_splits_url>") :])
    server.fault_at = "/task/59"
    with pytest.raises(DatasetError, match=r"task 59 .*data_splits_url"):
        fetch_tasks([59], n_retries=0)


@pytest.mark.parametrize("at", ["/task/59", "/files/"])
def test_server_hangs(server: Server, cache: Path, at: str) -> None:
    server.fault, server.fault_at = "hang", at
    start = time.perf_counter()
    with pytest.raises(DatasetError, match=r"task 59 .*no answer within 0.3 s.*larger timeout="):
        fetch_tasks([59], n_retries=5, timeout=0.3)
    assert time.perf_counter() - start < 5
    assert _kept(cache) == []
    _recovers(server)


def test_nobody_listens(server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DatasetError, match=r"could not fetch suite 'tiny' .*Check the connection"):
        fetch_tasks("tiny", n_retries=0)


# -------------------------------------------------------------------------------------- our files


@pytest.mark.parametrize("name", ["59.json", "59.parquet", "61.json", "61.parquet"])
@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"PAR1 and more"])
def test_damaged_cache_says_which_file(
    server: Server, cache: Path, name: str, content: bytes
) -> None:
    fetch_tasks([59])
    (path,) = cache.rglob(name)
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name}.*[Dd]elete it"):
        _ = fetch_tasks([59], download_if_missing=False)[0]
    path.unlink()
    _recovers(server)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("59.json", "data_id", "sixty-one"),
        ("59.json", "target_name", "no such column"),
        ("59.json", "target_name", ["class"]),
        ("61.json", "categories", ["class"]),
        ("61.json", "categories", {"class": ["Iris-setosa"]}),
        ("61.json", "categories", {"no such column": ["a"]}),
        ("61.json", "nominal", None),
    ],
)
def test_edited_cache_says_which_file(
    server: Server, cache: Path, name: str, field: str, value: object
) -> None:
    fetch_tasks([59])
    (path,) = cache.rglob(name)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(DatasetError, match=rf"{name} is damaged .*Delete it"):
        _ = fetch_tasks([59], download_if_missing=False)[0]
    path.unlink()
    _recovers(server)


def test_splits_of_another_data_set(server: Server, cache: Path) -> None:
    fetch_tasks([59])
    (path,) = cache.rglob("59.parquet")
    frame = pd.read_parquet(path)
    frame.loc[0, "row"] = 150  # of 150
    frame.to_parquet(path)
    with pytest.raises(DatasetError, match=r"59.parquet is damaged .*Delete it"):
        _ = fetch_tasks([59], download_if_missing=False)[0]
    path.unlink()
    _recovers(server)


def test_damaged_evaluations(server: Server, cache: Path, runs: list[Run]) -> None:
    fetch_evaluations(7, [59])
    (path,) = cache.rglob("task_59.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(
        DatasetError, match=r"task_59.parquet is damaged or was not written by metaest. Delete it"
    ):
        fetch_evaluations(7, [59])


@pytest.mark.parametrize("where", ["write", "replace"])
def test_kill_during_a_write_leaves_no_half_file(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def write_half(self: pd.DataFrame, stream: object, **kwargs: object) -> None:
        stream.write(b"PAR1 half of it")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    def die(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(pd.DataFrame, "to_parquet", write_half)
        else:
            patch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            fetch_tasks([59], n_retries=0)
    assert _kept(cache) == []
    _recovers(server)


def test_refresh_that_fails_keeps_the_old_list(server: Server, runs: list[Run]) -> None:
    fetch_evaluations(7, [59])
    server.fault, server.fault_at = (500, ""), "/offset/1000/"
    with pytest.raises(DatasetError):
        fetch_evaluations(7, [59], refresh=True, n_retries=0)
    assert len(fetch_evaluations(7, [59], download_if_missing=False)) == 1234


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DatasetError, match=r"cannot write to .*Pass data_home="):
        fetch_tasks([59], data_home=tmp_path / "file")


def test_another_process_holds_the_lock(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "LOCK_TIMEOUT", 0.1)
    path = cache / "openml" / "v1" / f"127.0.0.1_{server.server_port}" / "tasks" / "59.json"
    with (
        _store.locked(path),
        pytest.raises(DatasetError, match="another process has been fetching"),
    ):
        fetch_tasks([59])


FETCH = """
import json, openml
from metaest.openml import fetch_tasks
openml.config.server = {url!r}
tasks = fetch_tasks("tiny", n_retries=0)
print(json.dumps([[int(task.X.size), len(task.splits)] for task in tasks]))
"""


def _start(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_at_once(server: Server, cache: Path) -> None:
    started = [_start(FETCH.format(url=server.url)) for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in started]
    for process, (output, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors
        assert json.loads(output) == [[600, 10], [209 * 7, 10]]
    assert sum("/files/61/" in path for path in server.requests) == 1  # the other one waited
    assert sum("/study/tiny" in path for path in server.requests) == 1
    assert len(_kept(cache)) == 9


def test_killed_process_leaves_nothing_in_the_way(server: Server) -> None:
    server.fault, server.fault_at = "hang", "/files/"
    process = _start(FETCH.format(url=server.url))
    deadline = time.monotonic() + 60
    while not any("/files/" in path for path in server.requests) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    _recovers(server)  # neither a lock nor a file is in the way


def test_openml_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openml", None)
    with pytest.raises(MissingDependencyError, match=r"'openml'.*pip install 'metaest\[openml\]'"):
        fetch_tasks([59])
