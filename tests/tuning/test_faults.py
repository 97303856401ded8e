"""Storages that are locked, corrupt or newer, and searches that are killed, with MetaSampler."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from metaest.exceptions import HistoryError
from metaest.tuning import History, MetaSampler, MetaSearchCV, suggest
from metaest.tuning._storage import open_storage

SPACE = {"C": FloatDistribution(1e-2, 1e2, log=True)}
X, Y = load_iris(return_X_y=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a history of three searches."""
    path = tmp_path / "history.db"
    history = History(path)
    for task in range(3):
        params = [{"C": 10.0**k} for k in (-1, 0.1 * task, 1 - 0.1 * task, 2)]
        history.add_trials(f"task {task}", params, [0.7, 0.9, 0.8, 0.6], space=SPACE)
    history.storage.engine.dispose()  # type: ignore[attr-defined]
    return path


def through_sampler(history: Any) -> None:
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(history, seed=0))
    study.optimize(lambda trial: trial.suggest_float("C", 1e-2, 1e2, log=True), n_trials=1)


def through_search(history: Any) -> None:
    MetaSearchCV(SVC(), SPACE, history=history, n_trials=1, cv=2, random_state=0).fit(X, Y)


def through_suggest(history: Any) -> None:
    suggest(history, X, Y)


WAYS = pytest.mark.parametrize(
    "use",
    [through_sampler, through_search, through_suggest],
    ids=["sampler", "search", "suggest"],
)


@WAYS
def test_a_sound_history_is_read(use: Callable[[Any], None], path: Path) -> None:
    before = [record.task for record in History(path).tasks()]
    use(path)
    after = [record.task for record in History(path).tasks()]
    assert after[:3] == before == ["task 0", "task 1", "task 2"]
    assert len(after) == (4 if use is through_search else 3)  # a search records itself


