"""Run a learner on episodes: build, predict, differentiate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from metaest._checks import Kind
from metaest.episodes import EpisodeBatch
from metaest.learners import Gaussian, Learner, LearnerNet
from metaest.nets import MLP, Conv4, NetSpec
from metaest.nets._spec import BackboneFactory
from metaest.testing._episodes import N_BASE_CLASSES, ROWS, Episode


def small_backbone(input_shape: tuple[int, ...]) -> nn.Module:
    return (
        Conv4(input_shape, (16, 16, 16, 16)) if len(input_shape) == 3 else MLP(input_shape, (6, 5))
    )


def build(
    learner: Learner,
    kind: Kind = "classification",
    input_shape: tuple[int, ...] = ROWS,
    *,
    backbone: str | BackboneFactory = small_backbone,
    description_size: int | None = None,
    seed: int = 0,
) -> LearnerNet:
    """Build a learner's small network in float64."""
    n_classes = N_BASE_CLASSES if kind == "classification" else 1
    spec = NetSpec(input_shape, kind, n_classes, backbone, description_size=description_size)
    return learner.build(spec, np.random.default_rng(seed)).double().eval()


def output(prediction: Tensor | Gaussian) -> Tensor:
    """Give log-probabilities (B, Q, C), means (B, Q), or means and log-variances (B, Q, 2)."""
    if isinstance(prediction, Gaussian):
        if prediction.variance is None:
            return prediction.mean
        return torch.stack([prediction.mean, prediction.variance.log()], -1)
    return prediction.log_softmax(-1)


def predict(learner: Learner, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
    with torch.no_grad():
        return output(learner.predict(module, learner.adapt(module, batch.support), batch.query_x))


def real(prediction: Tensor, episode: Episode, task: int = 0) -> Tensor:
    """Cut a task's real query rows and classes out of a batch's prediction."""
    rows = prediction[task, : len(episode.query_x)]
    return rows if episode.classes is None else rows[:, : episode.n_classes]


def meta_gradient(
    learner: Learner, module: LearnerNet, batch: EpisodeBatch
) -> tuple[Tensor, Tensor]:
    """Give the meta-loss and its gradient in all learned parameters, flat."""
    learned = [p for p in module.parameters() if p.requires_grad]
    loss = learner.meta_loss(module, batch)
    gradients: Sequence[Tensor | None] = torch.autograd.grad(loss, learned, allow_unused=True)
    flat = [
        (torch.zeros_like(p) if g is None else g).flatten()
        for p, g in zip(learned, gradients, strict=True)
    ]
    return loss.detach(), torch.cat(flat)


def directional_derivatives(
    learner: Learner, module: LearnerNet, batch: EpisodeBatch, n: int = 3, step: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Give the meta-loss's derivatives along n random directions: by gradient, by differences.

    Steps must be so small that no unit of a ReLU or a pool changes sides on the way.
    """
    learned = [p for p in module.parameters() if p.requires_grad]
    start = [p.detach().clone() for p in learned]
    _, gradient = meta_gradient(learner, module, batch)
    directions = torch.randn(
        n, len(gradient), generator=torch.Generator().manual_seed(5), dtype=gradient.dtype
    )
    differences = []
    for direction in directions:
        values = []
        for sign in (1, -1):
            _move(learned, start, sign * step * direction)
            values.append(float(learner.meta_loss(module, batch).detach()))
        differences.append((values[0] - values[1]) / (2 * step))
    _move(learned, start, torch.zeros_like(gradient))
    return directions @ gradient, torch.tensor(differences, dtype=gradient.dtype)


def _move(learned: list[nn.Parameter], start: list[Tensor], change: Tensor) -> None:
    parts = change.split([p.numel() for p in learned])
    with torch.no_grad():
        for parameter, origin, part in zip(learned, start, parts, strict=True):
            parameter.copy_(origin + part.view_as(origin.contiguous()))
