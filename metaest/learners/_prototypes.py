"""What prototypes are made of: weighted means, covariances, and mixtures of clusters.

Rows come with weights (B, N, C): how much row n counts as an example of class c, which is 0 for
all classes but its own and for padded rows.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from metaest._torch import MASKED_LOGIT


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances, (..., n, d) and (..., m, d) -> (..., n, m).

    Expanded rather than ``torch.cdist``, which has no second derivative on a CPU.
    """
    norms = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    return norms - 2 * a @ b.transpose(-1, -2)


def weighted_means(features: Tensor, weights: Tensor) -> Tensor:
    """Mean of each class: (B, N, d) and (B, N, C) -> (B, C, d); 0 for absent classes."""
    totals = weights.sum(1)  # (B, C)
    return weights.transpose(1, 2) @ features / _or_one(totals).unsqueeze(-1)


def covariance_factors(features: Tensor, weights: Tensor, beta: float) -> Tensor:
    r"""Cholesky factors of each class's regularised covariance.

    .. math:: Q_k = \lambda_k \Sigma_k + (1 - \lambda_k) \Sigma + \beta I,
        \qquad \lambda_k = |S_k| / (|S_k| + 1)

    with the covariances :math:`\Sigma_k` of the class's rows (0 for one row) and :math:`\Sigma` of
    all rows of the task.

    Parameters
    ----------
    features : Tensor of shape (B, N, d)
    weights : Tensor of shape (B, N, C)
    beta : float

    Returns
    -------
    Tensor of shape (B, C, d, d)
        Lower triangular, in single precision at least.

    References
    ----------
    Bateni et al., Improved Few-Shot Visual Classification, CVPR 2020, eq. 2-3.
    """
    with torch.autocast(features.device.type, enabled=False):
        precise = torch.promote_types(features.dtype, torch.float32)
        features, weights = features.to(precise), weights.to(precise)
        counts = weights.sum(1)  # (B, C)
        share = (counts / (counts + 1))[..., None, None]
        own = _covariances(features, weights)  # (B, C, d, d)
        common = _covariances(features, weights.sum(2, keepdim=True))  # (B, 1, d, d)
        mixed = share * own + (1 - share) * common
        # Rounding of large covariances can exceed beta, and a factor must exist.
        largest = mixed.detach().diagonal(dim1=2, dim2=3).amax(-1)  # (B, C)
        floor = beta + mixed.shape[-1] * torch.finfo(precise).eps * largest
        eye = torch.eye(mixed.shape[-1], dtype=precise, device=mixed.device)
        return torch.linalg.cholesky(mixed + floor[..., None, None] * eye)


