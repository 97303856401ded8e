"""Relation networks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from metaest._torch import local_seed, mask_logits
from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import Learner, LearnerNet, State, masked_mean, one_hot
from metaest.learners._execute import encode
from metaest.learners._head import class_means
from metaest.nets import NetSpec

#: Size of the random part of the starting weights beside the structured one.
_NOISE = 0.1


class RelationNet(Learner):
    r"""Learn the comparison of a query row with a class, too.

    A relation module :math:`g`, here a network with one hidden layer, scores the features of a
    class beside those of a query row, :math:`c_k` being the mean of the class's support features:

    .. math:: r_k = \sigma(g([c_k, f(x)])), \qquad
              L = \frac{1}{|Q|} \sum_{(x, y) \in Q} \sum_k (r_k - 1[y = k])^2.

    The paper sums a class's features; the mean serves any number of shots. The module starts as
    minus the distance of the two, the sum of :math:`|u_j^\top (c_k - f(x))|` over random orthogonal
    directions :math:`u_j` (close to a multiple of the Euclidean distance, unlike that over the
    features themselves), plus a little noise, so that it generalises before it is trained and
    training only has to improve on it. The logits
    are the log-odds :math:`g`: their softmax is the probability of a class given that exactly
    one of them matches.

    References
    ----------
    Sung et al., Learning to Compare: Relation Network for Few-Shot Learning, CVPR 2018, eq. 1-2.
    Its relation module is convolutional, on feature maps; here features are flat.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("relation", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        with local_seed(rng):
            of_class, of_query = (nn.Linear(n_features, 2 * n_features) for _ in range(2))
            score = nn.Linear(2 * n_features, 1)
            turn = nn.init.orthogonal_(torch.empty(n_features, n_features))
        # relu(c - x) + relu(x - c) = |c - x|, and some noise, since equal features are a kink.
        with torch.no_grad():
            for linear, start in ((of_class, [turn, -turn]), (of_query, [-turn, turn])):
                linear.weight.mul_(_NOISE).add_(torch.cat(start))
                linear.bias.mul_(_NOISE)
        nn.init.constant_(score.weight, -(n_features**-0.5))
        nn.init.zeros_(score.bias)
        module.of_class, module.of_query, module.score = of_class, of_query, score

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        return {
            "classes": module.of_class(class_means(features, support)),  # (B, C, h)
            "class_mask": support.class_mask,
        }

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        queries = module.of_query(encode(module.embedding, query_x))  # (B, Q, h)
        # The hidden layer of the concatenation is the sum of its parts' layers.
        hidden = torch.relu(queries.unsqueeze(2) + state["classes"].unsqueeze(1))  # (B, Q, C, h)
        return mask_logits(module.score(hidden).squeeze(-1), state["class_mask"])  # (B, Q, C)

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        logits = self.predict(module, self.adapt(module, batch.support), batch.query_x)
        targets = one_hot(batch.query_y, batch.query_mask, logits.shape[2], logits.dtype)
        errors = (logits.sigmoid() - targets).square().sum(-1)  # (B, Q), 0 at absent classes
        return masked_mean(errors, batch.query_mask).mean()
