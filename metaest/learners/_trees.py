"""Forests as tensors: tables of nodes that rows walk through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaest.learners._base import State

#: Rows from whose double on a forest has twice as many trees, and up to whose half.
_FEW, _MANY = 100, 4000

#: Twice as many at most so often.
_DOUBLINGS = 2


def fit_forests(X: np.ndarray, y: np.ndarray, kinds: tuple[Any, Any], n_trees: int) -> list[Any]:
    """Fit half of the trees with each of two kinds of forest.

    Of tables with some hundred rows twice or four times as many, for there more trees tell more;
    of thousands not, for there they take long.
    """
    n_trees *= 2 ** round(np.clip(np.log2(min(len(X) / _FEW, _MANY / len(X))), 0, _DOUBLINGS))
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


def like_forests(states: list[State]) -> None:
    """Let forests of unlike sizes be stacked: each tree of the smaller stands there repeatedly."""
    most = max(state["nodes"].shape[1] for state in states)
    for state in states:
        for name in ("nodes", "child", "value"):
            times = most // state[name].shape[1]
            state[name] = state[name].repeat_interleave(times, 1) if times > 1 else state[name]


def ask_left_out(forest: Any, X: np.ndarray, values: list[np.ndarray]) -> np.ndarray:
    """Return the mean of the values of those trees whose sample a row was not in.

    Parameters
    ----------
    forest : fitted forest, with samples of its own for each tree
    X : ndarray of shape (n, F)
        The rows that it was fitted to.
    values : list of ndarray of shape (nodes, k)
        Of each tree.

    Returns
    -------
    ndarray of shape (n, k)
        NaN for rows that were in all samples.
    """
    X = _as_float32(X)
    total, count = np.zeros((len(X), values[0].shape[1])), np.zeros(len(X))
    members = zip(forest.estimators_, forest.estimators_samples_, values, strict=True)
    for member, sample, value in members:
        others = np.bincount(sample, minlength=len(X)) == 0
        total[others] += value[member.tree_.apply(X[others])]
        count += others
    with np.errstate(invalid="ignore"):
        return total / count[:, None]


def _as_float32(X: np.ndarray) -> np.ndarray:
    """Bring values into the trees' precision, the largest ones at its end."""
    largest = np.finfo(np.float32).max
    return X.clip(-largest, largest).astype(np.float32)


def predict_trees(state: State, x: Tensor) -> Tensor:
    """Mean of the values of all trees: (B, Q, F) -> (B, Q, C)."""
    return walk_trees(state, x).mean(2)


def walk_trees(state: State, x: Tensor) -> Tensor:
    """Let all rows walk down all trees, a step of all of them at a time: (B, Q, T, C)."""
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
    return state["value"][task, node, tree]
