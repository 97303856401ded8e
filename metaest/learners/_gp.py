"""Exact Gaussian processes of B tasks: kernel, likelihood, and a task's own shift and scale."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metaest.learners._prototypes import squared_distances

#: What a task estimates of its targets: nothing, a shift, or a shift and a scale.
Affine = Literal["none", "offset", "affine"]

#: Weak prior of the scale: as if there were one target more, whose square is this.
_PRIOR_SQUARE = 0.02


class Fit(NamedTuple):
    r"""Gaussian processes of B tasks, given their rows.

    The targets are :math:`y = (c + f) / u` with :math:`f \sim \mathcal{GP}(m, k)`.

    Attributes
    ----------
    factor : Tensor of shape (B, n, n)
        Lower Cholesky factor L of the kernel matrix with noise.
    weights : Tensor of shape (B, n)
        :math:`K^{-1} (u y - c - m)`, zero where padded.
    offset : Tensor of shape (B,)
        c.
    inverse_scale : Tensor of shape (B,)
        u.
    loss : Tensor of shape (B,)
        Negative log (restricted, profile) likelihood of the targets.
    """

    factor: Tensor
    weights: Tensor
    offset: Tensor
    inverse_scale: Tensor
    loss: Tensor


def matern(a: Tensor, b: Tensor) -> Tensor:
    """Matérn kernel with smoothness 5/2: (..., n, d), (..., m, d) -> (..., n, m)."""
    distance = (5 * squared_distances(a, b).clamp(min=1e-12)).sqrt()
    return (1 + distance + distance.square() / 3) * torch.exp(-distance)


def fit_gp(
    kernel: Tensor,
    mean: Tensor,
    y: Tensor,
    mask: Tensor,
    scaling: Affine,
    *,
    on_singular: Literal["raise", "nan"] = "raise",
) -> Fit:
    r"""Condition B Gaussian processes on their rows.

    With v = L^-1 y and so on, the profile likelihood over c and u is in closed form: its quadratic
    form is :math:`u^2 A - 2 u B + C` after c is eliminated (generalised least squares), so u
    solves :math:`u^2 A - u B - N = 0`.

    Parameters
    ----------
    kernel : Tensor of shape (B, n, n)
        With the noise on its diagonal.
    mean : Tensor of shape (B, n)
        Prior mean.
    y : Tensor of shape (B, n)
    mask : Tensor of bool, shape (B, n)
    scaling : {"none", "offset", "affine"}
    on_singular : {"raise", "nan"}, default="raise"
        What to do where a kernel matrix is not positive definite; "nan" spares the other tasks.

    Raises
    ------
    torch.linalg.LinAlgError
        If a kernel matrix is not positive definite and `on_singular` is "raise".

    References
    ----------
    Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and
    section 2.7.
    """
    real = mask.to(kernel.dtype)  # (B, n)
    n = real.sum(1)
    kernel = kernel * real.unsqueeze(1) * real.unsqueeze(2) + torch.diag_embed(1 - real)
    factor, failed = torch.linalg.cholesky_ex(kernel, check_errors=on_singular == "raise")
    factor = factor.masked_fill((failed > 0)[:, None, None], math.nan)
    columns = torch.stack([y * real, mean * real, real], -1)  # (B, n, 3)
    white = torch.linalg.solve_triangular(factor, columns, upper=False)
    left, one = white[..., :2], white[..., 2:]  # (B, n, 2) and (B, n, 1)
    determinant = factor.diagonal(dim1=1, dim2=2).log().sum(1)
    u, shift = torch.ones_like(n), torch.zeros_like(left[:, 0])  # (B,) and (B, 2)
    if scaling != "none":  # the offset is left out of the likelihood, with one degree of freedom
        ones = one.square().sum((1, 2)).clamp(min=1e-12)
        shift = (one * left).sum(1) / ones.unsqueeze(1)
        # Before they are squared: targets far from zero would lose all their digits.
        left = left - one * shift.unsqueeze(1)
        n = n - 1
        determinant = determinant + 0.5 * ones.log()
    white_y, white_m = left.unbind(-1)  # (B, n) each
    loss = determinant
    if scaling == "affine":
        yy, ym = white_y.square().sum(1) + _PRIOR_SQUARE, (white_y * white_m).sum(1)
        n = n + 1
        u = (ym + (ym.square() + 4 * yy * n).sqrt()) / (2 * yy)
        loss = loss + 0.5 * _PRIOR_SQUARE * u.square() - n * u.log()
    residual = white_y * u.unsqueeze(1) - white_m
    loss = loss + 0.5 * residual.square().sum(1) + 0.5 * n * math.log(2 * math.pi)
    weights = torch.linalg.solve_triangular(
        factor.transpose(1, 2), residual.unsqueeze(-1), upper=True
    ).squeeze(-1)
    return Fit(factor, weights * real, u * shift[:, 0] - shift[:, 1], u, loss)
