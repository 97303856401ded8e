"""A learned optimizer."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from metaest._sklearn import StrOptions
from metaest._torch import local_seed
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import COUNT, RATE, SIZE
from metaest.learners._head import add_head, apply_network, step_size
from metaest.learners._rules import learn_by
from metaest.nets import NetSpec
from metaest.nets._coordinatewise import CoordinatewiseLSTM


class LearnedOptimizer(Learner):
    r"""Meta-learn the optimizer that learns a task, and the weights that it starts from.

    A small LSTM :math:`m_\phi`, the same for all weights, turns each weight's gradients into
    its update,

    .. math:: \theta_t = \theta_{t-1} - \alpha\, g_t + 0.1\, m_\phi(g_t, h_{t-1}),

    where it remembers :math:`h` of that weight from step to step. Gradients count as constants
    to meta-training, so there are no second derivatives. The step of gradient descent in front
    is what the LSTM starts from, for its own update is zero before meta-training; the paper is
    ``inner_lr=0.0`` (and there the start is not learned).

    For an optimizer to use outside few-shot learning, see
    :func:`metaest.training.train_optimizer`.

    Parameters
    ----------
    inner_steps : int, default=5
        Steps on the support set. May be changed after meta-training.
    inner_lr : float, default=None
        Step size :math:`\alpha`. None: 0.01 for classification, 0.05 for regression, whose
        gradients are scaled down to a norm of 10. On images from prototypes it should be far
        smaller (0.0002 on Omniglot): the start nearly fits the support set.
    hidden_size : int, default=10
        Units of each of the LSTM's two layers. The paper has 20; time and memory are
        proportional to the network's weights times these.
    head : {"zero", "prototype"}, default="prototype"
        Where a classification head starts, see :class:`MAML`.

    References
    ----------
    Andrychowicz et al., Learning to learn by gradient descent by gradient descent, NeurIPS 2016.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("learned_optimizer", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [COUNT],
        "inner_lr": [RATE, None],
        "hidden_size": [SIZE],
        "head": [StrOptions({"zero", "prototype"})],
    }

    def __init__(
        self,
        *,
        inner_steps: int = 5,
        inner_lr: float | None = None,
        hidden_size: int = 10,
        head: Literal["zero", "prototype"] = "prototype",
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.hidden_size = hidden_size
        self.head = head

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)
        with local_seed(rng):
            module.rule = CoordinatewiseLSTM(self.hidden_size)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        rate = step_size(self.inner_lr, support.class_mask is not None)

        def rule(
            value: Tensor, gradient: Tensor, losses: Tensor, hidden: Tensor | None
        ) -> tuple[Tensor, Tensor]:
            update, hidden = module.rule(gradient, hidden)
            return value - rate * gradient + update, hidden

        return learn_by(rule, module, support, self.inner_steps, self.head)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        return apply_network(module, state, query_x, state.get("class_mask"))
