"""Probes: how the skill of cheap learners moves with their regularisation (response curves).

Fürnkranz and Petrak (2001) compare data sets by the order of landmarks rather than by their
height. The same here, with one learner at several settings: the order of the settings is a glimpse
of the response surface that a search on this data set would see.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from metaest.meta_features._canonical import Sample
from metaest.meta_features._landmarks import encoded

MAX_ROWS = 600
MIN_ROWS = 200
MAX_CELLS = 60_000
N_FOLDS = 3
_PRUNINGS = (0.003, 0.01, 0.03, 0.1)
_DEPTHS = (1, 2, 3, 5)
_LEAVES = (1, 10, 30, 100)
_NEIGHBOURS = (1, 3, 10, 30)
_SHRINKAGES = (1e-3, 1e-1, 1e1)
_WIDTHS = (0.1, 1.0, 10.0)
_FORESTS = ((0.2, 1), (0.2, 10), (1.0, 1), (1.0, 10))  # (share of columns, rows in a leaf)

#: The probes of each family of learners, by name.
FAMILIES = {
    "tree": [f"depth_{v}" for v in _DEPTHS]
    + [f"leaf_{v}" for v in _LEAVES]
    + [f"pruning_{v:g}" for v in _PRUNINGS],
    "forest": [f"columns_{v:g}_leaf_{leaf}" for v, leaf in _FORESTS],
    "neighbours": [f"k_{v}" for v in _NEIGHBOURS],
    "linear": [f"shrinkage_{v:g}" for v in _SHRINKAGES],
    "kernel": [f"width_{w:g}_shrinkage_{v:g}" for w in _WIDTHS for v in _SHRINKAGES],
    "prior": ["linear", "linear_centred", "linear_balanced", "kernel", "kernel_balanced"],
}
NAMES = [f"{family}_{name}" for family, names in FAMILIES.items() for name in names]


def probe(sample: Sample) -> np.ndarray:
    """Return the skill of each probe (0 chance, 1 perfect), shape (n_probes,); 0 without rows."""
    x, y = _prepare(sample)
    if len(y) < 2 * N_FOLDS or not x.shape[1] or not np.ptp(y, axis=0).any():
        return np.zeros(len(NAMES))
    share = len(y) / sample.n_rows  # settings in rows shrink with the sample
    squared = _squared_distances(x)
    skills = _folded(x, y, _learners(share, len(y)))
    skills += [_skill(y, _nearest(squared, y, k)) for k in _NEIGHBOURS]
    linear = _left_out(x @ x.T / x.shape[1], y)
    middle = np.median(squared[squared > 0]) if (squared > 0).any() else 1.0
    kernels = [p for w in _WIDTHS for p in _left_out(np.exp(-squared / (middle * w)), y)]
    skills += [_skill(y, p) for p in linear + kernels]
    skills += _prior_skills(y, linear[1], kernels[4])
    return np.clip(np.nan_to_num(np.array(skills)), -1.0, 1.0)


def _prepare(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (n, p) and targets (n, k): classes as columns of 0 and 1; variance 1."""
    x = encoded(sample)
    n_rows = int(np.clip(MAX_CELLS // max(x.shape[1], 1), MIN_ROWS, MAX_ROWS))
    x, targets = x[:n_rows], sample.y[:n_rows]
    if sample.kind == "classification":
        # A class of one row or two teaches nothing.
        keep = np.isin(targets, np.flatnonzero(np.bincount(targets) >= N_FOLDS))
        x, targets = x[keep], targets[keep]
        y = (targets[:, None] == np.unique(targets)).astype(float)
    else:  # ranks: scores of huge or skewed targets would hang on a few rows
        y = rankdata(targets)[:, None]
    spread = np.sqrt(y.var(axis=0).mean()) if y.size else 0.0
    return x, y / spread if spread > 0 else y


def _skill(y: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy above the most frequent class's, or R²; both 1 when perfect."""
    if y.shape[1] == 1:
        return float(1 - ((y - predicted) ** 2).mean() / y.var())
    truth = y.argmax(axis=1)
    chance = np.bincount(truth).max() / len(truth)
    accuracy = (predicted.argmax(axis=1) == truth).mean()
    return float((accuracy - chance) / max(1 - chance, 1 / len(truth)))


def _learners(share: float, n_rows: int) -> list[Any]:
    """Return trees; squared error of classes as 0 and 1 is Gini's impurity."""

    def leaf(rows: int) -> int:
        return int(np.clip(round(rows * share), 1, max(n_rows // 3, 1)))

    settings: list[dict] = [{"max_depth": v} for v in _DEPTHS]
    settings += [{"min_samples_leaf": leaf(v)} for v in _LEAVES]
    settings += [{"ccp_alpha": v} for v in _PRUNINGS]  # the root's impurity is 1
    forests = [{"max_features": f, "min_samples_leaf": leaf(v)} for f, v in _FORESTS]
    return [DecisionTreeRegressor(random_state=0, **s) for s in settings] + [
        ExtraTreesRegressor(n_estimators=10, random_state=0, **s) for s in forests
    ]


def _folded(x: np.ndarray, y: np.ndarray, learners: list[Any]) -> list[float]:
    predicted = np.zeros((len(learners), *y.shape))
    goals = y[:, 0] if y.shape[1] == 1 else y  # scikit-learn warns of a single column
    for train, test in KFold(N_FOLDS).split(x):  # rows are in an order of hashes: shuffled
        for k, learner in enumerate(learners):
            out = learner.fit(x[train], goals[train]).predict(x[test])
            predicted[k, test] = out.reshape(len(test), -1)
    return [_skill(y, p) for p in predicted]


def _squared_distances(x: np.ndarray) -> np.ndarray:
    norms = (x**2).sum(axis=1)
    return np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0.0)


def _nearest(squared: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    """Predict each row by the k others that are nearest."""
    far = squared + np.diag(np.full(len(squared), np.inf))
    nearest = np.argsort(far, axis=1, kind="stable")[:, : min(k, len(y) - 1)]
    return y[nearest].mean(axis=1)


def _left_out(kernel: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Predict each fold by ridge regression on the others, for each shrinkage.

    In closed form: with the smoother H and its block H_b, the residuals of a fold that was left
    out are (I - H_b)^-1 times its residuals.
    """
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    centred = y - y.mean(axis=0)
    folds = np.array_split(np.arange(len(y)), N_FOLDS)
    predictions = []
    for shrinkage in _SHRINKAGES:
        smoother = (vectors * (values / (values + shrinkage))) @ vectors.T
        residuals = centred - smoother @ centred
        for rows in folds:
            block = np.eye(len(rows)) * (1 + 1e-6) - smoother[np.ix_(rows, rows)]
            residuals[rows] = np.linalg.solve(block, residuals[rows])
        predictions.append(y - residuals)
    return predictions


def _prior_skills(y: np.ndarray, linear: np.ndarray, kernel: np.ndarray) -> list[float]:
    """Compare predictions as they are, without the classes' shares, and against them."""
    mean = y.mean(axis=0)
    if y.shape[1] == 1:  # no classes, nothing to balance
        return [_skill(y, p) for p in (linear, linear - mean, linear, kernel, kernel)]
    variants = (linear, linear - mean, linear / mean, kernel, kernel / mean)
    return [_skill(y, p) for p in variants]


def describe_curves(skills: np.ndarray) -> dict[str, np.ndarray]:
    """Describe the curves of n data sets, skills (n, n_probes), family by family.

    Returns
    -------
    dict of str to ndarray of shape (n, n_probes_of_family)
        ``<family>_level``, the skills; ``_loss``, what each loses to the best, relative to it;
        ``_shape``, the standardised curve, flat where the differences are within the noise.
    """
    blocks, start = {}, 0
    for family, names in FAMILIES.items():
        part = skills[:, start : start + len(names)]
        start += len(names)
        best = part.max(axis=1, keepdims=True)
        centred = part - part.mean(axis=1, keepdims=True)
        blocks[f"{family}_level"] = part
        blocks[f"{family}_loss"] = np.maximum((part - best) / (np.abs(best) + 0.05), -2.0)
        blocks[f"{family}_shape"] = centred / (part.std(axis=1, keepdims=True) + 0.03)
    return blocks
