"""A history for a team: a real PostgreSQL server on loopback, where one is installed."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution

from metaest.exceptions import HistoryError
from metaest.tuning import History

BIN = Path("/usr/lib/postgresql/15/bin")
SPACE = {"x": FloatDistribution(0, 1)}


def _run(command: list[str]) -> None:
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*as_postgres, *command], capture_output=True, text=True, cwd="/")
    if done.returncode:
        pytest.skip(f"PostgreSQL does not start here: {done.stdout[-200:]}{done.stderr[-200:]}")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    if not (BIN / "initdb").exists():
        pytest.skip(f"there is no PostgreSQL in {BIN}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp())
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")
        _run([str(BIN / "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "--no-sync"])
        options = f"-p {port} -h 127.0.0.1 -k {folder} -F"
        control = [str(BIN / "pg_ctl"), "-D", data, "-w"]
        _run([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql+psycopg2://postgres:secret@127.0.0.1:{port}/postgres"
        finally:
            _run([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_history_in_postgresql(url: str) -> None:
    one, other = History(url), History(url)
    for number in range(3):
        one.add_trials(str(number), [{"x": 0.1}, {"x": 0.9}], [1, float("nan")], space=SPACE)
    with pytest.raises(HistoryError, match="already has"):
        other.add_trials("1", [{"x": 0.1}], [1], space=SPACE)
    assert [record.task for record in other.tasks()] == ["0", "1", "2"]
    assert [t.state.name for t in other.tasks()[0].trials] == ["COMPLETE", "FAIL"]
    assert "secret" not in repr(other)
    one.storage.engine.dispose()  # type: ignore[attr-defined]
    other.storage.engine.dispose()  # type: ignore[attr-defined]


def test_no_server_is_a_clear_error() -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    with pytest.raises(HistoryError, match="cannot be reached"):
        History("postgresql+psycopg2://postgres:secret@127.0.0.1:1/none")
