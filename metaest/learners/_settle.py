"""Where a task's descent ends, if it ran away."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import LearnerNet, State
from metaest.learners._head import support_losses
from metaest.learners._inner import last

#: How often the way is halved before a task stays where it began.
_N_HALVINGS = 6
#: What a loss may rise by; a support set that is all but fitted from the start may lose a little.
_SLACK = 0.01


def settle(module: LearnerNet, path: Iterator[State], support: Support) -> State:
    """Return the last state of a path; of a task whose support loss rose, one on the way to it.

    Step sizes fit the tasks of meta-training, learned ones most of all: where one support row is
    far from all that was seen, a step can end in a network that is worse than a guess. Then the
    way from first to last state is halved until the loss is not above that at the start. Where
    gradients are recorded, as in meta-training, the last state is returned as it is.

    Parameters
    ----------
    module : LearnerNet
    path : iterator of dict of Tensor, each of shape (B, ...)
        From :func:`~metaest.learners._inner.network_path`.
    support : Support

    Returns
    -------
    dict of Tensor, each of shape (B, ...)

    References
    ----------
    Armijo, Minimization of functions having Lipschitz continuous first partial derivatives, Pacific
    Journal of Mathematics 1966 (halving). None of the learners' papers does so.
    """
    first = next(path)
    end = last(chain([first], path))
    if torch.is_grad_enabled():
        return end
    highest = support_losses(module, first, support) + _SLACK  # (B,)
    share, found = torch.ones_like(highest), end
    for _ in range(_N_HALVINGS):
        # Never, where it is NaN: an error's case.
        worse = support_losses(module, found, support) > highest
        if not worse.any():
            return found
        share = torch.where(worse, share / 2, share)
        found = _between(first, end, share)
    worse = support_losses(module, found, support) > highest
    return _between(first, end, share.masked_fill(worse, 0.0))


def _between(first: State, end: State, share: Tensor) -> State:
    """Go a share of the way, (B,), in each task; all of it exactly."""
    found = {}
    for name, there in end.items():
        own = share.reshape(-1, *[1] * (there.ndim - 1))
        if there.is_floating_point():
            there = torch.where(own == 1, there, torch.lerp(first[name], there, own))
        found[name] = there
    return found
