"""The classical classifiers beside the in-context network are scikit-learn's."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest.episodes import Support
from metaest.learners._companions import (
    _order_columns,
    fill_gaps,
    fit_companions,
    predict_companions,
)
from metaest.learners._linear import choose_terms
from metaest.learners._logistic import predict_logistic
from metaest.learners._opinions import folds
from metaest.learners._trees import predict_trees


def support_of(X: np.ndarray, y: np.ndarray, n_classes: int | None = None) -> Support:
    n_classes = int(y.max()) + 1 if n_classes is None else n_classes
    x, labels = torch.from_numpy(X).unsqueeze(0), torch.from_numpy(y).unsqueeze(0)
    class_mask = torch.ones(1, n_classes, dtype=torch.bool)
    return Support(x, labels, torch.ones_like(labels, dtype=torch.bool), class_mask)


def in_order(X: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Bring the columns of all into the order in which those of the first are fitted to."""
    scaled = StandardScaler().fit_transform(X)
    columns = _order_columns(scaled, np.zeros(X.shape[1], dtype=bool))
    return [rows[:, columns] for rows in (X, *others)]


def chosen_regression(X: np.ndarray, y: np.ndarray) -> LogisticRegression:
    """Choose the penalty that makes the classes of rows left out likeliest."""

    def loss(model: LogisticRegression) -> float:
        said = [
            make_pipeline(StandardScaler(), model).fit(X[other], y[other]).predict_proba(X[own])
            for own, other in folds(y)
        ]
        rows = np.concatenate([own for own, _ in folds(y)])
        told = np.concatenate(said)[np.arange(len(y)), y[rows]]
        return float(-np.log(told.clip(0.003)).mean())

    return min((LogisticRegression(C=c, max_iter=300) for c in (1.0, 0.1, 10.0)), key=loss)


