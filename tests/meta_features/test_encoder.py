"""DatasetEncoder: blind to order and names, finite for any table, and it learns."""

import copy
import gzip
import json
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from metaest.exceptions import (
    DeviceError,
    FileFormatError,
    InvalidParameterError,
    NewerVersionError,
    TaskError,
)
from metaest.meta_features import DatasetEncoder
from metaest.meta_features._encoder_metric import rank_similarity
from metaest.persistence import read_file, write_file

Dataset = tuple[Any, np.ndarray]


def numbers(n: int, width: int, n_classes: int, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, width))
    y = np.digitize(X[:, 0], np.quantile(X[:, 0], np.linspace(0, 1, n_classes + 1)[1:-1]))
    return X, y


def mixed(n: int, seed: int = 0) -> Dataset:
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
            "constant": 1.0,
            "empty": np.nan,
            "huge": rng.normal(size=n) * 1e300,
        }
    )
    return frame, np.where(frame["number"] > 0, "yes", "no")


def toy_datasets(n_datasets: int, n: int = 160, width: int = 6) -> list[Dataset]:
    """Equal in size, kinds of columns and classes; the distributions of the columns differ."""
    made = []
    for seed in range(n_datasets):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, width))
        y = (X[:, 0] + rng.normal(size=n) * rng.uniform(0.1, 3) > 0).astype(int)
        power, step = rng.uniform(0.3, 3), rng.uniform(0, 1.5)
        X = np.sign(X) * np.abs(X) ** power
        made.append((np.round(X / step) * step if step > 0.5 else X, y))
    return made


