"""Classical classifiers that vote beside a network: their fitted state as tensors."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from torch import Tensor

from metaest.episodes import Support, pad_rows
from metaest.learners._base import State
from metaest.learners._linear import LARGEST
from metaest.learners._logistic import fit_logistic, predict_logistic
from metaest.learners._opinions import is_worth_asking, weigh
from metaest.learners._trees import fit_forests, like_forests, tree_tables, walk_trees

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

#: Begins the names of what is known of each row.
OF_ROWS = "row_"
_OPINIONS = f"{OF_ROWS}opinions"

#: What has a value for each class, along its last axis.
_BY_CLASS = ("weight", "bias", "value", _OPINIONS)

#: Squares of columns of smaller extent may be 0.
_TINY = 1e-100

#: So many values of a column tell its place among the columns.
_N_RANKS = 64

#: Of these scaled values; those after them depend on the unit.
_DIGITS = 6


def fit_companions(support: Support, n_trees: int) -> State:
    """Fit a logistic regression and a forest to each of B tasks.

    Half of the forest are extremely randomised trees, which are better in very small tables, the
    other half those of a random forest.

    Missing numbers become the median, and missing categories one of their own. Each category
    is an indicator in the regression; trees split at codes. Columns with one value do not count.
    From 20 rows on the regression's penalty is the one that makes rows left out likeliest.

    Parameters
    ----------
    support : Support
        x (B, S, F); not finite: missing.
    n_trees : int
        Of tables with some hundred rows twice or four times as many
        (:func:`~metaest.learners._trees.fit_forests`).

    Returns
    -------
    dict of Tensor, each of shape (B, ...)
        "row_opinions" (B, S, 2, C): what a regression and trees that were not fitted to a row say
        of its class; NaN where they were not asked (see :mod:`~metaest.learners._opinions`).
        "part" (B, 1): the regression's weight, by how well both told those classes.

    References
    ----------
    Geurts, Ernst and Wehenkel, Extremely randomized trees, Machine Learning 2006.
    Breiman, Random forests, Machine Learning 2001.
    """
    assert support.class_mask is not None
    n_classes = support.class_mask.shape[1]

    def fit(X: np.ndarray, y: np.ndarray, categorical: np.ndarray) -> dict[str, np.ndarray]:
        places = _places(y, n_classes)
        parts = fit_in_order(X, places[y], categorical)
        return {k: v[..., places] if k in _BY_CLASS else v for k, v in parts.items()}

    def fit_in_order(
        X: np.ndarray, y: np.ndarray, categorical: np.ndarray
    ) -> dict[str, np.ndarray]:
        is_asked = is_worth_asking(y)
        linear, of_folds = fit_logistic(X, y, n_classes, categorical)
        trees, of_bags = _fit_trees(X, y, n_classes, n_trees, out_of_bag=is_asked)
        opinions = np.stack([of_folds, of_bags], 1)  # (n, 2, C)
        if not is_asked:
            opinions.fill(np.nan)
        part = weigh(opinions[np.arange(len(y)), :, y])
        asked = {"asked": np.array([is_asked]), "part": np.array([part]), _OPINIONS: opinions}
        return linear | trees | asked

    return fit_each(support, fit)


def _places(y: np.ndarray, n_classes: int) -> np.ndarray:
    """Order the classes by their first rows, not by their names: sums then round alike."""
    first = np.full(n_classes, len(y))
    names, rows = np.unique(y, return_index=True)
    first[names] = rows
    return first.argsort(kind="stable").argsort()


class Voices(NamedTuple):
    """Probabilities of the classes, each (B, Q, C)."""

    regression: Tensor
    forest: Tensor
    bagged: Tensor  # of the half of the forest whose trees were fitted to samples of the rows
    part: Tensor  # the regression's, (B, 1, 1)

    @property
    def mean(self) -> Tensor:
        """Of regression and forest."""
        return self.part * self.regression + (1 - self.part) * self.forest

    @property
    def opinions(self) -> Tensor:
        """Of those whose opinions of the support rows are known, too: (B, Q, 2, C)."""
        return torch.stack([self.regression, self.bagged], 2)


def predict_companions(state: State, x: Tensor) -> Voices:
    """Ask regression and forest: (B, Q, F) -> (B, Q, C)."""
    x = fill_gaps(state, x)
    leaves = walk_trees(state, x)  # (B, Q, T, C)
    n_trees = leaves.shape[2]
    bagged = leaves[:, :, n_trees - max(1, n_trees // 2) :]
    part = state["part"].unsqueeze(2)
    return Voices(predict_logistic(state, x), leaves.mean(2), bagged.mean(2), part)


def fit_each(support: Support, fit: Fit) -> State:
    """Fit to the rows of each of B tasks: scaled, without gaps, in an order of their own.

    Parameters
    ----------
    support : Support
    fit : callable
        From X (n, F), y (n,) and the columns of categories (F,) to arrays. Names that begin
        with OF_ROWS are of arrays (n, ...), which come back in the order of the rows.

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
        state = _fit(X, y[mask].cpu().numpy(), flags.cpu().numpy(), fit)
        for name in [name for name in state if name.startswith(OF_ROWS)]:
            whole = torch.full((len(mask), *state[name].shape[1:]), torch.nan, dtype=torch.float64)
            whole[mask.cpu()] = state[name]
            state[name] = whole
        states.append(state)
    like_forests(states)
    stacked = {name: pad_rows([state[name] for state in states])[0] for name in states[0]}
    return {name: value.to(support.x.device) for name, value in stacked.items()}


