"""The default classifier on tables as users have them: the pretrained network."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest import MetaFewShotClassifier
from metaest.exceptions import TaskError, UnsupportedTaskError
from metaest.learners import InContextTransformer
from metaest.tasks import TaskSet
from metaest.testing import toy_tasks

TABLE = pd.DataFrame(
    {
        "age": [30, 40, None, 22, 55, 60, 35, 28],
        "job": pd.Categorical(["a", "b", "a", None, "c", "b", "c", "a"]),
        "city": ["x", "y", "x", None, "y", "y", "z", "x"],
        "since": pd.to_datetime(["2020-01-01", None, *["2021-05-05"] * 6]),
        "insured": pd.array([True, False, None, True, False, False, True, True], dtype="boolean"),
        "visits": pd.array([1, 2, None, 4, 0, 1, 3, 2], dtype="Int64"),
    }
)
Y = ["yes", "no", "yes", "yes", "no", "no", "no", "yes"]


@pytest.fixture(scope="module")
def iris() -> tuple[np.ndarray, ...]:
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    return X[:30], y[:30], X[30:], y[30:]


def test_the_default_needs_no_meta_training(iris) -> None:
    X, y, test_X, test_y = iris
    clf = MetaFewShotClassifier().fit(X, y)
    assert isinstance(clf.learner_, InContextTransformer)
    assert clf.meta_state_.source == "pretrained"
    assert clf.meta_state_.versions["licence"] == "BSD-3-Clause"
    assert "synthetic" in clf.meta_state_.versions["data"]
    assert clf.score(test_X, test_y) > 0.9


def test_images_descriptions_and_backbones_are_protonets(iris) -> None:
    X, y, *_ = iris
    images = MetaFewShotClassifier(random_state=0).fit(X.reshape(-1, 1, 2, 2), y)
    flat = MetaFewShotClassifier(input_shape=(1, 2, 2), random_state=0).fit(X, y)
    described = MetaFewShotClassifier().fit(class_descriptions={"a": [0.0, 1.0], "b": [1.0, 0.0]})
    chosen = MetaFewShotClassifier(backbone="mlp", random_state=0).fit(X, y)
    for clf in (images, flat, described, chosen):
        assert type(clf.learner_).__name__ == "ProtoNet"
        assert clf.meta_state_.source == "seeded"


def test_auto_is_a_protonet_once_meta_trained(iris) -> None:
    X, y, *_ = iris
    clf = MetaFewShotClassifier(n_ways=3, n_shots=2, n_queries=2, n_episodes=8, random_state=0)
    clf.fit_meta(X, y)
    assert type(clf.fit(X, y).learner_).__name__ == "ProtoNet"
    assert type(clone(clf).fit(X, y).learner_).__name__ == "ProtoNet"


def test_strings_categories_dates_and_gaps() -> None:
    clf = MetaFewShotClassifier().fit(TABLE, Y)
    assert clf.feature_names_in_.tolist() == TABLE.columns.tolist()
    found = [None if c is None else c.tolist() for c in clf.categories_]
    assert found == [None, ["a", "b", "c"], ["x", "y", "z"], None, ["False", "True"], None]
    assert (clf.predict(TABLE) == Y).mean() > 0.7
    unseen = TABLE.assign(city="elsewhere", job=None)
    with pytest.warns(UserWarning, match="column 'city' has none of the categories"):
        assert np.isfinite(clf.predict_proba(unseen)).all()
    as_lists = MetaFewShotClassifier().fit(TABLE[["age", "city"]].values.tolist(), Y)
    as_frame = MetaFewShotClassifier().fit(TABLE[["age", "city"]], Y)
    assert np.array_equal(
        as_lists.predict_proba(TABLE[["age", "city"]].values.tolist()),
        as_frame.predict_proba(TABLE[["age", "city"]]),
    )


def test_saved_and_loaded(tmp_path) -> None:
    clf = MetaFewShotClassifier().fit(TABLE, Y)
    clf.save(tmp_path / "clf")
    loaded = MetaFewShotClassifier.load(tmp_path / "clf")
    assert np.array_equal(loaded.predict_proba(TABLE), clf.predict_proba(TABLE))
    refitted = loaded.fit(TABLE.iloc[::-1], Y[::-1]).predict_proba(TABLE)
    np.testing.assert_allclose(refitted, clf.predict_proba(TABLE), atol=0.2)


def test_a_second_fit_forgets_the_categories(iris) -> None:
    X, y, *_ = iris
    clf = MetaFewShotClassifier().fit(TABLE, Y).fit(X, y)
    assert not hasattr(clf, "categories_")
    assert clf.predict(X).shape == y.shape


def test_columns_are_matched_by_name() -> None:
    clf = MetaFewShotClassifier().fit(TABLE, Y)
    with pytest.raises(ValueError, match="same order"):
        clf.predict(TABLE[TABLE.columns[::-1]])
    with pytest.raises(ValueError, match="missing"):
        clf.predict(TABLE.drop(columns="age"))
    with pytest.raises(TaskError, match=r"column 'age' held numbers in fit and has 'old' now"):
        clf.predict(TABLE.assign(age="old"))


def test_infinity_is_refused_and_nan_is_not(iris) -> None:
    X, y, test_X, _ = iris
    X = X.copy()
    X[3, 2] = np.nan
    clf = MetaFewShotClassifier().fit(X, y)
    with pytest.raises(ValueError, match=r"infinity.*\n.*replace them by NaN, which this"):
        clf.predict(np.where(test_X > 5, np.inf, test_X))
    with pytest.raises(ValueError, match=r"NaN.*\n.*SimpleImputer"):
        MetaFewShotClassifier("protonet").fit(X, y)


@pytest.mark.parametrize(
    "extra",
    [np.nan, 7.0, "id", "scale", "copy"],
    ids=["missing", "constant", "id-like", "1e12", "duplicate"],
)
def test_odd_columns_do_little(iris, extra) -> None:
    X, y, test_X, test_y = iris
    parts = {
        "id": lambda part: np.arange(len(part)) + 1e6,
        "scale": lambda part: 1e12 * part[:, 0],
        "copy": lambda part: part[:, 1],
    }
    column = parts.get(extra, lambda part: np.full(len(part), extra))
    wider, test = (np.column_stack([part, column(part)]) for part in (X, test_X))
    assert MetaFewShotClassifier().fit(wider, y).score(test, test_y) > 0.85


def test_many_classes_and_too_many_rows() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=5, size=(14, 3))
    y = np.repeat(np.arange(14), 5)
    X = centres[y] + 0.3 * rng.normal(size=(70, 3))
    assert MetaFewShotClassifier().fit(X, y).score(X, y) > 0.8
    small = MetaFewShotClassifier(InContextTransformer(max_rows=50))
    with pytest.raises(UnsupportedTaskError, match=r"max_rows=50 labelled rows, got 70.*sample"):
        small.fit(X, y)
    with pytest.raises(TaskError, match="at least 2 classes"):
        MetaFewShotClassifier().fit(X, np.zeros(70))


def test_order_of_rows_and_columns(iris) -> None:
    X, y, test_X, _ = iris
    network = InContextTransformer(companions=0.0)
    expected = MetaFewShotClassifier(network).fit(X, y).predict_proba(test_X)
    rows = np.random.default_rng(1).permutation(len(y))
    shuffled = MetaFewShotClassifier(network).fit(X[rows], y[rows]).predict_proba(test_X)
    np.testing.assert_allclose(shuffled, expected, atol=1e-6)
    turned = MetaFewShotClassifier(network).fit(X[:, ::-1], y).predict_proba(test_X[:, ::-1])
    np.testing.assert_allclose(turned, expected, atol=1e-6)
    renamed = MetaFewShotClassifier(network).fit(X, 2 - y).predict_proba(test_X)
    np.testing.assert_allclose(renamed[:, ::-1], expected, atol=1e-6)
    whole = MetaFewShotClassifier().fit(X, y).predict_proba(test_X)
    shuffled = MetaFewShotClassifier().fit(X[rows], y[rows]).predict_proba(test_X)
    np.testing.assert_allclose(shuffled, whole, atol=1e-5)


def test_in_a_pipeline(iris) -> None:
    X, y, test_X, test_y = iris
    pipeline = make_pipeline(StandardScaler(), MetaFewShotClassifier()).fit(X, y)
    assert pipeline.score(test_X, test_y) > 0.9


def test_other_sizes_start_untrained(iris) -> None:
    X, y, *_ = iris
    clf = MetaFewShotClassifier(InContextTransformer(n_layers=1), random_state=0).fit(X, y)
    assert clf.meta_state_.source == "seeded"


def test_meta_training_goes_on_from_the_shipped_weights() -> None:
    tasks = TaskSet.from_datasets(toy_tasks("classification", 12, seed=0))
    clf = MetaFewShotClassifier("in_context", n_ways=4, n_shots=3, n_queries=5, random_state=0)
    clf.set_params(n_episodes=8, meta_batch_size=4).fit_meta(tasks)
    shipped = MetaFewShotClassifier().fit([[0.0], [1.0]], [0, 1]).meta_state_
    trained = clf.meta_state_
    assert trained.source == "fit_meta"
    moved = [(trained.weights[k] - v).abs().max() for k, v in shipped.weights.items()]
    assert max(moved) < 0.01  # a low rate, from these weights
    X, y = toy_tasks("classification", 1, seed=1)[0]
    assert clf.fit(X[:20], y[:20]).learner_.companions > 0
    wider = np.column_stack([X, X])
    assert clf.fit(wider[:20], y[:20]).predict(wider).shape == y.shape  # any columns


def _clue(seed: int, n: int = 40) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw a task that no network would expect: a sign counts, but is turned by a word."""
    rng = np.random.default_rng(seed)
    sign, word = rng.normal(size=n), rng.choice(["x", "y", "z"], n)
    frame = pd.DataFrame({"word": word, "sign": sign, "gaps": rng.normal(size=n)})
    frame.loc[rng.random(n) < 0.3, "gaps"] = None
    for extra in range(seed % 3):  # columns of some tasks only
        frame[f"extra {extra}"] = rng.normal(size=n)
    return frame, np.where((sign > 0) ^ (word == "x"), "in", "out")