def split(dataset: Dataset, rng: np.random.Generator) -> list[Dataset]:
    """Two samples: disjoint halves of the rows, half or more of the columns each."""
    X, y = dataset
    X = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)
    order = rng.permutation(len(y))
    parts = []
    for rows in (order[: len(y) // 2], order[len(y) // 2 :]):
        kept = rng.permutation(X.shape[1])[: rng.integers(-(-X.shape[1] // 2), X.shape[1] + 1)]
        parts.append((X.iloc[rows, kept], y[rows]))
    return parts


def area(encoder: DatasetEncoder, datasets: list[Dataset], n_repeats: int = 1) -> float:
    """Area under the curve of telling samples of one data set from samples of two."""
    rng = np.random.default_rng(5)
    truth, scores = [], []
    for _ in range(n_repeats):
        pairs = [split(dataset, rng) for dataset in datasets]
        first, second = (encoder.transform([pair[k] for pair in pairs]) for k in (0, 1))
        distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
        truth.append(np.eye(len(datasets)).ravel())
        scores.append(-distances.ravel())
    return float(roc_auc_score(np.concatenate(truth), np.concatenate(scores)))


def toy_surfaces(datasets: list[Dataset]) -> np.ndarray:
    """Which of two groups of configurations is better depends on the noise of the target."""
    rng = np.random.default_rng(0)
    weak, strong = rng.normal(size=(2, 40))
    skill = [abs(np.corrcoef(X[:, 0], y)[0, 1]) for X, y in datasets]
    return np.array([s * weak + (1 - s) * strong for s in skill])


@pytest.fixture(scope="module")
def fitted() -> DatasetEncoder:
    datasets = toy_datasets(5)
    encoder = DatasetEncoder(8, n_steps=20, random_state=0)
    return encoder.fit(datasets, toy_surfaces(datasets))


@pytest.fixture(scope="module")
def without_surfaces() -> DatasetEncoder:
    return DatasetEncoder(8, n_steps=20, random_state=0).fit(toy_datasets(5))


@pytest.fixture(scope="module", params=["fitted", "without_surfaces", "pretrained"])
def any_encoder(request: pytest.FixtureRequest) -> DatasetEncoder:
    if request.param == "pretrained":
        return DatasetEncoder.pretrained()
    return request.getfixturevalue(request.param)


# ------------------------------------------------------------------------------------- invariances


@pytest.mark.parametrize("n", [150, 2600])
def test_blind_to_order_and_to_names_of_classes(any_encoder: DatasetEncoder, n: int) -> None:
    X, y = mixed(n)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(n), rng.permutation(X.shape[1])
    other = X.iloc[rows, columns].rename(columns=lambda name: f"new {name}")
    renamed = np.where(y[rows] == "yes", "a", "z")
    first, second = any_encoder.transform([(X, y), (other, renamed)])
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_blind_to_order_of_many_columns(any_encoder: DatasetEncoder) -> None:
    X, y = numbers(60, 130, 3)
    rng = np.random.default_rng(1)
    shuffled = (X[:, rng.permutation(130)], 2 - y)
    first, second = any_encoder.transform([(X, y), shuffled])
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_container_makes_no_difference(fitted: DatasetEncoder) -> None:
    X, y = load_iris(return_X_y=True)
    variants = [(X, y), (pd.DataFrame(X), pd.Series(y)), (X.tolist(), y.tolist())]
    first, *others = fitted.transform(variants)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_data_set_is_embedded_alone_as_in_company(any_encoder: DatasetEncoder) -> None:
    datasets = [numbers(40, 3, 2), mixed(90), numbers(30, 20, 5)]
    together = any_encoder.transform(datasets)
    alone = np.vstack([any_encoder.transform([dataset]) for dataset in datasets])
    np.testing.assert_array_equal(together, alone)


def test_content_makes_a_difference(any_encoder: DatasetEncoder) -> None:
    iris, wine = any_encoder.transform([load_iris(return_X_y=True), load_wine(return_X_y=True)])
    assert np.linalg.norm(iris - wine) > 0.01


# -------------------------------------------------------------------------------------- any shape


@pytest.mark.parametrize(
    ("X", "y"),
    [
        ([[1.0]], [0]),
        ([[1.0], [2.0]], [0, 1]),
        ([["a"], ["b"], [None]], ["u", "v", "u"]),
        (np.full((9, 2), np.nan), [0, 1, 2] * 3),
        (np.full((9, 2), np.inf), [0.5] * 9),
        (np.zeros((9, 2)), [0] * 9),
        (np.zeros((30, 2)), [0, 1] * 15),
        (np.arange(8.0), np.linspace(0.1, 1e308, 8)),
        (np.array([[1e308], [-1e308]] * 10), [0, 1] * 10),
        (np.array([[1, "a"], [2, "b"]], dtype=object), [True, False]),
        (np.arange(20)[:, None], [str(i) for i in range(20)]),
        numbers(400, 5, 100),
        numbers(50, 300, 2),
        (numbers(60, 4, 2)[0], numbers(60, 4, 2)[0][:, 1] * 1e6),
        load_diabetes(return_X_y=True),
        mixed(1),
        mixed(2),
        mixed(7),
        mixed(120),
    ],
    ids=[
        "cell",
        "two-rows",
        "text",
        "nan",
        "inf",
        "constant",
        "constant-columns",
        "1d-huge-target",
        "huge",
        "object",
        "all-classes",
        "100-classes",
        "wide",
        "regression",
        "diabetes",
        "frame-1",
        "frame-2",
        "frame-7",
        "frame",
    ],
)
def test_any_table_gives_finite_coordinates(any_encoder: DatasetEncoder, X: Any, y: Any) -> None:
    embedded = any_encoder.transform([(X, y)])
    assert embedded.shape == (1, any_encoder.n_components)
    assert embedded.dtype == np.float64
    assert np.isfinite(embedded).all()


def test_odd_tables_can_be_trained_on() -> None:
    datasets = [([[1.0]], [0]), (np.full((9, 2), np.nan), [0, 1, 2] * 3), mixed(40)]
    datasets += [numbers(150, 3, 40), (np.zeros((5, 1)), np.linspace(0.0, 1.5, 5))]
    surfaces = np.random.default_rng(0).normal(size=(5, 9))
    surfaces[0], surfaces[1, :4], surfaces[2] = np.nan, np.nan, 1.0
    encoder = DatasetEncoder(64, n_steps=3, random_state=0).fit(datasets, surfaces)
    embedded = encoder.transform(datasets)
    assert embedded.shape == (5, 64)
    assert np.isfinite(embedded).all()


# ------------------------------------------------------------------------------------ determinism


def test_the_same_seed_gives_the_same_encoder(fitted: DatasetEncoder) -> None:
    datasets = toy_datasets(5)
    again = clone(fitted).fit(datasets, toy_surfaces(datasets))
    np.testing.assert_array_equal(fitted.transform(datasets), again.transform(datasets))
    seeds = [DatasetEncoder(8, n_steps=2, random_state=seed).fit(datasets) for seed in (0, 1)]
    first, second = (encoder.transform(datasets) for encoder in seeds)
    assert not np.allclose(first, second)


def test_global_random_states_are_left_alone() -> None:
    import torch

    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    DatasetEncoder(4, n_steps=2, random_state=0).fit(toy_datasets(3)).transform(toy_datasets(1))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


# --------------------------------------------------------------------------------------- learning


def test_training_tells_samples_of_one_data_set_from_others() -> None:
    start = time.perf_counter()
    trained = DatasetEncoder(16, n_steps=80, random_state=0).fit(toy_datasets(16))
    assert time.perf_counter() - start < 20
    untrained = DatasetEncoder(16, n_steps=0, random_state=0).fit(toy_datasets(16))
    held_out = toy_datasets(32)[16:]
    before, after = area(untrained, held_out, 3), area(trained, held_out, 3)
    assert after > before + 0.02, (before, after)
    assert np.mean(trained.loss_curve_[-10:]) < 0.5 * np.mean(trained.loss_curve_[:10])


@pytest.mark.slow
def test_surfaces_pull_distances_towards_them() -> None:
    datasets = toy_datasets(28)
    train, test = datasets[:16], datasets[16:]
    similarity = rank_similarity(toy_surfaces(test))
    pairs = np.triu_indices(len(test), 1)
    found = []
    for surfaces in (None, toy_surfaces(train)):
        encoder = DatasetEncoder(16, n_steps=20, random_state=0, surface_weight=0.9)
        embedded = encoder.fit(train, surfaces).transform(test)
        distances = np.linalg.norm(embedded[:, None] - embedded[None], axis=-1)
        found.append(spearmanr(-distances[pairs], similarity[pairs]).statistic)
    assert found[1] > found[0] + 0.1, found
    assert found[1] > 0.32, found


def test_order_alone_counts_in_surfaces(fitted: DatasetEncoder) -> None:
    datasets = toy_datasets(5)
    scores = toy_surfaces(datasets)
    other = clone(fitted).fit(datasets, [np.exp(3 * scores)])
    np.testing.assert_array_equal(fitted.transform(datasets), other.transform(datasets))


def test_rank_similarity_is_spearmans() -> None:
    scores = np.random.default_rng(0).integers(0, 9, size=(3, 30)).astype(float)
    scores[2, :7] = np.nan
    found = rank_similarity(scores)
    assert found[0, 1] == pytest.approx(spearmanr(scores[0], scores[1]).statistic)
    assert found[1, 2] == pytest.approx(spearmanr(scores[1, 7:], scores[2, 7:]).statistic)
    np.testing.assert_allclose(np.diag(found), 1.0)
    constant = np.vstack([scores[0], np.ones(30)])
    assert np.isnan(rank_similarity(constant)[0, 1])
    few = np.vstack([scores[0], np.where(np.arange(30) < 4, scores[0], np.nan)])
    assert np.isnan(rank_similarity(few)[0, 1])


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("name", ["fitted", "without_surfaces"])
def test_save_and_load(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    encoder = request.getfixturevalue(name)
    encoder.save(tmp_path / "encoder.safetensors")
    loaded = DatasetEncoder.load(tmp_path / "encoder.safetensors")
    assert loaded.get_params() == encoder.get_params()
    assert loaded.loss_curve_ == encoder.loss_curve_
    datasets = [mixed(80), numbers(50, 4, 3)]
    np.testing.assert_array_equal(encoder.transform(datasets), loaded.transform(datasets))


def test_a_random_state_object_is_left_out_with_a_warning(
    fitted: DatasetEncoder, tmp_path: Path
) -> None:
    encoder = copy.copy(fitted).set_params(random_state=np.random.RandomState(0))
    with pytest.warns(UserWarning, match="random_state cannot be saved without pickle") as told:
        encoder.save(tmp_path / "encoder.safetensors")
    assert told[0].filename == __file__
    loaded = DatasetEncoder.load(tmp_path / "encoder.safetensors")
    assert loaded.get_params() == encoder.get_params() | {"random_state": None}


def test_pickle(fitted: DatasetEncoder) -> None:
    datasets = [numbers(50, 4, 3)]
    copied = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(fitted.transform(datasets), copied.transform(datasets))


def test_damaged_and_foreign_files(fitted: DatasetEncoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    fitted.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FileFormatError, match="cannot be read"):
        DatasetEncoder.load(path)
    write_file(path, {"estimator": "MetaFewShotClassifier"}, {})
    with pytest.raises(FileFormatError, match="holds MetaFewShotClassifier, not DatasetEncoder"):
        DatasetEncoder.load(path)


def test_newer_file(
    fitted: DatasetEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "encoder.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr("metaest.persistence.FORMAT_VERSION", 99)
        fitted.save(path)
    with pytest.raises(NewerVersionError, match="Upgrade metaest"):
        DatasetEncoder.load(path)


def test_file_that_lacks_a_tensor(fitted: DatasetEncoder, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    fitted.save(path)
    content, tensors = read_file(path)
    del tensors["surface/scale"]
    write_file(path, content, tensors)
    with pytest.raises(FileFormatError, match="does not hold what DatasetEncoder needs"):
        DatasetEncoder.load(path)


def test_pretrained_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = DatasetEncoder.pretrained()
    monkeypatch.setattr(DatasetEncoder, "load", lambda path: pytest.fail("the file was read again"))
    second = DatasetEncoder.pretrained()
    assert first is not second
    assert first.model_ is second.model_
    first.set_params(n_components=4)
    assert second.n_components == 32


def test_shipped_files_are_small_and_documented() -> None:
    from metaest.meta_features import _encoder

    folder = Path(_encoder.__file__).parent / "data"
    files = [folder / "encoder.safetensors", folder / "encoder.json"]
    assert sum(file.stat().st_size for file in files) < 500_000
    card = json.loads(files[1].read_text())
    assert card["cpu_minutes"] <= 5
    assert len(card["data_ids"]) == 52


def read_openml(folder: Path, entry: dict) -> Dataset:
    arff = pytest.importorskip("arff")
    with gzip.open(folder / f"{entry['data_id']}.arff.gz", "rt", encoding="utf-8") as file:
        content = arff.load(file)
    frame = pd.DataFrame(content["data"], columns=[name for name, _ in content["attributes"]])
    frame = frame.drop(columns=entry["ignore_attribute"])
    return frame, frame.pop(entry["default_target_attribute"]).astype(str).to_numpy()


@pytest.mark.slow
def test_held_out_real_data_sets(data_dir: Path) -> None:
    folder = data_dir / "openml"
    entries = json.loads((folder / "index.json").read_text())
    small = [e for e in entries if e["n_instances"] <= 1000 and e["n_features"] <= 40]
    datasets = [read_openml(folder, entry) for entry in small]
    train, held_out = datasets[::2], datasets[1::2]
    assert len(held_out) >= 15
    encoder = DatasetEncoder(n_steps=100, random_state=0).fit(train)
    assert area(encoder, held_out, 2) >= 0.95


# ----------------------------------------------------------------------------------- scikit-learn


def test_pandas_output_and_names(fitted: DatasetEncoder) -> None:
    names = DatasetEncoder(8).get_feature_names_out()
    assert names.tolist() == [f"datasetencoder{i}" for i in range(8)]
    encoder = pickle.loads(pickle.dumps(fitted)).set_output(transform="pandas")
    frame = encoder.transform([numbers(30, 2, 2)])
    assert list(frame.columns) == names.tolist()


def test_generators_are_read_once(fitted: DatasetEncoder) -> None:
    datasets = toy_datasets(3)
    embedded = fitted.transform(dataset for dataset in datasets)
    np.testing.assert_array_equal(embedded, fitted.transform(datasets))


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], "datasets is empty"),
        ([numbers(20, 2, 2)], "at least two, got 1"),
        (load_iris(return_X_y=True), "list of pairs"),
        ([numbers(20, 2, 2), (np.empty((0, 3)), [])], "data set 1 has 0 rows"),
        ([numbers(20, 2, 2), (np.ones((3, 1)), [0, 1])], "data set 1 differ in length"),
        ([numbers(20, 2, 2), (np.ones((3, 1)), [0, 1, None])], "y of data set 1 has 1 missing"),
        ([numbers(20, 2, 2), (np.ones((2, 3)) * 1j, [0, 1])], "data set 1 has complex numbers"),
    ],
    ids=["empty", "one", "no-list", "no-rows", "length", "missing-y", "complex"],
)
def test_bad_data_sets(datasets: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        DatasetEncoder(4, n_steps=1).fit(datasets)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 1}, "n_components must be an int >= 2"),
        ({"n_components": (2, 4)}, "n_components must be an int"),
        ({"n_steps": -1}, "n_steps must be an int >= 0"),
        ({"surface_weight": 1.5}, "surface_weight must be a number from 0 to 1, got 1.5"),
        ({"surface_weight": "high"}, "surface_weight must be a number from 0 to 1, got 'high'"),
        ({"kind": "ranking"}, "kind must be"),
    ],
    ids=["components", "pair", "steps", "weight", "text", "kind"],
)
def test_bad_parameters(parameters: dict, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        DatasetEncoder(**parameters).fit(toy_datasets(2))


def test_bad_device() -> None:
    with pytest.raises(DeviceError, match="device='nowhere'"):
        DatasetEncoder(device="nowhere").fit(toy_datasets(2))


@pytest.mark.parametrize(
    ("surfaces", "message"),
    [
        (np.ones((2, 5)), r"surfaces must have shape .* with 3 rows.*\(2, 5\)"),
        (np.ones(3), r"surfaces must have shape"),
        ([np.ones((3, 5)), np.ones((4, 5))], r"surfaces\[1\] must have shape"),
        ([["a", "b"]] * 3, "surfaces must hold numbers"),
    ],
    ids=["rows", "1d", "list", "text"],
)
def test_bad_surfaces(surfaces: Any, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        DatasetEncoder(4, n_steps=1).fit(toy_datasets(3), surfaces)


def test_not_fitted(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        DatasetEncoder().transform([numbers(20, 2, 2)])
    with pytest.raises(NotFittedError):
        DatasetEncoder().save(tmp_path / "encoder.safetensors")


def test_data_sets_may_come_one_by_one() -> None:
    datasets = toy_datasets(3)
    surfaces = np.random.default_rng(0).random((3, 5))
    for own in (None, surfaces):
        encoder = DatasetEncoder(n_steps=0, random_state=0)
        one_by_one = encoder.fit_transform((data for data in datasets), own)
        np.testing.assert_array_equal(one_by_one, encoder.fit(datasets, own).transform(datasets))


def test_names_are_of_what_was_fitted(fitted: DatasetEncoder) -> None:
    encoder = copy.deepcopy(fitted).set_params(n_components=4)
    assert len(encoder.get_feature_names_out()) == fitted.n_components


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
def test_surfaces_that_rank_nothing(value: float) -> None:
    datasets = toy_datasets(3)
    surfaces = np.full((len(datasets), 6), value)
    surfaces[0] = np.arange(6)  # of one data set alone
    with pytest.raises(InvalidParameterError, match="surfaces must hold scores that differ"):
        DatasetEncoder(8, n_steps=1).fit(datasets, surfaces)
