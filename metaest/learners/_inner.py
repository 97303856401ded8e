"""Gradient descent on B tasks at once, as a differentiable function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import State
from metaest.learners._head import inner_norm

#: ``loss_of(parameters) -> (B,)`` from tensors of shape (B, ...).
TaskLoss = Callable[[Mapping[str, Tensor]], Tensor]


def descend(
    loss_of: TaskLoss,
    parameters: Mapping[str, Tensor],
    rates: Mapping[str, Tensor | float],
    steps: int,
    *,
    first_order: bool = False,
    max_norm: float | None = None,
) -> dict[str, Tensor]:
    """Take gradient steps on each task's own parameters.

    Under ``torch.no_grad()`` nothing is recorded and the result is detached. Otherwise the result
    is differentiable in the starting parameters and the rates: through the gradients too
    (second order), or as if these were constants (`first_order`).

    Parameters
    ----------
    loss_of : callable
        ``loss_of(parameters) -> Tensor of shape (B,)``; each task's loss depends on its own
        parameters only, so one gradient of the sum gives all tasks' gradients.
    parameters : mapping of name to Tensor of shape (B, ...)
    rates : mapping of name to float or Tensor
        Step size of each parameter.
    steps : int
    first_order : bool, default=False
    max_norm : float, default=None
        A task's gradient is scaled down to this norm, so that a step cannot run away.

    Returns
    -------
    dict of name to Tensor of shape (B, ...)
    """
    recorded = torch.is_grad_enabled()
    # A copy where nothing is recorded: the result must not change when the start is trained on.
    current = {k: p if recorded else p.detach().clone() for k, p in parameters.items()}
    for _ in range(steps):
        with torch.enable_grad():
            if not recorded:
                current = {k: p.detach() for k, p in current.items()}
            current = {k: p if p.requires_grad else p.requires_grad_() for k, p in current.items()}
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                loss_of(current).sum(),
                list(current.values()),
                create_graph=recorded and not first_order,
                allow_unused=True,
            )
        if max_norm is not None:
            gradients = _shorten(gradients, max_norm)
        current = {
            k: p if g is None else p - rates[k] * g
            for (k, p), g in zip(current.items(), gradients, strict=True)
        }
    return current if recorded else {k: p.detach() for k, p in current.items()}


def _shorten(gradients: Sequence[Tensor | None], max_norm: float) -> list[Tensor | None]:
    """Scale each task's gradient down to `max_norm`: parts of shape (B, ...)."""
    present = [g.flatten(1).square().sum(1) for g in gradients if g is not None]
    norms = torch.stack(present).sum(0).clamp(min=max_norm**2).sqrt()  # (B,)
    scale = max_norm / norms
    return [None if g is None else g * scale.reshape(-1, *[1] * (g.ndim - 1)) for g in gradients]


def descend_to_state(
    loss_of: TaskLoss,
    start: Mapping[str, Tensor],
    rates: Mapping[str, Tensor | float],
    steps: int,
    support: Support,
    *,
    first_order: bool,
) -> State:
    """Learn B tasks by :func:`descend`; return what predictions need.

    Returns
    -------
    dict of Tensor, each of shape (B, ...)
        The parameters and, for classification, the mask of the classes.
    """
    max_norm = inner_norm(support.class_mask)
    state = descend(loss_of, start, rates, steps, first_order=first_order, max_norm=max_norm)
    return state if support.class_mask is None else state | {"class_mask": support.class_mask}
