"""Regression by a network for classes: bins of the target stand for it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaest._torch import select
from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import Gaussian, State, masked_mean
from metaest.nets._in_context import InContextNet
from metaest.nets._in_context_parts import predict_in_parts, read_in_parts

#: About as many rows has a bin at least.
_ROWS_PER_BIN = 3

#: The logits are multiplied by it: a network for classes does not know that bins have an order,
#: and is less sure of them than it could be.
_SHARPNESS = 2.0

#: Of the energy score that meta-training descends, between 1 and 2.
_POWER = 1.5

#: Least variance of a prediction, that of the support targets being 1.
_LEAST_VARIANCE = 1e-4


def choose_cuts(y: Tensor, mask: Tensor, n_passes: int, n_bins: int) -> Tensor:
    """Cut the targets of B tasks into bins, in each pass elsewhere.

    With n rows there are K = n // 3 cuts, at least one and at most ``n_bins - 1``. Pass m of M
    cuts at the quantiles (k + (m + 1/2) / M) / K, k = 0..K-1. Equal targets are not parted.

    Parameters
    ----------
    y : Tensor of shape (B, S)
    mask : Tensor of bool, shape (B, S)
    n_passes, n_bins : int

    Returns
    -------
    Tensor of shape (B, M, n_bins - 1)
        A bin holds the targets above a cut up to the next; infinity where there is none.
    """
    n_rows = mask.sum(1)[:, None, None]  # (B, 1, 1)
    n_cuts = (n_rows // _ROWS_PER_BIN).clamp(1, max(1, n_bins - 1))
    number = torch.arange(n_bins - 1, device=y.device)  # (K,)
    shift = (torch.arange(n_passes, device=y.device, dtype=torch.float64) + 0.5) / n_passes
    places = ((number + shift.unsqueeze(1)) / n_cuts * n_rows).round().long()  # (B, M, K)
    places = places.clamp(max=n_rows - 1).clamp(min=1)
    ordered = y.masked_fill(~mask, torch.inf).sort(1).values.unsqueeze(1)  # (B, 1, S)
    cuts = ordered.expand(-1, n_passes, -1).gather(2, places - 1)
    highest = ordered.gather(2, n_rows - 1)
    return cuts.masked_fill((number >= n_cuts) | (cuts >= highest), torch.inf)


def find_outputs(y: Tensor, cuts: Tensor) -> Tensor:
    """Find the network's output for each target's bin: (B, S) and (B, M, K) -> (B, M, S)."""
    bins = (y[:, None, :, None] > cuts.unsqueeze(2)).sum(-1)  # (B, M, S)
    outputs = torch.from_numpy(_outputs(cuts.shape[1], cuts.shape[2] + 1)).to(y.device)  # (M, O)
    return outputs.expand(len(y), -1, -1).gather(2, bins)


@lru_cache(maxsize=64)
def _outputs(n_passes: int, n_bins: int) -> np.ndarray:
    """Draw the outputs of the bins in each pass: (M, n_bins)."""
    orders = np.tile(np.arange(n_bins), (n_passes, 1))
    return np.random.default_rng(n_bins).permuted(orders, axis=1)


def standardize_targets(support: Support) -> tuple[Tensor, Tensor, Tensor]:
    """Give each task's targets mean 0 and variance 1.

    Both are computed from sorted values, so that the order of the rows changes no digit.

    Returns
    -------
    z : Tensor of float64, shape (B, S)
    center, scale : Tensor of float64, shape (B, 1)
    """
    y = support.y.double()
    found = [_center_and_scale(row[m]) for row, m in zip(y, support.mask, strict=True)]
    center, scale = torch.stack(found).unsqueeze(-1).unbind(1)  # (B, 1)
    return (y - center) / scale, center, scale


def _center_and_scale(y: Tensor) -> Tensor:
    y = y.sort().values
    low, extent = y[0], y[-1] - y[0]
    if extent == 0:
        return torch.stack([low, torch.where(low == 0, 1, low.abs())])
    unit = (y - low) / extent
    return torch.stack([low + extent * unit.mean(), extent * unit.std(correction=0)])


def read_bins(net: InContextNet, support: Support, n_passes: int) -> State:
    """Read the support rows of B tasks, their bins as classes.

    Parameters
    ----------
    net : InContextNet
    support : Support
    n_passes : int

    Returns
    -------
    dict of Tensor
        ``moments`` (B, M, O, 2): mean of the standardised targets, and of their squares, in the
        bin of each output; ``center`` and ``scale`` (B, 1) of the targets; what the network read.
    """
    cuts = choose_cuts(support.y, support.mask, n_passes, net.n_classes)
    outputs = find_outputs(support.y, cuts)  # (B, M, S)
    z, center, scale = standardize_targets(support)
    members = F.one_hot(outputs, net.n_classes) * support.mask[:, None, :, None]  # (B, M, S, O)
    counts = members.sum(2)  # (B, M, O)
    powers = torch.stack([z, z.square()], -1).unsqueeze(1)  # (B, 1, S, 2)
    sums = members.transpose(2, 3).to(z.dtype) @ powers  # (B, M, O, 2)
    moments = sums / counts.clamp(min=1).unsqueeze(-1)
    read = read_in_parts(net, support.x.flatten(2), outputs, support.mask, counts > 0)
    own = {"moments": moments, "center": center, "scale": scale}
    return own | {f"net_{k}": v for k, v in read.items()}


def predict_moments(net: InContextNet, state: State, query_x: Tensor, temperature: float) -> Tensor:
    """Mean of the standardised target and of its square, for each row: (B, Q, 2)."""
    shares = _shares(net, state, query_x, temperature)  # (B, M, Q, O)
    return (shares @ state["moments"]).mean(1)


def _shares(net: InContextNet, state: State, query_x: Tensor, temperature: float) -> Tensor:
    """Probability of each output's bin: (B, M, Q, O)."""
    logits = predict_in_parts(net, select(state, "net_"), query_x.flatten(2)).double()
    return (logits * _SHARPNESS / temperature).softmax(-1)


