"""The default regressor on tables as users have them: the pretrained network, with bins."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest import MetaFewShotRegressor
from metaest.exceptions import TaskError
from metaest.learners import DeepKernelGP, InContextTransformer
from metaest.tasks import TaskSet
from metaest.testing import toy_tasks

TABLE = pd.DataFrame(
    {
        "age": [30, 40, None, 22, 55, 60, 35, 28],
        "job": pd.Categorical(["a", "b", "a", None, "c", "b", "c", "a"]),
        "city": ["x", "y", "x", None, "y", "y", "z", "x"],
        "since": pd.to_datetime(["2020-01-01", None, *["2021-05-05"] * 6]),
        "visits": pd.array([1, 2, None, 4, 0, 1, 3, 2], dtype="Int64"),
    }
)
Y = np.array([3.0, 8.5, 3.5, 2.0, 9.0, 9.5, 6.0, 2.5])


@pytest.fixture(scope="module")
def friedman() -> tuple[np.ndarray, ...]:
    X, y = make_friedman1(400, noise=1.0, random_state=0)
    return X[:100], y[:100], X[100:], y[100:]


def test_the_default_needs_no_meta_training(friedman) -> None:
    X, y, test_X, test_y = friedman
    reg = MetaFewShotRegressor().fit(X, y)
    assert isinstance(reg.learner_, InContextTransformer)
    assert reg.meta_state_.source == "pretrained"
    assert reg.meta_state_.spec.kind == "regression"
    scores = {
        share: MetaFewShotRegressor(InContextTransformer(companions=share))
        .fit(X, y)
        .score(test_X, test_y)
        for share in (0.0, 1.0)
    }
    score = reg.score(test_X, test_y)
    assert score > 0.6 > scores[0.0] > 0.4  # 0 is that of the mean
    assert score > scores[1.0] - 0.08


def test_beside_others_it_gains() -> None:
    X, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:100], order[100:]
    found = {}
    for share in (0.0, 0.6, 1.0):
        reg = MetaFewShotRegressor(InContextTransformer(companions=share))
        found[share] = reg.fit(X[train], y[train]).score(X[test], y[test])
    assert found[0.6] > max(0.35, found[0.0], found[1.0] - 0.02)


def test_standard_deviation(friedman) -> None:
    X, y, test_X, test_y = friedman
    mean, std = MetaFewShotRegressor().fit(X, y).predict(test_X, return_std=True)
    inside = np.abs(mean - test_y) < 1.645 * std  # 90 % of a normal distribution
    assert 0.85 < inside.mean() < 0.99
    assert std.max() < 1.2 * y.std()


@pytest.mark.parametrize("scale", [1e12, 1e-12])
def test_units_of_the_target(friedman, scale: float) -> None:
    X, y, test_X, _ = friedman
    mean, std = MetaFewShotRegressor().fit(X[:40], y[:40]).predict(test_X, return_std=True)
    found = MetaFewShotRegressor().fit(X[:40], scale * y[:40]).predict(test_X, return_std=True)
    np.testing.assert_allclose(found[0] / scale, mean, rtol=1e-6)
    np.testing.assert_allclose(found[1] / scale, std, rtol=1e-6)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 7])
def test_few_rows(friedman, n_rows: int) -> None:
    X, y, test_X, _ = friedman
    mean, std = MetaFewShotRegressor().fit(X[:n_rows], y[:n_rows]).predict(test_X, return_std=True)
    assert np.isfinite(mean).all()
    assert (std > 0).all()


def test_one_row_is_all_that_can_be_predicted(friedman) -> None:
    X, y, test_X, _ = friedman
    np.testing.assert_allclose(MetaFewShotRegressor().fit(X[:1], y[:1]).predict(test_X), y[0])


@pytest.mark.parametrize("value", [0.0, -7.25, 1e12, 1e-12])
def test_a_constant_target_is_predicted(friedman, value: float) -> None:
    X, _, test_X, _ = friedman
    reg = MetaFewShotRegressor().fit(X, np.full(len(X), value))
    np.testing.assert_allclose(reg.predict(test_X), value, rtol=1e-9, atol=1e-300)


def test_order_of_rows_and_columns(friedman) -> None:
    X, y, test_X, _ = friedman
    rows = np.random.default_rng(1).permutation(len(y))
    expected = MetaFewShotRegressor().fit(X, y).predict(test_X)
    shuffled = MetaFewShotRegressor().fit(X[rows], y[rows]).predict(test_X)
    np.testing.assert_allclose(shuffled, expected, rtol=1e-6)
    network = InContextTransformer(companions=0.0)
    expected = MetaFewShotRegressor(network).fit(X, y).predict(test_X)
    turned = MetaFewShotRegressor(network).fit(X[:, ::-1], y).predict(test_X[:, ::-1])
    np.testing.assert_allclose(turned, expected, rtol=1e-6)


def test_a_table_with_strings_categories_and_gaps() -> None:
    reg = MetaFewShotRegressor().fit(TABLE, Y)
    assert np.corrcoef(reg.predict(TABLE), Y)[0, 1] > 0.9
    unseen = TABLE.assign(city="elsewhere", job=None, age=np.nan)
    with pytest.warns(UserWarning, match="column 'city' has none of the categories"):
        assert np.isfinite(reg.predict(unseen)).all()


def test_gaps_in_an_array(friedman) -> None:
    X, y, test_X, test_y = friedman
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    test_holes = np.where(np.random.default_rng(1).random(test_X.shape) < 0.1, np.nan, test_X)
    assert MetaFewShotRegressor().fit(holes, y).score(test_holes, test_y) > 0.4


def test_saved_and_loaded(tmp_path) -> None:
    reg = MetaFewShotRegressor().fit(TABLE, Y)
    reg.save(tmp_path / "reg")
    loaded = MetaFewShotRegressor.load(tmp_path / "reg")
    found, expected = (one.predict(TABLE, return_std=True) for one in (loaded, reg))
    assert np.array_equal(found, expected)
    refitted = loaded.fit(TABLE.iloc[::-1], Y[::-1]).predict(TABLE)
    np.testing.assert_allclose(refitted, expected[0], rtol=1e-6)


def test_with_scikit_learns_tools(friedman) -> None:
    X, y, test_X, test_y = friedman
    pipeline = make_pipeline(StandardScaler(), MetaFewShotRegressor())
    assert pipeline.fit(X, y).score(test_X, test_y) > 0.6
    assert cross_val_score(clone(MetaFewShotRegressor()), X, y, cv=2).mean() > 0.4
    learner = InContextTransformer(n_trees=8)
    search = GridSearchCV(
        MetaFewShotRegressor(learner), {"learner__companions": [0.0, 0.6]}, cv=2
    ).fit(X, y)
    assert search.best_params_ == {"learner__companions": 0.6}


def test_what_was_meta_trained_is_not_the_default() -> None:
    tasks = TaskSet.from_datasets(toy_tasks("regression", 8, seed=0))
    reg = MetaFewShotRegressor(n_episodes=4, meta_batch_size=2, random_state=0).fit_meta(tasks)
    X, y = toy_tasks("regression", 1, seed=1)[0]
    assert isinstance(reg.fit(X, y).learner_, DeepKernelGP)


def test_meta_training_goes_on_from_the_shipped_weights() -> None:
    tasks = TaskSet.from_datasets(toy_tasks("regression", 12, seed=0))
    reg = MetaFewShotRegressor("in_context", n_shots=12, n_queries=10, random_state=0)
    reg.set_params(n_episodes=16, meta_batch_size=4, validation_fraction=0).fit_meta(tasks)
    shipped = MetaFewShotRegressor().fit([[0.0], [1.0]], [0.0, 1.0]).meta_state_
    trained = reg.meta_state_
    assert trained.source == "fit_meta"
    moved = [(trained.weights[k] - v).abs().max() for k, v in shipped.weights.items()]
    assert 0 < max(moved) < 0.01  # a low rate, from these weights
    X, y = toy_tasks("regression", 1, seed=1)[0]
    wider = np.column_stack([X, X])  # any columns
    assert reg.fit(wider[:20], y[:20]).score(wider[20:], y[20:]) > 0.2


def test_after_meta_training_tiny_targets_keep_their_digits() -> None:
    tasks = TaskSet.from_datasets(
        [(X, 2e5 + 5e4 * y) for X, y in toy_tasks("regression", 4, seed=0)]
    )
    reg = MetaFewShotRegressor("in_context", n_shots=6, n_queries=4, random_state=0)
    reg.set_params(n_episodes=2, meta_batch_size=1, validation_fraction=0).fit_meta(tasks)
    X, y = toy_tasks("regression", 1, seed=1)[0]
    expected = reg.fit(X[:20], y[:20]).predict(X[20:])
    found = reg.fit(X[:20], 1e-12 * y[:20]).predict(X[20:])
    np.testing.assert_allclose(found, 1e-12 * expected, rtol=1e-5)


def test_labels_are_refused() -> None:
    with pytest.raises(TaskError, match=r"y of the support set must be numeric.*Classifier"):
        MetaFewShotRegressor().fit([[1.0], [2.0]], ["low", "high"])
