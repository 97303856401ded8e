"""Linear models of numbers and categories as tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaest.learners._base import State

#: Values beyond are as large as this, so that their squares are finite.
LARGEST = 1e100

#: Indicators of a column at most; an identifier would have one for each row. The other categories,
#: the rarest, have none.
_MOST_LEVELS = 300


class Terms(NamedTuple):
    """The inputs of a linear model: a scaled column each, or "column is this value"."""

    column: np.ndarray  # (t,) int64
    center: np.ndarray  # (t,) shift of a scaled column; the value of an indicator
    scale: np.ndarray  # (t,) 0 for an indicator


def linear_tables(terms: Terms, weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Write a linear model as :func:`predict_linear` takes it: weight (t, C), bias (C,)."""
    parts = {f"term_{name}": value for name, value in terms._asdict().items()}
    return parts | {"weight": weight, "bias": bias}


def choose_terms(X: np.ndarray, categorical: np.ndarray) -> Terms:
    """Scale each column of numbers that varies; make an indicator of each frequent category."""
    numbers = np.flatnonzero(~categorical & (X.max(axis=0) > X.min(axis=0)))
    values = np.ascontiguousarray(X[:, numbers].T)
    column, center, scale = [numbers], [values.mean(axis=1)], [values.std(axis=1)]
    for j in np.flatnonzero(categorical):
        levels, counts = np.unique(X[:, j], return_counts=True)
        if len(levels) > _MOST_LEVELS:
            levels = levels[np.argsort(-counts, kind="stable")[:_MOST_LEVELS]]
        column.append(np.full(len(levels), j))
        center.append(levels)
        scale.append(np.zeros(len(levels)))
    order = np.argsort(np.concatenate(column), kind="stable")
    # Never empty: the first is an indicator of a value that no column has.
    first = (0, 10 * LARGEST, 0.0)
    return Terms(
        *(
            np.r_[value, np.concatenate(parts)[order]]
            for value, parts in zip(first, (column, center, scale), strict=True)
        )
    )


def expand(X: np.ndarray, terms: Terms) -> np.ndarray:
    """Return the inputs of a linear model: (n, F) -> (n, t)."""
    values = X[:, terms.column]
    scaled = (values - terms.center) / np.where(terms.scale > 0, terms.scale, 1)
    return np.where(terms.scale > 0, scaled, values == terms.center)


def predict_linear(state: State, x: Tensor) -> Tensor:
    """Return what a linear model gives: (B, Q, F) -> (B, Q, C)."""
    column, scale = state["term_column"], state["term_scale"]  # (B, t)
    values = x.gather(2, column.unsqueeze(1).expand(-1, x.shape[1], -1))  # (B, Q, t)
    center = state["term_center"].unsqueeze(1)
    scaled = (values - center) / torch.where(scale > 0, scale, 1).unsqueeze(1)
    terms = torch.where(scale.unsqueeze(1) > 0, scaled, (values == center).to(x.dtype))
    return terms @ state["weight"] + state["bias"].unsqueeze(1)
