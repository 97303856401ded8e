"""The command line: what it prints, what it writes, how it fails."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution
from sklearn.datasets import load_diabetes, load_wine

import metaest
from metaest import demo
from metaest.cli import main
from metaest.exceptions import MetaestError
from metaest.meta_features import fingerprint
from metaest.tuning import History
from metaest.tuning._embedded import MODELS
from metaest.tuning._table_file import read_table


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


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("demo", ["file or folder of the picture", "random seed (default: 0)"]),
        (
            "suggest",
            [
                "name of the target column",
                "model to tune (default: all)",
                "metric to rank by (default: accuracy, or your history's most frequent)",
                "whether higher or lower is better (default: maximize)",
                "character between the columns (default: ,)",
                "so are NA, NaN, None, null and ? in a column of numbers",
            ],
        ),
    ],
)
def test_help_says_what_each_option_is(
    command: str, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [words for words in said if words not in text] == []


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


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        ("no/such/folder.png", "there is no such folder."),
        ("picture.nosuch", "its format is none of "),
    ],
)
def test_a_picture_that_cannot_be_written_is_told_before_the_work(
    small_demo: Path, capsys: pytest.CaptureFixture[str], picture: str, reason: str
) -> None:
    assert main(["demo", "--quiet", "--picture", picture]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"metaest: the picture cannot be written to {picture}: {reason}")
    assert err.count("\n") == 1


def test_a_picture_that_is_not_written_after_all_loses_nothing(
    small_demo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def savefig(self: object, path: Path, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", savefig)
    picture = "picture.png"
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


#: A command that prints without any work.
PRINTS = (
    "import sys, types\n"
    "from metaest.cli import main\n"
    "fake = types.SimpleNamespace(run_demo=lambda *args, **kwargs: print('3 ± 1'))\n"
    "sys.modules['metaest.demo'] = fake\n"
    "sys.exit(main(['demo']))"
)


def test_a_reader_that_left_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", PRINTS], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_told_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == (
        "metaest: reading or writing failed: [Errno 28] No space left on device\n"
    )
    assert done.returncode == 1


def test_output_without_the_characters_is_written_all_the_same() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", PRINTS], capture_output=True, env=environment)
    assert (done.stdout, done.stderr, done.returncode) == (b"3 ? 1\n", b"", 0)


def test_a_file_that_is_not_there_costs_no_imports(tmp_path: Path) -> None:
    arguments = ["suggest", str(tmp_path / "data.csv"), "--target", "y"]
    code = (
        "import sys\n"
        "from metaest.cli import main\n"
        f"assert main({arguments}) == 2\n"
        "assert not {'torch', 'sklearn', 'optuna', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "data.csv cannot be read as a CSV file: No such file" in done.stderr


@pytest.fixture
def wine(tmp_path: Path) -> str:
    """Write a table with strings and gaps, and rows without a target."""
    frame = load_wine(as_frame=True).frame.iloc[:, [0, 1, 9, 13]]
    frame["target"] = frame["target"].map({0: "barolo", 1: "grignolino", 2: "barbera"})
    frame["cellar"] = np.random.default_rng(0).choice(["north", "south", None], len(frame))
    frame.loc[3:9, "alcohol"] = np.nan
    frame.loc[10:11, "target"] = None
    frame.to_csv(tmp_path / "wine.csv", index=False)
    return str(tmp_path / "wine.csv")


def test_suggest_prints_a_table_and_why(wine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", wine, "--target", "target", "--estimator", "svc", "--n", "2"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == "metaest: left out 2 rows without a target\n"
    assert lines[0] == f"{wine}: 176 rows, 4 columns and 'target'"
    assert "nothing was run" in lines[1]
    assert lines[3].split("  ")[-1] == "parameters"
    for rank in (1, 2):
        assert lines[3 + rank].startswith(f"{rank}  SVC ")
        assert "C=" in lines[3 + rank]
        assert "gamma=" in lines[3 + rank]
    why = lines[lines.index("Why:") + 1 :]
    assert " trials on openml-" in why[0]
    assert "estimated best on average over" in why[1]
    assert "most similar data sets" in why[2]


def test_suggest_prints_json(wine: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--estimator", "logistic", "--n", "3", "--json"]
    assert main(["suggest", wine, "--target", "target", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [suggestion["rank"] for suggestion in found] == [1, 2, 3]
    assert set(found[0]["params"]) == {"C", "class_weight", "fit_intercept"}
    assert found[0]["metric"] == "accuracy"


def test_suggest_with_a_history_of_your_own(
    wine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "history.db")
    params = [{"depth": 1.0}, {"depth": 2.5}]
    space = {"depth": FloatDistribution(0, 9)}
    history = History(path)
    history.add_trials("mine", params, [3.0, 2.0], space=space, direction="minimize", metric="loss")
    command = ["suggest", wine, "--target", "target", "--history", path]
    assert main([*command, "--direction", "minimize"]) == 0
    out = capsys.readouterr().out
    assert "depth=2.5" in out
    assert "best of 2 trials on mine" in out
    assert "were searched" not in out  # that is of the shipped history
    assert main(command) == 2
    assert "1 with another direction" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, "", "cannot be read as a CSV file: No such file"),
        ("", "", "is empty"),
        ("a,y\n", "", "has no row with a value in the target column 'y'"),
        ("a,y\n1,\n", "", "has no row with a value in the target column 'y'"),
        ("y\n1\n2\n", "", "has no column but the target 'y'"),
        ("a,target\n1,2\n", "--target=traget", "no column 'traget'; it has a, target. Did you"),
        ("a;y\n1;2\n", "", "Is ';' the separator? Give it with --separator."),
        ("a,y\n1,u\n2,u\n", "", "y has one class only ('u')"),
        ("a,y\n1,0.5\n2,1.5\n", "", "the history that comes with metaest is of classification"),
        ("a,y\n1,2\n3,4,5,6\n", "", "cannot be read as a CSV file: Error tokenizing data"),
        ("a,y\n1,2,u\n3,4,v\n", "", "No row may have more fields than the header"),
        ("a,y\n1,2,\n3,4,\n", "", "Expected 2 fields in line 2, saw 3"),
        ("y,a,y\n1,2,3\n4,5,6\n", "", "has 2 columns named 'y'; rename all but the target"),
        ("a,y\n1,\xff\n", "", "cannot be read as a CSV file: 'utf-8' codec can't decode"),
        ("a,y\n1,\xff\n", "", ". Save it as UTF-8"),
        ("a,y\n1,u\n2,v\n", "--history=nosuch.db", "no history 'nosuch.db': no such file"),
        ("a,y\n1,u\n2,v\n", "--history=data.csv", "is corrupt, or no Optuna storage"),
        ("a,y\n1,u\n2,v\n", "--metric=f1", "with the metric 'f1'"),
    ],
    ids=str,
)
def test_suggest_refuses_in_one_line(
    content: str | None,
    options: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("data.csv").write_bytes(content.encode("latin-1"))
    assert main(["suggest", "data.csv", "--target", "y", *options.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("metaest: ")
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"] * (content is not None)


def test_suggest_refuses_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "diabetes.csv"
    load_diabetes(as_frame=True).frame.to_csv(path, index=False)  # whole numbers
    assert main(["suggest", str(path), "--target", "target"]) == 2
    assert "(214 different values in 442 rows)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--n=0", "--n=a", "--separator=,,", "--estimator=knn"])
def test_suggest_with_wrong_options(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["suggest", "data.csv", "--target", "y", option])
    assert stopped.value.code == 2
    assert "usage: metaest suggest" in capsys.readouterr().err


def test_suggest_offers_all_shipped_models(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["suggest", "--help"])
    assert f"{{{','.join(['all', *MODELS])}}}" in capsys.readouterr().out


def test_suggest_takes_tabs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"a": range(20), "y": ["u", "v"] * 10})
    frame.to_csv(tmp_path / "data.tsv", sep="\t", index=False)
    command = ["suggest", str(tmp_path / "data.tsv"), "--target=y", "--estimator=svc", "--n=1"]
    assert main([*command, "--separator", r"\t"]) == 0
    assert ": 20 rows, 1 column and 'y'" in capsys.readouterr().out


def test_among_texts_only_an_empty_cell_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(
        "number,text,truth,label,code\n"
        "1,NA,TRUE,None,0\nNA,None,NA,NA,?\n2.5,x,FALSE,null,1\n,,TRUE,,1\n?,y,,None,NaN\n"
    )
    X, labels, n_left_out = read_table(str(path), "label")
    assert labels.tolist() == ["None", "NA", "null", "None"]
    assert n_left_out == 1
    assert X["number"].dtype == float
    assert X["number"].fillna(0).tolist() == [1, 0, 2.5, 0]
    assert X["text"].tolist() == ["NA", "None", "x", "y"]
    assert X["truth"].fillna("gap").tolist() == [True, "gap", False, "gap"]
    _, codes, n_left_out = read_table(str(path), "code")
    assert codes.tolist() == [0, 1, 1]
    assert n_left_out == 2
    assert read_table(str(path), "text").n_left_out == 1


def test_a_table_is_the_same_data_set_as_pandas_reads(tmp_path: Path, wine: str) -> None:
    table, usual = read_table(wine, "target"), pd.read_csv(wine).dropna(subset="target")
    X, y = usual.drop(columns="target"), usual["target"]
    assert table.X.columns.tolist() == X.columns.tolist()
    assert fingerprint(table.X, table.y) == fingerprint(X, y)


def test_suggest_takes_decimal_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a;y\n" + "1,5;u\n-2,25;v\n" * 10)
    table = read_table(str(path), "y", separator=";", decimal=",")
    assert table.X["a"].tolist() == [1.5, -2.25] * 10
    command = ["suggest", str(path), "--target=y", "--separator=;", "--decimal=,", "--n=1"]
    assert main(command) == 0
    assert ": 20 rows, 1 column and 'y'" in capsys.readouterr().out


def test_points_part_thousands_where_decimals_have_commas(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a;b;c;y\n1.234;1.234;1.2.2020;u\n-1.234.567,5;1.5;3.2.2020;v\n12,5;0,5;;u\n")
    X = read_table(str(path), "y", separator=";", decimal=",").X
    assert X["a"].tolist() == [1234, -1234567.5, 12.5]
    assert X["b"].tolist() == [1.234, 1.5, 0.5]  # not all are thousands: decimals after all
    assert X["c"].tolist()[:2] == ["1.2.2020", "3.2.2020"]


def test_one_row_without_a_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,y\n" + "1,u\n2,v\n" * 10 + "3,\n")
    assert main(["suggest", str(path), "--target=y", "--estimator=svc", "--n=1"]) == 0
    assert capsys.readouterr().err == "metaest: left out 1 row without a target\n"


def test_suggest_without_pandas_says_what_to_install(
    wine: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert main(["suggest", wine, "--target", "target"]) == 2
    err: Any = capsys.readouterr().err
    assert "pip install 'metaest[frame]'" in err


def test_stopping_the_demo_in_meta_training_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit_meta keeps what it has; half a training would be no demo."""
    rounds = []

    def end_of_round(*args: Any, **kwargs: Any) -> None:
        rounds.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr("skorch.callbacks.Callback.on_epoch_end", end_of_round)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(None, n_episodes=16, n_test_episodes=10, say=said.append, progress=False)
    assert rounds
    assert "Learning" not in "".join(said)
