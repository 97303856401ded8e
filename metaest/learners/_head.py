"""Linear heads for any number of ways, one per task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaest._torch import local_seed, mask_logits, select
from metaest.episodes import Support
from metaest.learners._base import Gaussian, LearnerNet, masked_mean, one_hot, row_losses
from metaest.learners._execute import encode, expand_parameters, run_tasks
from metaest.learners._prototypes import weighted_means
from metaest.nets import NetSpec

#: Before the names of the embedding's weights, where a task has weights of its own.
BODY = "embedding."


def add_head(module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator) -> None:
    """Add what a task's head starts from.

    Regression: a meta-learned weight and bias. Classification needs none: all classes must start
    alike for any number of ways to work, and a weight shared by all classes cancels in the
    softmax, so the head starts at zero.
    """
    if spec.kind == "regression":
        with local_seed(rng):
            linear = nn.Linear(n_features, 1)
        module.head_weight = nn.Parameter(linear.weight.detach())  # (1, d)
        module.head_bias = nn.Parameter(linear.bias.detach())  # (1,)


def initial_head(module: LearnerNet, support: Support, n_features: int) -> dict[str, Tensor]:
    """Return the starting head of each task: weight (B, C, d) and bias (B, C)."""
    n_tasks = len(support)
    if support.class_mask is None:
        return {
            "weight": module.head_weight.expand(n_tasks, -1, -1),
            "bias": module.head_bias.expand(n_tasks, -1),
        }
    n_classes = support.class_mask.shape[1]
    zeros = support.x.new_zeros
    return {"weight": zeros(n_tasks, n_classes, n_features), "bias": zeros(n_tasks, n_classes)}


def start_network(
    module: LearnerNet, support: Support, head: Literal["zero", "prototype"] = "zero"
) -> dict[str, Tensor]:
    """Return what each task's network starts from: the embedding's weights, and a head.

    Parameters
    ----------
    module : LearnerNet
    support : Support
    head : {"zero", "prototype"}, default="zero"
        Start of a classification head.

    Returns
    -------
    dict of name to Tensor of shape (B, ...)
        As :func:`apply_network` takes them.
    """
    body = expand_parameters(module.embedding, len(support))
    if head == "prototype" and support.class_mask is not None:
        own_head = prototype_head(encode(module.embedding, support.x), support)
    else:
        own_head = initial_head(module, support, module.n_features)
    return {BODY + k: p for k, p in body.items()} | own_head


def prototype_head(features: Tensor, support: Support) -> dict[str, Tensor]:
    """Return the head that is the prototypical network: w_k = 2 c_k, b_k = -|c_k|^2.

    Parameters
    ----------
    features : Tensor of shape (B, S, d)
    support : Support

    References
    ----------
    Triantafillou et al., Meta-Dataset, ICLR 2020, section 3.1 (Proto-MAML).
    """
    prototypes = class_means(features, support)  # (B, C, d)
    return {"weight": 2 * prototypes, "bias": -prototypes.square().sum(-1)}


def class_means(features: Tensor, support: Support) -> Tensor:
    """Mean of each class's rows: (B, S, d) -> (B, C, d); 0 for absent classes."""
    assert support.class_mask is not None
    n_classes = support.class_mask.shape[1]
    return weighted_means(features, one_hot(support.y, support.mask, n_classes, features.dtype))


def inner_losses(prediction: Tensor | Gaussian, support: Support) -> Tensor:
    """Loss of each task that an inner loop descends: (B,).

    The mean over the support rows, times the number of classes for classification: so that a
    class's row of the head moves alike in tasks of any number of ways.
    """
    losses = masked_mean(row_losses(prediction, support.y), support.mask)
    return losses if support.class_mask is None else losses * support.class_mask.sum(1)


def inner_norm(class_mask: Tensor | None) -> float | None:
    """Return the norm that inner gradients are scaled down to.

    The gradient of a squared error has no bound (that of a cross-entropy has), so that without
    one a step too many ends at infinity.
    """
    return 10.0 if class_mask is None else None


def step_size(given: float | None, classifies: bool) -> float:
    """Return the step size of an inner loop, where none is given for standardised targets."""
    if given is not None:
        return given
    return 0.01 if classifies else 0.05


def apply_head(
    features: Tensor, weight: Tensor, bias: Tensor, class_mask: Tensor | None
) -> Tensor | Gaussian:
    """Apply each task's head.

    Parameters
    ----------
    features : Tensor of shape (B, n, d)
    weight : Tensor of shape (B, C, d)
    bias : Tensor of shape (B, C)
    class_mask : Tensor of bool, shape (B, C), or None for regression

    Returns
    -------
    Tensor of shape (B, n, C), or Gaussian of shape (B, n)
    """
    out = features @ weight.transpose(1, 2) + bias.unsqueeze(1)  # (B, n, C)
    return Gaussian(out.squeeze(-1)) if class_mask is None else mask_logits(out, class_mask)


def apply_network(
    module: LearnerNet, parameters: Mapping[str, Tensor], x: Tensor, class_mask: Tensor | None
) -> Tensor | Gaussian:
    """Run each task's rows through a network and head of its own.

    Parameters
    ----------
    module : LearnerNet
    parameters : mapping of name to Tensor of shape (B, ...)
        The head's ``weight`` and ``bias``; those of the embedding start with `BODY`.
    x : Tensor of shape (B, n, ...)
    class_mask : Tensor of bool, shape (B, C), or None for regression

    Returns
    -------
    Tensor of shape (B, n, C), or Gaussian of shape (B, n)
    """
    features = run_tasks(module.embedding, select(parameters, BODY), x)  # (B, n, d)
    return apply_head(features, parameters["weight"], parameters["bias"], class_mask)


def support_losses(
    module: LearnerNet, parameters: Mapping[str, Tensor], support: Support
) -> Tensor:
    """Loss that an inner loop descends, of tasks with networks of their own: (B,)."""
    prediction = apply_network(module, parameters, support.x, support.class_mask)
    return inner_losses(prediction, support)


def solve_ridge(features: Tensor, targets: Tensor, penalty: Tensor | float) -> Tensor:
    """Ridge regression of B tasks in closed form, in the smaller of its two forms.

    Parameters
    ----------
    features : Tensor of shape (B, S, d)
        Rows of zeros (padding) have no influence.
    targets : Tensor of shape (B, S, C)
    penalty : Tensor or float
        The l2 penalty.

    Returns
    -------
    Tensor of shape (B, d, C)
        In single precision at least.

    References
    ----------
    Bertinetto et al., Meta-learning with differentiable closed-form solvers, ICLR 2019, eq. 4-6.
    """
    with torch.autocast(features.device.type, enabled=False):
        precise = torch.promote_types(features.dtype, torch.float32)
        features, targets = features.to(precise), targets.to(precise)
        n_rows, n_features = features.shape[1:]
        transposed = features.transpose(1, 2)
        eye = torch.eye(min(n_rows, n_features), dtype=precise, device=features.device)
        if n_rows <= n_features:
            return transposed @ torch.linalg.solve(features @ transposed + penalty * eye, targets)
        return torch.linalg.solve(transposed @ features + penalty * eye, transposed @ targets)