@pytest.mark.slow
def test_meta_training_on_tables_with_text_gaps_and_other_columns() -> None:
    shape = {"n_ways": 2, "n_shots": 10, "n_queries": (1, 8)}
    clf = MetaFewShotClassifier(
        InContextTransformer(companions=0), n_episodes=1600, random_state=0, **shape
    )
    tests = [_clue(seed) for seed in range(100, 120)]

    def accuracy() -> float:
        return np.mean([clf.fit(X[:20], y[:20]).score(X[20:], y[20:]) for X, y in tests])

    before = accuracy()
    clf.fit_meta([_clue(seed) for seed in range(40)])
    assert accuracy() > before + 0.1


def test_auto_reads_tasks_with_text_gaps_or_other_columns() -> None:
    options = {"n_ways": 2, "n_shots": 2, "n_queries": 2, "n_episodes": 2, "random_state": 0}
    clf = MetaFewShotClassifier(**options).fit_meta([_clue(0), _clue(1)])
    assert isinstance(clf.meta_state_.learner, InContextTransformer)
    X, y = _clue(2)
    assert clf.fit(X[:20], y[:20]).predict(X).shape == (40,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda X: X[["word", "sign"]],
            "task '0' has text or categories in column 'word', which ProtoNet cannot",
        ),
        (lambda X: X[["sign", "gaps"]], r"missing values \(NaN\) in column 'gaps'.*'in_context'"),
        (lambda X: X.drop(columns=["word", "gaps"]), "differ in their columns.*'in_context'"),
    ],
)
def test_other_learners_say_what_they_cannot_read(change, message: str) -> None:
    clf = MetaFewShotClassifier("protonet", n_ways=2, n_shots=2, n_queries=2, n_episodes=2)
    with pytest.raises(TaskError, match=message):
        clf.fit_meta([(change(X), y) for X, y in (_clue(0), _clue(3), _clue(4))])