def fill_gaps(state: State, x: Tensor) -> Tensor:
    """Bring rows into the form that :func:`fit_each` fitted to: (B, Q, F)."""
    x = x.double().gather(2, state["order"].unsqueeze(1).expand(-1, x.shape[1], -1))
    x = torch.where(x.isfinite(), x, state["fill"].unsqueeze(1)).clamp(-LARGEST, LARGEST)
    unit = torch.where(state["unit"] > 0, state["unit"], 1)  # 0 where padded
    return (x - state["center"].unsqueeze(1)) / unit.unsqueeze(1)


def _fit(X: np.ndarray, y: np.ndarray, categorical: np.ndarray, fit: Fit) -> dict[str, Tensor]:
    X = np.where(np.isfinite(X), X, np.nan).clip(-LARGEST, LARGEST)
    numeric = np.isfinite(X).any(0) & ~categorical
    fill = np.where(categorical, _NO_CATEGORY, 0.0)
    fill[numeric] = np.nanmedian(X[:, numeric], axis=0)
    X = np.where(np.isfinite(X), X, fill)
    # Trees read single precision, in which 1e9 and 1e9 + 1 are the same.
    center = np.where(numeric, X.mean(0), 0.0)
    varies = X.min(0) < X.max(0)
    unit = np.where(numeric & varies, _spread(X), 1.0)
    scaled = (X - center) / unit
    # Trees draw among all columns that they are given; there must be one.
    kept = np.flatnonzero(varies) if varies.any() else np.arange(1)
    # What is drawn from rows and columns must not depend on their order.
    columns = kept[_order_columns(scaled[:, kept], categorical[kept])]
    rows = np.lexsort((y, *X.T[columns]))
    X = scaled[:, columns]
    parts = {"order": columns, "fill": fill[columns]}
    parts |= {"center": center[columns], "unit": unit[columns]}
    parts |= fit(X[rows], y[rows], categorical[columns])
    for name in [name for name in parts if name.startswith(OF_ROWS)]:
        parts[name] = parts[name][rows.argsort()]
    return {name: torch.from_numpy(value) for name, value in parts.items()}


def _spread(X: np.ndarray) -> np.ndarray:
    """Return the standard deviation of columns, also of those whose squares are below any number.

    Never 0 where a column varies: (F,).
    """
    extent = X.max(0) - X.min(0)
    tiny = np.where((extent > 0) & (extent < _TINY), extent, 1.0)
    return ((X / tiny).std(0) * tiny).clip(np.finfo(float).smallest_subnormal)


def _order_columns(X: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    """Order scaled columns by what they hold, whatever the order of rows and columns: (F,)."""
    X = X.round(_DIGITS)
    ranks = np.linspace(0, len(X) - 1, min(len(X), _N_RANKS)).astype(int)
    values = np.sort(X, axis=0)[ranks]
    # Where all these are equal: how a column goes with its rows. Sorted, sums round alike.
    of_rows = np.sort(np.sin(X), axis=1).sum(1, keepdims=True)
    return np.lexsort((np.sort(X * of_rows, axis=0).sum(0), *values, ~categorical))


def _fit_trees(
    X: np.ndarray, y: np.ndarray, n_classes: int, n_trees: int, out_of_bag: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the trees as tables, and what trees say of the rows that they were not fitted to."""
    extra, bagged = _FORESTS
    kinds = (extra, functools.partial(bagged, oob_score=out_of_bag))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # rows that all trees saw; one row of each class
        forests = fit_forests(X, y, kinds, n_trees)
    opinions = np.full((len(y), n_classes), np.nan)
    if out_of_bag and len(forests) == 2:
        found = forests[1].oob_decision_function_
        known = found.sum(1) > 0
        opinions[np.ix_(known, forests[1].classes_)] = found[known]
        opinions[known] = np.nan_to_num(opinions[known])
    trees = [member.tree_ for forest in forests for member in forest.estimators_]
    values = []
    for tree in trees:
        shares = np.zeros((tree.node_count, n_classes))
        own = tree.value[:, 0] / tree.value[:, 0].sum(-1, keepdims=True)
        shares[:, forests[0].classes_] = own
        values.append(shares)
    return tree_tables(trees, values), opinions
