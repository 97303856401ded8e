"""How tasks follow a learned update rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import LearnerNet, State
from metaest.learners._head import inner_norm, start_network, support_losses
from metaest.learners._inner import TaskLoss, shorten

#: ``rule(value, gradient, losses, memory) -> (new value, new memory)`` of one weight tensor, from
#: (B, ...), (B, ...), (B,) and None at the first step.
UpdateRule = Callable[[Tensor, Tensor, Tensor, Any], tuple[Tensor, Any]]


def learn_by(
    rule: UpdateRule,
    module: LearnerNet,
    support: Support,
    steps: int,
    head: Literal["zero", "prototype"],
) -> State:
    """Learn B tasks, network and head, by steps of a rule.

    Gradients and losses are constants to meta-training (first order), as in the papers of the
    learned rules; the result is differentiable in the start and in the rule.

    Parameters
    ----------
    rule : callable
        See :data:`UpdateRule`.
    module : LearnerNet
        Its weights are the start.
    support : Support
    steps : int
    head : {"zero", "prototype"}
        Where a classification head starts.

    Returns
    -------
    dict of Tensor, each of shape (B, ...)
        The parameters and, for classification, the mask of the classes.
    """

    def loss_of(parameters: Mapping[str, Tensor]) -> Tensor:
        return support_losses(module, parameters, support)

    current, max_norm = start_network(module, support, head), inner_norm(support.class_mask)
    if not torch.is_grad_enabled():
        # A copy where nothing is recorded: the result must not change when the start is trained on.
        current = {k: p.clone() for k, p in current.items()}
    memory: dict[str, Any] = dict.fromkeys(current)
    for _ in range(steps):
        losses, gradients = _gradients(loss_of, current)
        if max_norm is not None:
            gradients = shorten(gradients, max_norm)
        for name, gradient in zip(current, gradients, strict=True):
            if gradient is not None:
                current[name], memory[name] = rule(current[name], gradient, losses, memory[name])
    return current if support.class_mask is None else current | {"class_mask": support.class_mask}


def _gradients(
    loss_of: TaskLoss, parameters: Mapping[str, Tensor]
) -> tuple[Tensor, Sequence[Tensor | None]]:
    """Losses of the tasks (B,) and their gradients, as constants; None: no part in the loss."""
    leaves = {k: p.detach().requires_grad_() for k, p in parameters.items()}
    with torch.enable_grad():
        losses = loss_of(leaves)
        total = losses.sum()
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return losses.detach(), gradients
