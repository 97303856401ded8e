"""Gradient descent on B tasks at once, as a differentiable function."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import LearnerNet, State
from metaest.learners._head import inner_norm, support_losses

_T = TypeVar("_T")

#: ``loss_of(parameters) -> (B,)`` from tensors of shape (B, ...).
TaskLoss = Callable[[Mapping[str, Tensor]], Tensor]

#: Step size of each parameter, of a shape that broadcasts with (B, ...).
Rates = Mapping[str, Tensor | float]

#: ``direction(parameters, gradients)`` is what a step goes against instead of the gradients.
Direction = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Mapping[str, Tensor]]


def descend(
    loss_of: TaskLoss,
    parameters: Mapping[str, Tensor],
    rates: Rates | Sequence[Rates],
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
    rates : mapping of name to float or Tensor, or a sequence of these
        Step size of each parameter; a sequence: of each step, the last one's also of all steps
        that follow.
    steps : int
    first_order : bool, default=False
    max_norm : float, default=None
        A task's gradient is scaled down to this norm, so that a step cannot run away.

    Returns
    -------
    dict of name to Tensor of shape (B, ...)
    """
    path = descend_path(
        loss_of, parameters, rates, steps, first_order=first_order, max_norm=max_norm
    )
    return last(path)


def descend_path(
    loss_of: TaskLoss,
    parameters: Mapping[str, Tensor],
    rates: Rates | Sequence[Rates],
    steps: int,
    *,
    first_order: bool = False,
    max_norm: float | None = None,
    direction: Direction | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Yield the parameters of :func:`descend` after 0, 1, ..., `steps` steps.

    A step goes against `direction` (None: against the gradients).
    """
    schedule = [rates] if isinstance(rates, Mapping) else rates
    recorded = torch.is_grad_enabled()
    # A copy where nothing is recorded: the result must not change when the start is trained on.
    current = {k: p if recorded else p.detach().clone() for k, p in parameters.items()}
    yield dict(current)
    for step in range(steps):
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
            gradients = shorten(gradients, max_norm)
        pull: Mapping[str, Tensor] = {
            k: g for k, g in zip(current, gradients, strict=True) if g is not None
        }
        if direction is not None:
            pull = direction(current, pull)
        rate = schedule[min(step, len(schedule) - 1)]
        current = {k: p - rate[k] * pull[k] if k in pull else p for k, p in current.items()}
        yield current if recorded else {k: p.detach() for k, p in current.items()}


def last(values: Iterable[_T]) -> _T:
    """Return the last value, holding no other."""
    return deque(values, maxlen=1).pop()


def flat(parameter: Tensor) -> Tensor:
    """One row for each task: (B, ...) -> (B, D), also of a single number (B,)."""
    return parameter.unsqueeze(-1).flatten(1)


def shorten(gradients: Sequence[Tensor | None], max_norm: float) -> list[Tensor | None]:
    """Scale each task's gradient down to `max_norm`: parts of shape (B, ...)."""
    present = [flat(g).square().sum(1) for g in gradients if g is not None]
    norms = torch.stack(present).sum(0).clamp(min=max_norm**2).sqrt()  # (B,)
    scale = max_norm / norms
    return [None if g is None else g * scale.reshape(-1, *[1] * (g.ndim - 1)) for g in gradients]


def descend_to_state(
    loss_of: TaskLoss,
    start: Mapping[str, Tensor],
    rates: Rates | Sequence[Rates],
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
    return state | _classes(support)


def network_path(
    module: LearnerNet,
    start: Mapping[str, Tensor],
    support: Support,
    rates: Rates | Sequence[Rates],
    steps: int,
    *,
    first_order: bool = False,
    direction: Direction | None = None,
) -> Iterator[State]:
    """Learn B tasks by :func:`descend` on whole networks; yield the state after each step.

    Parameters
    ----------
    module : LearnerNet
    start : mapping of name to Tensor of shape (B, ...)
        From :func:`~metaest.learners._head.start_network`; yielded first.
    support : Support
    rates, steps, first_order, direction
        As in :func:`descend_path`.

    Yields
    ------
    dict of Tensor, each of shape (B, ...)
        The parameters and, for classification, the mask of the classes.
    """

    def loss_of(parameters: Mapping[str, Tensor]) -> Tensor:
        return support_losses(module, parameters, support)

    path = descend_path(
        loss_of,
        start,
        rates,
        steps,
        first_order=first_order,
        max_norm=inner_norm(support.class_mask),
        direction=direction,
    )
    for parameters in path:
        yield parameters | _classes(support)


def _classes(support: Support) -> State:
    return {} if support.class_mask is None else {"class_mask": support.class_mask}
