"""The weights of meta-training that serve held-out episodes best."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from typing import Any

import torch
from skorch.callbacks import Callback

from metaest._torch import state_to_cpu
from metaest.episodes import EpisodeBatch
from metaest.training._net import EpisodeNet


class KeepBest(Callback):
    """Scores held-out episodes before the first round and after each; keeps the best weights.

    Some networks that start well are at their best after a few dozen steps, a small part of a
    long first round: so they are also scored after 1, 2, 4, 8, ... steps of it. Without held-out
    episodes the last weights are kept.

    Parameters
    ----------
    batches : sequence of EpisodeBatch
        Held-out episodes.
    patience : int or None
    looks : set of int
        Steps after which to score, besides the ends of rounds.

    Attributes
    ----------
    weights : dict of Tensor
        The best since the start, on the CPU; those of the start until the first look.
    score : float
        The best one, of the start, of a look or of a round.
    gained : bool
        Whether any was better than the start.
    """

    def __init__(
        self, batches: Sequence[EpisodeBatch], patience: int | None, looks: Set[int] = frozenset()
    ) -> None:
        self.batches = batches
        self.patience = patience
        self.looks = looks
        self.score = self.score_of_weights = -math.inf
        self.misses = 0
        self.weights: dict[str, torch.Tensor] = {}
        self.gained = False
        self._gained_in_round = False
        self.stopped = False

    def on_train_begin(self, net: EpisodeNet, **kwargs: Any) -> None:
        if not self.weights:
            self.weights = state_to_cpu(net.module_.state_dict())
            self.score = _number(self._validate(net)[1])

    def on_batch_end(self, net: EpisodeNet, **kwargs: Any) -> None:
        if self.batches and net.step_ in self.looks:
            score = self._validate(net)[1]
            earlier = net.history[-1].get("early_scores", [])
            net.history.record("early_scores", [*earlier, score])
            self._gained_in_round |= self._consider(net, score)

    def on_epoch_end(self, net: EpisodeNet, **kwargs: Any) -> None:
        loss, score = self._validate(net)
        if self.batches:
            net.history.record("valid_loss", loss)
            net.history.record("valid_score", score)
        better = self._consider(net, score)
        net.history.record("valid_best", better)
        self.misses = 0 if better or self._gained_in_round else self.misses + 1
        self._gained_in_round = False

    @property
    def is_stale(self) -> bool:
        """Whether `patience` rounds brought no gain."""
        return self.patience is not None and self.misses >= self.patience

    def stop_if_stale(self) -> None:
        """End meta-training in skorch's way."""
        if self.is_stale:
            self.stopped = True
            raise KeyboardInterrupt

    def _validate(self, net: EpisodeNet) -> tuple[float, float]:
        if not self.batches:
            return math.nan, math.nan
        losses, scores = net.score_episodes(self.batches)
        return losses.mean().item(), scores.mean().item()

    def _consider(self, net: EpisodeNet, score: float) -> bool:
        """Keep the weights if there were no better ones; return whether nothing was as good yet."""
        weights = net.module_.state_dict()
        finite = all(bool(value.isfinite().all()) for value in weights.values())
        better = finite and (not self.batches or score > self.score)  # a NaN is never better
        self.gained |= better
        self.score = score if better and self.batches else self.score
        if finite and (not self.batches or score > self.score_of_weights):
            self.score_of_weights = _number(score)
            self.weights = state_to_cpu(weights)
        return better


def _number(score: float) -> float:
    return -math.inf if math.isnan(score) else score
