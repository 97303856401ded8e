"""What is known of the scores of one search: a Gaussian process, fitted to its trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metaest.learners._gp import Fit, fit_gp, matern

_STEPS = 10
_JITTER = 1e-6


@dataclass(frozen=True)
class Features:
    """What kernel and mean are functions of, for n configurations.

    Attributes
    ----------
    raw : Tensor of shape (n, d)
        Encoded configurations.
    radial, linear : Tensor of shape (n, k) or None
        Learned features; None: nothing was learned.
    mean : Tensor of shape (n,) or None
        Learned prior mean.
    """

    raw: Tensor
    radial: Tensor | None = None
    linear: Tensor | None = None
    mean: Tensor | None = None


@dataclass(frozen=True)
class Prior:
    """Distributions of the parameters that each search fits for itself.

    In this order: logarithms of d lengths and of the noise; for learned features, also the
    logarithms of the three amplitudes (raw, radial, linear) and the factor of the mean. All are
    normal but the last: where past searches mislead, it has to go far, to zero or below, and
    Student's t distribution with two degrees of freedom lets it at little cost.

    Attributes
    ----------
    center, spread : Tensor of float64, shape (d + 1,) or (d + 5,)
    has_mean : bool
        Whether the last parameter is the factor of a learned mean.
    """

    center: Tensor
    spread: Tensor
    has_mean: bool = False

    @classmethod
    def cold(cls, raw: Tensor) -> Prior:
        """Return the prior of a search without a past.

        The dimension is the mean number of columns that are not zero: parameters that are not
        active, and categories that are not chosen, make no two configurations farther apart. (A
        number in the middle of its range is zero, too, but seldom there.)

        Parameters
        ----------
        raw : Tensor of shape (n, d)
            Encoded configurations.

        References
        ----------
        Hvarfner, Hellsten and Nardi, Vanilla Bayesian Optimization Performs Great in High
        Dimensions, ICML 2024: lengths that grow with the square root of the dimension.
        """
        dimension = max(1.0, float((raw != 0).double().sum(1).mean()))
        center = torch.full((raw.shape[1] + 1,), 0.5 * math.log(dimension), dtype=torch.float64)
        center[-1] = math.log(1e-3)
        spread = torch.ones_like(center)
        spread[-1] = 1.5
        return cls(center, spread)

    def penalty(self, parameters: Tensor) -> Tensor:
        """Return minus the logarithm of the density, less what does not depend on parameters."""
        z = (parameters - self.center) / self.spread
        if not self.has_mean:
            return 0.5 * z.square().sum()
        return 0.5 * z[:-1].square().sum() + 1.5 * torch.log1p(z[-1].square() / 2)


class Posterior:
    """A Gaussian process whose few parameters are fitted to the scores of one search.

    The parameters are those of highest posterior density; shift and scale of the scores are
    estimated with them. So a search that past ones misled unlearns what they taught: their
    amplitudes shrink, as does the factor of their mean.

    Parameters
    ----------
    features : Features
        Of n configurations.
    scores : ndarray of shape (n,)
    prior : Prior
    start : Tensor, default=None
        Parameters of an earlier fit, to begin from.
    n_steps : int, default=10
        Of the fit.

    Attributes
    ----------
    parameters : Tensor
    loss : float
        Negative log likelihood of the scores, and of the parameters under their prior.
    """

    def __init__(
        self,
        features: Features,
        scores: np.ndarray,
        prior: Prior,
        start: Tensor | None = None,
        *,
        n_steps: int = _STEPS,
    ) -> None:
        self._features = features
        self._prior = prior
        std = float(scores.std())
        self._shift = float(scores.mean())
        self._unit = std if std > 1e-12 * (1 + float(np.abs(scores).max())) else 1.0
        self._y = torch.from_numpy((scores - self._shift) / self._unit).unsqueeze(0)
        f = features
        self._radial = None if f.radial is None else matern(f.radial, f.radial)
        self._linear = None if f.linear is None else f.linear @ f.linear.T
        self.parameters = self._find(prior.center if start is None else start, n_steps)
        with torch.no_grad():
            self._fit, self.loss = self._evaluate(self.parameters)

    def predict(self, features: Features) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the scores of m configurations, both (m,)."""
        with torch.no_grad():
            cross, diagonal = self._cross(features, self.parameters)  # (n, m), (m,)
            mean = cross.T @ self._fit.weights[0] + self._fit.offset
            if features.mean is not None:
                mean = mean + self.parameters[-1] * features.mean
            white = torch.linalg.solve_triangular(self._fit.factor[0], cross, upper=False)
            variance = (diagonal - white.square().sum(0)).clamp(min=1e-10)
            unit = self._unit / float(self._fit.inverse_scale)
        return mean.numpy() * unit + self._shift, variance.sqrt().numpy() * unit

    def _evaluate(self, parameters: Tensor) -> tuple[Fit, float]:
        fit = self._condition(parameters)
        return fit, float(fit.loss + self._prior.penalty(parameters))

    def _condition(self, parameters: Tensor) -> Fit:
        n_columns = self._features.raw.shape[1]
        scaled = self._features.raw / parameters[:n_columns].exp()
        kernel = matern(scaled, scaled)
        mean = torch.zeros_like(self._y)
        if self._radial is not None and self._linear is not None:
            raw, radial, linear = parameters[n_columns + 1 : n_columns + 4].exp()
            kernel = raw * kernel + radial * self._radial + linear * self._linear
            assert self._features.mean is not None
            mean = parameters[-1] * self._features.mean.unsqueeze(0)
        noise = parameters[n_columns].exp() + _JITTER
        kernel = kernel + noise * torch.eye(len(kernel), dtype=kernel.dtype)
        mask = torch.ones(self._y.shape, dtype=torch.bool)
        return fit_gp(kernel.unsqueeze(0), mean, self._y, mask, "affine")

    def _cross(self, features: Features, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernel of the trials with m configurations, and of these with themselves."""
        own, n_columns = self._features, self._features.raw.shape[1]
        lengths = parameters[:n_columns].exp()
        kernel = matern(own.raw / lengths, features.raw / lengths)
        diagonal = torch.ones(len(features.raw), dtype=kernel.dtype)
        if own.radial is None or own.linear is None:
            return kernel, diagonal
        assert features.radial is not None
        assert features.linear is not None
        raw, radial, linear = parameters[n_columns + 1 : n_columns + 4].exp()
        kernel = raw * kernel + radial * matern(own.radial, features.radial)
        kernel = kernel + linear * own.linear @ features.linear.T
        return kernel, raw + radial + linear * features.linear.square().sum(1)

    def _find(self, start: Tensor, n_steps: int) -> Tensor:
        """Return the parameters of highest posterior density, or the prior's center."""
        if n_steps == 0:
            return start
        if self._y.shape[1] < 3:  # too little to fit
            return self._prior.center
        parameters = start.clone().requires_grad_(True)
        optimizer = torch.optim.LBFGS(
            [parameters], max_iter=n_steps, history_size=8, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = self._condition(parameters).loss.sum() + self._prior.penalty(parameters)
            loss.backward()
            return loss

        try:
            optimizer.step(closure)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return self._prior.center
        found = parameters.detach()
        return found if found.isfinite().all() else self._prior.center
