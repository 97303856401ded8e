"""Weights between the start of meta-training and its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metaest._torch import state_to_cpu
from metaest.episodes import EpisodeBatch
from metaest.training._net import EpisodeNet

#: Shares of the end that are tried, besides the start itself.
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
_AWFUL = 1e30  # in place of losses that are not finite, so that they can be compared

Weights = dict[str, Tensor]


def choose_blend(
    net: EpisodeNet, start: Weights, end: Weights, batches: Sequence[EpisodeBatch]
) -> tuple[float, Weights]:
    """Return the share of the end, and the weights, that held-out episodes speak for.

    Tasks to come differ more from those of meta-training than the held-out ones do. Weights on
    the line from start to end give up little or nothing on the latter and keep more of what the
    start knew of the former. So of the shares whose score is within a standard error (of the
    paired differences) of the best one's, the smallest is chosen. An end that is no better than
    the start went the wrong way: then the start is kept.

    Parameters
    ----------
    net : EpisodeNet
        Left with the weights that are returned.
    start, end : dict of Tensor
    batches : sequence of EpisodeBatch
        Held-out episodes, one at least.

    Returns
    -------
    share : float
        0: the start.
    weights : dict of Tensor
        On the CPU.

    References
    ----------
    Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022 (weights between start and
    end).
    Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3
    (the rule of one standard error).
    """
    shares = (0.0, *SHARES)
    rows = []
    for share in shares:
        net.module_.load_state_dict(blend(start, end, share))
        scores = net.score_episodes(batches)[1].double()
        rows.append(scores.nan_to_num(-_AWFUL, neginf=-_AWFUL))
    table = torch.stack(rows)  # (shares, episodes)
    behind = table[table.mean(1).argmax()] - table
    error = behind.std(1, correction=0) / max(1, behind.shape[1]) ** 0.5
    gained = table[-1].mean() > table[0].mean()
    chosen = int((behind.mean(1) <= error).nonzero()[0]) if gained else 0
    net.module_.load_state_dict(blend(start, end, shares[chosen]))
    return shares[chosen], state_to_cpu(net.module_.state_dict())


def blend(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> Weights:
    """Return the weights at a share of the way; what is not a fraction is the end's."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }
