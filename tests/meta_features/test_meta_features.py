"""MetaFeatures: finite, bounded, and blind to order and names."""

import datetime
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from metaest.exceptions import InvalidParameterError, TaskError
from metaest.meta_features import FEATURES, MetaFeatures, fingerprint
from metaest.tasks import Task

NAMES = MetaFeatures().get_feature_names_out().tolist()


def describe(X: Any, y: Any) -> dict[str, float]:
    return dict(zip(NAMES, MetaFeatures(scale=False).transform([(X, y)])[0], strict=True))


def mixed_frame(n: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=n),
            "gaps": np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n)),
            "infinite": np.where(rng.random(n) < 0.1, np.inf, rng.integers(0, 9, n)),
            "text": rng.choice(["a", "b", "c"], n),
            "category": pd.Categorical(rng.choice(["x", "y", None], n)),
            "flag": rng.random(n) < 0.5,
            "nullable": pd.array(rng.integers(0, 4, n), dtype="Int64"),
            "date": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 99, n), unit="D"),
            "zone": pd.date_range("2020-01-01", periods=n, tz="Europe/Berlin"),
            "day": [datetime.date(2020, 1, 1 + i % 28) for i in range(n)],
            "constant": 1.0,
            "empty": np.nan,
            "huge": rng.normal(size=n) * 1e300,
        }
    )
    frame.loc[0, "nullable"] = pd.NA
    return frame, (frame["number"] > 0).to_numpy().astype(int)


def test_every_name_is_documented_and_known_without_fit() -> None:
    assert list(FEATURES) == NAMES
    assert 40 <= len(NAMES) <= 60
    assert all(FEATURES.values())


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("n", [1, 2, 7, 150])
def test_mixed_frames_give_finite_features(kind: str, n: int) -> None:
    X, y = mixed_frame(n)
    target = y if kind == "classification" else X["number"].to_numpy()
    assert np.isfinite(list(describe(X, target).values())).all()


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[1.0]], [0]),
        ([["a"], ["b"], [None]], ["u", "v", "u"]),
        (np.full((9, 2), np.nan), [0, 1, 2] * 3),
        (np.full((9, 2), np.inf), [0.5] * 9),
        (np.zeros((9, 2)), [0] * 9),
        (np.arange(8.0), np.linspace(0.1, 1e308, 8)),
        (np.zeros((6, 2, 3)), [0, 1] * 3),
        (np.array([[1, "a"], [2, "b"]], dtype=object), [True, False]),
        (np.arange(20)[:, None], [str(i) for i in range(20)]),
    ],
    ids=["cell", "text", "nan", "inf", "constant", "1d", "image", "object", "all-classes"],
)
def test_odd_tables_give_finite_features(X: Any, y: Any) -> None:
    assert np.isfinite(list(describe(X, y).values())).all()


@pytest.mark.parametrize("n", [120, 2500])
def test_order_and_names_do_not_matter(n: int) -> None:
    X, y = mixed_frame(n)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(n), rng.permutation(X.shape[1])
    other = X.iloc[rows, columns].rename(columns=str.upper)
    assert describe(X, y) == describe(other, np.array(["yes", "no"])[y[rows]])


def test_binary_tables_have_one_order() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (200, 20))
    y = X[:, 0] ^ X[:, 1]
    rows, columns = rng.permutation(200), rng.permutation(20)
    assert describe(X, y) == describe(X[rows][:, columns], y[rows])


def test_simple_features_are_exact() -> None:
    X = pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0], "b": list("uvuv"), "c": [7.0] * 4})
    found = describe(X, [0, 0, 0, 1])
    expected = {
        "log_n_rows": np.log(4),
        "log_n_columns": np.log(3),
        "class_min": 0.25,
        "class_max": 0.75,
        "numeric_share": 2 / 3,
        "binary_share": 1 / 3,
        "constant_share": 1 / 3,
        "missing_share": 1 / 12,
        "missing_rows": 1 / 4,
        "levels_max": np.log(2),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_information_and_landmarks_of_a_known_table() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 100)
    found = describe(np.column_stack([y, rng.normal(size=200)]), y)
    assert found["mutual_information_max"] == pytest.approx(1.0)
    assert found["landmark_stump"] == pytest.approx(1.0)
    noise = describe(rng.normal(size=(200, 5)), y)
    assert abs(noise["landmark_1nn"]) < 0.3
    assert noise["mutual_information_max"] < 0.2


def test_a_large_table_is_sampled() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100_000, 20))
    y = (X[:, 0] > 0).astype(int)
    start = time.process_time()
    found = describe(X, y)
    assert time.process_time() - start < 20  # about 1 s alone
    assert found["log_n_rows"] == pytest.approx(np.log(100_000))
    assert found["landmark_stump"] > 0.9


