"""A local OpenML server, and a machine on which nothing is cached."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

# When it is imported, the client reads its settings and makes folders: not the user's.
HOME = tempfile.TemporaryDirectory(prefix="openml-")
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("XDG_CONFIG_HOME", HOME.name)
    patch.setenv("OPENML_CACHE_DIR", HOME.name)
    import openml

from tests.openml.server import Dataset, Run, Server, shipped_dataset  # noqa: E402


@pytest.fixture(scope="session")
def iris() -> Dataset:
    return shipped_dataset(61)


@pytest.fixture(scope="session")
def cpu() -> Dataset:
    return shipped_dataset(561)


@pytest.fixture
def server(iris: Dataset, cpu: Dataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve iris (task 59) and cpu (task 2295, regression), and let the client know."""
    served = Server()
    served.add(59, iris, "class")
    served.add(2295, cpu, "class", kind=2)
    served.suites = {"tiny": [59, 2295], "99": [59]}
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(openml.config, "server", served.url)
    yield served
    served.released.set()
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start each test with an empty cache and no setting of the user's."""
    monkeypatch.setenv("METAEST_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("METAEST_OFFLINE", raising=False)
    monkeypatch.delenv("OPENML_SKIP_PARQUET", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", HOME.name)  # of the processes that tests start
    monkeypatch.setenv("OPENML_CACHE_DIR", HOME.name)
    return tmp_path / "cache"


@pytest.fixture
def runs(server: Server) -> list[Run]:
    """Give 1,234 runs of flow 7 on task 59 with 150 setups, and one of another flow."""
    for setup in range(150):
        server.setups[setup] = {
            "C": repr(setup / 10),
            "criterion": '"gini"' if setup % 2 else '"entropy"',
            "max_depth": "null",
            "bounds": "[1, 2]",
            "options": "-C 0.25 & more",
        }
    values = [None if run == 5 else run / 2000 for run in range(1234)]
    server.runs = [Run(run, 59, 61, 7, run % 150, value) for run, value in enumerate(values)]
    server.runs.append(Run(5000, 59, 61, 8, 0, 0.5))
    return server.runs
