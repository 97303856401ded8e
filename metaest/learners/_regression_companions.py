"""Classical regressors that vote beside a network: their fitted state as tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import State
from metaest.learners._companions import fill_gaps, fit_each
from metaest.learners._in_context_bins import standardize_targets
from metaest.learners._linear import choose_terms, expand, linear_tables, predict_linear
from metaest.learners._trees import ask_left_out, fit_forests, predict_trees, tree_tables

#: Penalties that the ridge regression chooses from.
_PENALTIES = np.logspace(-3, 4, 15)

#: Of the standardised targets; those after them depend on the unit.
_DIGITS = 9

#: How far beyond the targets the regression may go, as a part of their range.
_BEYOND = 0.25

#: Below any square of a standardised target that counts.
_TINY = 1e-12

#: Rows that speak for equal parts, and rows of which nothing is explained, before any is seen.
_EQUAL_ROWS, _DOUBTING_ROWS = 20, 10

#: Rows whose errors are what they were expected to be, before any is seen.
_EXPECTED_ROWS = 10

#: Errors beyond so many medians count less.
_FAR_OUT = 3.0


def fit_regressors(support: Support, n_trees: int) -> State:
    """Fit a ridge regression and a forest to each of B tasks.

    The regression's penalty is the one with the least leave-one-out error. Half of the forest are
    extremely randomised trees, the other half those of a random forest. Gaps and categories are
    treated as beside classes (:func:`~metaest.learners._companions.fit_companions`). What
    regression (leave-one-out) and random forest (out of bag) say of rows that they were not fitted
    to tells how much each counts, how far both together are to be trusted, and how far their
    errors stay behind what they expect.

    Parameters
    ----------
    support : Support
        x (B, S, F); not finite: missing.
    n_trees : int

    Returns
    -------
    dict of Tensor, each of shape (B, ...)
        "trust" (B, 3): the regression's part, the part of the targets' variance that both
        explain in rows that they were not fitted to, and by what to multiply variances.

    References
    ----------
    Breiman, Stacked Regressions, Machine Learning 1996.
    Hoerl and Kennard, Ridge Regression, Technometrics 1970.
    Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 2006.
    Breiman, Random forests, Machine Learning 2001.
    """

    def fit(X: np.ndarray, y: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
        ridge, left_out = _fit_ridge(X, y, categorical)  # (n, 2) what is said of rows left out
        trees, out_of_bag = _fit_trees(X, y, n_trees)
        part, explained = _weigh(left_out[:, 0], out_of_bag[:, 0], y)
        both = part * left_out + (1 - part) * out_of_bag
        trust = np.array([part, explained, _compare(both, y)])
        return ridge | trees | {"trust": trust}

    # Trees see no difference between tiny targets, and let last digits decide between equal splits.
    targets = standardize_targets(support)[0].round(decimals=_DIGITS)
    return fit_each(replace(support, y=targets), fit)


def predict_regressors(state: State, x: Tensor) -> Tensor:
    """Mean of the standardised target and of its square, of regression and forest together.

    The forest's is the distribution of its leaves; the regression's variance is its mean squared
    leave-one-out error. Together they are a mixture.

    Parameters
    ----------
    state : dict of Tensor
    x : Tensor of shape (B, Q, F)

    Returns
    -------
    Tensor of shape (B, Q, 2)
    """
    x = fill_gaps(state, x)
    low, high, variance = state["ridge"].unsqueeze(1).unbind(-1)  # (B, 1)
    linear = predict_linear(state, x).squeeze(-1).clamp(low, high)  # (B, Q)
    ridge = torch.stack([linear, linear.square() + variance], -1)
    part = state["trust"][:, 0, None, None]
    return part * ridge + (1 - part) * predict_trees(state, x)


def _fit_ridge(
    X: np.ndarray, y: np.ndarray, categorical: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the regression, and what one without a row says of its target and of its square."""
    terms = choose_terms(X, categorical)
    inputs = expand(X, terms).astype(float)
    center, mean = inputs.mean(0), y.mean()
    left, sizes, right = np.linalg.svd(inputs - center, full_matrices=False)
    along = left.T @ (y - mean)  # (r,)
    shrunk = sizes**2 / (sizes**2 + _PENALTIES[:, None])  # (p, r)
    residuals = y - mean - (shrunk * along) @ left.T  # (p, n)
    own = shrunk @ (left**2).T + 1 / len(y)  # (p, n), the weight of a row's own target
    residuals = residuals / (1 - own).clip(1e-6)  # of a regression without the row
    errors = np.mean(residuals**2, axis=1)
    best = errors.argmin()
    weight = right.T @ (sizes / (sizes**2 + _PENALTIES[best]) * along)
    beyond = _BEYOND * np.ptp(y)
    low, high = y.min() - beyond, y.max() + beyond
    bias = np.array([mean - center @ weight])
    tables = linear_tables(terms, weight[:, None], bias)
    left_out = (y - residuals[best]).clip(low, high)
    said = np.stack([left_out, left_out**2 + errors[best]], 1)
    return {**tables, "ridge": np.array([low, high, errors[best]])}, said


