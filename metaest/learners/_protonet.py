"""Prototypical networks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest._torch import mask_logits
from metaest.episodes import Support
from metaest.learners._base import Learner, LearnerNet, State
from metaest.learners._constraints import POSITIVE
from metaest.learners._execute import encode
from metaest.learners._head import class_means
from metaest.nets import NetSpec


class ProtoNet(Learner):
    r"""Classify by the nearest class mean in a learned embedding.

    With prototypes :math:`c_k = \frac{1}{|S_k|} \sum_{i \in S_k} f(x_i)` and a learned
    temperature :math:`\tau`,

    .. math:: p(y = k \mid x) \propto \exp(-d(f(x), c_k) / \tau).

    Parameters
    ----------
    metric : {"euclidean", "cosine"}, default="euclidean"
        Squared Euclidean distance, or cosine distance.
    temperature : float or None, default=None
        Starting value of the temperature; None: the number of features' square root for
        "euclidean", 0.1 for "cosine".
    learn_temperature : bool, default=True
        Whether meta-training moves it. ``temperature=1.0, learn_temperature=False`` is the paper.

    References
    ----------
    Snell, Swersky and Zemel, Prototypical Networks for Few-shot Learning, NeurIPS 2017, eq. 1-2.
    Oreshkin et al., TADAM, NeurIPS 2018 (the learned temperature).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("protonet", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    autocast = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "metric": [StrOptions({"euclidean", "cosine"})],
        "temperature": [POSITIVE, None],
        "learn_temperature": ["boolean"],
    }

    def __init__(
        self,
        *,
        metric: Literal["euclidean", "cosine"] = "euclidean",
        temperature: float | None = None,
        learn_temperature: bool = True,
    ) -> None:
        self.metric = metric
        self.temperature = temperature
        self.learn_temperature = learn_temperature

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        start = self.temperature
        if start is None:
            start = n_features**0.5 if self.metric == "euclidean" else 0.1
        log_temperature = torch.tensor(float(np.log(start)))
        module.log_temperature = nn.Parameter(log_temperature, self.learn_temperature)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        return {"prototypes": class_means(features, support), "class_mask": support.class_mask}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        features = encode(module.embedding, query_x)  # (B, Q, d)
        prototypes = state["prototypes"]  # (B, C, d)
        if self.metric == "cosine":
            features, prototypes = F.normalize(features, dim=-1), F.normalize(prototypes, dim=-1)
            distances = 1 - features @ prototypes.transpose(1, 2)  # (B, Q, C)
        else:
            distances = squared_distances(features, prototypes)
        logits = -distances / module.log_temperature.exp()
        return mask_logits(logits, state["class_mask"])  # (B, Q, C)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances, (B, n, d) and (B, m, d) -> (B, n, m).

    Expanded rather than ``torch.cdist``, which has no second derivative on a CPU.
    """
    norms = a.square().sum(-1).unsqueeze(2) + b.square().sum(-1).unsqueeze(1)
    return norms - 2 * a @ b.transpose(1, 2)
