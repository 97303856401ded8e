"""Second training: distances predict how similarly configurations rank on two data sets.

A few dozen data sets are few examples, so little is learned: a weight for each group of features,
which starts at 1, and far less freely a weight for each feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from metaest.exceptions import InvalidParameterError

MIN_COMMON = 5
STEPS = 150
LEARNING_RATE = 0.05
GROUP_PENALTY = 0.01
#: Penalties of the features' own weights that are tried on pairs held out inside the training.
PENALTIES = (0.01, 0.1, 10.0)
_N_FOLDS = 4


def check_surfaces(surfaces: Any, n_datasets: int) -> list[np.ndarray]:
    """Return the arrays of scores, one for each kind of model; none for None.

    Raises
    ------
    InvalidParameterError
        If one is no table of numbers with a row for each data set.
    """
    if surfaces is None:
        return []
    many = isinstance(surfaces, Sequence) and len(surfaces) and np.ndim(surfaces[0]) == 2
    tables = []
    for number, table in enumerate(surfaces if many else [surfaces]):
        name = f"surfaces[{number}]" if many else "surfaces"
        try:
            scores = np.asarray(table, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidParameterError(f"{name} must hold numbers or NaN: {error}") from error
        if scores.ndim != 2 or len(scores) != n_datasets:
            raise InvalidParameterError(
                f"{name} must have shape (n_datasets, n_configurations) with {n_datasets} rows, "
                f"one for each data set; got shape {scores.shape}. Fill unknown scores with NaN."
            )
        tables.append(scores)
    # Of a data set whose known scores are all equal, ranks say nothing.
    tell = [sum(np.unique(row[np.isfinite(row)]).size > 1 for row in table) for table in tables]
    if tables and max(tell) < 2:
        raise InvalidParameterError(
            "surfaces must hold scores that differ, of two data sets at least; got "
            f"{max(tell)} such rows. Leave them out, or fill in known scores."
        )
    return tables


def rank_similarity(surfaces: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of the scores that each two data sets both have.

    Parameters
    ----------
    surfaces : ndarray of shape (n_datasets, n_configurations)
        NaN where unknown.

    Returns
    -------
    ndarray of shape (n_datasets, n_datasets)
        NaN where fewer than 5 configurations are common or one's scores are all the same.
    """
    known = np.isfinite(surfaces)
    similarity = np.full((len(surfaces), len(surfaces)), np.nan)
    for i in range(len(surfaces)):
        for j in range(i + 1):
            both = known[i] & known[j]
            if both.sum() < MIN_COMMON:
                continue
            a, b = (_centred_ranks(surfaces[k, both]) for k in (i, j))
            size = np.sqrt((a @ a) * (b @ b))
            if size > 0:
                similarity[i, j] = similarity[j, i] = a @ b / size
    return similarity


def learn_weights(
    features: np.ndarray, groups: np.ndarray, similarities: Sequence[np.ndarray], seed: int
) -> np.ndarray:
    """Learn the weight of each feature; the penalty is chosen by holding out data sets.

    Parameters
    ----------
    features : ndarray of shape (n_datasets, n_features)
    groups : ndarray of int, shape (n_features,)
    similarities : list of ndarray of shape (n_datasets, n_datasets)
        One for each kind of model, NaN where unknown.
    seed : int
        Of the folds.

    Returns
    -------
    ndarray of shape (n_features,)
        Positive.
    """
    penalty = PENALTIES[0]
    if len(features) >= 2 * _N_FOLDS:
        order = np.random.default_rng(seed).permutation(len(features))
        folds = np.array_split(order, _N_FOLDS)
        scores = [_validate(features, groups, similarities, folds, p) for p in PENALTIES]
        penalty = PENALTIES[int(np.argmax(scores))]
    return _fit(features, groups, similarities, penalty)


def _validate(
    features: np.ndarray,
    groups: np.ndarray,
    similarities: Sequence[np.ndarray],
    folds: list[np.ndarray],
    penalty: float,
) -> float:
    """Return the mean correlation over pairs with a data set that was held out."""
    found = []
    for held_out in folds:
        rest = np.setdiff1d(np.arange(len(features)), held_out)
        inner = [s[np.ix_(rest, rest)] for s in similarities]
        weights = _fit(features[rest], groups, inner, penalty)
        difference = (features[held_out, None] - features[None]) * weights
        distances = np.sqrt((difference**2).sum(axis=-1))
        for similarity in similarities:
            part = similarity[held_out].copy()
            part[np.arange(len(held_out)), held_out] = np.nan
            known = np.isfinite(part)
            if known.sum() >= MIN_COMMON:
                a, b = _centred_ranks(-distances[known]), _centred_ranks(part[known])
                found.append(a @ b / max(float(np.sqrt((a @ a) * (b @ b))), 1e-12))
    return float(np.mean(found)) if found else 0.0


def _fit(
    features: np.ndarray, groups: np.ndarray, similarities: Sequence[np.ndarray], penalty: float
) -> np.ndarray:
    first, second = np.triu_indices(len(features), 1)
    squared = torch.from_numpy((features[first] - features[second]) ** 2)
    found = [_goal(similarity[first, second]) for similarity in similarities]
    goals = [goal for goal in found if goal is not None]
    of_group = torch.zeros(int(groups.max()) + 1, dtype=torch.float64, requires_grad=True)
    own = torch.zeros(len(groups), dtype=torch.float64, requires_grad=True)
    index = torch.from_numpy(groups)
    optimiser = torch.optim.Adam([of_group, own], lr=LEARNING_RATE)
    for _ in range(STEPS if goals else 0):
        distances = (squared @ torch.exp(2 * (of_group[index] + own)) + 1e-9).sqrt()
        fits = [_correlation(distances[known], ranks) for known, ranks in goals]
        loss = torch.stack(fits).mean()
        loss = loss + GROUP_PENALTY * (of_group**2).sum() + penalty * (own**2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return np.asarray(torch.exp(of_group[index] + own).detach().numpy())


def _goal(similarity: np.ndarray) -> tuple[Tensor, Tensor] | None:
    """Return the positions of the known pairs and their standardised ranks."""
    known = np.flatnonzero(np.isfinite(similarity))
    if len(known) < MIN_COMMON:
        return None
    ranks = _centred_ranks(similarity[known])
    size = float(np.sqrt(ranks @ ranks))
    return (torch.from_numpy(known), torch.from_numpy(ranks / size)) if size > 0 else None


def _correlation(distances: Tensor, ranks: Tensor) -> Tensor:
    centred = distances - distances.mean()
    return (centred @ ranks) / (centred.norm() + 1e-12)


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    ranks: np.ndarray = rankdata(values)
    return ranks - ranks.mean()
