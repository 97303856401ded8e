"""Deep kernel transfer: a Gaussian process on learned features."""

from __future__ import annotations

import math
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest._torch import local_seed
from metaest.episodes import EpisodeBatch, Support
from metaest.exceptions import UnsupportedTaskError
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import POSITIVE, SIZE
from metaest.learners._execute import encode
from metaest.learners._gp import Affine, Fit, ScalePrior, fit_gp, matern
from metaest.nets import NetSpec

#: Added to the learned noise, so that equal rows never make a kernel singular.
_JITTER = 1e-5

#: Largest standard deviation of the logarithm of tasks' scales: a factor of seven either way.
_WIDEST = 2.0

#: Adam moves all parameters alike, but one task says little of how tasks' scales vary.
_FASTER = 10.0

#: Ten thousand rows take half a minute and 4 GB.
_MOST_ROWS = 10_000


class DeepKernelGP(Learner):
    r"""Gaussian process on learned features; kernel, mean and noise are meta-learned.

    All tasks share a prior, :math:`y \sim \mathcal{GP}(m, k)` with noise :math:`\sigma^2`, and
    each task is its exact posterior. Mean and kernel are functions of learned features
    :math:`\phi(x)` (linear maps A and B of the embedding, p outputs each),

    .. math::
        k(x, x') = a_1\,k_{5/2}(x / \ell, x' / \ell) + a_2\,k_{5/2}(A\phi(x), A\phi(x'))
                   + \frac{a_3}{p}\,(B\phi(x))^\top B\phi(x'),

    where :math:`k_{5/2}` is Matérn's kernel and the first term, on the rows themselves, is there
    for tables only. The last one lets tasks differ by combinations of functions that are learned
    from all of them. Meta-training maximises the marginal likelihood of whole episodes.

    Parameters
    ----------
    n_latent : int, default=16
        Outputs p of A and of B.
    noise : float, default=0.05
        Starting value of :math:`\sigma^2`; targets have variance 1.
    scaling : {"none", "offset", "affine"}, default="affine"
        What of a task's targets the prior does not fix, and each task estimates: nothing, a
        constant (by restricted maximum likelihood), or a constant and a positive factor (of which
        tasks seen before tell the usual size, and how much it varies). "affine" is for tasks that
        have units of their own, such as the scores of different data sets. The errors of both
        are in the variance.

    References
    ----------
    Patacchiola et al., Bayesian Meta-Learning for the Few-Shot Setting via Deep Kernels, NeurIPS
    2020. Wistuba and Grabocka, Few-Shot Bayesian Optimization with Deep Kernel Surrogates, ICLR
    2021. Wang et al., Pre-trained Gaussian Processes for Bayesian Optimization, JMLR 2024 (the
    learned mean). Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, section
    2.7 (the offset).

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("deep_kernel_gp", random_state=0)
    >>> reg = reg.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    >>> mean, std = reg.predict([[1.5], [9.0]], return_std=True)
    >>> bool(std[1] > std[0])
    True
    """

    kinds = ("regression",)
    predicts_variance = True
    #: Whether tasks tell how large another's factor is; else each has it from its own rows alone.
    learns_scale_prior: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_latent": [SIZE],
        "noise": [POSITIVE],
        "scaling": [StrOptions({"none", "offset", "affine"})],
    }

    def __init__(
        self, *, n_latent: int = 16, noise: float = 0.05, scaling: Affine = "affine"
    ) -> None:
        self.n_latent = n_latent
        self.noise = noise
        self.scaling = scaling

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        with local_seed(rng):
            module.radial = nn.Linear(n_features, self.n_latent)  # A
            module.linear = nn.Linear(n_features, self.n_latent)  # B
            module.mean = nn.Linear(n_features, 1)
        nn.init.zeros_(module.mean.weight)
        nn.init.zeros_(module.mean.bias)
        amplitudes = [-1.0, -1.0, -1.0]  # logarithms of a_1, a_2, a_3
        if len(spec.input_shape) == 1:
            # Rows are standardised: a typical distance of two of them is sqrt(2 d).
            start = 0.5 * math.log(spec.input_shape[0])
            module.log_length = nn.Parameter(torch.full(spec.input_shape, start))
        module.log_amplitude = nn.Parameter(torch.tensor(amplitudes))
        module.log_noise = nn.Parameter(torch.tensor(math.log(self.noise)))
        if self._has_scale_prior():
            module.scale_prior = nn.Parameter(torch.zeros(2))

    def adapt(self, module: LearnerNet, support: Support) -> State:
        n_rows = int(support.mask.sum(1).max())
        if n_rows > _MOST_ROWS:
            raise UnsupportedTaskError(
                f"learner='deep_kernel_gp' takes at most {_MOST_ROWS} labelled rows, for it keeps "
                f"all pairs; got {n_rows}. Fit on a sample of the rows, or use learner='maml', or "
                "an estimator for large data such as HistGradientBoostingRegressor."
            )
        parts = self.parts(module, support.x)
        fit = self._fit(module, parts, support.y, support.mask)
        return {
            **parts,
            "mask": support.mask,
            "factor": fit.factor,
            "weights": fit.weights,
            "offset": fit.offset,
            "inverse_scale": fit.inverse_scale,
            "mean_weights": fit.mean_weights,
            "mean_offset": fit.mean_offset,
            "spread": fit.spread,
            "square": fit.square,
            "loss": fit.loss,
        }

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Gaussian:
        mean, variance = self.latent(module, state, query_x)
        noise = _noise(module) * state["square"]  # (B,)
        return Gaussian(mean, variance + noise.unsqueeze(1))

    def latent(self, module: LearnerNet, state: State, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the function itself, without the noise of a target.

        Parameters
        ----------
        module : LearnerNet
        state : dict of Tensor
            From :meth:`adapt`.
        query_x : Tensor of shape (B, Q, ...)

        Returns
        -------
        mean, variance : Tensor of float64, shape (B, Q)
        """
        parts = self.parts(module, query_x)
        cross = _kernel(module, state, parts) * state["mask"].unsqueeze(-1)  # (B, S, Q)
        mean = parts["prior"] + (cross * state["weights"].unsqueeze(-1)).sum(1)
        explained = torch.linalg.solve_triangular(state["factor"], cross, upper=False)
        variance = (_diagonal(module, parts) - explained.square().sum(1)).clamp(min=1e-10)
        if self.scaling != "none":  # the offset is an estimate, from few rows a poor one
            ones = state["mask"].to(cross.dtype).unsqueeze(-1)  # (B, S, 1)
            ones = torch.linalg.solve_triangular(state["factor"], ones, upper=False)
            left = 1 - (ones * explained).sum(1)  # (B, Q)
            variance = variance + left.square() / ones.square().sum(1)
        mean = (mean + state["offset"].unsqueeze(1)) / state["inverse_scale"].unsqueeze(1)
        if self._has_scale_prior():  # the factor is an estimate, too
            scaled = parts["prior"] - state["mean_offset"].unsqueeze(1)  # what it multiplies
            scaled = scaled - (cross * state["mean_weights"].unsqueeze(-1)).sum(1)
            variance = variance + state["spread"].unsqueeze(1) * scaled.square()
        return mean, variance * state["square"].unsqueeze(1)

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        """Negative log marginal likelihood of all rows of the episodes, per row."""
        x = torch.cat([batch.support_x, batch.query_x], 1)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        mask = torch.cat([batch.support_mask, batch.query_mask], 1)
        losses = self._fit(module, self.parts(module, x), y, mask).loss  # (B,)
        return (losses / mask.sum(1)).mean()

    def _fit(self, module: LearnerNet, parts: State, y: Tensor, mask: Tensor) -> Fit:
        kernel = _kernel(module, parts, parts)
        eye = torch.eye(y.shape[1], dtype=kernel.dtype, device=kernel.device)
        kernel = kernel + _noise(module) * eye
        # Not-a-number is told of by the estimator and by meta-training, as for other learners.
        prior = _scale_prior(module) if self._has_scale_prior() else None
        return fit_gp(
            kernel, parts["prior"], y.double(), mask, self.scaling, prior=prior, on_singular="nan"
        )

    def _has_scale_prior(self) -> bool:
        return self.scaling == "affine" and self.learns_scale_prior

    def parts(self, module: LearnerNet, x: Tensor) -> State:
        """Return what kernel and mean are functions of, in double precision.

        Parameters
        ----------
        module : LearnerNet
        x : Tensor of shape (B, n, ...)

        Returns
        -------
        dict of Tensor
            "radial" and "linear" (B, n, k), "prior" (B, n), and "raw" (B, n, d) for rows.
        """
        features = encode(module.embedding, x)  # (B, n, d)
        parts = {
            "radial": module.radial(features).double(),  # (B, n, k)
            "linear": module.linear(features).double() / self.n_latent**0.5,  # (B, n, k)
            "prior": module.mean(features).squeeze(-1).double(),  # (B, n)
        }
        if hasattr(module, "log_length"):
            standardize = cast(nn.Sequential, module.embedding)[0]
            rows = standardize(x.flatten(0, 1)).unflatten(0, x.shape[:2])
            parts["raw"] = (rows / module.log_length.exp()).double()  # (B, n, d)
        return parts


def _noise(module: LearnerNet) -> Tensor:
    return module.log_noise.double().exp() + _JITTER


def _scale_prior(module: LearnerNet) -> ScalePrior:
    mean, width = _FASTER * module.scale_prior.double()
    return ScalePrior(mean, _WIDEST * torch.sigmoid(width))


def _kernel(module: LearnerNet, a: State, b: State) -> Tensor:
    """Return the kernel of every pair of rows: (B, n, ...), (B, m, ...) -> (B, n, m)."""
    raw, radial, linear = module.log_amplitude.double().exp()
    kernel = radial * matern(a["radial"], b["radial"])
    kernel = kernel + linear * a["linear"] @ b["linear"].transpose(1, 2)
    return kernel + raw * matern(a["raw"], b["raw"]) if "raw" in a else kernel


def _diagonal(module: LearnerNet, parts: State) -> Tensor:
    """Return the kernel of each row with itself: (B, n)."""
    raw, radial, linear = module.log_amplitude.double().exp()
    variance = radial + linear * parts["linear"].square().sum(-1)
    return variance + raw if "raw" in parts else variance
