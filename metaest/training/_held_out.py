"""Episodes of held-out tasks, and how well what was learned predicts them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metaest._checks import check_int_range
from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.learners import Gaussian
from metaest.learners._base import masked_mean
from metaest.learners._execute import map_chunks
from metaest.tasks import TaskSet
from metaest.training._parts import parts_of
from metaest.training._state import MetaState

#: A prediction that is farther off, in variances of an episode's targets, is no worse than this.
_WORST = 10.0

#: Variance of equal numbers in single precision, as a part of their square, and whatever the unit.
_ROUNDING = 1e-14


def draw_held_out(
    tasks: TaskSet | None, shape: dict[str, Any], n_episodes: int, random_state: int
) -> list[EpisodeBatch]:
    """Draw fixed episodes of held-out tasks: few beside the training ones, but at least 24.

    Parameters
    ----------
    tasks : TaskSet or None
        None: no episodes.
    shape : dict
        n_ways, n_shots and n_queries; no more ways than the tasks allow are drawn.
    n_episodes : int
        Of meta-training.
    random_state : int
    """
    if tasks is None:
        return []
    if tasks.kind == "classification" and shape["n_ways"] is not None:
        low, high = check_int_range(shape["n_ways"], "n_ways", low=2)
        most = max(len(task.classes) for task in tasks)
        shape = shape | {"n_ways": (min(low, most), min(high, most))}
    sampler = EpisodeSampler(tasks, **shape, random_state=random_state)
    n_held_out = min(200, max(24, n_episodes // 50))
    return [sampler.batch(range(i, min(i + 8, n_held_out))) for i in range(0, n_held_out, 8)]


def score_held_out(state: MetaState, batches: list[EpisodeBatch], device: torch.device) -> float:
    """Return the mean accuracy, or for numbers the mean R2 of the episodes.

    Other than the score in meta-training it compares learners whose losses are not of one kind.

    Parameters
    ----------
    state : MetaState
    batches : list of EpisodeBatch
        In the unit of the data.
    device : torch.device
    """
    module = state.module(state.learner, device)

    def score(batch: EpisodeBatch) -> Tensor:
        with torch.no_grad():
            adapted = state.learner.adapt(module, batch.support)
            predicted = state.learner.predict(module, adapted, batch.query_x)
        if isinstance(predicted, Gaussian):
            predicted = predicted.mean
        if batch.class_mask is not None:
            hits = (predicted.argmax(-1) == batch.query_y).to(predicted.dtype)
            return masked_mean(hits, batch.query_mask)
        return 1 - _relative_error(predicted.double(), batch)

    parts = (
        part
        for batch in batches
        for part in parts_of(batch, module, state.target_mean, state.target_scale)
    )
    return float(torch.cat(map_chunks(score, parts, n_threads=1)).mean())


def _relative_error(predicted: Tensor, batch: EpisodeBatch) -> Tensor:
    """Mean squared error of each task, in variances of its targets: (B,).

    1 where these are equal, or there is one: such a task tells nothing.
    """
    y, mask = batch.query_y.double(), batch.query_mask
    spread = masked_mean((y - masked_mean(y, mask)[:, None]).square(), mask)
    error = masked_mean((predicted - y).square(), mask)
    varies = spread > _ROUNDING * masked_mean(y.square(), mask)
    relative = torch.where(varies, error / torch.where(varies, spread, 1), 1)
    return relative.masked_fill(~error.isfinite(), _WORST).clamp(max=_WORST)
