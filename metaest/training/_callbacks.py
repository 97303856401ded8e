"""skorch callbacks of meta-training: schedule, checkpoint, progress."""

from __future__ import annotations

import io
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback, EarlyStopping
from skorch.history import History
from tqdm.auto import tqdm

from metaest._files import replace_file
from metaest.episodes import EpisodeBatch
from metaest.exceptions import CheckpointError, InvalidParameterError
from metaest.training._keep_best import KeepBest
from metaest.training._net import EpisodeNet, EpisodeRounds


class Schedule(Callback):
    """Sets the learning rate as a function of the step alone, so that resuming is exact.

    Linear warm-up over the first 2 % of the steps, then half a cosine down to zero
    ("cosine"; Loshchilov and Hutter 2017) or a constant rate ("constant").
    """

    def __init__(self, policy: str, meta_lr: float, n_steps: int) -> None:
        self.policy = policy
        self.meta_lr = meta_lr
        self.n_steps = n_steps

    def on_batch_begin(self, net: EpisodeNet, **kwargs: Any) -> None:
        warmup = max(1, round(0.02 * self.n_steps))
        rate = self.meta_lr * min(1.0, (net.step_ + 1) / warmup)
        if self.policy == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * net.step_ / self.n_steps))
        for group in net.optimizer_.param_groups:
            group["lr"] = rate


class Checkpoint(Callback):
    """Writes all that the next round needs to one file after each round, atomically.

    Parameters
    ----------
    folder : path-like or None
        None writes nothing.
    key : str
        Of the run: settings and data. A file of another run is refused.
    keep_best : KeepBest
    rounds : EpisodeRounds
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        key: str,
        keep_best: KeepBest,
        rounds: EpisodeRounds,
    ) -> None:
        self.path = None if folder is None else Path(folder, "meta_training.pt")
        self.key = key
        self.keep_best = keep_best
        self.rounds = rounds

    def on_epoch_begin(self, net: EpisodeNet, **kwargs: Any) -> None:
        self.rounds.round = len(net.history) - 1

    def on_epoch_end(self, net: EpisodeNet, **kwargs: Any) -> None:
        if self.path is not None:
            self._write(net)
        self.keep_best.stop_if_stale()

    def restore(self, net: EpisodeNet) -> None:
        """Go on from the file, if there is one.

        Raises
        ------
        CheckpointError
            If it is of another run, or cannot be read, or the folder cannot be written to.
        """
        if self.path is None:
            return
        _check_folder(self.path.parent)
        if not self.path.exists():
            return
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            key = saved["key"]
        except Exception as error:
            raise CheckpointError(
                f"the checkpoint {self.path} cannot be read ({type(error).__name__}). Delete it "
                "to start again, or pass another checkpoint folder."
            ) from error
        if key != self.key:
            raise CheckpointError(
                f"the checkpoint {self.path} belongs to a run with other settings or tasks. Use "
                "the same ones to go on with it, pass another checkpoint folder, or delete it."
            )
        net.module_.load_state_dict(saved["module"])
        net.optimizer_.load_state_dict(saved["optimizer"])
        net.step_ = saved["step"]
        net.history = History(saved["history"])
        keep = self.keep_best
        keep.score, keep.misses, keep.weights = saved["score"], saved["misses"], saved["weights"]
        keep.score_of_weights = saved["score_of_weights"]
        in_a_round = any(row.get("valid_best") for row in saved["history"])
        keep.gained = saved.get("gained", in_a_round)

    def _write(self, net: EpisodeNet) -> None:
        assert self.path is not None
        keep, buffer = self.keep_best, io.BytesIO()
        saved = {
            "key": self.key,
            "module": net.module_.state_dict(),
            "optimizer": net.optimizer_.state_dict(),
            "step": net.step_,
            "history": [dict(row) for row in net.history],
            "score": keep.score,
            "score_of_weights": keep.score_of_weights,
            "misses": keep.misses,
            "gained": keep.gained,
            "weights": keep.weights,
        }
        torch.save(saved, buffer)
        try:
            replace_file(self.path, buffer.getbuffer())
        except OSError as error:
            raise CheckpointError(
                f"the checkpoint {self.path} cannot be written ({error.strerror or error}). Free "
                "space, or allow to write there, and make the same call again: it goes on from the "
                "last round that was written."
            ) from error


class Progress(Callback):
    """One progress bar over all episodes, with the best held-out score so far."""

    def __init__(self, rounds: EpisodeRounds, keep_best: KeepBest, enabled: bool) -> None:
        self.rounds = rounds
        self.keep_best = keep_best
        self.enabled = enabled

    def on_train_begin(self, net: EpisodeNet, **kwargs: Any) -> None:
        done = min(net.step_ * self.rounds.batch_size, self.rounds.n_episodes)
        self.bar_ = tqdm(
            total=self.rounds.n_episodes,
            initial=done,
            desc="meta-training",
            unit="episode",
            disable=not self.enabled,
        )

    def on_batch_end(self, net: EpisodeNet, batch: EpisodeBatch, **kwargs: Any) -> None:
        self.bar_.update(len(batch))

    def on_epoch_end(self, net: EpisodeNet, **kwargs: Any) -> None:
        if self.keep_best.batches:
            self.bar_.set_postfix(held_out=f"{self.keep_best.score:.3f}", refresh=False)

    def on_train_end(self, net: EpisodeNet, **kwargs: Any) -> None:
        self.bar_.close()


class RoundTimer(Callback):
    """Drops the batch-wise history of a finished round and records its time."""

    def on_epoch_begin(self, net: EpisodeNet, **kwargs: Any) -> None:
        self.start_ = time.perf_counter()
        self.cpu_start_ = time.process_time()

    def on_epoch_end(self, net: EpisodeNet, **kwargs: Any) -> None:
        row = net.history[-1]
        losses = [batch["train_loss"] for batch in row["batches"] if "train_loss" in batch]
        row["train_loss"] = sum(losses) / max(1, len(losses))
        row["seconds"] = time.perf_counter() - self.start_
        row["cpu_minutes"] = (time.process_time() - self.cpu_start_) / 60
        row["batches"] = []


def _check_folder(folder: Path) -> None:
    """Make the folder, before any training: what cannot be kept is not worth the time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "no permission to write"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise CheckpointError(
            f"checkpoint={str(folder)!r} must be a folder to write to: {reason}. Pass another path."
        )


def check_callbacks(callbacks: Any) -> list[Any]:
    """Return the callbacks as a list: skorch's, classes of them, or pairs (name, callback).

    Raises
    ------
    InvalidParameterError
        If they are something else.
    """
    if callbacks is None:
        return []
    found = list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]
    for item in found:
        inner = item[1] if isinstance(item, (tuple, list)) and len(item) == 2 else item
        cls = inner if isinstance(inner, type) else type(inner)
        if not issubclass(cls, Callback):
            raise InvalidParameterError(
                "callbacks must be a list of skorch callbacks (skorch.callbacks.Callback), got "
                f"{item!r}."
            )
    return found


def ended_by_early_stopping(net: EpisodeNet) -> bool:
    """Whether one of skorch's own EarlyStopping callbacks (which interrupt) has had enough."""
    found = (c for _, c in net.callbacks_ if isinstance(c, EarlyStopping))
    return any(getattr(c, "misses_", 0) >= c.patience for c in found)
