"""The meta-training loop as a skorch net: a step is a batch of episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import skorch
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from metaest._torch import local_seed
from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.exceptions import InvalidParameterError
from metaest.learners import Learner
from metaest.learners._base import query_losses
from metaest.learners._execute import map_chunks, thread_count
from metaest.training._distill import MetaLoss
from metaest.training._parts import parts_of


class EpisodeRounds(Dataset):
    """Numbers of the episodes of each step, in rounds (skorch's epochs).

    Parameters
    ----------
    sampler : EpisodeSampler
    n_episodes : int
        Episodes of all rounds together.
    batch_size : int
        Episodes of a step; the last step of all may have fewer.
    n_rounds : int
    """

    def __init__(
        self, sampler: EpisodeSampler, n_episodes: int, batch_size: int, n_rounds: int
    ) -> None:
        self.sampler = sampler
        self.n_episodes = n_episodes
        self.batch_size = batch_size
        self.n_steps = -(-n_episodes // batch_size)
        self.n_rounds = max(1, min(n_rounds, self.n_steps))
        self.round = 0

    def steps(self) -> range:
        """Return the numbers of the steps of the current round."""
        bounds = np.linspace(0, self.n_steps, self.n_rounds + 1).round().astype(int)
        return range(bounds[self.round], bounds[self.round + 1])

    def early_looks(self) -> set[int]:
        """Return the numbers of steps within the first round that are powers of two."""
        end = round(self.n_steps / self.n_rounds)
        return {2**power for power in range(end.bit_length()) if 2**power < end}

    def batch(self, step: int) -> EpisodeBatch:
        first = step * self.batch_size
        return self.sampler.batch(range(first, min(first + self.batch_size, self.n_episodes)))

    def __len__(self) -> int:
        return self.n_episodes


class RoundIterator:
    """Iterates over the batches of a data set's current round (skorch's ``iterator_train``)."""

    def __init__(self, dataset: EpisodeRounds, batch_size: int) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[EpisodeBatch]:
        for step in self.dataset.steps():
            yield self.dataset.batch(step)


class EpisodeNet(skorch.NeuralNet):
    """A skorch net whose batches are episodes and whose loss is the learner's.

    Parameters
    ----------
    module : nn.Module
        Built by the learner.
    learner : Learner
    meta_loss : callable, default=None
        ``meta_loss(module, batch) -> scalar``; None: the learner's own.
    target_mean, target_scale : float
        Targets are standardised with these.
    seed : int
        Of the randomness inside the network (dropout), a function of seed and step.
    autocast : "auto" or bool
        See :func:`~metaest.training.meta_train`.
    **kwargs
        Of :class:`skorch.NeuralNet`.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        learner: Learner,
        meta_loss: MetaLoss | None = None,
        target_mean: float = 0.0,
        target_scale: float = 1.0,
        seed: int = 0,
        autocast: Literal["auto"] | bool = "auto",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            module,
            criterion=nn.Identity,  # the loss is the learner's
            optimizer=torch.optim.Adam,
            iterator_train=RoundIterator,
            train_split=None,
            verbose=0,
            **kwargs,
        )
        # What they would print and record is in the rounds' history.
        self.set_params(callbacks__print_log=None, callbacks__train_loss=None)
        self.set_params(callbacks__valid_loss=None)
        self.learner = learner
        self.meta_loss = meta_loss
        self.target_mean = target_mean
        self.target_scale = target_scale
        self.seed = seed
        self.autocast = autocast
        self.step_ = 0

    def train_step_single(self, batch: EpisodeBatch, **fit_params: Any) -> dict[str, Any]:
        """Sum the meta-gradient over chunks of the batch, each graph freed after its own."""
        self._set_training(True)
        device = torch.device(self.device)
        learned = [p for p in self.module_.parameters() if p.requires_grad]

        def gradient(chunk: EpisodeBatch) -> tuple[Tensor, tuple[Tensor | None, ...]]:
            with self._autocast(), _explain_single_rows():
                loss = (self.meta_loss or self.learner.meta_loss)(self.module_, chunk)
            loss = loss * (len(chunk) / len(batch))
            return loss.detach(), torch.autograd.grad(loss, learned, allow_unused=True)

        with local_seed(np.random.default_rng([self.seed, self.step_]), device):
            n_threads = thread_count(self.module_.embedding)
            parts = map_chunks(gradient, self._chunks(batch), n_threads)
        for parameter, *gradients in zip(learned, *(g for _, g in parts), strict=True):
            present = [g for g in gradients if g is not None]
            parameter.grad = torch.stack(present).sum(0) if present else None
        self.step_ += 1
        return {"loss": torch.stack([loss for loss, _ in parts]).sum(), "y_pred": None}

    def score_episodes(self, batches: Sequence[EpisodeBatch]) -> tuple[Tensor, Tensor]:
        """Return query loss and score (accuracy, or minus the loss) of each episode."""
        self._set_training(False)

        def evaluate(chunk: EpisodeBatch) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                state = self.learner.adapt(self.module_, chunk.support)
                prediction = self.learner.predict(self.module_, state, chunk.query_x)
                losses = query_losses(prediction, chunk)
                return losses, _task_scores(prediction, chunk, losses)

        chunks = (chunk for batch in batches for chunk in self._chunks(batch))
        parts = map_chunks(evaluate, chunks, thread_count(self.module_.embedding))
        losses, scores = (torch.cat(column) for column in zip(*parts, strict=True))
        return losses, scores

    def _chunks(self, batch: EpisodeBatch) -> Iterator[EpisodeBatch]:
        return parts_of(batch, self.module_, self.target_mean, self.target_scale)

    def _autocast(self) -> torch.autocast:
        kind = torch.device(self.device).type
        enabled = self.autocast
        if enabled == "auto":
            enabled = self.learner.autocast and _bfloat16_pays(kind, self.module_)
        # The cache of cast weights is the process's: threads would clear each other's.
        return torch.autocast(
            kind, dtype=torch.bfloat16, enabled=bool(enabled), cache_enabled=kind != "cpu"
        )


@contextmanager
def _explain_single_rows() -> Iterator[None]:
    """Say what to do where batch normalization gets a single row, of which it has no variance."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InvalidParameterError(
            "the backbone has batch normalization, which cannot be trained on a single row, but "
            "an episode has one support or query row. Raise n_shots and n_queries (the lower ends "
            "of ranges) to 2 or more, or take a backbone without it, such as one with LayerNorm."
        ) from error


def _bfloat16_pays(device_type: str, module: nn.Module) -> bool:
    """Whether the hardware has bfloat16 and the network gains from it."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    return device_type == "cpu" and convolves and torch.cpu._is_avx512_bf16_supported()


def _task_scores(prediction: Any, batch: EpisodeBatch, losses: Tensor) -> Tensor:
    """Accuracy of each task, or minus its loss for regression: (B,)."""
    if not isinstance(prediction, Tensor):
        return -losses
    hits = (prediction.argmax(-1) == batch.query_y) & batch.query_mask
    return hits.sum(1) / batch.query_mask.sum(1).clamp(min=1)
