"""Families of synthetic tasks: how columns and the scores of classes come about.

A family is a function ``family(rng, own, n_classes, n_rows)``: `own` (B, F) says which columns each
task has, `n_classes` (B,) how many classes. It returns columns (B, F, N) and scores (B, K, N), both
in any scale: `clusters` one for each class, the others some more, for a choice.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from metaest.pretrained._curves import bend
from metaest.pretrained._draws import (
    Booleans,
    Floats,
    Integers,
    chance,
    choose,
    correlated,
    importance,
    log_uniform,
    normal,
    standardize,
)

Family = Callable[[np.random.Generator, Booleans, Integers, int], tuple[Floats, Floats]]

#: Scores drawn in excess of the classes.
_SPARE = 6
#: Effects of a column in real tables are mostly monotone and smooth.
_EFFECTS = (8, 4, 2, 1.5, 1.5, 1, 2, 0.5, 0.5, 0.5)
#: Nodes of a network bend more.
_ACTIVATIONS = (3, 3, 3, 1, 1.5, 1, 2, 1, 0.5, 0.5)


def additive(
    rng: np.random.Generator, own: Booleans, n_classes: Integers, n_rows: int
) -> tuple[Floats, Floats]:
    """Draw sums of curves of single columns, at times with weak products of two."""
    n_scores = int(n_classes.max()) + _SPARE
    n_tasks, n_columns = own.shape
    columns = correlated(rng, n_tasks, n_columns, n_rows)
    kinds = choose(rng, _EFFECTS, own.shape)
    kinds[chance(rng, 0.25, (n_tasks,))] = 0  # a linear model
    slope = log_uniform(rng, 0.5, 2.0, (*own.shape, 1))
    effects = standardize(bend(slope * columns + 0.7 * normal(rng, *own.shape, 1), kinds))
    weights = importance(rng, own)[:, None] * normal(rng, n_tasks, n_scores, n_columns)
    scores: Floats = np.matmul(weights, effects)  # (B, K, F) @ (B, F, N)
    n_pairs = 3
    task = np.arange(n_tasks)[:, None]
    left, right = rng.integers(own.sum(1)[:, None], size=(2, n_tasks, n_pairs))
    products = effects[task, left] * effects[task, right]
    strength = chance(rng, 0.4, (n_tasks, 1, 1)) * log_uniform(rng, 0.05, 0.7, (n_tasks, 1, 1))
    scores += strength * (normal(rng, n_tasks, n_scores, n_pairs) @ products)
    return columns, scores


def network(
    rng: np.random.Generator, own: Booleans, n_classes: Integers, n_rows: int
) -> tuple[Floats, Floats]:
    """Draw nodes of a structural causal model: a random network with noise at each node.

    Columns and scores are any nodes, so a column may be a cause of the label, an effect of it or
    neither.
    """
    n_scores = int(n_classes.max()) + _SPARE
    n_tasks, n_columns = own.shape
    n_layers = int(rng.integers(2, 5))
    width = max(int(rng.integers(3, 9)), -(-(n_columns + n_scores) // (n_layers - 1)))
    palette = choose(rng, _ACTIVATIONS, (n_tasks, 3))  # a task bends in up to three ways
    noise = log_uniform(rng, 0.01, 0.4, (n_tasks, 1, 1))
    density = rng.uniform(0.1, 0.8, (n_tasks, 1, 1))
    nodes = np.empty((n_tasks, n_layers * width, n_rows), dtype=np.float32)
    layer = correlated(rng, n_tasks, width, n_rows)
    nodes[:, :width] = layer
    for start in range(width, n_layers * width, width):
        weights = normal(rng, n_tasks, width, width) * chance(rng, density, (n_tasks, width, width))
        layer = standardize(weights @ layer + 1e-3 * normal(rng, n_tasks, width, 1))
        gain = log_uniform(rng, 0.5, 2.0, (n_tasks, width, 1))
        kinds = np.take_along_axis(palette, rng.integers(3, size=(n_tasks, width)), axis=1)
        layer = bend(gain * layer + 0.7 * normal(rng, n_tasks, width, 1), kinds)
        spread = noise * log_uniform(rng, 0.3, 3.0, (n_tasks, width, 1))
        layer = standardize(layer) + spread * normal(rng, n_tasks, width, n_rows)
        nodes[:, start : start + width] = layer
    # Columns and scores are different nodes.
    task = np.arange(n_tasks)[:, None]
    order = rng.random((n_tasks, n_layers * width)).argsort(1)
    columns = nodes[task, order[:, :n_columns]]
    return columns, nodes[task, order[:, n_columns : n_columns + n_scores]]


def trees(
    rng: np.random.Generator, own: Booleans, n_classes: Integers, n_rows: int
) -> tuple[Floats, Floats]:
    """Draw sums of decision trees on columns, or on sums of columns (oblique)."""
    n_scores = int(n_classes.max()) + _SPARE
    n_tasks, n_columns = own.shape
    columns = correlated(rng, n_tasks, n_columns, n_rows)
    weights = importance(rng, own)
    mixing = normal(rng, n_tasks, n_columns, n_columns) * weights[:, None]
    oblique = chance(rng, 0.25, (n_tasks, 1, 1))
    seen = np.where(oblique, standardize(np.matmul(mixing, columns)), columns)
    n_trees, depth = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    edges = np.cumsum(weights**2, axis=1)[:, None]  # (B, 1, F)
    scores = np.zeros((n_tasks, n_rows, n_scores), dtype=np.float32)
    task = np.arange(n_tasks)[:, None]
    row = np.arange(n_rows)
    for _ in range(n_trees):
        splits = (rng.random((n_tasks, 2**depth - 1, 1)) > edges).sum(-1)
        splits = np.minimum(splits, own.sum(1)[:, None] - 1)
        thresholds = 0.8 * normal(rng, n_tasks, 2**depth - 1)
        values = normal(rng, n_tasks, 2 ** (depth + 1) - 1, n_scores)
        node = np.zeros((n_tasks, n_rows), dtype=np.int64)
        for level in range(depth):
            above = seen[task, splits[task, node], row] > thresholds[task, node]
            node = 2 * node + 1 + above
            scores += 0.7**level * values[task, node]  # the first splits matter most
    return columns, scores.transpose(0, 2, 1)


def tables(
    rng: np.random.Generator, own: Booleans, n_classes: Integers, n_rows: int
) -> tuple[Floats, Floats]:
    """Draw levels of columns with an effect each, and lookup tables over pairs of columns.

    Columns hold the order of the levels that matters, so a column that is shown as it is has
    ordered levels, one shown as categories has not.
    """
    n_scores = int(n_classes.max()) + _SPARE
    n_tasks, n_columns = own.shape
    n_levels = 6
    task = np.arange(n_tasks)[:, None]
    columns = correlated(rng, n_tasks, n_columns, n_rows)
    thresholds = normal(rng, *own.shape, 1, n_levels - 1)
    thresholds[chance(rng, 0.5, thresholds.shape)] = np.inf  # fewer levels
    levels = (columns[..., None] > thresholds).sum(-1)  # (B, F, N)
    column = np.arange(n_columns)[:, None]
    effects = np.zeros((n_tasks, n_scores, n_rows), dtype=np.float32)
    weights = importance(rng, own)[:, None]
    for _ in range(2):
        values = normal(rng, *own.shape, n_levels)
        values = np.where(chance(rng, 0.5, (*own.shape, 1)), np.sort(values), values)
        shown = values[task[..., None], column, levels]  # (B, F, N)
        effects += (weights * normal(rng, n_tasks, n_scores, n_columns)) @ shown
    strength = log_uniform(rng, 0.05, 1.0, (n_tasks, 1, 1))
    for _ in range(int(rng.integers(0, 4))):
        pair = rng.integers(own.sum(1)[:, None], size=(n_tasks, 2))
        both = levels[task, pair]  # (B, 2, N)
        lookup = normal(rng, n_tasks, n_levels**2, n_scores)
        found = lookup[task, both[:, 0] * n_levels + both[:, 1]]  # (B, N, K)
        effects += strength * found.transpose(0, 2, 1)
    exact = chance(rng, 0.7, (n_tasks, 1, 1))
    return np.where(exact, levels.astype(np.float32), columns), effects


def clusters(
    rng: np.random.Generator, own: Booleans, n_classes: Integers, n_rows: int
) -> tuple[Floats, Floats]:
    """Draw clouds of rows, one or a few to a class: the label makes the columns."""
    n_scores = int(n_classes.max())
    n_tasks, n_columns = own.shape
    n_clouds = int(rng.integers(1, 4))
    task = np.arange(n_tasks)[:, None]
    shares = rng.standard_gamma(3.0, (n_tasks, n_scores))
    shares = (shares * (np.arange(n_scores) < n_classes[:, None])).cumsum(1)
    draws = rng.random((n_tasks, n_rows, 1)) * shares[:, None, -1:]
    labels = (draws > shares[:, None]).sum(-1)  # (B, N)
    cloud = labels * n_clouds + rng.integers(n_clouds, size=labels.shape)
    weights = importance(rng, own)[:, None] * np.sqrt(own.sum(1))[:, None, None]
    centers = normal(rng, n_tasks, n_scores * n_clouds, n_columns) * weights
    centers *= log_uniform(rng, 0.6, 4.0, (n_tasks, 1, 1))
    spread = np.exp(rng.uniform(0, 0.6, (n_tasks, 1, 1)) * normal(rng, *centers.shape))
    inner = correlated(rng, n_tasks, n_columns, n_rows)
    columns = (centers[task, cloud] + spread[task, cloud] * inner.transpose(0, 2, 1)).transpose(
        0, 2, 1
    )
    scores = labels[:, None] == np.arange(n_scores)[:, None]
    return columns.astype(np.float32), scores.astype(np.float32)


def prototypes(
    rng: np.random.Generator, own: Booleans, n_classes: Integers, n_rows: int
) -> tuple[Floats, Floats]:
    """Draw classes that are near to rows typical of them."""
    n_scores = int(n_classes.max()) + _SPARE
    n_tasks, n_columns = own.shape
    columns = correlated(rng, n_tasks, n_columns, n_rows)
    weights = importance(rng, own)[:, None]
    n_each = int(rng.integers(1, 4))
    typical = rng.integers(n_rows, size=(n_tasks, n_scores * n_each))
    points = columns[np.arange(n_tasks)[:, None], :, typical]  # (B, K M, F)
    cross = (weights**2 * points) @ columns  # (B, K M, N)
    squares = (weights**2 * points**2).sum(-1, keepdims=True)
    near = (2.0 * cross - squares).reshape(n_tasks, n_scores, n_each, n_rows)
    return columns, near.max(2)


#: Each family with how often it is drawn.
FAMILIES: tuple[tuple[Family, float], ...] = (
    (additive, 0.22),
    (network, 0.25),
    (trees, 0.15),
    (tables, 0.15),
    (clusters, 0.17),
    (prototypes, 0.06),
)
