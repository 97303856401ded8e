"""Reptile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State, masked_mean, row_losses
from metaest.learners._constraints import COUNT, RATE, SIZE
from metaest.learners._head import add_head, apply_network, inner_norm, start_network
from metaest.learners._inner import descend, flat
from metaest.nets import NetSpec


class Reptile(Learner):
    r"""Move the starting weights towards the weights that each task's training ends at.

    With :math:`\tilde\phi` the weights after `inner_steps` of gradient descent on a task from
    :math:`\phi`, the step is :math:`\phi \leftarrow \phi + \epsilon(\tilde\phi - \phi)`: no
    gradient through the inner loop, and no split into support and query while meta-training.
    :meth:`meta_loss` is :math:`\frac12 |\phi - \tilde\phi|^2` with :math:`\tilde\phi` constant,
    whose gradient is that step, so that any optimiser can take it (Nichol et al. 2018).

    Parameters
    ----------
    inner_steps : int, default=8
        Gradient steps on each task while meta-training, each on one of `n_minibatches`.
    inner_lr : float, default=0.1
        Step size of the inner loop, on the mean loss of the rows (MAML's is that times the number
        of classes). The gradients of a regression are scaled down to a norm of 10.
    n_minibatches : int, default=4
        Into how many parts a task's rows fall; different minibatches are what makes Reptile
        more than averaged joint training (Nichol et al. 2018).
    adapt_steps : int, default=50
        Gradient steps of ``fit`` on the whole support set (the paper: 50).

    References
    ----------
    Nichol, Achiam and Schulman, On First-Order Meta-Learning Algorithms, 2018, algorithm 2.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("reptile", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [COUNT],
        "inner_lr": [RATE],
        "n_minibatches": [SIZE],
        "adapt_steps": [COUNT],
    }

    def __init__(
        self,
        *,
        inner_steps: int = 8,
        inner_lr: float = 0.1,
        n_minibatches: int = 4,
        adapt_steps: int = 50,
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.n_minibatches = n_minibatches
        self.adapt_steps = adapt_steps

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        with torch.no_grad():
            state = self._descend(module, support, start_network(module, support), self.adapt_steps)
        return state if support.class_mask is None else state | {"class_mask": support.class_mask}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        return apply_network(module, state, query_x, state.get("class_mask"))

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        rows = Support(
            torch.cat([batch.support_x, batch.query_x], 1),
            torch.cat([batch.support_y, batch.query_y], 1),
            torch.cat([batch.support_mask, batch.query_mask], 1),
            batch.class_mask,
        )
        start = start_network(module, rows)
        end = dict(start)
        with torch.no_grad():
            for step in range(self.inner_steps):
                end = self._descend(module, self._minibatch(rows, step), end, 1)
        learned = [k for k, p in start.items() if p.requires_grad]
        gaps = [flat(start[k] - end[k]).square().sum(1) for k in learned]  # (B,) each
        return 0.5 * torch.stack(gaps).sum(0).mean()

    def _minibatch(self, rows: Support, step: int) -> Support:
        """Keep every n-th real row of each task: parts of about one size, padding not counted."""
        rank = rows.mask.cumsum(1) - 1  # (B, n), position among the task's real rows
        parts = rows.mask.sum(1, keepdim=True).clamp(1, self.n_minibatches)  # (B, 1)
        keep = rows.mask & (rank % parts == step % parts)
        order = keep.int().argsort(dim=1, descending=True, stable=True)
        order = order[:, : int(keep.sum(1).max())]  # (B, m), the kept rows first
        tasks = torch.arange(len(rows), device=order.device).unsqueeze(1)
        return Support(
            rows.x[tasks, order], rows.y[tasks, order], keep[tasks, order], rows.class_mask
        )

    def _descend(
        self, module: LearnerNet, rows: Support, start: Mapping[str, Tensor], steps: int
    ) -> State:
        def loss_of(parameters: Mapping[str, Tensor]) -> Tensor:
            prediction = apply_network(module, parameters, rows.x, rows.class_mask)
            return masked_mean(row_losses(prediction, rows.y), rows.mask)

        rates, max_norm = dict.fromkeys(start, self.inner_lr), inner_norm(rows.class_mask)
        return descend(loss_of, start, rates, steps, max_norm=max_norm)
