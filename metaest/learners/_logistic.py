"""A logistic regression as tensors; folds of the rows choose its penalty."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from metaest.learners._base import State
from metaest.learners._linear import (
    Terms,
    choose_terms,
    expand,
    linear_tables,
    predict_linear,
)
from metaest.learners._opinions import UP_TO_CLASSES, folds

#: Inverse penalties to choose from; the first where rows are too few, or where they are equal.
_INVERSE_PENALTIES = (1.0, 0.1, 10.0)

#: So many rows tell one penalty from another; to more than the second number it hardly matters.
_CHOOSE_FROM, _CHOOSE_TO = 20, 2000

#: Probabilities are at least this before their logarithm, and means that differ by less are equal.
_LEAST, _EQUAL = 0.003, 1e-9

_Model = dict[str, np.ndarray]


def fit_logistic(
    X: np.ndarray, y: np.ndarray, n_classes: int, categorical: np.ndarray
) -> tuple[_Model, np.ndarray]:
    """Fit with the penalty that makes the classes of rows left out likeliest.

    Parameters
    ----------
    X : ndarray of shape (n, F)
        Without gaps.
    y : ndarray of int, shape (n,)
    n_classes : int
    categorical : ndarray of bool, shape (F,)
        Columns whose values have an indicator each.

    Returns
    -------
    model : dict of ndarray
        For :func:`predict_logistic`.
    said : ndarray of shape (n, n_classes)
        Probabilities by models of that penalty that were fitted to other rows; NaN: none were.
    """
    is_told = len(np.unique(y)) <= UP_TO_CLASSES and len(y) >= _CHOOSE_FROM
    tried = _INVERSE_PENALTIES if is_told and len(y) <= _CHOOSE_TO else _INVERSE_PENALTIES[:1]
    best, likeliest = 0, -np.inf
    said = np.full((len(tried), len(y), n_classes), np.nan)
    if is_told:
        _leave_out(X, y, categorical, tried, said)
        own = said[:, np.arange(len(y)), y]
        for number, row in enumerate(own):
            value = np.log(row[np.isfinite(row)].clip(_LEAST)).mean()
            if value > likeliest + _EQUAL:
                best, likeliest = number, value
    terms = choose_terms(X, categorical)
    return _fit(expand(X, terms), y, terms, n_classes, tried[best]), said[best]


def _leave_out(
    X: np.ndarray,
    y: np.ndarray,
    categorical: np.ndarray,
    tried: tuple[float, ...],
    said: np.ndarray,
) -> None:
    """Fill in what models of each penalty say of the rows that they were not fitted to."""
    for own, other in folds(y):
        terms = choose_terms(X[other], categorical)
        inputs, rows = expand(X[other], terms), torch.from_numpy(X[own]).unsqueeze(0)
        for found, inverse in zip(said, tried, strict=True):
            model = _fit(inputs, y[other], terms, found.shape[1], inverse)
            state = {name: torch.from_numpy(value).unsqueeze(0) for name, value in model.items()}
            found[own] = predict_logistic(state, rows)[0].numpy()


def _fit(inputs: np.ndarray, y: np.ndarray, terms: Terms, n_classes: int, inverse: float) -> _Model:
    model = LogisticRegression(C=inverse, max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # as good as it gets in 300 steps
        warnings.filterwarnings("ignore", "The number of unique classes")  # one row of each
        model.fit(inputs, y)
    coefficients, intercept = model.coef_, model.intercept_
    if len(model.classes_) == 2:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weight = np.zeros((len(terms.column), n_classes))
    bias = np.full(n_classes, -np.inf)
    weight[:, model.classes_], bias[model.classes_] = coefficients.T, intercept
    return linear_tables(terms, weight, bias.clip(-1e9))


def predict_logistic(state: State, x: Tensor) -> Tensor:
    """Return the probabilities of the classes: (B, Q, F) -> (B, Q, C)."""
    return predict_linear(state, x).softmax(-1)
