"""The default spaces, the history that comes with metaest, and the script that makes it."""

import gzip
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_classification
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

import metaest.tuning
from metaest.exceptions import HistoryError, InvalidParameterError
from metaest.meta_features import FEATURES, MetaFeatures, fingerprint
from metaest.tuning import MetaSampler, _embedded, _surrogate, default_space, embedded_history
from metaest.tuning._cache import Cache
from metaest.tuning._description import LEARNED
from metaest.tuning._record import PREFIX

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "build_history.py"
SHIPPED = [
    LogisticRegression(),
    SVC(),
    RandomForestClassifier(n_estimators=5),
    HistGradientBoostingClassifier(),
]
REGRESSORS = [SVR(), Ridge(), RandomForestRegressor(n_estimators=5)]
PLAIN = [*REGRESSORS, HistGradientBoostingRegressor(), MLPClassifier(max_iter=20)]
METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "neg_log_loss")


def _name(estimator: Any) -> str:
    return type(estimator).__name__


@pytest.fixture
def fresh_cache() -> Iterator[None]:
    _embedded._records.cache_clear()
    yield
    _embedded._records.cache_clear()


def _points(distribution: Any) -> list[Any]:
    """The ends and the middle of a distribution; all choices of a categorical one."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    low, high = distribution.low, distribution.high
    middle = (low * high) ** 0.5 if distribution.log else (low + high) / 2
    return [low, type(low)(middle), high]


# ----------------------------------------------------------------------------------------- spaces


@pytest.mark.parametrize("estimator", [*SHIPPED, *PLAIN], ids=_name)
def test_spaces_fit_at_their_corners_and_in_the_middle(estimator: Any) -> None:
    X, y = make_classification(60, 4, random_state=0)
    X = StandardScaler().fit_transform(X)
    points = {name: _points(d) for name, d in default_space(estimator).items()}
    middle = {name: values[len(values) // 2] for name, values in points.items()}
    candidates = [{n: v[0] for n, v in points.items()}, {n: v[-1] for n, v in points.items()}]
    candidates += [middle | {name: value} for name in points for value in points[name]]
    for params in candidates:
        model = clone(estimator).set_params(**params)
        with warnings.catch_warnings():
            if isinstance(model, MLPClassifier):  # that 20 epochs are few is no fault of the space
                warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y if is_classifier(model) else X[:, 0] + y)
        assert np.isfinite(model.predict(X)).all(), params


def test_space_of_a_pipeline_has_the_prefix() -> None:
    inner = Pipeline([("scale", StandardScaler()), ("model", SVC())])
    plain = default_space(SVC())
    assert default_space(inner) == {f"model__{name}": d for name, d in plain.items()}
    outer = Pipeline([("a", StandardScaler()), ("inner", inner)])
    space = default_space(outer)
    assert space == {f"inner__model__{name}": d for name, d in plain.items()}
    outer.set_params(**{name: _points(d)[0] for name, d in space.items()})
    assert inner.named_steps["model"].C == 0.01


class MySVC(SVC):
    """Not known: it may mean something else by a parameter."""


@pytest.mark.parametrize("estimator", [Perceptron(), MySVC(), make_pipeline(Perceptron()), None])
def test_unknown_estimators(estimator: Any) -> None:
    with pytest.raises(InvalidParameterError, match=r"no default search space.*Pass space=\{"):
        default_space(estimator)
    assert embedded_history(estimator) == []


# --------------------------------------------------------------------------------- shipped history


@pytest.mark.parametrize("estimator", SHIPPED, ids=_name)
def test_shipped_history(estimator: Any) -> None:
    records = embedded_history(estimator)
    assert 1 <= len(records) <= 52
    assert len({record.task for record in records}) == len(records)
    for record in records:
        assert record.space == default_space(estimator)
        assert (record.direction, record.metric) == ("maximize", "accuracy")
        assert record.meta_features is not None
        assert list(record.meta_features)[: len(FEATURES)] == list(FEATURES)
        assert sum(name.startswith(LEARNED) for name in record.meta_features) == 32
        assert np.isfinite(list(record.meta_features.values())).all()
        assert 50 <= np.exp(record.meta_features["log_n_rows"]) <= 1501
        assert len(record.fingerprint or "") == 32
        assert len(record.trials) == 50
        values = [trial.value for trial in record.complete_trials]
        assert 0 <= min(values) <= max(values) <= 1
        # More than always the most frequent class, in the worst case (haberman) by little.
        assert max(values) > record.meta_features["class_max"] - 0.01, record.task
    assert any(not record.is_constant for record in records)


@pytest.mark.parametrize("estimator", SHIPPED, ids=_name)
def test_shipped_metrics(estimator: Any) -> None:
    records = {metric: embedded_history(estimator, metric=metric) for metric in METRICS}
    known = {metric for metric, found in records.items() if found}
    assert known == set(METRICS) - ({"neg_log_loss"} if isinstance(estimator, SVC) else set())
    for metric in known:
        for record in records[metric]:
            assert record.metric == metric
            values = np.array([trial.value for trial in record.complete_trials])
            low, high = (-np.inf, 0) if metric == "neg_log_loss" else (0, 1)
            assert ((values >= low) & (values <= high)).all()
    weighted = embedded_history(estimator, metric="roc_auc_ovr_weighted")
    same = [[t.value for t in r.trials] for r in records["roc_auc"]]
    assert [[t.value for t in r.trials] for r in weighted] == same
    assert embedded_history(estimator, metric="r2") == []


def test_shipped_files_are_small() -> None:
    folder = Path(metaest.tuning.__file__).parent / "data"
    assert sum(path.stat().st_size for path in folder.glob("*.json")) <= 2.5e6


@pytest.mark.parametrize("estimator", SHIPPED, ids=_name)
def test_shipped_surrogates(estimator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are of this version's network: a search goes on from them without training."""

    def fail(*arguments: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(_surrogate, "_train", fail)
    monkeypatch.setattr(_surrogate, "_trained", Cache(8))
    sampler = MetaSampler(embedded_history(estimator), seed=0)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    space = default_space(estimator)
    for number in range(6):
        trial = study.ask(space)
        study.tell(trial, 0.5 + 0.01 * number)
    found = [trial.user_attrs[PREFIX + "origin"] for trial in study.trials]
    assert "surrogate" in found


def test_history_of_a_pipeline_has_the_prefix() -> None:
    plain = embedded_history(SVC())
    records = embedded_history(make_pipeline(StandardScaler(), SVC()))
    assert len(records) == len(plain)
    for record, other in zip(records, plain, strict=True):
        assert set(record.space) == {f"svc__{name}" for name in other.space}
        for trial, twin in zip(record.trials, other.trials, strict=True):
            assert trial.params == {f"svc__{name}": v for name, v in twin.params.items()}
            assert trial.value == twin.value


def test_history_is_read_once(fresh_cache: None) -> None:
    first = embedded_history(SVC())
    first_record = first[0]
    first.clear()  # the caller's own list
    assert embedded_history(SVC(C=3))[0] is first_record


def _damage(content: dict, how: str) -> str:
    if how == "truncated":
        return json.dumps(content)[:-100]
    if how == "newer":
        content["format"] = 99
    if how == "short column":
        content["searches"][0]["params"]["C"].pop()
    if how == "short values":
        content["searches"][0]["values"]["accuracy"].pop()
    if how == "outside":
        content["searches"][0]["params"]["C"][0] = -1.0
    if how == "no name":
        del content["searches"][0]["task"]
    if how == "meta-features":
        content["meta_feature_names"].append("extra")
    return json.dumps(content)


@pytest.mark.parametrize(
    "how",
    ["truncated", "newer", "short column", "short values", "outside", "no name", "meta-features"],
)
def test_damaged_file(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: None
) -> None:
    text = (_embedded._folder() / "svc.json").read_text(encoding="utf-8")
    content = json.loads(text)
    (tmp_path / "svc.json").write_text(_damage(content, how))
    monkeypatch.setattr(_embedded, "_folder", lambda: tmp_path)
    with pytest.raises(HistoryError, match=r"svc\.json is damaged or missing.*Install metaest"):
        embedded_history(SVC())
    (tmp_path / "svc.json").write_text(text)  # the failure was not kept
    assert len(embedded_history(SVC())) == len(content["searches"])


def test_missing_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: None) -> None:
    monkeypatch.setattr(_embedded, "_folder", lambda: tmp_path)
    with pytest.raises(HistoryError, match=r"svc\.json is damaged or missing"):
        embedded_history(SVC())


