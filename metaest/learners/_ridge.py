"""Ridge regression heads in closed form."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State, one_hot
from metaest.learners._constraints import POSITIVE
from metaest.learners._execute import encode
from metaest.learners._head import apply_head, solve_ridge
from metaest.nets import NetSpec

#: Starting value of the learned factor of the logits. A ridge regression on one-hot labels puts out
#: numbers between 0 and 1, too close together for a softmax over many classes.
_SCALE = 20.0


class RidgeHead(Learner):
    r"""Solve each task's linear head in closed form, and learn the features under it (R2-D2).

    On the support features :math:`Z` (with a column of ones) and one-hot labels or targets
    :math:`Y`, the head is :math:`W = Z^\top (Z Z^\top + \lambda I)^{-1} Y`; the logits are
    :math:`\alpha\, z W + \beta`. The penalty :math:`\lambda` and :math:`\alpha` are meta-learned
    with the features; :math:`\beta`, the paper's, is the same for all classes and cancels in the
    softmax.

    Parameters
    ----------
    penalty : float, default=1.0
        Starting value of :math:`\lambda`.

    References
    ----------
    Bertinetto et al., Meta-learning with differentiable closed-form solvers, ICLR 2019.

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("ridge", random_state=0)
    >>> reg.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]).predict([[1.5]]).shape
    (1,)
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"penalty": [POSITIVE]}

    def __init__(self, *, penalty: float = 1.0) -> None:
        self.penalty = penalty

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        module.log_penalty = nn.Parameter(torch.tensor(float(np.log(self.penalty))))
        if spec.kind == "classification":
            module.log_scale = nn.Parameter(torch.tensor(float(np.log(_SCALE))))
            module.shift = nn.Parameter(torch.tensor(0.0))

    def adapt(self, module: LearnerNet, support: Support) -> State:
        features = _with_ones(_features(module, support.x))
        features = features * support.mask.unsqueeze(-1)  # (B, S, d + 1), zero where padded
        if support.class_mask is None:
            targets = (support.y * support.mask).unsqueeze(-1)  # (B, S, 1)
        else:
            n_classes = support.class_mask.shape[1]
            targets = one_hot(support.y, support.mask, n_classes, features.dtype)
        head = solve_ridge(features, targets, module.log_penalty.exp()).transpose(1, 2)
        state = {"weight": head[..., :-1], "bias": head[..., -1]}  # (B, C, d), (B, C)
        if support.class_mask is None:
            return state
        scale = module.log_scale.exp()
        return {
            "weight": scale * state["weight"],
            "bias": scale * state["bias"] + module.shift,
            "class_mask": support.class_mask,
        }

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        features = _features(module, query_x)
        return apply_head(features, state["weight"], state["bias"], state.get("class_mask"))


def _features(module: LearnerNet, x: Tensor) -> Tensor:
    features = encode(module.embedding, x)
    return features / features.shape[-1] ** 0.5 if features.shape[-1] > 1 else features


def _with_ones(features: Tensor) -> Tensor:
    return F.pad(features, (0, 1), value=1.0)