def mahalanobis_distances(features: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """Squared distances in each class's own metric.

    Parameters
    ----------
    features : Tensor of shape (B, Q, d)
    means : Tensor of shape (B, C, d)
    factors : Tensor of shape (B, C, d, d)

    Returns
    -------
    Tensor of shape (B, Q, C)
    """
    gaps = (features.unsqueeze(1) - means.unsqueeze(2)).to(factors.dtype)  # (B, C, Q, d)
    white = torch.linalg.solve_triangular(factors, gaps.transpose(2, 3), upper=False)
    return white.square().sum(2).transpose(1, 2)  # (B, C, d, Q) -> (B, Q, C)


def mixture_prototypes(
    features: Tensor, weights: Tensor, temperature: Tensor, concentration: float
) -> tuple[Tensor, Tensor]:
    r"""Give each class as many prototypes as its rows need.

    A class whose rows all lie within a squared distance :math:`\lambda` of its mean is one
    cluster. Another gets a cluster at its row farthest from the mean, then at the row farthest
    from its clusters, until all its rows lie within :math:`\lambda` of one. The paper's single
    pass over the rows depends on their order; this does not. Clusters then move to the mean of
    the rows that belong to them, softly. With :math:`\sigma = \tau / 2`,

    .. math:: \lambda = -2 \sigma \log \frac{\alpha}{(1 + \rho / \sigma)^{d / 2}}

    where :math:`\rho` is the variance of the class means.

    Parameters
    ----------
    features : Tensor of shape (B, N, d)
    weights : Tensor of shape (B, N, C)
    temperature : Tensor, scalar
        :math:`\tau`.
    concentration : float
        :math:`\alpha`.

    Returns
    -------
    prototypes : Tensor of shape (B, N, d)
        In place n the cluster that row n started, 0 where it started none.
    owners : Tensor of bool, shape (B, N, C)
        The class of each cluster, none where there is no cluster.

    References
    ----------
    Allen et al., Infinite Mixture Prototypes for Few-Shot Learning, ICML 2019, eq. 5-7.
    """
    members = weights > 0  # (B, N, C)
    numbers = members.to(features.dtype)
    others = numbers @ numbers.transpose(1, 2) == 0  # (B, N, N), rows of other classes
    gaps = squared_distances(features, features)  # (B, N, N)
    with torch.no_grad():
        limit = _split_distance(features, weights, temperature, concentration)
        seeds = _seeds(features, weights, gaps.masked_fill(others, math.inf), limit)  # (B, N)
    scores = (-gaps / temperature).masked_fill(others | ~seeds.unsqueeze(1), MASKED_LOGIT)
    shares = scores.softmax(-1) * weights.sum(2, keepdim=True)  # (B, N, N), row by cluster
    totals = shares.sum(1)  # (B, N)
    prototypes = shares.transpose(1, 2) @ features / _or_one(totals).unsqueeze(-1)
    return prototypes, members & seeds.unsqueeze(-1)


def _covariances(features: Tensor, weights: Tensor) -> Tensor:
    """Sample covariance of each group of rows: (B, N, d), (B, N, G) -> (B, G, d, d)."""
    means = weighted_means(features, weights)  # (B, G, d)
    gaps = features.unsqueeze(1) - means.unsqueeze(2)  # (B, G, N, d)
    scaled = gaps * weights.transpose(1, 2).unsqueeze(-1)
    degrees = (weights.sum(1) - 1).clamp(min=1)  # (B, G)
    return scaled.transpose(2, 3) @ gaps / degrees[..., None, None]


def _split_distance(
    features: Tensor, weights: Tensor, temperature: Tensor, concentration: float
) -> Tensor:
    """Squared distance beyond which a row starts a cluster of its own: (B, 1)."""
    n_features = features.shape[-1]
    present = (weights.sum(1) > 0).to(features.dtype).unsqueeze(-1)  # (B, C, 1)
    means = weighted_means(features, weights)  # (B, C, d)
    centre = weighted_means(means, present)  # (B, 1, d)
    spread = ((means - centre).square() * present).sum((1, 2)) / present.sum((1, 2))  # (B,)
    within = temperature / 2
    grown = 0.5 * n_features * torch.log1p(spread / n_features / within)
    return (2 * within * (grown - math.log(concentration))).clamp(min=0).unsqueeze(1)


def _seeds(features: Tensor, weights: Tensor, gaps: Tensor, limit: Tensor) -> Tensor:
    """Choose the rows at which clusters start: (B, N)."""
    members = weights > 0
    itself = torch.eye(members.shape[1], dtype=torch.bool, device=members.device)
    gaps = gaps.masked_fill(itself, 0.0)  # not a rounding error above it: no row is chosen twice
    means = members.to(features.dtype) @ weighted_means(features, weights)  # (B, N, d)
    distances = (features - means).square().sum(-1)  # (B, N)
    value, row = _farthest(distances, members)  # (B, C)
    grows = members.any(1)
    seeds = _at(row, grows, members.shape[1])
    grows = grows & (value > limit)
    while grows.any():
        nearest = gaps.masked_fill(~seeds.unsqueeze(1), math.inf).amin(2)  # (B, N)
        value, row = _farthest(nearest, members)
        grows = grows & (value > limit)
        seeds = seeds | _at(row, grows, members.shape[1])
    return seeds


def _farthest(distances: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """Largest distance in each class, and its row: (B, N), (B, N, C) -> (B, C) each."""
    value, row = distances.unsqueeze(2).masked_fill(~members, -math.inf).max(1)
    return value, row


def _at(row: Tensor, chosen: Tensor, n_rows: int) -> Tensor:
    """Mark the rows of the chosen classes: (B, C), (B, C) -> (B, N)."""
    return (F.one_hot(row, n_rows).bool() & chosen.unsqueeze(-1)).any(1)


def _or_one(totals: Tensor) -> Tensor:
    return totals.masked_fill(totals == 0, 1.0)
