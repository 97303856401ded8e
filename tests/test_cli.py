"""The command line: what it prints, what it writes, how it fails."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

import metaest
from metaest import demo
from metaest.cli import main
from metaest.exceptions import MetaestError


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Shrink the demo, and run in an empty folder."""
    small = functools.partial(demo.run_demo, n_episodes=16, n_test_episodes=10)
    monkeypatch.setattr(demo, "run_demo", small)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_demo_prints_the_table_and_draws(
    small_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "on the digits 0, 1, 2, 3, 4," in out
    assert "Learning the digits 5, 6, 7, 8, 9" in out
    assert "EpisodeScores (10 episodes): mean ± 95 % interval" in out
    for name in ("metaest protonet", "random features", "LogisticRegression", "1 nearest"):
        row = next(line for line in out.splitlines() if line.startswith(name))
        assert "±" in row
        assert row.endswith("%")
    assert "Picture: metaest_demo.png" in out
    assert "Next:" in out
    picture = small_demo / "metaest_demo.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_demo_without_a_picture_needs_no_matplotlib(
    small_demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--quiet", "--no-picture"]) == 0
    assert "Picture" not in capsys.readouterr().out
    assert list(small_demo.iterdir()) == []


def test_demo_shows_progress_and_repeats_itself(
    small_demo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = []
    for _ in range(2):
        assert main(["demo", "--no-picture", "--seed", "1"]) == 0
        out, err = capsys.readouterr()
        assert "meta-training: 100%" in err
        tables.append([line for line in out.splitlines() if "±" in line])
    assert tables[0] == tables[1]


def test_options_reach_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(demo, "run_demo", lambda *args, **kwargs: calls.append((args, kwargs)))
    assert main(["demo", "--picture", "there.pdf", "--seed", "7"]) == 0
    assert main(["demo", "--no-picture", "--quiet"]) == 0
    assert calls == [
        (("there.pdf",), {"random_state": 7, "progress": True}),
        ((None,), {"random_state": 0, "progress": False}),
    ]


def test_demo_without_matplotlib_says_what_to_install(
    small_demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""  # before any work
    assert "metaest: " in err
    assert "'matplotlib'" in err
    assert "pip install 'metaest[plot]'" in err
    assert list(small_demo.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["nosuch"], [], ["demo", "--nosuch"], ["demo", "--seed=a"], ["demo", "--seed=-1"]]
)
def test_wrong_arguments_exit_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: metaest" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"metaest {metaest.__version__}\n"


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(MetaestError("it is so"), 2, "metaest: it is so\n"), (KeyboardInterrupt(), 130, "stopped")],
)
def test_errors_become_exit_statuses(
    error: BaseException,
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(demo, "run_demo", fail)
    assert main(["demo"]) == status
    assert message in capsys.readouterr().err


def test_python_m_metaest() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metaest", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"metaest {metaest.__version__}\n"


@pytest.mark.parametrize("picture", ["no/such/folder.png", "picture.nosuch"])
def test_a_picture_that_cannot_be_written_loses_nothing(
    small_demo: Path, capsys: pytest.CaptureFixture[str], picture: str
) -> None:
    assert main(["demo", "--quiet", "--picture", picture]) == 2
    out, err = capsys.readouterr()
    assert "LogisticRegression" in out
    assert "Next:" in out
    assert err.startswith(f"metaest: the picture cannot be written to {picture}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "written"), [("picture", "picture.png"), (".", "metaest_demo.png")]
)
def test_the_picture_is_where_the_demo_says(
    small_demo: Path, capsys: pytest.CaptureFixture[str], given: str, written: str
) -> None:
    assert main(["demo", "--quiet", "--picture", given]) == 0
    assert f"Picture: {written}" in capsys.readouterr().out
    assert [path.name for path in small_demo.iterdir()] == [written]