@pytest.mark.parametrize("trained", [False, True])
def test_episodes_of_a_table_with_text_are_single_fits(trained: bool) -> None:
    X, y = _clue(0)
    clf = MetaFewShotClassifier(
        "in_context", n_ways=2, n_shots=2, n_queries=2, n_episodes=2, random_state=0
    )
    if trained:
        clf.fit_meta([_clue(1), _clue(2)])
    support, query = np.arange(10), np.arange(10, 40)
    [(classes, found)] = clf.predict_episodes(X, y, [(support, query)])
    single = clone(clf).fit(X.iloc[support], y[support])
    assert classes.tolist() == single.classes_.tolist()
    np.testing.assert_allclose(found, single.predict_proba(X.iloc[query]), rtol=1e-9)


def test_tables_that_are_none_say_so() -> None:
    clf = MetaFewShotClassifier("in_context", n_ways=2, n_shots=2, n_queries=2, n_episodes=2)
    X, y = _clue(0)
    with pytest.raises(TaskError, match="task '1' has 40 rows and 0 columns; at least one of each"):
        clf.fit_meta([(X, y), (X[[]], y)])
    with pytest.raises(TaskError, match=r"infinity.*Clip or drop them, or make them NaN"):
        clf.fit_meta([(X, y), (X.assign(sign=np.inf), y)])
    images = np.zeros((40, 1, 3, 3))
    with pytest.raises(TaskError, match="differ in their columns: rows of shapes"):
        clf.fit_meta([(images, y), (images.reshape(40, 9), y)])
