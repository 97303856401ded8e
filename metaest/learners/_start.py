"""Linear heads in closed form that learned networks add to, so that they start as good as these."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest.episodes import Support
from metaest.learners._base import LearnerNet
from metaest.learners._head import class_means, solve_ridge
from metaest.nets import NetSpec


def add_start(module: LearnerNet, n_features: int, spec: NetSpec) -> None:
    """Add what the head in closed form learns: a temperature for classes, or a ridge penalty."""
    if spec.kind == "classification":
        module.log_temperature = nn.Parameter(torch.tensor(0.5 * math.log(n_features)))
    else:
        module.log_penalty = nn.Parameter(torch.tensor(0.0))


def prototype_logits(module: LearnerNet, prototypes: Tensor) -> dict[str, Tensor]:
    """Return the head that is a prototypical network: of the logits -|x - c_k|^2, what differs.

    Parameters
    ----------
    module : LearnerNet
    prototypes : Tensor of shape (B, C, d)

    Returns
    -------
    dict of Tensor
        weight (B, C, d) and bias (B, C).
    """
    temperature = module.log_temperature.exp()
    bias = -prototypes.square().sum(-1) / temperature
    return {"weight": 2 * prototypes / temperature, "bias": bias}


def start_head(module: LearnerNet, features: Tensor, support: Support) -> dict[str, Tensor]:
    """Return the head in closed form: prototypes for classes, ridge regression for numbers.

    Parameters
    ----------
    module : LearnerNet
    features : Tensor of shape (B, S, d)
    support : Support

    Returns
    -------
    dict of Tensor
        weight (B, C, d) and bias (B, C), with C = 1 for regression.
    """
    if support.class_mask is not None:
        return prototype_logits(module, class_means(features, support))
    scale = features.shape[-1] ** -0.5
    real = support.mask.unsqueeze(-1)  # (B, S, 1)
    padded = F.pad(scale * features, (0, 1), value=1.0) * real  # (B, S, d + 1)
    targets = support.y.unsqueeze(-1) * real
    head = solve_ridge(padded, targets, module.log_penalty.exp()).transpose(1, 2)  # (B, 1, d + 1)
    return {"weight": scale * head[..., :-1], "bias": head[..., -1]}
