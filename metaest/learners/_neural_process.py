"""What the neural processes share: a representation of the support set, and a decoder."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import Interval
from metaest._torch import local_seed, mask_logits
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import SIZE
from metaest.learners._execute import encode
from metaest.learners._head import apply_head
from metaest.learners._start import add_start, start_head
from metaest.nets import NetSpec
from metaest.nets._attention import start_small


class NeuralProcess(Learner):
    """Represent each support row, summarise the rows for a query row, and decode.

    Subclasses say what is kept of the rows' representations, and how it is summarised.

    Parameters
    ----------
    n_hidden : int
        Width of encoder and decoder, and length of a representation.
    min_std : float
        Smallest standard deviation of a predicted target, in units of the targets' standard
        deviation over the tasks of meta-training.
    residual : bool
        Whether the network adds to a head in closed form on the same features: ridge regression,
        or prototypes. False: the network alone, as in the papers.
    """

    kinds = ("classification", "regression")
    predicts_variance = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_hidden": [SIZE],
        "min_std": [Interval(Real, 0, 1, closed="neither")],
        "residual": ["boolean"],
    }
    n_hidden: int
    min_std: float
    residual: bool

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        h, regression = self.n_hidden, spec.kind == "regression"
        n_in, n_out, n_summaries = (n_features + 1, 2, 1) if regression else (n_features, 1, 2)
        with local_seed(rng):
            module.encoder = _layers(n_in, h, h, h)
            module.decoder = _layers(n_features + n_summaries * h, h, h, n_out)
            self._add_summary(module, n_features)
        if self.residual:
            add_start(module, n_features, spec)
            start_small(module.decoder[-1])

    def _add_summary(self, module: LearnerNet, n_features: int) -> None:
        """Add what summarising learns."""

    @abstractmethod
    def _keep(self, features: Tensor, representations: Tensor, support: Support) -> State:
        """Return what to keep: of features (B, S, d) and representations (B, S, h)."""

    @abstractmethod
    def _summarise(self, module: LearnerNet, state: State, features: Tensor) -> Tensor:
        """Summarise what was kept, of all rows or of each class's: (B, Q, d) -> (B, Q or 1, G, h).

        G is 1 for regression, the number of classes otherwise.
        """

    def adapt(self, module: LearnerNet, support: Support) -> State:
        features = encode(module.embedding, support.x)  # (B, S, d)
        rows = features
        if support.class_mask is None:
            rows = torch.cat([features, support.y.unsqueeze(-1)], -1)  # (B, S, d + 1)
        state = self._keep(features, module.encoder(rows), support)
        if self.residual:
            state |= start_head(module, features, support)
        return state if support.class_mask is None else state | {"class_mask": support.class_mask}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        features = encode(module.embedding, query_x)  # (B, Q, d)
        summaries = self._summarise(module, state, features)  # (B, Q or 1, G, h)
        class_mask = state.get("class_mask")
        out = module.decoder(_decoder_input(features, summaries, class_mask))  # (B, Q, G, n_out)
        if class_mask is None:
            mean, raw = out.squeeze(2).unbind(-1)  # (B, Q) each
            std = self.min_std + (1 - self.min_std) * F.softplus(raw)
            return Gaussian(mean + self._start(state, features), std.square())
        return mask_logits(out.squeeze(-1) + self._start(state, features), class_mask)

    def _start(self, state: State, features: Tensor) -> Tensor | float:
        """Logits (B, Q, C) or means (B, Q) of the head in closed form."""
        if not self.residual:
            return 0.0
        start = apply_head(features, state["weight"], state["bias"], state.get("class_mask"))
        return start.mean if isinstance(start, Gaussian) else start


def _decoder_input(features: Tensor, summaries: Tensor, class_mask: Tensor | None) -> Tensor:
    """Put each query row beside its summaries: (B, Q, d), (B, Q or 1, G, h) -> (B, Q, G, n).

    For classes, the mean over all of them stands beside each one's own.
    """
    shape = (*features.shape[:2], summaries.shape[2], -1)
    parts = [features.unsqueeze(2).expand(shape), summaries.expand(shape)]
    if class_mask is not None:
        weights = class_mask.to(features.dtype)  # (B, C)
        weights = (weights / weights.sum(1, keepdim=True))[:, None, :, None]
        parts.append((summaries * weights).sum(2, keepdim=True).expand(shape))
    return torch.cat(parts, -1)


def _layers(*sizes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
