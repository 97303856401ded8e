"""Episodes of any size for tests, padded or not, in float64."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from metaest.episodes import EpisodeBatch
from metaest.learners import Gaussian, Learner
from metaest.nets import MLP, Conv4, NetSpec

ROWS, IMAGES = (3,), (1, 8, 8)
N_BASE_CLASSES = 20


@dataclass(frozen=True)
class Episode:
    """One unpadded task; `classes` are its classes' numbers in the whole set (None: regression)."""

    support_x: Tensor  # (S, ...)
    support_y: Tensor  # (S,)
    query_x: Tensor  # (Q, ...)
    query_y: Tensor  # (Q,)
    classes: Tensor | None  # (C,)

    @property
    def n_classes(self) -> int:
        assert self.classes is not None
        return len(self.classes)


def make_episode(
    kind: str = "classification",
    *,
    shots: Sequence[int] = (2, 1, 3),
    n_queries: int = 2,
    input_shape: tuple[int, ...] = ROWS,
    seed: int = 0,
) -> Episode:
    """Draw an episode; `shots` has an entry per class (regression: their sum is what counts)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if kind == "regression":
        n_query = n_queries * len(shots)
        support_x, query_x = draw(sum(shots), *input_shape), draw(n_query, *input_shape)
        return Episode(support_x, draw(sum(shots)), query_x, draw(n_query), None)
    labels = torch.arange(len(shots))
    support_y = labels.repeat_interleave(torch.tensor(shots))
    query_y = labels.repeat_interleave(n_queries)
    centers = draw(len(shots), *input_shape)
    classes = torch.randperm(N_BASE_CLASSES, generator=generator)[: len(shots)]
    return Episode(
        centers[support_y] + draw(len(support_y), *input_shape),
        support_y,
        centers[query_y] + draw(len(query_y), *input_shape),
        query_y,
        classes,
    )


def uneven_episodes(kind: str, input_shape: tuple[int, ...] = ROWS) -> list[Episode]:
    """Give three tasks that differ in ways, shots and queries."""
    return [
        make_episode(kind, shots=(2, 1, 4), n_queries=2, input_shape=input_shape, seed=1),
        make_episode(kind, shots=(1, 1), n_queries=1, input_shape=input_shape, seed=2),
        make_episode(kind, shots=(1, 2, 1, 2), n_queries=3, input_shape=input_shape, seed=3),
    ]


def collate(
    episodes: Sequence[Episode], extra: tuple[int, int, int] = (0, 0, 0), *, garbage: bool = False
) -> EpisodeBatch:
    """Pad episodes to one batch.

    `extra` adds that many padded support rows, query rows and classes. With `garbage`, padded
    positions hold large random numbers instead of zeros.
    """
    generator = torch.Generator().manual_seed(99)
    n_support = max(len(e.support_x) for e in episodes) + extra[0]
    n_query = max(len(e.query_x) for e in episodes) + extra[1]
    parts: dict[str, list[Tensor]] = {}

    def put(name: str, rows: Tensor, length: int, high: int = 0) -> None:
        shape = (length, *rows.shape[1:])
        if not garbage:
            padded = torch.zeros(shape, dtype=rows.dtype)
        elif rows.is_floating_point():
            padded = 50 * torch.randn(shape, generator=generator, dtype=rows.dtype)
        else:
            padded = torch.randint(0, high, shape, generator=generator)
        padded[: len(rows)] = rows
        parts.setdefault(name, []).append(padded)
        mask = torch.arange(length) < len(rows)
        parts.setdefault(f"{name.removesuffix('_y')}_mask", []).append(mask)

    regression = episodes[0].classes is None
    n_classes = 0 if regression else max(e.n_classes for e in episodes) + extra[2]
    for episode in episodes:
        put("support_y", episode.support_y, n_support, n_classes)
        put("query_y", episode.query_y, n_query, n_classes)
        put("support_x", episode.support_x, n_support)
        put("query_x", episode.query_x, n_query)
        if episode.classes is not None:
            put("class_ids", episode.classes, n_classes, N_BASE_CLASSES)
    stacked = {name: torch.stack(values) for name, values in parts.items()}
    names = ["support_x", "support_y", "support_mask", "query_x", "query_y", "query_mask"]
    batch = EpisodeBatch(**{name: stacked[name] for name in names})
    if regression:
        return batch
    return replace(batch, class_ids=stacked["class_ids"], class_mask=stacked["class_ids_mask"])


def small_backbone(input_shape: tuple[int, ...]) -> nn.Module:
    return (
        Conv4(input_shape, (16, 16, 16, 16)) if len(input_shape) == 3 else MLP(input_shape, (6, 5))
    )


def build(
    learner: Learner,
    kind: str = "classification",
    input_shape: tuple[int, ...] = ROWS,
    *,
    backbone: object = small_backbone,
    seed: int = 0,
) -> nn.Module:
    """Build a learner's small network in float64."""
    n_classes = N_BASE_CLASSES if kind == "classification" else 1
    spec = NetSpec(input_shape, kind, n_classes, backbone)
    return learner.build(spec, np.random.default_rng(seed)).double().eval()


def output(prediction: Tensor | Gaussian) -> Tensor:
    """Give log-probabilities (B, Q, C), means (B, Q), or means and log-variances (B, Q, 2)."""
    if isinstance(prediction, Gaussian):
        if prediction.variance is None:
            return prediction.mean
        return torch.stack([prediction.mean, prediction.variance.log()], -1)
    return prediction.log_softmax(-1)


def predict(learner: Learner, module: nn.Module, batch: EpisodeBatch) -> Tensor:
    with torch.no_grad():
        return output(learner.predict(module, learner.adapt(module, batch.support), batch.query_x))


def real(prediction: Tensor, episode: Episode, task: int = 0) -> Tensor:
    """Cut a task's real query rows and classes out of a batch's prediction."""
    rows = prediction[task, : len(episode.query_x)]
    return rows if episode.classes is None else rows[:, : episode.n_classes]


def meta_gradient(
    learner: Learner, module: nn.Module, batch: EpisodeBatch
) -> tuple[Tensor, Tensor]:
    """Give the meta-loss and its gradient in all learned parameters, flat."""
    learned = [p for p in module.parameters() if p.requires_grad]
    loss = learner.meta_loss(module, batch)
    gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    flat = [
        (torch.zeros_like(p) if g is None else g).flatten()
        for p, g in zip(learned, gradients, strict=True)
    ]
    return loss.detach(), torch.cat(flat)


def directional_derivatives(
    learner: Learner, module: nn.Module, batch: EpisodeBatch, n: int = 3, step: float = 1e-6
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
