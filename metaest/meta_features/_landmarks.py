"""Landmarks: how well cheap learners do on a small subsample (Pfahringer et al. 2000)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metaest.meta_features._canonical import Sample
from metaest.meta_features._statistics import filled

_SKILL = "cross-validated skill (0 chance, 1 perfect: adjusted balanced accuracy or R²) of"
LANDMARKS = {
    "landmarked": "1 if the learners below could be tried; 0: all landmarks are 0",
    "landmark_1nn": f"{_SKILL} the nearest neighbour (Pfahringer et al. 2000)",
    "landmark_5nn": f"{_SKILL} the five nearest neighbours (Pfahringer et al. 2000)",
    "landmark_bayes": f"{_SKILL} naive Bayes; 0 for regression (Pfahringer et al. 2000)",
    "landmark_stump": f"{_SKILL} a tree with one split (Pfahringer et al. 2000)",
    "landmark_tree": f"{_SKILL} a full tree (Reif et al. 2014)",
    "landmark_linear": f"{_SKILL} a ridge model (Pfahringer et al. 2000, linear discriminant)",
    "linear_minus_1nn": "difference of two landmarks (Fürnkranz and Petrak 2001)",
    "tree_minus_linear": "difference of two landmarks (Fürnkranz and Petrak 2001)",
    "tree_leaves": "leaves of the full tree / rows (Peng et al. 2002)",
    "tree_depth": "log1p of the full tree's depth (Peng et al. 2002)",
    "tree_importance_max": "largest importance of a column in the tree (Peng et al. 2002)",
}
MAX_ROWS = 500
MAX_LEVELS = 8
N_FOLDS = 3


def landmarks(sample: Sample) -> dict[str, float]:
    result = dict.fromkeys(LANDMARKS, 0.0)
    X, y = encoded(sample)[:MAX_ROWS], sample.y[:MAX_ROWS]
    is_classification = sample.kind == "classification"
    if is_classification:  # a class of one or two rows cannot be in every fold
        keep = np.isin(y, np.flatnonzero(np.bincount(y) >= N_FOLDS))
        X, y = X[keep], y[keep]
    elif len(y):
        y = y / max(np.abs(y).max(), 1e-300)
    if len(y) < 2 * N_FOLDS or not X.shape[1] or len(np.unique(y)) < 2:
        return result
    learners = _classifiers() if is_classification else _regressors()
    splitter = (StratifiedKFold if is_classification else KFold)(N_FOLDS)
    folds = list(splitter.split(X, y))
    with warnings.catch_warnings():  # of collinear columns, few rows a class
        warnings.simplefilter("ignore")
        for name, learner in learners.items():
            scores = [
                _skill(learner, X, y, train, test, is_classification) for train, test in folds
            ]
            result[name] = float(np.mean(scores))
    result["landmarked"] = 1.0
    result["linear_minus_1nn"] = result["landmark_linear"] - result["landmark_1nn"]
    result["tree_minus_linear"] = result["landmark_tree"] - result["landmark_linear"]
    tree = learners["landmark_tree"].fit(X, y)
    result["tree_leaves"] = tree.get_n_leaves() / len(y)
    result["tree_depth"] = float(np.log1p(tree.get_depth()))
    result["tree_importance_max"] = float(tree.feature_importances_.max())
    return result


def encoded(sample: Sample) -> np.ndarray:
    """Return standardised numbers and the most frequent categories as columns of 0 and 1."""
    x = filled(sample.numbers)
    x = x[:, np.ptp(x, axis=0) > 0]
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-300)
    blocks = [np.clip(x, -10, 10)]
    for codes in sample.codes.T:
        counts = np.bincount(codes + 1)
        top = np.argsort(-counts, kind="stable")[: min(MAX_LEVELS, (counts > 0).sum())]
        blocks.append((codes[:, None] + 1 == top).astype(float))
    return np.hstack(blocks)


def _classifiers() -> dict[str, Any]:
    return {
        "landmark_1nn": KNeighborsClassifier(1),
        "landmark_5nn": KNeighborsClassifier(5),
        "landmark_bayes": GaussianNB(var_smoothing=1e-3),
        "landmark_stump": DecisionTreeClassifier(max_depth=1, random_state=0),
        "landmark_tree": DecisionTreeClassifier(random_state=0),
        "landmark_linear": RidgeClassifier(),
    }


def _regressors() -> dict[str, Any]:
    return {
        "landmark_1nn": KNeighborsRegressor(1),
        "landmark_5nn": KNeighborsRegressor(5),
        "landmark_stump": DecisionTreeRegressor(max_depth=1, random_state=0),
        "landmark_tree": DecisionTreeRegressor(random_state=0),
        "landmark_linear": Ridge(),
    }


def _skill(
    learner: Any,
    X: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    is_classification: bool,
) -> float:
    if len(train) < 5 and "n_neighbors" in learner.get_params():
        learner = type(learner)(1)
    predicted = learner.fit(X[train], y[train]).predict(X[test])
    if is_classification:
        return float(balanced_accuracy_score(y[test], predicted, adjusted=True))
    if len(np.unique(y[test])) < 2:
        return 0.0
    return float(np.clip(r2_score(y[test], predicted), -1.0, 1.0))
