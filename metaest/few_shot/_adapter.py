"""Where arrays meet the learner: adapt to one task or to many, predict in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaest._torch import as_float_tensor, state_to, state_to_cpu, threads_for
from metaest.episodes import Support, pad_rows
from metaest.exceptions import TaskError
from metaest.learners import Gaussian, Learner, LearnerNet, State
from metaest.learners._execute import chunk_size, encode
from metaest.training import MetaState

#: Floating-point numbers that one chunk of predicted rows may need, roughly.
_BUDGET = 2**25


class Episode(NamedTuple):
    """One task's rows in a shared array, with the targets of its support rows."""

    support: np.ndarray  # (S,) positions
    query: np.ndarray  # (Q,) positions
    y: np.ndarray  # (S,) codes 0..n_classes-1, or targets
    n_classes: int | None  # None: regression


@dataclass(frozen=True)
class Adapter:
    """A meta-trained network, the learner that uses it and the device that they run on.

    Parameters
    ----------
    meta : MetaState
    learner : Learner
    device : torch.device
    """

    meta: MetaState
    learner: Learner
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """Double precision where it is cheap: rows on a CPU.

        There one row at a time, many rows and many episodes give the same predictions to the
        last digits that matter. A stranger's network may not be able to, and keeps float32.
        """
        spec = self.meta.spec
        small = len(spec.input_shape) == 1 and isinstance(spec.backbone, str)
        return torch.float64 if small and self.device.type == "cpu" else torch.float32

    def module(self) -> LearnerNet:
        return self.meta.module(self.learner, self.device, self.dtype)

    def reader(self) -> LearnerNet:
        """Return the network that adapts: of single precision where that does, in half the time."""
        dtype = torch.float32 if self.learner.adapts_in_single else self.dtype
        return self.meta.module(self.learner, self.device, dtype)

    def adapt(
        self,
        X: np.ndarray,
        y: np.ndarray,
        n_classes: int | None,
        class_x: np.ndarray | None = None,
        categorical: np.ndarray | None = None,
    ) -> State:
        """Learn one task.

        Parameters
        ----------
        X : ndarray of shape (S, *input_shape)
        y : ndarray of shape (S,)
            Codes 0..n_classes-1, or targets.
        n_classes : int or None
            None: regression.
        class_x : ndarray of shape (n_classes, e), default=None
            Descriptions of the classes; with them X may have no rows.
        categorical : ndarray of bool, shape (n_features,), default=None
            Columns that hold codes of categories, where that is known.

        Returns
        -------
        dict of Tensor, each of shape (1, ...), on the CPU
        """
        rows = np.arange(len(X))
        support = self._support(X, [Episode(rows, rows[:0], y, n_classes)])
        if class_x is not None:
            support = replace(support, class_x=self._tensor(class_x).unsqueeze(0))
        if categorical is not None:
            flags = torch.from_numpy(categorical).unsqueeze(0).to(self.device)
            support = replace(support, categorical=flags)
        with torch.no_grad(), threads_for(X.size):
            state = state_to_cpu(self.learner.adapt(self.reader(), support))
        for value in state.values():
            _check_finite(value)
        return state

    def predict(self, state: State, X: np.ndarray) -> np.ndarray | Gaussian:
        """Predict rows of one adapted task, a chunk at a time.

        Parameters
        ----------
        state : dict of Tensor
            From :meth:`adapt`.
        X : ndarray of shape (Q, *input_shape)

        Returns
        -------
        ndarray of shape (Q, n_classes), or Gaussian of Tensors of shape (Q,)
            Probabilities, or the mean and variance of the targets, as float64.
        """
        module, state = self.module(), state_to(state, self.device, self.dtype)
        with torch.no_grad(), threads_for(X.size):
            parts = [
                self.learner.predict(module, state, self._tensor(X[rows]).unsqueeze(0))
                for rows in _row_chunks(X, state)
            ]
        return _concatenate([self._output(part, 0) for part in parts])

    def embed(self, X: np.ndarray) -> np.ndarray:
        """Run rows through the backbone, a chunk at a time.

        Parameters
        ----------
        X : ndarray of shape (n, *input_shape)

        Returns
        -------
        ndarray of float64, shape (n, d)
        """
        embedding = self.module().embedding
        with torch.no_grad(), threads_for(X.size):
            parts = [
                encode(embedding, self._tensor(X[rows]).unsqueeze(0)).squeeze(0)  # (chunk, d)
                for rows in _row_chunks(X, {})
            ]
        features = torch.cat(parts).to("cpu", torch.float64)
        _check_finite(features)
        return features.numpy()

    def predict_many(
        self, X: np.ndarray, episodes: Sequence[Episode]
    ) -> Iterator[np.ndarray | Gaussian]:
        """Adapt to many tasks, several at once, and predict the query rows of each.

        Parameters
        ----------
        X : ndarray of shape (n_rows, *input_shape)
        episodes : sequence of Episode

        Yields
        ------
        ndarray of shape (Q, n_classes), or Gaussian of Tensors of shape (Q,)
            Of each episode in turn, as :meth:`predict` returns it.
        """
        module = self.module()
        longest = max((len(e.support) + len(e.query) for e in episodes), default=1)
        size = chunk_size(module, longest)
        for start in range(0, len(episodes), size):
            chunk = episodes[start : start + size]
            query_x, _ = pad_rows([self._tensor(X[e.query]) for e in chunk])
            with torch.no_grad(), threads_for(query_x.numel()):
                state = self.learner.adapt(self.reader(), self._support(X, chunk))
                state = state_to(state, self.device, self.dtype)
                prediction = self.learner.predict(module, state, query_x)
            for b, episode in enumerate(chunk):
                yield self._output(prediction, b, len(episode.query), episode.n_classes)

    def _support(self, X: np.ndarray, episodes: Sequence[Episode]) -> Support:
        x, mask = pad_rows([self._tensor(X[e.support]) for e in episodes])
        mask = mask.to(self.device)
        if episodes[0].n_classes is None:
            mean, scale = self.meta.target_mean, self.meta.target_scale
            y, _ = pad_rows([self._tensor((e.y - mean) / scale) for e in episodes])
            return Support(x, y, mask, None)
        y, _ = pad_rows([torch.from_numpy(e.y.astype(np.int64)) for e in episodes])
        present = [torch.ones(e.n_classes or 0, dtype=torch.bool) for e in episodes]
        class_mask, _ = pad_rows(present)
        return Support(x, y.to(self.device), mask, class_mask.to(self.device))

    def _output(
        self,
        prediction: Tensor | Gaussian,
        task: int,
        n_rows: int | None = None,
        n_classes: int | None = None,
    ) -> np.ndarray | Gaussian:
        """Return one task's part without the padding: probabilities, or on the targets' scale."""
        if isinstance(prediction, Tensor):
            logits = prediction[task, :n_rows, :n_classes].to("cpu", torch.float64)
            _check_finite(logits)
            return logits.softmax(-1).numpy()
        scale = self.meta.target_scale
        mean = prediction.mean[task, :n_rows].to("cpu", torch.float64)
        _check_finite(mean)
        mean = mean * scale + self.meta.target_mean
        if prediction.variance is None:
            return Gaussian(mean)
        variance = prediction.variance[task, :n_rows].to("cpu", torch.float64)
        return Gaussian(mean, variance * scale**2)

    def _tensor(self, array: np.ndarray) -> Tensor:
        # A learner for any columns standardises them itself, and must see their digits.
        dtype = torch.float64 if self.learner.any_columns else self.dtype
        return as_float_tensor(array, self.device, dtype)


def _check_finite(values: Tensor) -> None:
    if not values.isfinite().all():
        raise TaskError(
            "what the learner made of this task is not finite: its steps diverged, or X has values "
            "far from those that the network was trained on. Scale X and y as in meta-training, "
            "clip extreme values, or lower the learner's step size (inner_lr)."
        )


def _row_chunks(X: np.ndarray, state: State) -> Iterator[slice]:
    """Parts of the rows that bound the memory: activations and, for attention, the state."""
    largest = max((value.numel() for value in state.values()), default=0)
    size = max(64, _BUDGET // (64 * math.prod(X.shape[1:]) + largest))
    for start in range(0, len(X), size):
        yield slice(start, start + size)


def _concatenate(parts: list[Any]) -> Any:
    if not isinstance(parts[0], Gaussian):
        return np.concatenate(parts)
    means, variances = zip(*parts, strict=True)
    return Gaussian(torch.cat(means), None if variances[0] is None else torch.cat(variances))