@pytest.fixture(params=[load_iris, load_wine], ids=["iris", "wine"])
def data(request: pytest.FixtureRequest) -> tuple[np.ndarray, ...]:
    X, y = request.param(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X = X[order] + np.random.default_rng(1).normal(scale=1e-3, size=X.shape)  # no codes
    return X[:60], y[order][:60], X[60:], y[order][60:]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_both_are_scikit_learns(data, n_classes: int) -> None:
    X, y, test_X, _ = data
    X, y = X[y < n_classes], y[y < n_classes]
    X, test_X = in_order(X, test_X)
    order = np.lexsort((y, *X.T))
    X, y = X[order], y[order]
    state = fit_companions(support_of(X, y), 20)
    x = torch.from_numpy(test_X).unsqueeze(0)
    models = [
        chosen_regression(X, y),
        ExtraTreesClassifier(10, max_features=0.5, random_state=0),
        RandomForestClassifier(10, min_samples_leaf=2, random_state=0),
    ]
    linear, *trees = (
        make_pipeline(StandardScaler(), model).fit(X, y).predict_proba(test_X) for model in models
    )
    expected = linear, np.mean(trees, axis=0)
    scaled = fill_gaps(state, x)
    np.testing.assert_allclose(predict_logistic(state, scaled)[0], expected[0], atol=1e-8)
    np.testing.assert_allclose(predict_trees(state, scaled)[0], expected[1], atol=1e-8)
    np.testing.assert_allclose(predict_companions(state, x).mean[0], sum(expected) / 2, atol=1e-8)


@pytest.mark.parametrize("kind", ["numbers", "signs"])
def test_order_of_rows_and_columns(kind: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(140, 12))
    X = np.sign(X) if kind == "signs" else X  # many columns hold the same values
    y = (X[:, 3] + X[:, 5] * X[:, 7] + rng.normal(size=140) > 0).astype(int)
    rows, columns = rng.permutation(100), rng.permutation(12)
    query = torch.from_numpy(X[None, 100:])
    straight = predict_companions(fit_companions(support_of(X[:100], y[:100]), 20), query)
    mixed = fit_companions(support_of(X[rows][:, columns], y[rows]), 20)
    for found, expected in zip(
        predict_companions(mixed, query[..., columns]), straight, strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("unit", "shift"), [(1e-8, 0.0), (1.0, 1e9), (1e90, 0.0)])
def test_units_do_not_matter(data, unit: float, shift: float) -> None:
    X, y, test_X, _ = data
    expected = predict_companions(
        fit_companions(support_of(X, y), 20), torch.from_numpy(test_X[None])
    )
    state = fit_companions(support_of(unit * X + shift, y), 20)
    found = predict_companions(state, torch.from_numpy(unit * test_X[None] + shift))
    assert torch.equal(found.mean.argmax(-1), expected.mean.argmax(-1))
    torch.testing.assert_close(found.mean, expected.mean, rtol=0, atol=1e-4)


@pytest.mark.parametrize("unit", [1024.0, 1e-3])
@pytest.mark.parametrize("column", [0, 2])
def test_the_unit_of_one_column_does_not_matter(data, column: int, unit: float) -> None:
    X, y, test_X, _ = data
    units = np.ones(X.shape[1])
    units[column] = unit
    expected, found = (
        predict_companions(
            fit_companions(support_of(X * by, y), 20), torch.from_numpy(test_X[None] * by)
        )
        for by in (1.0, units)
    )
    tolerance = 0 if unit == 1024 else 1e-9  # a power of two is exact
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def test_as_many_classes_as_rows_need_no_warning() -> None:
    X = np.random.default_rng(0).normal(size=(30, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = fit_companions(support_of(X, np.arange(30)), 4)
    found = predict_companions(state, torch.from_numpy(X[None])).mean[0]
    np.testing.assert_array_equal(found.argmax(-1), np.arange(30))


def test_categories_are_indicators() -> None:
    codes = np.arange(40.0) % 4
    X, y = np.stack([codes, np.arange(40.0)], 1), (codes == 2).astype(int)
    X[7, 0] = np.nan
    support = replace(support_of(X, y), categorical=torch.tensor([[True, False]]))
    state = fit_companions(support, 1)
    assert state["term_column"].tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    assert state["term_center"][0, 1:6].tolist() == [-1, 0, 1, 2, 3]
    probabilities = predict_companions(state, torch.from_numpy(X).unsqueeze(0)).mean[0].numpy()
    np.testing.assert_array_equal(probabilities.argmax(1), y)  # no line in the code does that
    unknown = predict_companions(state, torch.tensor([[[np.nan, 5.0], [9.0, 5.0]]])).mean
    assert unknown.isfinite().all()


def test_gaps_are_medians_and_dead_columns_do_not_count(data) -> None:
    X, y, test_X, _ = data
    holes = X.copy()
    holes[::7, 1] = np.nan
    filled = np.where(np.isnan(holes), np.nanmedian(holes, axis=0), holes)
    x = torch.from_numpy(test_X).unsqueeze(0)
    expected = predict_companions(fit_companions(support_of(filled, y), 5), x).mean
    torch.testing.assert_close(
        predict_companions(fit_companions(support_of(holes, y), 5), x).mean, expected
    )
    missing = torch.full_like(x, torch.inf)
    assert (
        predict_companions(fit_companions(support_of(holes, y), 5), missing).mean.isfinite().all()
    )
    dead = np.full((len(X), 2), [np.nan, 3.0])
    state = fit_companions(support_of(dead, y), 5)
    shares = predict_companions(state, torch.zeros(1, 1, 2)).mean[0, 0]
    np.testing.assert_allclose(shares, np.bincount(y) / len(y), atol=0.05)


def test_tasks_together_equal_tasks_alone(data) -> None:
    X, y, test_X, _ = data
    whole, part = support_of(X, y), support_of(X[:30], y[:30])
    x = torch.from_numpy(test_X).unsqueeze(0)
    mask = torch.ones(2, 60, dtype=torch.bool)
    mask[1, 30:] = False
    both = Support(
        torch.cat([whole.x, whole.x]), torch.cat([whole.y, whole.y]), mask,
        torch.ones(2, 3, dtype=torch.bool),
    )  # fmt: skip
    together = predict_companions(fit_companions(both, 5), x.expand(2, -1, -1)).mean
    for task, alone in enumerate((whole, part)):
        expected = predict_companions(fit_companions(alone, 5), x).mean[0]
        torch.testing.assert_close(together[task], expected)


def test_absent_classes_have_no_probability(data) -> None:
    X, y, test_X, _ = data
    state = fit_companions(support_of(X, y, n_classes=5), 5)
    found = predict_companions(state, torch.from_numpy(test_X).unsqueeze(0)).mean[0]
    assert (found[:, 3:] == 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(len(found), dtype=torch.float64))


def test_huge_values_are_no_error() -> None:
    X = np.array([[0.0, 1e300], [1.0, -1e300], [2.0, 1e12], [3.0, 0.0]])
    state = fit_companions(support_of(X, np.array([0, 1, 0, 1])), 5)
    assert predict_companions(state, torch.from_numpy(X).unsqueeze(0)).mean.isfinite().all()


def test_of_very_many_categories_the_frequent_have_indicators() -> None:
    codes = np.concatenate([np.arange(400), np.arange(50, 60), [70.0]])
    terms = choose_terms(codes[:, None], np.array([True]))
    assert len(terms.column) == 1 + 300
    assert {*range(50, 60), 70} <= set(terms.center.tolist())
    few = choose_terms(codes[:300, None], np.array([True]))
    assert few.center[1:].tolist() == list(range(300))


@pytest.mark.parametrize("value", [5.0, np.nan])
def test_columns_of_one_value_change_nothing(data, value: float) -> None:
    X, y, test_X, _ = data
    X, y = X[:90], y[:90]
    width = X.shape[1]
    wider, wider_test = (np.insert(rows, [0, 2, width], value, axis=1) for rows in (X, test_X))
    wider[5:9, 0] = np.nan  # a gap is no value
    wider_test[:, 0] = 7.0  # nor does it matter what it is later
    expected = predict_companions(fit_companions(support_of(X, y), 8), torch.tensor(test_X[None]))
    state = fit_companions(support_of(wider, y), 8)
    found = predict_companions(state, torch.tensor(wider_test[None]))
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(own, other)


def test_tasks_may_keep_different_columns(data) -> None:
    X, y, test_X, _ = data
    both = torch.from_numpy(np.stack([X[:30], np.where(np.arange(X.shape[1]) < 2, 1.0, X[:30])]))
    labels = torch.from_numpy(np.stack([y[:30], y[:30]]))
    mask, class_mask = torch.ones(2, 30, dtype=torch.bool), torch.ones(2, 3, dtype=torch.bool)
    together = fit_companions(Support(both, labels, mask, class_mask), 4)
    x = torch.from_numpy(test_X[None])
    found = predict_companions(together, x.expand(2, -1, -1)).mean
    for task in range(2):
        alone = fit_companions(support_of(both[task].numpy(), y[:30]), 4)
        torch.testing.assert_close(found[task], predict_companions(alone, x).mean[0])


@pytest.mark.parametrize("unit", [1e-170, 1e-300])
def test_columns_whose_squares_are_no_numbers(data, unit: float) -> None:
    X, y, test_X, _ = data
    expected = predict_companions(fit_companions(support_of(X, y), 5), torch.tensor(test_X[None]))
    state = fit_companions(support_of(X * unit, y), 5)
    found = predict_companions(state, torch.tensor(test_X[None] * unit))
    torch.testing.assert_close(found.mean, expected.mean)
    least = np.finfo(float).smallest_subnormal * (X.mean(0) < X)
    state = fit_companions(support_of(least, y), 5)
    assert all(value.isfinite().all() for name, value in state.items() if "row" not in name)


@pytest.mark.parametrize(
    ("n_rows", "times"), [(20, 1), (141, 1), (142, 2), (283, 4), (1414, 4), (1415, 2), (2829, 1)]
)
def test_some_hundred_rows_have_more_trees(n_rows: int, times: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(2, size=(n_rows, 2)).astype(float)  # small trees
    state = fit_companions(support_of(X, rng.integers(2, size=n_rows)), 2)
    assert state["nodes"].shape[2] == 2 * times


def test_tasks_with_forests_of_unlike_sizes_are_read_together() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 300, 3)), rng.integers(2, size=(2, 300))
    mask = torch.arange(300) < torch.tensor([[300], [60]])
    class_mask = torch.ones(2, 2, dtype=torch.bool)
    both = Support(torch.from_numpy(X), torch.from_numpy(y), mask, class_mask)
    together = predict_companions(fit_companions(both, 4), both.x)
    for number, n_rows in enumerate((300, 60)):
        state = fit_companions(support_of(X[number, :n_rows], y[number, :n_rows]), 4)
        alone = predict_companions(state, both.x[number : number + 1])
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], other[number])