# -------------------------------------------------------------------------------- the build script


def _make_data(root: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """A data set with a rare class, gaps, an empty column, an identifier and a constant."""
    rng = np.random.default_rng(0)
    y = np.array(["a"] * 30 + ["b"] * 25 + ["c"] * 3, dtype=object)
    X = pd.DataFrame({"x": np.round(rng.normal(size=58) + (y == "b"), 3), "gap": 1.5})
    X["colour"] = pd.Categorical(rng.choice(["red", "light blue"], 58))
    X["empty"] = np.nan
    X.loc[::7, "gap"] = np.nan
    X.loc[3, "colour"] = np.nan
    lines = ["@relation tiny", "@attribute id string", "@attribute x real", "@attribute gap real"]
    lines += ["@attribute colour {red, 'light blue'}", "@attribute empty real"]
    lines += ["@attribute class {a, b, c}", "@data"]
    for number, (row, label) in enumerate(zip(X.itertuples(index=False), y, strict=True)):
        cells = ["?" if pd.isna(v) else f"'{v}'" if isinstance(v, str) else str(v) for v in row]
        lines.append(",".join([f"r{number}", *cells, label]))
    folder = root / "openml"
    folder.mkdir()
    with gzip.open(folder / "7777.arff.gz", "wt") as file:
        file.write("\n".join(lines))
    entry = {"data_id": 7777, "name": "tiny", "default_target_attribute": "class"}
    entry |= {"n_instances": 58, "n_classes": 3, "ignore_attribute": ["id"]}
    (folder / "index.json").write_text(json.dumps([entry]))
    return X, y


def _start(root: Path, *args: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--output", str(root / "out"), *args],
        env=os.environ | {"METAEST_DATA": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(root: Path, *args: str) -> list[str]:
    with _start(root, *args) as process:
        out, err = process.communicate(timeout=200)
        assert process.returncode == 0, err
    return out.splitlines()


@pytest.mark.slow
def test_build_and_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: None) -> None:
    X, y = _make_data(tmp_path)
    assert len(_finish(tmp_path, "--n-trials", "2")) == 4
    packed = tmp_path / "packed"
    _finish(tmp_path, "--pack", "--packed", str(packed))
    monkeypatch.setattr(_embedded, "_folder", lambda: packed)
    for estimator, model in zip(SHIPPED, ("logistic", "svc", "forest", "boosting"), strict=True):
        found = json.loads((tmp_path / "out" / f"{model}-7777.json").read_text())
        recorded = found["trials"]
        assert found["n_rows"] == 58
        assert [trial["failure"] for trial in recorded] == [None, None]
        for metric in METRICS:
            if recorded[0][metric] is None:
                assert embedded_history(estimator, metric=metric) == []
                continue
            (record,) = embedded_history(estimator, metric=metric)
            assert record.task == "openml-7777-tiny"
            assert record.fingerprint == fingerprint(X, y)
            expected = MetaFeatures(scale=False).transform([(X, y)])[0]
            found = list((record.meta_features or {}).values())[: len(expected)]
            assert found == pytest.approx(expected, rel=1e-5)
            for trial, own in zip(record.trials, recorded, strict=True):
                assert trial.value == pytest.approx(own[metric], rel=1e-5)
                assert trial.params == {
                    name: pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
                    for name, value in own["params"].items()
                }
                assert own["accuracy"] == pytest.approx(np.mean(own["folds"]))
                assert len(own["folds"]) == 5


@pytest.mark.slow
def test_killed_build_goes_on(tmp_path: Path) -> None:
    _make_data(tmp_path)
    args = ("--models", "logistic", "forest", "--n-trials", "12")
    with _start(tmp_path, *args) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert first.startswith("1/2 logistic 7777 tiny: 58 rows")
    done = tmp_path / "out" / "logistic-7777.json"
    before = done.read_bytes(), done.stat().st_mtime_ns
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == [done.name]
    second = _finish(tmp_path, *args)
    assert second[0] == "1/2 logistic 7777 tiny: there already"
    assert second[1].startswith("2/2 forest 7777 tiny: 58 rows")
    assert (done.read_bytes(), done.stat().st_mtime_ns) == before
    forest = json.loads((tmp_path / "out" / "forest-7777.json").read_text())
    assert len(forest["trials"]) == 12


def test_failed_trials_are_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_cache: None
) -> None:
    content = json.loads((_embedded._folder() / "svc.json").read_text(encoding="utf-8"))
    values = content["searches"][0]["values"]["accuracy"]
    values[:2] = [None, None]
    (tmp_path / "svc.json").write_text(json.dumps(content))
    monkeypatch.setattr(_embedded, "_folder", lambda: tmp_path)
    trials = embedded_history(SVC())[0].trials
    assert [trial.state for trial in trials[:2]] == [TrialState.FAIL] * 2
    assert [trial.value for trial in trials] == values