def to_gaussian(moments: Tensor, state: State, spread: Tensor | float = 1.0) -> Gaussian:
    """Bring moments of standardised targets to the targets' scale: (B, Q, 2) -> (B, Q).

    Parameters
    ----------
    moments : Tensor of shape (B, Q, 2)
        Mean and mean square.
    state : dict of Tensor
    spread : Tensor of shape (B, 1) or float, default=1.0
        Multiplies the variance.
    """
    mean, square = moments.unbind(-1)
    variance = (spread * (square - mean.square())).clamp(min=_LEAST_VARIANCE)
    return Gaussian(mean * state["scale"] + state["center"], variance * state["scale"].square())


def bin_loss(net: InContextNet, batch: EpisodeBatch, temperature: float) -> Tensor:
    r"""Energy score of the bins' means in a single pass, of standardised targets.

    With :math:`p_k` the probability of a bin and :math:`m_k` the mean of its targets,
    :math:`\sum_k p_k |m_k - y|^\beta - \frac12 \sum_{kl} p_k p_l |m_k - m_l|^\beta`: a proper
    score that knows the order of the bins, as their cross-entropy does not. With
    :math:`\beta = 2` it is the squared error of the mean, which asks for no spread.

    References
    ----------
    Gneiting and Raftery, Strictly Proper Scoring Rules, Prediction, and Estimation, JASA 2007,
    section 4.3.
    """
    state = read_bins(net, batch.support, 1)
    shares = _shares(net, state, batch.query_x, temperature).squeeze(1)  # (B, Q, O)
    means = state["moments"][:, 0, :, 0]  # (B, O)
    z = (batch.query_y - state["center"]) / state["scale"]  # (B, Q), so that all tasks count alike
    away = (means.unsqueeze(1) - z.unsqueeze(2)).abs() ** _POWER  # (B, Q, O)
    apart = (means.unsqueeze(2) - means.unsqueeze(1)).abs() ** _POWER  # (B, O, O)
    losses = (shares * (away - shares @ apart / 2)).sum(-1)  # (B, Q)
    return masked_mean(losses, batch.query_mask).mean()
