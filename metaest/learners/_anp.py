"""Attentive neural processes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import LearnerNet, State, one_hot
from metaest.learners._constraints import SIZE
from metaest.learners._neural_process import NeuralProcess
from metaest.nets._attention import MultiheadAttention

#: Scores of one chunk of query rows, roughly: bounds the memory of predictions.
_BUDGET = 2**24


class ANP(NeuralProcess):
    r"""Decode what the query row finds by attention over the support rows.

    A conditional neural process whose mean of the representations
    :math:`r_i = h(f(x_i), y_i)` is one for each query row, by multi-head attention,

    .. math:: r(x) = \mathrm{Multihead}\bigl( f(x),\ \{f(x_i)\},\ \{r_i\} \bigr),

    so that it can fit the support rows, which a mean over all of them underfits. For classes,
    :math:`r_k(x)` attends to the rows of class k.

    This is the paper's deterministic path. Its latent path would make predictions random, and is
    left out.

    Parameters
    ----------
    n_hidden : int, default=128
        Width of the encoder h and the decoder g, and length of a representation.
    n_heads : int, default=8
        Heads of the attention.
    head_size : int, default=16
        Features of a head.
    min_std : float, default=0.1
        Smallest standard deviation of a predicted target, in units of the targets' standard
        deviation over the tasks of meta-training.
    residual : bool, default=True
        Whether g adds to a head in closed form on the same features, a ridge regression or
        prototypes, and starts small. False: g alone, as in the paper.

    References
    ----------
    Kim et al., Attentive Neural Processes, ICLR 2019, section 3.

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("anp", random_state=0)
    >>> reg = reg.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    >>> mean, std = reg.predict([[1.5], [9.0]], return_std=True)
    >>> std.shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **NeuralProcess._parameter_constraints,
        "n_heads": [SIZE],
        "head_size": [SIZE],
    }

    def __init__(
        self,
        *,
        n_hidden: int = 128,
        n_heads: int = 8,
        head_size: int = 16,
        min_std: float = 0.1,
        residual: bool = True,
    ) -> None:
        self.n_hidden = n_hidden
        self.n_heads = n_heads
        self.head_size = head_size
        self.min_std = min_std
        self.residual = residual

    def _add_summary(self, module: LearnerNet, n_features: int) -> None:
        sizes = {"n_heads": self.n_heads, "head_size": self.head_size}
        module.attention = MultiheadAttention(
            n_features, n_features, self.n_hidden, self.n_hidden, **sizes
        )

    def _keep(self, features: Tensor, representations: Tensor, support: Support) -> State:
        state = {"keys": features, "values": representations}  # (B, S, d), (B, S, h)
        if support.class_mask is None:
            return state | {"members": support.mask.unsqueeze(1)}  # (B, 1, S)
        n_classes = support.class_mask.shape[1]
        members = one_hot(support.y, support.mask, n_classes, features.dtype).bool()
        return state | {"members": members.transpose(1, 2)}  # (B, C, S)

    def _summarise(self, module: LearnerNet, state: State, features: Tensor) -> Tensor:
        keys, values = state["keys"].unsqueeze(1), state["values"].unsqueeze(1)
        mask = state["members"].unsqueeze(2)  # (B, G, 1, S)
        size = max(1, _BUDGET // (mask.numel() * self.n_heads))
        parts = [
            module.attention(queries.unsqueeze(1), keys, values, mask)  # (B, G, q, h)
            for queries in features.split(size, 1)
        ]
        return torch.cat(parts, 2).transpose(1, 2)  # (B, Q, G, h)