def test_a_wide_table_is_sampled() -> None:
    X = np.random.default_rng(0).normal(size=(50, 3000))
    found = describe(X, np.arange(50) % 2)
    assert found["log_n_columns"] == pytest.approx(np.log(3000))


def test_equal_rows_stay_in_proportion() -> None:
    X = np.repeat([[0.0], [1.0]], [9000, 1000], axis=0)
    assert describe(X, X[:, 0].astype(int))["zero_share"] == pytest.approx(0.9, abs=0.03)


def test_scaling_is_learnt_in_fit() -> None:
    iris = load_iris(return_X_y=True)
    datasets = [iris, mixed_frame(60), mixed_frame(90, 1), (iris[0], iris[0][:, 0])]
    model = MetaFeatures()
    with pytest.raises(NotFittedError):
        model.transform(datasets)
    scaled = model.fit(datasets).transform(datasets)
    np.testing.assert_allclose(np.median(scaled, axis=0), 0, atol=1e-9)
    assert np.abs(scaled).max() <= 10
    frame = clone(model).set_output(transform="pandas").fit_transform(datasets)
    assert frame.columns.tolist() == NAMES
    np.testing.assert_array_equal(MetaFeatures().fit_transform(own for own in datasets), scaled)


@pytest.mark.parametrize(
    ("datasets", "match"),
    [
        ([], "empty"),
        ([np.zeros((2, 2))], r"pairs \(X, y\)"),
        ([(np.empty((0, 2)), [])], "0 rows"),
        ([(np.zeros((2, 2)), [0, 1, 1])], "differ in length"),
        ([(np.zeros((2, 2)), [0.5, np.nan])], "missing values"),
        ([([[1, 2], [3]], [0, 1])], "X of data set 0"),
        ([(np.zeros((2, 3)) + 1j, [0, 1])], "complex"),
        ([([[1, 2j], [3, 4]], [0, 1])], "complex"),
        ([(pd.DataFrame({"a": [1, 2j]}), [0, 1])], "complex"),
    ],
    ids=[
        *["none", "no-pair", "no-rows", "lengths", "gap", "ragged"],
        *["complex", "complex-list", "complex-frame"],
    ],
)
def test_bad_input(datasets: list[Any], match: str) -> None:
    with pytest.raises(TaskError, match=match):
        MetaFeatures().fit(datasets)


def test_unknown_kind() -> None:
    with pytest.raises(InvalidParameterError, match="kind must be"):
        MetaFeatures(kind="ranking").fit([load_iris(return_X_y=True)])  # type: ignore[arg-type]


def test_fingerprint_knows_contents() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    order = np.random.default_rng(0).permutation(len(X))
    same = fingerprint(X.to_numpy()[order][:, ::-1], y.to_numpy()[order])
    assert fingerprint(X, y) == same
    changed = X.copy()
    changed.iloc[3, 2] += 0.1
    assert fingerprint(changed, y) != same
    assert fingerprint(X, (y + 1) % 3) != same


def test_polars_frames_count_as_pandas_ones() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    rng, y = np.random.default_rng(0), np.repeat([0, 1], 30)
    columns = {
        "number": [float(value) for value in rng.normal(size=60)],
        "text": [str(value) for value in rng.choice(["x", "y"], size=60)],
        "truth": [bool(value) for value in rng.random(60) < 0.5],
    }
    columns["text"][3] = None
    frame = polars.DataFrame(columns)
    coded = frame.with_columns(polars.col("text").cast(polars.Categorical))
    expected, *found = MetaFeatures().fit_transform(
        [(X, y) for X in (pd.DataFrame(columns), frame, coded)]
    )
    for own in found:
        np.testing.assert_array_equal(own, expected)


def test_a_wide_frame_takes_no_longer_than_an_array() -> None:
    X = np.random.default_rng(0).normal(size=(20, 6000))
    y = np.arange(20) % 2
    MetaFeatures().fit_transform([(X[:, :9], y)])  # imports
    seconds = []
    for table in (X, pd.DataFrame(X)):
        start = time.process_time()
        MetaFeatures().fit_transform([(table, y)])
        seconds.append(time.process_time() - start)
    assert seconds[1] < 4 * seconds[0] + 0.5  # 4 s, were all types listed for each column


def test_an_infinite_target_is_named() -> None:
    X, y = np.zeros((4, 2)), np.array([0.0, 1.5, np.inf, 2.5])
    for call in (lambda: MetaFeatures().fit([(X, y)]), lambda: Task(X, y)):
        with pytest.raises(TaskError, match="has infinite values; drop or clip"):
            call()


def test_half_characters_are_text() -> None:
    files = [["a\udcff"], ["b"], ["a\udcff"], ["c"]]  # as os.listdir names them
    assert fingerprint(files, [0, 1, 0, 1]) != fingerprint([["b"]] * 4, [0, 1, 0, 1])
