"""Matching networks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._torch import MASKED_LOGIT, mask_logits
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
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
        return mask_logits(class_logsumexp(scores, state["y"], class_mask.shape[1]), class_mask)


def class_logsumexp(scores: Tensor, y: Tensor, n_classes: int) -> Tensor:
    """Logarithm of the sum of exponentials over the rows of each class.

    Never in a tensor of rows times classes for each query row.

    Parameters
    ----------
    scores : Tensor of shape (B, Q, S)
        `MASKED_LOGIT` where padded.
    y : Tensor of int64, shape (B, S)
    n_classes : int

    Returns
    -------
    Tensor of shape (B, Q, C)
        `MASKED_LOGIT` for a class without rows. In single precision at least.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    own = y.unsqueeze(1).expand_as(scores)
    shape = (*scores.shape[:2], n_classes)
    peaks = scores.new_full(shape, MASKED_LOGIT).scatter_reduce(2, own, scores.detach(), "amax")
    shares = (scores - peaks.gather(2, own)).exp()
    sums = scores.new_zeros(shape).scatter_add(2, own, shares)
    return peaks + sums.clamp(min=1).log()  # the row at the peak adds 1
