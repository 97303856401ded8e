"""The classical regressors beside the in-context network are scikit-learn's."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_diabetes
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest.episodes import Support
from metaest.learners._companions import _order_columns, fill_gaps
from metaest.learners._linear import predict_linear
from metaest.learners._regression_companions import (
    _PENALTIES,
    fit_regressors,
    predict_regressors,
)
from metaest.learners._trees import predict_trees


def support_of(X: np.ndarray, y: np.ndarray) -> Support:
    x, targets = torch.from_numpy(X).unsqueeze(0), torch.from_numpy(y).unsqueeze(0)
    return Support(x, targets, torch.ones_like(targets, dtype=torch.bool), None)


@pytest.fixture(params=[6, 60], ids=["wide", "long"])
def data(request: pytest.FixtureRequest) -> tuple[np.ndarray, ...]:
    X, y = load_diabetes(return_X_y=True)
    n = request.param
    scaled = StandardScaler().fit_transform(X[:n])
    X = X[:, _order_columns(scaled, np.zeros(X.shape[1], dtype=bool))]
    order = np.lexsort((y[:n], *X[:n].T))
    y = ((y - y[:n].mean()) / y[:n].std()).round(9)
    return X[:n][order], y[:n][order], X[n : n + 40], y[n : n + 40]


def test_all_are_scikit_learns(data) -> None:
    X, y, test_X, _ = data
    state = fit_regressors(support_of(X, y), 20)
    x = torch.from_numpy(test_X).unsqueeze(0)
    ridge = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES)).fit(X, y)
    rows = fill_gaps(state, x)
    linear = predict_linear(state, rows)[0, :, 0].numpy()
    np.testing.assert_allclose(linear, ridge.predict(test_X), atol=1e-8)
    scaler = StandardScaler().fit(X)
    forests = [
        kind(10, random_state=0).fit(scaler.transform(X), y)
        for kind in (ExtraTreesRegressor, RandomForestRegressor)
    ]
    scaled = scaler.transform(test_X)
    trees = np.stack([tree.predict(scaled) for f in forests for tree in f.estimators_])
    moments = predict_trees(state, rows)[0].numpy()
    np.testing.assert_allclose(moments, np.stack([trees.mean(0), (trees**2).mean(0)], 1), atol=1e-7)
    within = y.min() - np.ptp(y) / 4, y.max() + np.ptp(y) / 4
    part = float(state["trust"][0, 0])
    expected = part * linear.clip(*within) + (1 - part) * trees.mean(0)
    np.testing.assert_allclose(predict_regressors(state, x)[0, :, 0], expected, atol=1e-7)


def test_spread_of_the_regression_is_its_leave_one_out_error(data) -> None:
    X, y, *_ = data
    state = fit_regressors(support_of(X, y), 2)
    scaled = StandardScaler().fit_transform(X)
    penalty = RidgeCV(_PENALTIES).fit(scaled, y).alpha_
    left_out = cross_val_predict(RidgeCV([penalty]), scaled, y, cv=LeaveOneOut())
    np.testing.assert_allclose(state["ridge"][0, 2], np.mean((left_out - y) ** 2), rtol=1e-6)


def test_parts_are_by_errors_in_rows_not_fitted_to(data) -> None:
    X, y, *_ = data
    part, explained, spread = fit_regressors(support_of(X, y), 40)["trust"][0].tolist()
    scaled = StandardScaler().fit_transform(X)
    penalty = RidgeCV(_PENALTIES).fit(scaled, y).alpha_
    linear = cross_val_predict(RidgeCV([penalty]), scaled, y, cv=LeaveOneOut())
    linear = linear.clip(y.min() - np.ptp(y) / 4, y.max() + np.ptp(y) / 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        forest = RandomForestRegressor(20, random_state=0, oob_score=True).fit(scaled, y)
    trees = forest.oob_prediction_
    nearer = np.minimum(abs(linear - y), abs(trees - y))
    weight = 1 / np.maximum(1, nearer / (3 * np.median(nearer)))
    prior = 20 * np.average((linear - trees) ** 2, weights=weight)

    def error(share: float) -> float:
        residual = share * linear + (1 - share) * trees - y
        return float(weight @ residual**2) + prior * (share - 0.5) ** 2

    best = minimize_scalar(error, bounds=(0, 1), method="bounded", options={"xatol": 1e-9}).x
    np.testing.assert_allclose(part, best, atol=1e-6)
    wrong = np.sum((best * linear + (1 - best) * trees - y) ** 2) / y.var()
    np.testing.assert_allclose(explained, max(0, 1 - (wrong + 10) / (len(y) + 10)), atol=1e-6)

    def said(i: int) -> np.ndarray:
        """Targets of the leaves of the trees that did not see a row: their mean and square."""
        rows = [
            y[sample][tree.apply(scaled[sample]) == tree.apply(scaled[[i]])]
            for tree, sample in zip(forest.estimators_, forest.estimators_samples_, strict=True)
            if i not in sample
        ]
        return np.mean([[leaf.mean(), (leaf**2).mean()] for leaf in rows], axis=0)

    leaves = np.array([said(i) for i in range(len(y))])
    np.testing.assert_allclose(leaves[:, 0], trees, atol=1e-6)
    square = linear**2 + np.mean(
        (cross_val_predict(RidgeCV([penalty]), scaled, y, cv=LeaveOneOut()) - y) ** 2
    )
    expected = part * square + (1 - part) * leaves[:, 1] - (part * linear + (1 - part) * trees) ** 2
    wrong = np.mean((part * linear + (1 - part) * trees - y) ** 2) / expected.mean()
    np.testing.assert_allclose(spread, min(1, (len(y) * wrong + 10) / (len(y) + 10)), atol=1e-6)


def test_the_better_one_counts_more() -> None:
    """A line is the regression's, a step the forest's; both are all but exact."""
    X = np.random.default_rng(0).uniform(-1, 1, (80, 2)).round(6)
    line, step = X @ [2.0, 1.0], (X[:, 0] > 0.1) - (X[:, 1] > 0.3).astype(float)
    found = [fit_regressors(support_of(X, y), 40)["trust"][0].tolist() for y in (line, step)]
    (of_line, explained, spread), (of_step, _, _) = found
    assert of_line == pytest.approx((80 + 20 / 2) / 100, abs=0.01)
    assert of_step < 0.3
    assert explained > 0.8
    assert spread < 0.5


@pytest.mark.parametrize("n_trees", [1, 2])
def test_without_trees_that_leave_out_rows(n_trees: int, data) -> None:
    X, y, *_ = data
    part, explained, spread = fit_regressors(support_of(X, y), n_trees)["trust"][0].tolist()
    assert 0 <= part <= 1
    assert 0 < spread <= 1
    assert (part, explained, spread) == (0.5, 0.0, 1.0) if n_trees == 1 else 0 <= explained < 1


def test_tasks_together_equal_tasks_alone(data) -> None:
    X, y, test_X, _ = data
    n = len(y) // 2
    x = torch.from_numpy(test_X).unsqueeze(0)
    mask = torch.ones(2, len(y), dtype=torch.bool)
    mask[1, n:] = False
    whole = support_of(X, y)
    both = Support(torch.cat([whole.x, whole.x]), torch.cat([whole.y, whole.y]), mask, None)
    together = predict_regressors(fit_regressors(both, 5), x.expand(2, -1, -1))
    for task, alone in enumerate((whole, support_of(X[:n], y[:n]))):
        expected = predict_regressors(fit_regressors(alone, 5), x)[0]
        torch.testing.assert_close(together[task], expected)


def test_order_of_the_rows(data) -> None:
    X, y, test_X, _ = data
    order = np.random.default_rng(0).permutation(len(y))
    x = torch.from_numpy(test_X).unsqueeze(0)
    found, expected = (
        predict_regressors(fit_regressors(support, 5), x)
        for support in (support_of(X[order], y[order]), support_of(X, y))
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("column", [0, 3])
def test_the_unit_of_one_column_does_not_matter(data, column: int) -> None:
    X, y, test_X, _ = data
    units = np.where(np.arange(X.shape[1]) == column, 1024.0, 1.0)
    expected, found = (
        predict_regressors(fit_regressors(support_of(X * by, y), 5), torch.from_numpy(rows * by))
        for by, rows in ((1.0, test_X[None]), (units, test_X[None]))
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("n_rows", [1, 2, 3])
def test_few_rows_and_huge_values(n_rows: int) -> None:
    X = np.array([[1e300, np.nan, 1.0], [np.nan, np.nan, 1.0], [-3.0, np.nan, 1.0]])[:n_rows]
    y = np.array([1e12, -1e12, 0.0])[:n_rows]
    state = fit_regressors(support_of(X, y), 3)
    x = torch.tensor([[[np.inf, 0.0, -1e300], [0.0, np.nan, 2.0]]])
    assert predict_regressors(state, x).isfinite().all()


def test_columns_of_one_value_change_nothing(data) -> None:
    X, y, test_X, _ = data
    expected = predict_regressors(fit_regressors(support_of(X, y), 8), torch.tensor(test_X[None]))
    X, test_X = (np.insert(rows, [0, 3], [5.0, np.nan], axis=1) for rows in (X, test_X))
    found = predict_regressors(fit_regressors(support_of(X, y), 8), torch.tensor(test_X[None]))
    np.testing.assert_array_equal(found, expected)
