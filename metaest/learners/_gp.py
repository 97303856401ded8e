"""Exact Gaussian processes of B tasks: kernel, likelihood, and a task's own shift and scale."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from metaest.learners._prototypes import squared_distances

#: What a task estimates of its targets: nothing, a shift, or a shift and a scale.
Affine = Literal["none", "offset", "affine"]


#: Newton's method takes three or four steps, and one more for each factor e that a task's scale
#: is from the usual one.
_NEWTON_STEPS, _MOST_NEWTON_STEPS = 12, 200
_CONVERGED = 1e-9

#: The square of smaller targets counts as this: they have 20 decades, and equal ones an end.
_LEAST_SQUARE = 1e-40

#: Weak prior of the scale: as if there were one target more, whose square is this.
_PRIOR_SQUARE = 0.02


class ScalePrior(NamedTuple):
    """What other tasks say of a task's scale: a normal distribution of log u.

    Attributes
    ----------
    mean, std : Tensor of shape ()
    """

    mean: Tensor
    std: Tensor


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
        Negative log (restricted) likelihood of the targets; that of u where u has no prior, else
        with u integrated out, by Laplace's method.
    mean_weights : Tensor of shape (B, n)
        The part of `weights` that u does not multiply: :math:`K^{-1} (m - c_m)`, where c_m is the
        offset of m as if it were targets.
    mean_offset : Tensor of shape (B,)
        c_m.
    spread : Tensor of shape (B,)
        Variance of log u under its prior and the targets; 0 without a prior.
    square : Tensor of shape (B,)
        Mean of 1 / u² under both.
    """

    factor: Tensor
    weights: Tensor
    offset: Tensor
    inverse_scale: Tensor
    loss: Tensor
    mean_weights: Tensor
    mean_offset: Tensor
    spread: Tensor
    square: Tensor


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
    prior: ScalePrior | None = None,
    on_singular: Literal["raise", "nan"] = "raise",
) -> Fit:
    r"""Condition B Gaussian processes on their rows.

    With v = L^-1 y and so on, the profile likelihood over c and u is in closed form: its quadratic
    form is :math:`u^2 A - 2 u B + C` after c is eliminated (generalised least squares), so u
    solves :math:`u^2 A - u B - N = 0`. Where u has a prior, it is that of highest density of log u.

    Parameters
    ----------
    kernel : Tensor of shape (B, n, n)
        With the noise on its diagonal.
    mean : Tensor of shape (B, n)
        Prior mean.
    y : Tensor of shape (B, n)
    mask : Tensor of bool, shape (B, n)
    scaling : {"none", "offset", "affine"}
    prior : ScalePrior, default=None
        Of u, where `scaling` is "affine". None: next to nothing is known.
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
    loss, spread, square = determinant, torch.zeros_like(n), torch.ones_like(n)
    if scaling == "affine":
        yy, ym = white_y.square().sum(1), (white_y * white_m).sum(1)
        if prior is None:
            n, yy = n + 1, yy + _PRIOR_SQUARE
            u = _likely_scale(n, yy, ym)
            loss, square = loss + 0.5 * _PRIOR_SQUARE * u.square(), 1 / u.square()
        else:
            u, spread, square = _integrate_scale(n, yy, ym, prior)
            z = (u.log() - prior.mean) / prior.std
            loss = loss + 0.5 * z.square() + prior.std.log() - 0.5 * spread.log()
        loss = loss - n * u.log()
    residual = white_y * u.unsqueeze(1) - white_m
    loss = loss + 0.5 * residual.square().sum(1) + 0.5 * n * math.log(2 * math.pi)
    both = torch.stack([residual, white_m], -1)
    weights = torch.linalg.solve_triangular(factor.transpose(1, 2), both, upper=True)
    weights, mean_weights = (weights * real.unsqueeze(-1)).unbind(-1)
    offset = u * shift[:, 0] - shift[:, 1]
    return Fit(factor, weights, offset, u, loss, mean_weights, shift[:, 1], spread, square)


def _likely_scale(n: Tensor, yy: Tensor, ym: Tensor) -> Tensor:
    """Return the u > 0 at which u² yy - u ym - n = 0."""
    return (ym + (ym.square() + 4 * yy * n).sqrt()) / (2 * yy)


def _integrate_scale(
    n: Tensor, yy: Tensor, ym: Tensor, prior: ScalePrior
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the likeliest u, the variance of log u and the mean of 1 / u², (B,) each.

    The log density of t = log u is n t - yy exp(2t) / 2 + ym exp(t) - ((t - mean) / std)² / 2. Its
    mode is found by Newton's method; its third derivative tells how far the mean is from there.
    """
    precision = prior.std**-2
    yy = yy.clamp(min=_LEAST_SQUARE)

    def derivatives(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        quadratic, linear = yy * (2 * t).exp(), ym * t.exp()
        first = n - quadratic + linear - precision * (t - prior.mean)
        return first, 2 * quadratic - linear + precision, linear - 4 * quadratic

    with torch.no_grad():
        # A gamma distribution of u² with this curvature has a mode in closed form.
        rows = 0.5 * precision
        t = _likely_scale(n + rows, yy + rows * (-2 * prior.mean).exp(), ym).log()
        for number in range(1, _MOST_NEWTON_STEPS + 1):
            first, curvature, _ = derivatives(t)
            step = (first / curvature.clamp(min=precision)).clamp(-1, 1)
            t = t + step
            if number >= _NEWTON_STEPS and not (step.abs() > _CONVERGED).any():
                break
        curvature = derivatives(t)[1].clamp(min=precision)
    t = t + derivatives(t)[0] / curvature  # its gradient is that of the mode
    _, curvature, third = derivatives(t)
    spread = 1 / curvature.clamp(min=1e-3 * precision)
    mean = t + 0.5 * third * spread.square()
    return t.exp(), spread, (2 * spread - 2 * mean).exp()
