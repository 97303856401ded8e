"""Classical classifiers that vote beside a network: their fitted state as tensors."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metaest.episodes import Support, pad_rows
from metaest.learners._base import State

#: From rows without gaps, targets and the columns of categories to what a model is.
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]

#: Stands for a missing category; the codes of others are not negative.
_NO_CATEGORY = -1.0

#: The two kinds of trees. Better together than scikit-learn's defaults: half of the columns at a
#: split of random thresholds, no leaves of single rows where thresholds are fitted.
_FORESTS = (
    functools.partial(ExtraTreesClassifier, max_features=0.5),
    functools.partial(RandomForestClassifier, min_samples_leaf=2),
)

#: Values beyond are as large as this, so that their squares are finite.
_LARGEST = 1e100


class Terms(NamedTuple):
    """The inputs of a linear model: a scaled column each, or "column is this value"."""

    column: np.ndarray  # (t,) int64
    center: np.ndarray  # (t,) shift of a scaled column; the value of an indicator
    scale: np.ndarray  # (t,) 0 for an indicator


def fit_companions(support: Support, n_trees: int) -> State:
    """Fit a logistic regression and a forest to each of B tasks.

    Half of the forest are extremely randomised trees, which are better in very small tables, the
    other half those of a random forest.

    Missing numbers become the median, and missing categories one of their own. Each category
    is an indicator in the regression; trees split at codes.

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
    Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 2006.
    Breiman, Random forests, Machine Learning 2001.
    """
    assert support.class_mask is not None
    n_classes = support.class_mask.shape[1]

    def fit(X: np.ndarray, y: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
        return _fit_linear(X, y, n_classes, categorical) | _fit_trees(X, y, n_classes, n_trees)

    return fit_each(support, fit)


def predict_companions(state: State, x: Tensor) -> Tensor:
    """Mean of the probabilities of regression and forest: (B, Q, F) -> (B, Q, C)."""
    x = fill_gaps(state, x)
    return (_predict_linear(state, x) + predict_trees(state, x)) / 2


def fit_each(support: Support, fit: Fit) -> State:
    """Fit to the rows of each of B tasks, which have no gaps then, in an order of their own.

    Parameters
    ----------
    support : Support
    fit : callable
        From X (n, F), y (n,) and the columns of categories (F,) to arrays.

    Returns
    -------
    dict of Tensor, each of shape (B, ...)
    """
    x = support.x.flatten(2)
    categorical = support.categorical
    if categorical is None:
        categorical = torch.zeros(len(x), x.shape[2], dtype=torch.bool)
    states = []
    for rows, y, mask, flags in zip(x, support.y, support.mask, categorical, strict=True):
        X = rows[mask].detach().cpu().double().numpy()
        states.append(_fit(X, y[mask].cpu().numpy(), flags.cpu().numpy(), fit))
    stacked = {name: pad_rows([state[name] for state in states])[0] for name in states[0]}
    return {name: value.to(support.x.device) for name, value in stacked.items()}


def fill_gaps(state: State, x: Tensor) -> Tensor:
    """Put what :func:`fit_each` put into gaps: (B, Q, F)."""
    x = x.double()
    return torch.where(x.isfinite(), x, state["fill"].unsqueeze(1)).clamp(-_LARGEST, _LARGEST)


def _fit(X: np.ndarray, y: np.ndarray, categorical: np.ndarray, fit: Fit) -> dict[str, Tensor]:
    X = np.where(np.isfinite(X), X, np.nan).clip(-_LARGEST, _LARGEST)
    numeric = np.isfinite(X).any(0) & ~categorical
    fill = np.where(categorical, _NO_CATEGORY, 0.0)
    fill[numeric] = np.nanmedian(X[:, numeric], axis=0)
    X = np.where(np.isfinite(X), X, fill)
    order = np.lexsort((y, *X.T))  # what is drawn from the rows must not depend on their order
    parts = {"fill": fill, **fit(X[order], y[order], categorical)}
    return {name: torch.from_numpy(value) for name, value in parts.items()}


def _fit_linear(
    X: np.ndarray, y: np.ndarray, n_classes: int, categorical: np.ndarray
) -> dict[str, np.ndarray]:
    terms = choose_terms(X, categorical)
    model = LogisticRegression(max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as it gets in 300 steps
        model.fit(expand(X, terms), y)
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight = np.zeros((len(terms.column), n_classes))
    bias = np.full(n_classes, -np.inf)
    weight[:, model.classes_], bias[model.classes_] = coefficients.T, intercept
    return linear_tables(terms, weight, bias.clip(-1e9))


def linear_tables(terms: Terms, weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Write a linear model as :func:`predict_linear` takes it: weight (t, C), bias (C,)."""
    parts = {f"term_{name}": value for name, value in terms._asdict().items()}
    return parts | {"weight": weight, "bias": bias}


