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
from metaest.learners._trees import fit_forests, predict_trees, tree_tables

#: Penalties that the ridge regression chooses from.
_PENALTIES = np.logspace(-3, 4, 15)

#: Of the standardised targets; those after them depend on the unit.
_DIGITS = 9

#: How far beyond the targets the regression may go, as a part of their range.
_BEYOND = 0.25


def fit_regressors(support: Support, n_trees: int) -> State:
    """Fit a ridge regression and a forest to each of B tasks.

    The regression's penalty is the one with the least leave-one-out error. Half of the forest are
    extremely randomised trees, the other half those of a random forest. Gaps and categories are
    treated as beside classes (:func:`~metaest.learners._companions.fit_companions`).

    Parameters
    ----------
    support : Support
        x (B, S, F); not finite: missing.
    n_trees : int

    Returns
    -------
    dict of Tensor, each of shape (B, ...)

    References
    ----------
    Hoerl and Kennard, Ridge Regression, Technometrics 1970.
    Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 2006.
    Breiman, Random forests, Machine Learning 2001.
    """

    def fit(X: np.ndarray, y: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
        return _fit_ridge(X, y, categorical) | _fit_trees(X, y, n_trees)

    # Trees see no difference between tiny targets, and let last digits decide between equal splits.
    targets = standardize_targets(support)[0].round(decimals=_DIGITS)
    return fit_each(replace(support, y=targets), fit)


def predict_regressors(state: State, x: Tensor) -> Tensor:
    """Mean of the standardised target and of its square, of regression and forest together.

    The forest's is the distribution of its leaves; the regression's variance is its mean squared
    leave-one-out error.

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
    return (ridge + predict_trees(state, x)) / 2


def _fit_ridge(X: np.ndarray, y: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
    terms = choose_terms(X, categorical)
    inputs = expand(X, terms).astype(float)
    center, mean = inputs.mean(0), y.mean()
    left, sizes, right = np.linalg.svd(inputs - center, full_matrices=False)
    along = left.T @ (y - mean)  # (r,)
    shrunk = sizes**2 / (sizes**2 + _PENALTIES[:, None])  # (p, r)
    residuals = y - mean - (shrunk * along) @ left.T  # (p, n)
    own = shrunk @ (left**2).T + 1 / len(y)  # (p, n), the weight of a row's own target
    errors = np.mean((residuals / (1 - own).clip(1e-6)) ** 2, axis=1)
    best = errors.argmin()
    weight = right.T @ (sizes / (sizes**2 + _PENALTIES[best]) * along)
    beyond = _BEYOND * np.ptp(y)
    facts = np.array([y.min() - beyond, y.max() + beyond, errors[best]])
    bias = np.array([mean - center @ weight])
    return {**linear_tables(terms, weight[:, None], bias), "ridge": facts}


def _fit_trees(X: np.ndarray, y: np.ndarray, n_trees: int) -> dict[str, np.ndarray]:
    forests = fit_forests(X, y, (ExtraTreesRegressor, RandomForestRegressor), n_trees)
    trees = [member.tree_ for forest in forests for member in forest.estimators_]
    means = [tree.value[:, 0, 0] for tree in trees]
    squares = [tree.impurity + mean**2 for tree, mean in zip(trees, means, strict=True)]
    values = [np.stack(parts, 1) for parts in zip(means, squares, strict=True)]
    return tree_tables(trees, values)
