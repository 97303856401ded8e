"""The LSTM meta-learner."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaest._sklearn import Interval, StrOptions
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import COUNT
from metaest.learners._head import add_head, apply_network, step_size
from metaest.learners._rules import learn_by
from metaest.nets import NetSpec
from metaest.nets._coordinatewise import log_scaled

#: Logit of the forget gate at the start: it lets 99.8 % of a weight through.
FORGET = 6.0


class MetaLSTM(Learner):
    r"""Meta-learn a rule for the steps, an LSTM whose cell state is the learner's weights.

    A step of gradient descent is the update of an LSTM's cell with the forget gate at 1 and the
    input gate at the step size. Here both gates are learned: for each weight :math:`\theta`,
    with the loss :math:`L` of the support set (times the number of classes for classification) and
    its gradient :math:`g`,

    .. math::

        \theta_t &= f_t\, \theta_{t-1} - i_t\, g_t \\
        i_t &= \sigma(w_i \cdot [\tilde g_t, \tilde L_t, \theta_{t-1}, i_{t-1}] + b_i) \\
        f_t &= \sigma(w_f \cdot [\tilde g_t, \tilde L_t, \theta_{t-1}, f_{t-1}] + b_f)

    where a tilde stands for a number's two log-scaled features. All weights share one rule of 14
    numbers. Meta-training learns it and the initial weights :math:`\theta_0`; gradients and
    losses count as constants, so there are no second derivatives. The rule starts as gradient
    descent: `inner_lr` in the input gate, 0.998 in the forget gate.

    The paper's first layer, an LSTM that reads the gradients before the gates do, is left out.

    Parameters
    ----------
    inner_steps : int, default=5
        Steps on the support set. May be changed after meta-training.
    inner_lr : float, default=None
        Input gate at the start, below 1. None: 0.01 for classification, 0.05 for regression,
        whose gradients are scaled down to a norm of 10.
    head : {"zero", "prototype"}, default="prototype"
        Where a classification head starts, see :class:`MAML`.

    References
    ----------
    Ravi and Larochelle, Optimization as a Model for Few-Shot Learning, ICLR 2017, sections 3.1
    to 3.4.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> from metaest.learners import MetaLSTM
    >>> clf = MetaFewShotClassifier(MetaLSTM(inner_steps=3), random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [COUNT],
        "inner_lr": [Interval(Real, 0, 1, closed="neither"), None],
        "head": [StrOptions({"zero", "prototype"})],
    }

    def __init__(
        self,
        *,
        inner_steps: int = 5,
        inner_lr: float | None = None,
        head: Literal["zero", "prototype"] = "prototype",
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.head = head

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)
        rate = step_size(self.inner_lr, spec.kind == "classification")
        module.gate_weights = nn.Parameter(torch.zeros(2, 6))  # input and forget gate
        module.gate_biases = nn.Parameter(torch.tensor([float(np.log(rate / (1 - rate))), FORGET]))

    def adapt(self, module: LearnerNet, support: Support) -> State:
        weights, biases = module.gate_weights, module.gate_biases

        def rule(
            value: Tensor, gradient: Tensor, losses: Tensor, before: list[Tensor] | None
        ) -> tuple[Tensor, list[Tensor]]:
            loss = losses.reshape(-1, *[1] * (value.ndim - 1))
            seen = [*log_scaled(gradient).unbind(-1), *log_scaled(loss).unbind(-1), value]
            gates = []
            for k in range(2):
                own = seen if before is None else [*seen, before[k]]  # 0 before the first step
                weighted = (w * x for w, x in zip(weights[k], own, strict=False))
                gates.append(torch.sigmoid(sum(weighted, biases[k])))
            return gates[1] * value - gates[0] * gradient, gates

        return learn_by(rule, module, support, self.inner_steps, self.head)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        return apply_network(module, state, query_x, state.get("class_mask"))