def _fit_trees(
    X: np.ndarray, y: np.ndarray, n_trees: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the forest, and what its trees without a row say of its target and of its square.

    Of a row that every tree saw, NaN.
    """
    forests = fit_forests(X, y, (ExtraTreesRegressor, RandomForestRegressor), n_trees)
    trees = [member.tree_ for forest in forests for member in forest.estimators_]
    means = [tree.value[:, 0, 0] for tree in trees]
    squares = [tree.impurity + mean**2 for tree, mean in zip(trees, means, strict=True)]
    values = [np.stack(parts, 1) for parts in zip(means, squares, strict=True)]
    said = np.full((len(y), 2), np.nan)
    if len(forests) == 2:
        said = ask_left_out(forests[1], X, values[-len(forests[1].estimators_) :])
    return tree_tables(trees, values), said


def _weigh(ridge: np.ndarray, forest: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the regression's part, and the part of the variance that both explain.

    The regression's part is the one of least squared error in rows that neither was fitted to;
    rows where both are far out count less (Huber's weights), and some count for equal parts.
    """
    if np.isnan(forest).all():
        return 0.5, 0.0
    forest = np.nan_to_num(forest)  # the mean
    nearer = np.minimum(np.abs(ridge - y), np.abs(forest - y))
    weight = 1 / np.maximum(1, nearer / (_FAR_OUT * np.median(nearer) + _TINY))
    difference = ridge - forest
    scale = weight @ difference**2
    prior = _EQUAL_ROWS * scale / weight.sum()
    part = ((weight * difference) @ (y - forest) + 0.5 * prior) / (scale + prior + _TINY)
    part = float(np.clip(part, 0, 1))
    wrong = np.sum((part * ridge + (1 - part) * forest - y) ** 2) + _DOUBTING_ROWS * y.var()
    unexplained = wrong / ((len(y) + _DOUBTING_ROWS) * y.var() + _TINY)
    return part, float(np.clip(1 - unexplained, 0, 1))


def _compare(said: np.ndarray, y: np.ndarray) -> float:
    """Return squared errors in rows left out, as a part of the variance expected: at most 1.

    Trees of few rows are farther apart than they are wrong where there is little noise.

    Parameters
    ----------
    said : ndarray of shape (n, 2)
        Mean of the target and of its square; NaN: nothing was said.
    y : ndarray of shape (n,)
    """
    known = np.isfinite(said).all(1)
    mean, square = said[known].T
    wrong, expected = np.sum((mean - y[known]) ** 2), np.sum(square - mean**2)
    expected = expected + _TINY
    prior = _EXPECTED_ROWS * expected / max(1, known.sum())
    return float(min(1, (wrong + prior) / (expected + prior))) if known.any() else 1.0
