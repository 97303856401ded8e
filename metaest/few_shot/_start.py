"""What an estimator starts from: which learner, and which weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from metaest._checks import Kind
from metaest._torch import draw_seed, resolve_device
from metaest.few_shot._adapter import Adapter
from metaest.few_shot._checks import check_architecture, check_feature_names
from metaest.few_shot._rows import is_table
from metaest.learners import InContextTransformer, Learner, make_learner
from metaest.nets import NetSpec
from metaest.nets._spec import input_statistics, target_statistics
from metaest.pretrained import load_in_context
from metaest.tasks import TaskSet
from metaest.training import MetaState, seeded_state
from metaest.training._rows import is_plain
from metaest.training._spec import warn_of_rounding

#: What "auto" stands for once there are tasks of numbers to meta-train on.
_META_TRAINED = {"classification": "protonet", "regression": "deep_kernel_gp"}


def choose_learner(estimator: Any, X: Any = None, *, tasks: TaskSet | None = None) -> Learner:
    """Return a learner for an estimator's parameter `learner`, to be changed at will.

    Parameters
    ----------
    estimator : BaseMetaFewShot
    X : array-like, default=None
        Rows to learn from, where there are any.
    tasks : TaskSet, default=None
        Tasks to meta-train on, where it is to be meta-trained.
    """
    chosen, kind = estimator.learner, estimator._kind
    if is_auto(estimator):
        if tasks is None and estimator._meta is not None:
            return clone(estimator._meta.learner)
        reads = X is not None and is_table(X, estimator.input_shape)
        if tasks is not None:
            reads = is_table(tasks[0].X, None) and not is_plain(tasks)
        able = estimator.backbone == "auto"
        chosen = "in_context" if reads and able else _META_TRAINED[kind]
    return clone(make_learner(chosen, kind))


def is_auto(estimator: Any) -> bool:
    """Whether the user left the learner to us."""
    return isinstance(estimator.learner, str) and estimator.learner == "auto"


def pretrained_state(learner: Learner, row_shape: tuple[int, ...], kind: Kind) -> MetaState | None:
    """Return the weights that come with the package, where they fit the learner."""
    if not isinstance(learner, InContextTransformer) or len(row_shape) != 1:
        return None
    state = _shipped_state(row_shape, kind)
    sizes = state.learner.network_parameters()
    return state if learner.network_parameters() == sizes else None


@lru_cache(maxsize=8)
def _shipped_state(row_shape: tuple[int, ...], kind: Kind) -> MetaState:
    """Return the shipped weights, for rows of this shape; the same object again where it can."""
    shipped = load_in_context()
    return MetaState(
        learner=InContextTransformer(**shipped.parameters),
        spec=NetSpec(row_shape, kind),
        weights=shipped.weights,
        source="pretrained",
        versions=shipped.metadata,
    )


def starting_state(
    estimator: Any,
    learner: Learner,
    rows: np.ndarray,
    targets: np.ndarray,
    n_classes: int | None,
) -> MetaState:
    """Return what to adapt: meta-trained weights, those of the package, or untrained ones.

    Parameters
    ----------
    estimator : BaseMetaFewShot
    learner : Learner
    rows : ndarray of shape (n_rows, *input_shape)
    targets : ndarray of shape (n_rows,)
    n_classes : int or None
        None: regression.
    """
    shape = rows.shape[1:]
    if estimator._meta is not None:
        check_architecture(estimator._meta, estimator.backbone, shape)
        check_feature_names(estimator._meta, getattr(estimator, "feature_names_in_", None))
        return estimator._meta
    if (state := pretrained_state(learner, shape, estimator._kind)) is not None:
        return state
    # An untrained MLP is random; one that starts at the identity is as good as the raw rows.
    auto = estimator.backbone == "auto" and len(shape) == 1
    backbone = "residual" if auto else estimator.backbone
    standardize = estimator.standardize and len(rows) and not learner.any_columns
    statistics = input_statistics([rows], shape) if standardize else None
    spec = NetSpec(shape, estimator._kind, n_classes or 1, backbone, statistics)
    seed = draw_seed(estimator.random_state)
    mean, scale = (0.0, 1.0) if n_classes is not None else target_statistics(targets)
    state = seeded_state(learner, spec, seed, target_mean=mean, target_scale=scale)
    if statistics is not None and len(shape) == 1:
        adapter = Adapter(state, learner, resolve_device(estimator.device))
        if adapter.dtype == torch.float32:
            warn_of_rounding(*statistics)
    return state
