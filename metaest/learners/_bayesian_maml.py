"""Bayesian MAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest._torch import mask_logits, select
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import COUNT, RATE, SIZE
from metaest.learners._execute import run_tasks
from metaest.learners._head import (
    BODY,
    add_head,
    apply_network,
    prototype_head,
    start_network,
    step_size,
)
from metaest.learners._inner import Direction, flat, last, network_path
from metaest.learners._prototypes import squared_distances
from metaest.nets import NetSpec, make_embedding


class BayesianMAML(Learner):
    r"""MAML with several networks per task, which spread over the task's posterior.

    The inner loop moves :math:`M` networks (particles) by Stein variational gradient descent:
    with the energy :math:`U = -\log p(S \mid \theta)` of the support set,

    .. math::
        \theta_m \leftarrow \theta_m - \frac{\epsilon}{M} \sum_j \left[
            k(\theta_j, \theta_m) \nabla U(\theta_j) - \nabla_{\theta_j} k(\theta_j, \theta_m)
        \right],

    where the first term leads all of them to the data and the second one keeps them apart.
    :math:`k` is Gaussian, its width the median heuristic. The rate :math:`\epsilon` is such that
    one particle takes MAML's step, so the more support rows, the less they are kept apart. The
    prior is where the particles start: at meta-learned networks of their own.

    A class has the mean of the particles' probabilities; a target their mean, and a variance
    of their spread and a meta-learned noise. So the prediction is unsure where networks that fit
    the support set disagree. Meta-training descends the negative log-likelihood of the query
    rows, not the paper's chaser loss, which needs a second inner loop on all rows. Latent
    embedding optimisation (LEO) was not chosen: it adapts only a head on fixed features, and
    its sampled codes make a prediction depend on the draw.

    Parameters
    ----------
    n_particles : int, default=5
        Networks :math:`M`; costs grow with it.
    inner_steps : int, default=5
        Steps on the support set. May be changed after meta-training.
    inner_lr : float, default=None
        MAML's step size :math:`\alpha`: of the equation, :math:`\epsilon = \alpha C / n` for C
        classes and n rows, :math:`2 \sigma^2 \alpha / n` for numbers with noise
        :math:`\sigma^2` (whose inner gradients are scaled down to a norm of 10, as in MAML).
        None: :math:`(M + 1) / 2` times MAML's, for particles far apart move at about
        :math:`2 / M` of it.
    head : {"zero", "prototype"}, default="zero"
        Where a classification head starts, as in MAML.

    References
    ----------
    Yoon et al., Bayesian Model-Agnostic Meta-Learning, NeurIPS 2018, section 3.1, algorithm 2.
    Liu and Wang, Stein Variational Gradient Descent, NeurIPS 2016, eq. 8 and algorithm 1.

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("bayesian_maml", random_state=0)
    >>> reg = reg.fit([[0.0], [1.0], [5.0]], [0.0, 1.0, 5.0])
    >>> mean, std = reg.predict([[0.5]], return_std=True)
    >>> mean.shape, std.shape
    ((1,), (1,))
    """

    kinds = ("classification", "regression")
    predicts_variance = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_particles": [SIZE],
        "inner_steps": [COUNT],
        "inner_lr": [RATE, None],
        "head": [StrOptions({"zero", "prototype"})],
    }

    def __init__(
        self,
        *,
        n_particles: int = 5,
        inner_steps: int = 5,
        inner_lr: float | None = None,
        head: Literal["zero", "prototype"] = "zero",
    ) -> None:
        self.n_particles = n_particles
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.head = head

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)
        if spec.kind == "regression":
            module.log_noise = nn.Parameter(torch.tensor(math.log(0.1)))  # of a target's variance
        others = [LearnerNet() for _ in range(self.n_particles - 1)]  # the module is a particle too
        for other in others:
            other.embedding, other.n_features = make_embedding(spec, rng)
            add_head(other, n_features, spec, rng)
        module.others = nn.ModuleList(others)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        starts = [start_network(net, support) for net in (module, *module.others)]
        start = {k: torch.stack([own[k] for own in starts], 1).flatten(0, 1) for k in starts[0]}
        m = len(starts)
        particles = _repeat(support, m)
        if self.head == "prototype" and support.class_mask is not None:
            # Not each net by itself: all particles predict with the first one's buffers.
            features = run_tasks(module.embedding, select(start, BODY), particles.x)
            start |= prototype_head(features, particles)
        path = network_path(
            module,
            start,  # (B * M, ...)
            particles,
            dict.fromkeys(start, self._rate(support)),
            self.inner_steps,
            direction=_stein(m, _temperature(module, support)),
        )
        return {k: v.unflatten(0, (-1, m)) for k, v in last(path).items()}  # (B, M, ...)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        m = state["bias"].shape[1]
        own = {k: v.flatten(0, 1) for k, v in state.items()}
        class_mask = own.get("class_mask")
        out = apply_network(module, own, query_x.repeat_interleave(m, 0), class_mask)
        if isinstance(out, Tensor):
            logs = out.log_softmax(-1).unflatten(0, (-1, m))  # (B, M, Q, C)
            return mask_logits(logs.logsumexp(1) - math.log(m), state["class_mask"][:, 0])
        means = out.mean.unflatten(0, (-1, m))  # (B, M, Q)
        return Gaussian(means.mean(1), means.var(1, correction=0) + module.log_noise.exp())

    def _rate(self, support: Support) -> float:
        rate = step_size(self.inner_lr, support.class_mask is not None)
        return rate * (self.n_particles + 1) / 2 if self.inner_lr is None else rate


def stein_direction(particles: Tensor, gradients: Tensor, temperature: Tensor) -> Tensor:
    """Return what Stein variational gradient descent goes against.

    Parameters
    ----------
    particles : Tensor of shape (B, M, D)
    gradients : Tensor of shape (B, M, D)
        Of the energy at each particle, times the temperature.
    temperature : Tensor of shape (B,)

    Returns
    -------
    Tensor of shape (B, M, D)
    """
    m = particles.shape[1]
    if m == 1:
        return gradients
    centered = particles - particles.mean(1, keepdim=True)  # distances round less
    squared = squared_distances(centered, centered)  # (B, M, M)
    rows, columns = torch.triu_indices(m, m, 1, device=squared.device)
    width = squared[:, rows, columns].quantile(0.5, dim=1) / math.log(m)  # (B,)
    width = width.clamp(min=1e-6).reshape(-1, 1, 1)  # particles may coincide
    kernel = (-squared / width).exp()  # (B, M, M)
    apart = kernel.sum(2, keepdim=True) * centered - kernel @ centered  # (B, M, D)
    push = 2 * temperature.reshape(-1, 1, 1) / width * apart
    return (kernel @ gradients - push) / m


def _stein(n_particles: int, temperature: Tensor) -> Direction:
    def direction(
        parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        def stacked(tensors: Mapping[str, Tensor]) -> Tensor:
            parts = [flat(tensors[k]) for k in gradients]
            return torch.cat(parts, 1).unflatten(0, (-1, n_particles))  # (B, M, D)

        moves = stein_direction(stacked(parameters), stacked(gradients), temperature).flatten(0, 1)
        parts = moves.split([g[0].numel() for g in gradients.values()], 1)
        return {k: part.view_as(g) for part, (k, g) in zip(parts, gradients.items(), strict=True)}

    return direction


def _temperature(module: LearnerNet, support: Support) -> Tensor:
    """Return the inner loss over the energy: (B,).

    That is a mean over n rows, of squared errors or of cross-entropies times the classes, and the
    energy is the sum of squared errors over twice the noise, or of cross-entropies.
    """
    n_rows = support.mask.sum(1).clamp(min=1)
    if support.class_mask is None:
        return 2 * module.log_noise.exp() / n_rows
    return support.class_mask.sum(1) / n_rows


def _repeat(support: Support, n: int) -> Support:
    """Give each task to n particles: (B, ...) -> (B * n, ...)."""
    class_mask = support.class_mask
    return Support(
        support.x.repeat_interleave(n, 0),
        support.y.repeat_interleave(n, 0),
        support.mask.repeat_interleave(n, 0),
        None if class_mask is None else class_mask.repeat_interleave(n, 0),
    )