@WAYS
@pytest.mark.parametrize("damage", ["text", "cut"])
def test_a_corrupt_file(use: Callable[[Any], None], path: Path, damage: str) -> None:
    content = path.read_bytes()
    path.write_bytes(
        b"no database at all" * 99 if damage == "text" else content[: len(content) // 3]
    )
    with pytest.raises(HistoryError, match="is corrupt, or no Optuna storage"):
        use(path)


@WAYS
def test_a_newer_optuna_wrote_it(use: Callable[[Any], None], path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.a'")
    connection.close()
    with pytest.raises(HistoryError, match="tables of another version of Optuna"):
        use(path)


@WAYS
def test_a_newer_metaest_wrote_it(use: Callable[[Any], None], path: Path) -> None:
    history = History(path)
    study = optuna.load_study(study_name="task 1", storage=history.storage)
    study.set_user_attr("metaest:version", 99)
    with pytest.raises(HistoryError, match="written in format 99 by a newer metaest"):
        use(history)
    history.storage.engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture
def locked(path: Path) -> Iterator[Path]:
    """Hold the database as a process does that writes and hangs."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    yield path
    connection.rollback()
    connection.close()


@WAYS
def test_a_locked_file(use: Callable[[Any], None], locked: Path) -> None:
    with pytest.raises(HistoryError, match="is locked by another process"):
        use(f"sqlite:///{locked}?timeout=0.2")


@WAYS
def test_a_storage_that_fails_later(
    use: Callable[[Any], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history was opened; then its file is spoilt."""
    history = History(path)
    history.storage.engine.dispose()  # type: ignore[attr-defined]
    path.write_bytes(b"no database at all" * 99)
    with pytest.raises(HistoryError, match="is corrupt, or no Optuna storage"):
        use(history)


def test_a_sampler_that_failed_goes_on_when_the_history_is_back(path: Path) -> None:
    content = path.read_bytes()
    history = History(path)
    history.storage.engine.dispose()  # type: ignore[attr-defined]
    path.write_bytes(b"no database at all" * 99)
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(history, seed=0))
    trial = study.ask()
    with pytest.raises(HistoryError):
        trial.suggest_float("C", 1e-2, 1e2, log=True)
    history.storage.engine.dispose()  # type: ignore[attr-defined]
    path.write_bytes(content)
    assert trial.suggest_float("C", 1e-2, 1e2, log=True) < 10
    history.storage.engine.dispose()  # type: ignore[attr-defined]


# ----------------------------------------------------------------------------------------- kill -9

SCRIPT = """
import sys, time
import optuna
from metaest.tuning import MetaSampler

def objective(trial):
    c = trial.suggest_float("C", 1e-2, 1e2, log=True)
    print(trial.number, flush=True)
    if trial.number == int(sys.argv[3]):
        time.sleep(60)  # here it is killed
    return -abs(c - 2)

study = optuna.create_study(
    direction="maximize", storage=sys.argv[2], study_name="new", load_if_exists=True,
    sampler=MetaSampler(sys.argv[1], seed=0, surrogate="cold"),
)
study.optimize(objective, n_trials=int(sys.argv[4]))
"""


@pytest.mark.slow
def test_a_killed_study_goes_on(path: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    command = [sys.executable, "-c", SCRIPT, str(path), url]
    process = subprocess.Popen(
        [*command, "1", "9"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == ["0", "1"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    storage = open_storage(url)
    killed = optuna.load_study(study_name="new", storage=storage).trials
    assert [t.state for t in killed] == [TrialState.COMPLETE, TrialState.RUNNING]

    subprocess.run([*command, "-1", "4"], check=True, capture_output=True, env=os.environ)
    trials = optuna.load_study(study_name="new", storage=storage).trials
    assert trials[0] == killed[0]
    assert [t.state for t in trials[2:]] == [TrialState.COMPLETE] * 4
    origins = [t.user_attrs["metaest:origin"] for t in trials]
    assert origins == ["portfolio"] * 3 + ["cold"] * 3
    values = [t.params["C"] for t in trials]
    assert len(set(values)) == 6  # neither a start-up trial nor the killed one is repeated
    storage.engine.dispose()  # type: ignore[attr-defined]


SEARCH = """
import sys, time
from sklearn.datasets import load_iris
from sklearn.svm import SVC
from optuna.distributions import FloatDistribution
from metaest.tuning import MetaSearchCV

class Slow(SVC):
    def fit(self, X, y, sample_weight=None):
        time.sleep(0.05)
        return super().fit(X, y)

Slow.__module__, Slow.__qualname__ = SVC.__module__, SVC.__qualname__
space = {"C": FloatDistribution(1e-2, 1e2, log=True)}
MetaSearchCV(
    Slow(), space, history=sys.argv[1], n_trials=50, cv=3, random_state=0,
    storage=sys.argv[2], study_name="iris", callbacks=[lambda s, t: print(t.number, flush=True)],
).fit(*load_iris(return_X_y=True))
"""


@pytest.mark.slow
def test_a_killed_search_goes_on_warm(path: Path, tmp_path: Path) -> None:
    """The killed trial was one of the portfolio: it has failed over and is tried once more."""
    storage = str(tmp_path / "study.db")
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCH, str(path), storage],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "0"
    time.sleep(0.08)  # in the second trial
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    killed = optuna.load_study(study_name="iris", storage=open_storage(storage)).trials
    n_done = sum(trial.state == TrialState.COMPLETE for trial in killed)
    assert n_done >= 1

    search = MetaSearchCV(
        SVC(),
        SPACE,
        history=path,
        n_trials=n_done + 3,
        cv=3,
        random_state=0,
        storage=storage,
        study_name="iris",
    ).fit(X, Y)
    trials = search.study_.trials
    assert trials[:n_done] == killed[:n_done]
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == n_done + 3
    assert not any(trial.state == TrialState.RUNNING for trial in trials)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    tried = [trial.params["C"] for trial in complete]
    assert len(set(tried)) == len(tried)
    interrupted = [t.params["C"] for t in trials if t not in complete and t.params]
    assert set(interrupted) <= set(tried)
    startup = [t for t in complete if t.user_attrs.get("metaest:origin") == "portfolio"]
    assert len(startup) == 3
