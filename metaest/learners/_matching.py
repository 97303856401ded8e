"""Matching networks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._torch import MASKED_LOGIT, mask_logits
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State, one_hot
from metaest.learners._constraints import POSITIVE
from metaest.learners._execute import encode
from metaest.nets import NetSpec


class MatchingNet(Learner):
    r"""Predict by attention over the support rows.

    With :math:`a(x, x_i) = \mathrm{softmax}_i(\cos(f(x), f(x_i)) / \tau)`,

    .. math:: p(y = k \mid x) = \sum_{i: y_i = k} a(x, x_i),

    and for regression :math:`\hat y = \sum_i a(x, x_i)\, y_i`. The paper's full-context
    embeddings (an LSTM over the support set) depend on the order of the support rows and are
    left out.

    Parameters
    ----------
    temperature : float, default=0.1
        Starting value of :math:`\tau` (the paper has 1).
    learn_temperature : bool, default=True
        Whether meta-training moves it.

    References
    ----------
    Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, eq. 1.

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("matching", random_state=0)
    >>> reg.fit([[0.0], [1.0], [5.0]], [0.0, 1.0, 5.0]).predict([[0.5]]).shape
    (1,)
    """

    kinds = ("classification", "regression")
    autocast = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "temperature": [POSITIVE],
        "learn_temperature": ["boolean"],
    }

    def __init__(self, *, temperature: float = 0.1, learn_temperature: bool = True) -> None:
        self.temperature = temperature
        self.learn_temperature = learn_temperature

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        log_temperature = torch.tensor(float(np.log(self.temperature)))
        module.log_temperature = nn.Parameter(log_temperature, self.learn_temperature)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        features = F.normalize(encode(module.embedding, support.x), dim=-1)  # (B, S, d)
        state = {"features": features, "y": support.y, "mask": support.mask}
        return state if support.class_mask is None else state | {"class_mask": support.class_mask}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        features = F.normalize(encode(module.embedding, query_x), dim=-1)  # (B, Q, d)
        scores = features @ state["features"].transpose(1, 2) / module.log_temperature.exp()
        scores = scores.masked_fill(~state["mask"].unsqueeze(1), MASKED_LOGIT)  # (B, Q, S)
        if "class_mask" not in state:
            return Gaussian((scores.softmax(-1) @ state["y"].unsqueeze(-1)).squeeze(-1))
        class_mask = state["class_mask"]
        members = one_hot(state["y"], state["mask"], class_mask.shape[1], torch.bool)
        spread = scores.unsqueeze(-1).masked_fill(~members.unsqueeze(1), MASKED_LOGIT)
        return mask_logits(spread.logsumexp(2), class_mask)  # (B, Q, S, C) -> (B, Q, C)
