"""Transfer learning: pretrain on all base classes, then fit a new head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest._torch import local_seed, mask_logits, select
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
from metaest.learners._execute import encode, expand_parameters, run_tasks
from metaest.learners._head import (
    BODY,
    apply_head,
    class_means,
    inner_losses,
    inner_norm,
    solve_ridge,
)
from metaest.learners._inner import descend
from metaest.nets import NetSpec

#: Starting value of the learned factor of the cosines.
_SCALE = 2.0


class FineTune(Learner):
    r"""Pretrain a classifier over all base classes, then fit a new linear head per task.

    The baseline that every meta-learner has to beat. Meta-training is ordinary supervised
    training of one network with one head over all classes of all tasks (regression: one output
    for all tasks). A new task gets a new head on the frozen features: logistic regression, on
    features of length 1 (regression: ridge regression, on the features as they are).

    Parameters
    ----------
    head : {"linear", "cosine"}, default="linear"
        Classification head of meta-training and of a task. "cosine" is Baseline++: the logits
        are cosines of features and class weights, times a factor that meta-training learns, and
        a task's class weights start at its class means.
    head_steps : int, default=100
        Gradient steps of the new head (accelerated where it is linear).
    l2 : float, default=1e-3
        Penalty of the new linear head: for classification on the mean loss; for regression on the
        sum of squares, in units of the rows' mean squared length, so more rows weigh more.
    adapt_steps : int, default=0
        Gradient steps of the whole network on the support set, after those of the head; a head
        of cosines then moves as a linear one. May be changed after meta-training.
    body_lr : float, default=0.01
        Step size of these.

    References
    ----------
    Chen et al., A Closer Look at Few-shot Classification, ICLR 2019 (Baseline and Baseline++).
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
        "head": [StrOptions({"linear", "cosine"})],
        "head_steps": [COUNT],
        "l2": [RATE],
        "adapt_steps": [COUNT],
        "body_lr": [RATE],
    }

    def __init__(
        self,
        *,
        head: Literal["linear", "cosine"] = "linear",
        head_steps: int = 100,
        l2: float = 1e-3,
        adapt_steps: int = 0,
        body_lr: float = 0.01,
    ) -> None:
        self.head = head
        self.head_steps = head_steps
        self.l2 = l2
        self.adapt_steps = adapt_steps
        self.body_lr = body_lr

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        is_cosine = self.head == "cosine" and spec.kind == "classification"
        with local_seed(rng):
            module.base_head = nn.Linear(n_features, spec.n_classes, bias=not is_cosine)
        if is_cosine:
            module.log_scale = nn.Parameter(torch.tensor(float(np.log(_SCALE))))

    def adapt(self, module: LearnerNet, support: Support) -> State:
        classes = {} if support.class_mask is None else {"class_mask": support.class_mask}
        with torch.no_grad():
            features = self._features(module, {}, support.x, support.class_mask)
            if support.class_mask is None:
                head = self._fit_ridge(module, features, support)
            elif self.head == "cosine":
                head = self._fit_cosine(module, features, support)
            else:
                head = self._fit_logistic(features, support)
            return classes | (self._fit_all(module, head, support) if self.adapt_steps else head)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        class_mask = state.get("class_mask")
        features = self._features(module, state, query_x, class_mask)
        return apply_head(features, state["weight"], state["bias"], class_mask)

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        x = torch.cat([batch.support_x, batch.query_x], 1)
        y = torch.cat([batch.support_y, batch.query_y], 1)
        mask = torch.cat([batch.support_mask, batch.query_mask], 1)
        features = encode(module.embedding, x)  # (B, S + Q, d)
        if batch.class_ids is None:
            out = module.base_head(features).squeeze(-1)
            return masked_mean(row_losses(Gaussian(out), y), mask).mean()
        if self.head == "cosine":
            rows, weight = (F.normalize(v, dim=-1) for v in (features, module.base_head.weight))
            out = module.log_scale.exp() * rows @ weight.T  # (B, S + Q, n_classes)
        else:
            out = module.base_head(features)
        return masked_mean(row_losses(out, batch.class_ids.gather(1, y)), mask).mean()

    def _features(
        self,
        module: LearnerNet,
        state: Mapping[str, Tensor],
        x: Tensor,
        class_mask: Tensor | None,
    ) -> Tensor:
        """Run rows through each task's own embedding, or the shared one: (B, n, d)."""
        body, shared = select(state, BODY), module.embedding
        features = run_tasks(shared, body, x) if body else encode(shared, x)
        return features if class_mask is None else F.normalize(features, dim=-1)

    def _fit_all(self, module: LearnerNet, head: State, support: Support) -> State:
        """Train the whole network of each task, from the pretrained body and the new head."""
        body = expand_parameters(module.embedding, len(support))
        start = {BODY + k: p for k, p in body.items()} | head
        class_mask = support.class_mask

        def loss_of(parameters: Mapping[str, Tensor]) -> Tensor:
            features = self._features(module, parameters, support.x, class_mask)
            weight, bias = parameters["weight"], parameters["bias"]
            return inner_losses(apply_head(features, weight, bias, class_mask), support)

        rates = dict.fromkeys(start, self.body_lr)
        return descend(loss_of, start, rates, self.adapt_steps, max_norm=inner_norm(class_mask))

    def _fit_cosine(self, module: LearnerNet, features: Tensor, support: Support) -> State:
        """Gradient steps on the mean cross-entropy of the scaled cosines."""
        assert support.class_mask is not None
        class_mask, scale = support.class_mask, module.log_scale.exp()

        def loss_of(parameters: Mapping[str, Tensor]) -> Tensor:
            weight = F.normalize(parameters["weight"], dim=-1)
            logits = mask_logits(scale * features @ weight.transpose(1, 2), class_mask)
            return masked_mean(row_losses(logits, support.y), support.mask)

        means = F.normalize(class_means(features, support), dim=-1)  # (B, C, d)
        # Rows have the length of the scale, so the curvature is at most half its square.
        found = descend(loss_of, {"weight": means}, {"weight": 2 / scale**2}, self.head_steps)
        weight = scale * F.normalize(found["weight"], dim=-1)  # (B, C, d)
        return {"weight": weight, "bias": weight.new_zeros(weight.shape[:2])}

    def _fit_ridge(self, module: LearnerNet, features: Tensor, support: Support) -> State:
        """Fit what the pretrained output leaves over: with no rows to learn from it stays."""
        base = module.base_head
        residual = (support.y - base(features).squeeze(-1)) * support.mask  # (B, S)
        rows = F.pad(features, (0, 1), value=1.0) * support.mask.unsqueeze(-1)
        size = rows.square().sum((1, 2)) / support.mask.sum(1).clamp(min=1)  # (B,)
        penalty = (self.l2 * size)[:, None, None]
        change = solve_ridge(rows, residual.unsqueeze(-1), penalty).transpose(1, 2)  # (B, 1, d+1)
        return {"weight": base.weight + change[..., :-1], "bias": base.bias + change[..., -1]}

    def _fit_logistic(self, features: Tensor, support: Support) -> State:
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
        return {"weight": weight[:, :-1].transpose(1, 2), "bias": weight[:, -1]}
