"""Small random draws that the families of synthetic tasks share: tasks first, rows last."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


def log_uniform(
    rng: np.random.Generator, low: float, high: float, shape: tuple[int, ...]
) -> Floats:
    """Draw numbers whose logarithm is uniform."""
    return np.exp(rng.uniform(np.log(low), np.log(high), shape)).astype(np.float32)


def normal(rng: np.random.Generator, *shape: int) -> Floats:
    """Draw standard normal numbers in single precision, twice as fast as in double."""
    return rng.standard_normal(shape, dtype=np.float32)


def chance(
    rng: np.random.Generator, p: float | NDArray[np.floating], shape: tuple[int, ...]
) -> Booleans:
    """Draw True with probability `p`."""
    return np.asarray(rng.random(shape, dtype=np.float32) < p)


def choose(rng: np.random.Generator, weights: ArrayLike, shape: tuple[int, ...]) -> Integers:
    """Draw positions in `weights`, each as often as its weight says."""
    edges = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.minimum(np.searchsorted(edges / edges[-1], rng.random(shape)), len(edges) - 1)


def standardize(values: Floats) -> Floats:
    """Give each series of rows mean 0 and standard deviation 1; one that is constant becomes 0."""
    values = values - values.mean(-1, keepdims=True)
    scale = np.sqrt(np.mean(values * values, axis=-1, keepdims=True))
    return np.asarray(values / (scale + 1e-6))


def importance(rng: np.random.Generator, own: Booleans) -> Floats:
    """Weigh the columns of each task: from all alike to one that outweighs the others.

    Parameters
    ----------
    rng : numpy.random.Generator
    own : ndarray of shape (B, F)
        True for the columns a task has.

    Returns
    -------
    weights : ndarray of shape (B, F)
        Non-negative; their squares sum to 1.
    """
    spread = rng.uniform(0.0, 1.5, (len(own), 1)).astype(np.float32)
    weights = np.where(own, np.exp(spread * normal(rng, *own.shape)), 0.0)
    return np.asarray(weights / np.linalg.norm(weights, axis=1, keepdims=True), dtype=np.float32)


def correlated(rng: np.random.Generator, n_tasks: int, n_columns: int, n_rows: int) -> Floats:
    """Draw standardised columns that share a few factors, sometimes with groups of rows.

    Returns
    -------
    columns : ndarray of shape (B, F, N)
    """
    n_factors = int(rng.integers(1, 5))
    loadings = normal(rng, n_tasks, n_columns, n_factors)  # (B, F, R)
    loadings *= chance(rng, rng.uniform(0.5, 1.0, (n_tasks, 1, 1)), loadings.shape)
    loadings *= log_uniform(rng, 0.5, 5.0, (n_tasks, 1, 1)) / np.float32(np.sqrt(n_factors))
    columns = normal(rng, n_tasks, n_columns, n_rows)
    columns += loadings @ normal(rng, n_tasks, n_factors, n_rows)
    grouped = np.flatnonzero(chance(rng, 0.25, (n_tasks,)))
    n_groups = int(rng.integers(2, 7))
    centers = 2.0 * normal(rng, len(grouped), n_groups, n_columns)  # (G, C, F)
    members = rng.integers(n_groups, size=(len(grouped), n_rows))
    columns[grouped] += centers[np.arange(len(grouped))[:, None], members].transpose(0, 2, 1)
    return standardize(columns)
