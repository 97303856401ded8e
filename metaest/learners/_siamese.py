"""Siamese networks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest._torch import mask_logits
from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import Learner, LearnerNet, State, one_hot
from metaest.learners._constraints import POSITIVE
from metaest.learners._execute import encode
from metaest.learners._prototypes import squared_distances
from metaest.nets import NetSpec

#: For probabilities distances are divided by this share of the margin (chosen by the log-loss on
#: Omniglot's background set).
_TEMPERATURE = {"contrastive": 0.1, "triplet": 0.4}


class Siamese(Learner):
    r"""Learn from pairs or triplets which rows are alike; predict by the most similar class.

    Meta-training compares the rows of an episode, support and query together, with each other:

    - "logistic": pairs; the probability that both rows are of one class is
      :math:`\sigma(b - \sum_j \alpha_j |f_j(x) - f_j(x')|)` with learned :math:`\alpha` and
      :math:`b`, which start at :math:`1 / \sqrt d` and :math:`\sqrt d / 2`; the loss is the
      cross-entropy.
    - "contrastive": pairs; with the distance :math:`D = \lVert f(x) - f(x') \rVert` the loss is
      :math:`D^2 / 2` for rows of one class, :math:`\max(0, m - D)^2 / 2` for others.
    - "triplet": triplets of an anchor, a row of its class and a row of another; with the squared
      distances of features of length 1 the loss is :math:`\max(0, D^2_{ap} - D^2_{an} + m)`.

    Pairs of one class count as much in all as the other pairs; a triplet counts where its loss
    is above 0.

    A query row belongs to the class with the highest mean similarity to its support rows: the
    log-odds of being alike ("logistic"), or minus the distance. At one shot the softmax of the
    log-odds is the probability of a class given that exactly one of them matches.

    Parameters
    ----------
    loss : {"logistic", "contrastive", "triplet"}, default="logistic"
    margin : float, default=None
        The margin :math:`m`. None: 0.2 for "triplet" (the paper's), the square root of the number
        of features for "contrastive". A share of it, 0.4 and 0.1, is the temperature of the
        probabilities.

    References
    ----------
    Koch, Zemel and Salakhutdinov, Siamese Neural Networks for One-shot Image Recognition, ICML
    Deep Learning Workshop 2015, section 3.1 ("logistic").
    Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping, CVPR
    2006, eq. 4 ("contrastive").
    Schroff, Kalenichenko and Philbin, FaceNet, CVPR 2015, eq. 3 ("triplet").
    Hermans, Beyer and Leibe, In Defense of the Triplet Loss for Person Re-Identification,
    arXiv:1703.07737, 2017 (all triplets of a batch, the mean of those above 0).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("siamese", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "loss": [StrOptions({"logistic", "contrastive", "triplet"})],
        "margin": [POSITIVE, None],
    }

    def __init__(
        self,
        *,
        loss: Literal["logistic", "contrastive", "triplet"] = "logistic",
        margin: float | None = None,
    ) -> None:
        self.loss = loss
        self.margin = margin

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        if self.loss == "logistic":
            # Both of the order of 1, so that one learning rate suits them and the backbone.
            module.weight = nn.Parameter(torch.ones(n_features))
            module.bias = nn.Parameter(torch.tensor(0.5))

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        members = one_hot(support.y, support.mask, support.class_mask.shape[1], support.x.dtype)
        return {
            "features": self._encode(module, support.x),  # (B, S, d)
            "shares": members / members.sum(1, keepdim=True).clamp(min=1),  # (B, S, C)
            "class_mask": support.class_mask,
        }

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        query = self._encode(module, query_x)  # (B, Q, d)
        similarities = self._compare(module, query, state["features"])  # (B, Q, S)
        if self.loss != "logistic":
            similarities = similarities / (_TEMPERATURE[self.loss] * self._margin(module))
        return mask_logits(similarities @ state["shares"], state["class_mask"])  # (B, Q, C)

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        x = torch.cat([batch.support_x, batch.query_x], 1)  # (B, N, ...)
        y = torch.cat([batch.support_y, batch.query_y], 1)  # (B, N)
        mask = torch.cat([batch.support_mask, batch.query_mask], 1)
        features = self._encode(module, x)  # (B, N, d)
        similarities = self._compare(module, features, features)  # (B, N, N)
        real = mask.unsqueeze(2) & mask.unsqueeze(1) & ~torch.eye(len(y[0]), device=y.device).bool()
        same = y.unsqueeze(2) == y.unsqueeze(1)
        alike, unlike = real & same, real & ~same
        if self.loss == "triplet":
            return triplet_losses(-similarities, alike, unlike, self._margin(module)).mean()
        if self.loss == "logistic":
            losses = F.softplus(torch.where(same, -similarities, similarities))
        else:
            short = (self._margin(module) + similarities).clamp(min=0)  # the margin less D
            losses = torch.where(same, similarities, short).square() / 2
        return (_pair_mean(losses, alike) + _pair_mean(losses, unlike)).mean() / 2

    def compare_pairs(self, module: LearnerNet, a: Tensor, b: Tensor) -> Tensor:
        """Score pairs of rows (verification).

        Parameters
        ----------
        module : LearnerNet
            Made by :meth:`build`, or by ``meta_state_.module(learner, device)``.
        a, b : Tensor of shape (n, ...)

        Returns
        -------
        Tensor of shape (n,)
            Log-odds that both rows of a pair are of one class for ``loss="logistic"``; minus
            their distance for "contrastive", minus its square for "triplet".
        """
        a, b = self._encode(module, a.unsqueeze(1)), self._encode(module, b.unsqueeze(1))
        return self._compare(module, a, b).flatten()  # (n, 1, 1) -> (n,)

    def _encode(self, module: LearnerNet, x: Tensor) -> Tensor:
        features = encode(module.embedding, x)  # (B, n, d)
        return F.normalize(features, dim=-1) if self.loss == "triplet" else features

    def _compare(self, module: LearnerNet, a: Tensor, b: Tensor) -> Tensor:
        """Similarities, (B, n, d) and (B, m, d) -> (B, n, m)."""
        if self.loss == "logistic":
            differences = (a.unsqueeze(2) - b.unsqueeze(1)).abs()  # (B, n, m, d)
            distances = differences @ (module.weight / module.n_features)
            return module.n_features**0.5 * (module.bias - distances)
        squared = squared_distances(a, b)
        # The root has no gradient at 0, where equal rows are.
        return -squared if self.loss == "triplet" else -squared.clamp(min=1e-12).sqrt()

    def _margin(self, module: LearnerNet) -> float:
        if self.margin is not None:
            return self.margin
        return 0.2 if self.loss == "triplet" else float(module.n_features**0.5)


def triplet_losses(distances: Tensor, alike: Tensor, unlike: Tensor, margin: float) -> Tensor:
    """Mean of the losses above 0 over all triplets of each task.

    Parameters
    ----------
    distances : Tensor of shape (B, N, N)
    alike, unlike : Tensor of bool, shape (B, N, N)
        Pairs of rows of one class, and of two.
    margin : float

    Returns
    -------
    Tensor of shape (B,)
    """
    task, anchor, positive = alike.nonzero(as_tuple=True)  # (P,), far fewer than N^2
    gaps = distances[task, anchor, positive].unsqueeze(1) - distances[task, anchor]  # (P, N)
    losses = (gaps + margin).clamp(min=0) * unlike[task, anchor]
    sums = losses.new_zeros(2, len(distances))
    sums = sums.index_add(1, task, torch.stack([losses.sum(1), (losses > 0).sum(1).to(losses)]))
    return sums[0] / sums[1].clamp(min=1)


def _pair_mean(losses: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen pairs of each task: (B, N, N) -> (B,)."""
    return (losses * chosen).sum((1, 2)) / chosen.sum((1, 2)).clamp(min=1)
