"""From an estimator and rows to points in a plane."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import VarianceThreshold
from sklearn.pipeline import make_pipeline

from metaest.exceptions import InvalidParameterError, TaskError


class Plane(NamedTuple):
    """Points in a plane and what its axes are."""

    support: np.ndarray  # (S, 2)
    query: np.ndarray  # (Q, 2)
    axes: tuple[str, str]


def features_of(estimator: Any, X: Any) -> np.ndarray:
    """Return what a fitted estimator makes of rows: ``embed``, ``transform``, or the rows.

    Parameters
    ----------
    estimator : estimator
        If it is a pipeline, the last step decides, and the others transform.
    X : array-like, DataFrame or sparse matrix of shape (n, ...)

    Returns
    -------
    ndarray of shape (n, d)
    """
    if hasattr(estimator, "steps") and len(estimator.steps) > 1:
        X, estimator = estimator[:-1].transform(X), estimator[-1]
    for method in ("embed", "transform"):
        if hasattr(estimator, method):
            X = getattr(estimator, method)(X)
            break
    features = X.toarray() if sp.issparse(X) else np.asarray(X)
    try:
        return features.reshape(len(features), -1).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"the features of {type(estimator).__name__} are no numbers: {error}. Encode them "
            "first, in a pipeline."
        ) from error


def project(support: np.ndarray, query: np.ndarray, y: np.ndarray, projection: str) -> Plane:
    """Draw features in two dimensions.

    Parameters
    ----------
    support : ndarray of shape (S, d)
    query : ndarray of shape (Q, d)
    y : ndarray of shape (S,)
        Labels of the support rows.
    projection : {"pca", "lda"}

    Raises
    ------
    InvalidParameterError
        If `projection` is neither, or there is too little for it.
    """
    if projection == "pca":
        return _principal(support, query)
    if projection == "lda":
        return _discriminant(support, query, y)
    raise InvalidParameterError(f"projection must be 'pca' or 'lda', got {projection!r}.")


def _principal(support: np.ndarray, query: np.ndarray) -> Plane:
    """Project to the directions in which all rows together vary most."""
    both = np.concatenate([support, query])
    if both.shape[1] == 1:  # a second axis without variance
        both = np.hstack([both, np.zeros_like(both)])
    with np.errstate(invalid="ignore"):  # where nothing varies
        pca = PCA(2, svd_solver="full").fit(both)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    first, second = (
        f"component {i} ({100 * s:.0f} % of variance)" for i, s in enumerate(shares, 1)
    )
    points = pca.transform(both)
    return Plane(points[: len(support)], points[len(support) :], (first, second))


def _discriminant(support: np.ndarray, query: np.ndarray, y: np.ndarray) -> Plane:
    """Project to the directions that tell the support classes apart; query labels play no part."""
    n_classes = len(np.unique(y))
    if n_classes < 3 or len(y) <= n_classes:
        raise InvalidParameterError(
            "projection='lda' needs at least 3 classes and more support rows than classes, got "
            f"{n_classes} classes and {len(y)} rows. Pass projection='pca'."
        )
    n_varying = int((np.ptp(support, axis=0) > 0).sum())
    if n_varying < 2:
        raise InvalidParameterError(
            "projection='lda' needs at least 2 features that vary among the support rows, got "
            f"{n_varying}. Pass projection='pca'."
        )
    # Shrinkage, since there are often fewer rows than features; it cannot take constant ones.
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=2)
    model = make_pipeline(VarianceThreshold(), lda).fit(support, y)
    return Plane(
        model.transform(support), model.transform(query), ("discriminant 1", "discriminant 2")
    )