def choose_terms(X: np.ndarray, categorical: np.ndarray) -> Terms:
    """Scale each column of numbers that varies; make an indicator of each category."""
    # Never empty: the first is an indicator of a value that no column has.
    column, center, scale = [0], [10 * _LARGEST], [0.0]
    for j in range(X.shape[1]):
        levels = np.unique(X[:, j])
        if categorical[j]:
            column += [j] * len(levels)
            center += levels.tolist()
            scale += [0.0] * len(levels)
        elif len(levels) > 1:
            column.append(j)
            center.append(X[:, j].mean())
            scale.append(X[:, j].std())
    return Terms(np.array(column), np.array(center), np.array(scale))


def expand(X: np.ndarray, terms: Terms) -> np.ndarray:
    """Return the inputs of a linear model: (n, F) -> (n, t)."""
    values = X[:, terms.column]
    scaled = (values - terms.center) / np.where(terms.scale > 0, terms.scale, 1)
    return np.where(terms.scale > 0, scaled, values == terms.center)


def _fit_trees(X: np.ndarray, y: np.ndarray, n_classes: int, n_trees: int) -> dict[str, np.ndarray]:
    forests = fit_forests(X, y, _FORESTS, n_trees)
    trees = [member.tree_ for forest in forests for member in forest.estimators_]
    values = []
    for tree in trees:
        shares = np.zeros((tree.node_count, n_classes))
        own = tree.value[:, 0] / tree.value[:, 0].sum(-1, keepdims=True)
        shares[:, forests[0].classes_] = own
        values.append(shares)
    return tree_tables(trees, values)


def fit_forests(X: np.ndarray, y: np.ndarray, kinds: tuple[Any, Any], n_trees: int) -> list[Any]:
    """Fit half of the trees with each of two kinds of forest."""
    return [
        kind(n, random_state=0).fit(_as_float32(X), y)
        for kind, n in zip(kinds, (n_trees - n_trees // 2, n_trees // 2), strict=True)
        if n > 0
    ]


def tree_tables(trees: list[Any], values: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Write trees as tables of nodes, a leaf being its own child; with values (nodes, C)."""
    size = max(tree.node_count for tree in trees)
    own = np.arange(size)
    nodes = np.zeros((len(trees), size, 2))  # column, threshold
    child = np.broadcast_to(own[:, None], (len(trees), size, 2)).copy()
    value = np.zeros((len(trees), size, values[0].shape[1]))
    for number, tree in enumerate(trees):
        n = tree.node_count
        inner = tree.children_left >= 0
        nodes[number, :n, 0] = np.where(inner, tree.feature, 0)
        nodes[number, :n, 1] = tree.threshold
        for side, children in enumerate((tree.children_left, tree.children_right)):
            child[number, :n, side] = np.where(inner, children, own[:n])
        value[number, :n] = values[number]
    depth = np.full(1, max(tree.max_depth for tree in trees))
    by_node = {"nodes": nodes, "child": child, "value": value}  # nodes first: they are padded
    return {name: array.swapaxes(0, 1).copy() for name, array in by_node.items()} | {"depth": depth}


def _as_float32(X: np.ndarray) -> np.ndarray:
    """Bring values into the trees' precision, the largest ones at its end."""
    largest = np.finfo(np.float32).max
    return X.clip(-largest, largest).astype(np.float32)


def _predict_linear(state: State, x: Tensor) -> Tensor:
    return predict_linear(state, x).softmax(-1)


def predict_linear(state: State, x: Tensor) -> Tensor:
    """Return what a linear model gives: (B, Q, F) -> (B, Q, C)."""
    column, scale = state["term_column"], state["term_scale"]  # (B, t)
    values = x.gather(2, column.unsqueeze(1).expand(-1, x.shape[1], -1))  # (B, Q, t)
    center = state["term_center"].unsqueeze(1)
    scaled = (values - center) / torch.where(scale > 0, scale, 1).unsqueeze(1)
    terms = torch.where(scale.unsqueeze(1) > 0, scaled, (values == center).to(x.dtype))
    return terms @ state["weight"] + state["bias"].unsqueeze(1)


def predict_trees(state: State, x: Tensor) -> Tensor:
    """Let all rows walk down all trees, a step of all of them at a time."""
    largest = torch.finfo(torch.float32).max
    x = x.clamp(-largest, largest).float().double()
    n_tasks, n_rows = x.shape[:2]
    task = torch.arange(n_tasks, device=x.device)[:, None, None]
    row = torch.arange(n_rows, device=x.device)[None, :, None]
    tree = torch.arange(state["nodes"].shape[2], device=x.device)[None, None]
    node = torch.zeros(n_tasks, n_rows, tree.shape[2], dtype=torch.int64, device=x.device)
    for _ in range(int(state["depth"].max())):
        column, threshold = state["nodes"][task, node, tree].unbind(-1)  # (B, Q, T)
        right = x[task, row, column.long()] > threshold
        node = state["child"][task, node, tree, right.long()]
    return state["value"][task, node, tree].mean(2)  # (B, Q, C)
