"""Transfer learning: pretrain on all base classes, then fit a new head."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._torch import local_seed
from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import (
    Gaussian,
    Learner,
    LearnerNet,
    State,
    masked_mean,
    one_hot,
    row_losses,
)
from metaest.learners._constraints import COUNT, RATE
from metaest.learners._execute import encode
from metaest.learners._head import apply_head, solve_ridge
from metaest.nets import NetSpec


class FineTune(Learner):
    r"""Pretrain a classifier over all base classes, then fit a new linear head per task.

    The baseline that every meta-learner has to beat. Meta-training is ordinary supervised
    training of one network with one head over all classes of all tasks (regression: one output
    for all tasks). A new task gets a new head on the frozen, length-normalised features:
    logistic regression (regression: ridge regression).

    Parameters
    ----------
    head_steps : int, default=100
        Accelerated gradient steps of the new head.
    l2 : float, default=1e-3
        Penalty of the new head.

    References
    ----------
    Chen et al., A Closer Look at Few-shot Classification, ICLR 2019 (Baseline).
    Tian et al., Rethinking Few-Shot Image Classification, ECCV 2020 (a good embedding is all you
    need: logistic regression on normalised features).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("finetune", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    autocast = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "head_steps": [COUNT],
        "l2": [RATE],
    }

    def __init__(self, *, head_steps: int = 100, l2: float = 1e-3) -> None:
        self.head_steps = head_steps
        self.l2 = l2

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        with local_seed(int(rng.integers(2**62))):
            module.base_head = nn.Linear(n_features, spec.n_classes)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        with torch.no_grad():
            features = self._features(module, support.x, support.class_mask)
            if support.class_mask is None:
                return self._fit_ridge(module, features, support)
            weight, bias = self._fit_logistic(features, support)
        return {"weight": weight, "bias": bias, "class_mask": support.class_mask}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        class_mask = state.get("class_mask")
        features = self._features(module, query_x, class_mask)
        return apply_head(features, state["weight"], state["bias"], class_mask)

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        x = torch.cat([batch.support_x, batch.query_x], 1)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        mask = torch.cat([batch.support_mask, batch.query_mask], 1)
        out = module.base_head(encode(module.embedding, x))  # (B, S + Q, n_classes)
        if batch.class_ids is None:
            return masked_mean(row_losses(Gaussian(out.squeeze(-1)), y), mask).mean()
        return masked_mean(row_losses(out, batch.class_ids.gather(1, y)), mask).mean()

    def _features(self, module: LearnerNet, x: Tensor, class_mask: Tensor | None) -> Tensor:
        features = encode(module.embedding, x)  # (B, n, d)
        return features if class_mask is None else F.normalize(features, dim=-1)

    def _fit_ridge(self, module: LearnerNet, features: Tensor, support: Support) -> State:
        """Fit what the pretrained output leaves over: with no rows to learn from it stays."""
        base = module.base_head
        residual = (support.y - base(features).squeeze(-1)) * support.mask  # (B, S)
        rows = F.pad(features, (0, 1), value=1.0) * support.mask.unsqueeze(-1)
        size = rows.square().sum((1, 2)) / support.mask.sum(1).clamp(min=1)  # (B,)
        penalty = (self.l2 * size)[:, None, None]
        change = solve_ridge(rows, residual.unsqueeze(-1), penalty).transpose(1, 2)  # (B, 1, d+1)
        return {"weight": base.weight + change[..., :-1], "bias": base.bias + change[..., -1]}

    def _fit_logistic(self, features: Tensor, support: Support) -> tuple[Tensor, Tensor]:
        """Nesterov's method on the mean cross-entropy plus ``l2 / 2 |W|^2``, for B tasks."""
        assert support.class_mask is not None
        n_classes = support.class_mask.shape[1]
        rows = F.pad(features, (0, 1), value=1.0) * support.mask.unsqueeze(-1)  # (B, S, d + 1)
        targets = one_hot(support.y, support.mask, n_classes, features.dtype)  # (B, S, C)
        counts = support.mask.sum(1).clamp(min=1).to(features.dtype)[:, None, None]
        absent = ~support.class_mask.unsqueeze(1)
        # Rows have squared length 2 and the softmax curvature is at most 1/2.
        rate = 1.0 / (1.0 + self.l2)
        weight = ahead = rows.new_zeros(len(rows), rows.shape[2], n_classes)
        for step in range(self.head_steps):
            probabilities = (rows @ ahead).masked_fill(absent, -torch.inf).softmax(-1)
            error = (probabilities - targets) * support.mask.unsqueeze(-1) / counts
            new = ahead - rate * (rows.transpose(1, 2) @ error + self.l2 * ahead)
            ahead = new + step / (step + 3) * (new - weight)
            weight = new
        return weight[:, :-1].transpose(1, 2), weight[:, -1]
