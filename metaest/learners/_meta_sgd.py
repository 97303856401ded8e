"""Meta-SGD."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import COUNT, RATE
from metaest.learners._head import add_head, apply_network, start_network, step_size
from metaest.learners._inner import network_path
from metaest.learners._settle import settle
from metaest.nets import NetSpec


class MetaSGD(Learner):
    r"""MAML with a meta-learned step size for every single weight.

    The weights of a task are :math:`\theta' = \theta - \alpha \circ \nabla_\theta L_S(\theta)`
    with a vector :math:`\alpha` as long as :math:`\theta`, so that meta-training learns where to
    go as well as how far: start, direction and rate. It descends the query loss
    :math:`L_Q(\theta')` in :math:`\theta` and :math:`\alpha`.

    As in the paper a rate is a free number, which may become negative; all start alike, at
    `inner_lr`. A classification head has no weights of its own (see
    :class:`~metaest.learners.MAML`): there each feature has one rate, shared by all classes, and
    the bias has one. `fit` shortens steps that end with a higher support loss than they began.

    Parameters
    ----------
    inner_steps : int, default=5
        Gradient steps on the support set. The paper has 1, which is enough once meta-trained,
        but from a head at zero the first step moves the head alone.
    inner_lr : float, default=None
        Where the step sizes start. None: 0.01 for classification, 0.05 for regression, whose
        gradients are scaled down to a norm of 10.
    first_order : bool, default=False
        Treat the inner gradients as constants.
    head : {"zero", "prototype"}, default="zero"
        Where a classification head starts, as in MAML.

    References
    ----------
    Li, Zhou, Chen and Li, Meta-SGD: Learning to Learn Quickly for Few-Shot Learning,
    arXiv:1707.09835, 2017, eq. 2-3.

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("meta_sgd", random_state=0)
    >>> reg.fit([[0.0], [1.0], [5.0]], [0.0, 1.0, 5.0]).predict([[0.5]]).shape
    (1,)
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [COUNT],
        "inner_lr": [RATE, None],
        "first_order": ["boolean"],
        "head": [StrOptions({"zero", "prototype"})],
    }

    def __init__(
        self,
        *,
        inner_steps: int = 5,
        inner_lr: float | None = None,
        first_order: bool = False,
        head: Literal["zero", "prototype"] = "zero",
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.first_order = first_order
        self.head = head

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)
        rate = step_size(self.inner_lr, spec.kind == "classification")
        shapes = [p.shape for p in module.embedding.parameters()]
        shapes += [torch.Size([n_features]), torch.Size([1])]  # of the head: for any number of ways
        module.inner_rates = nn.ParameterList(torch.full(shape, float(rate)) for shape in shapes)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        start = start_network(module, support, self.head)
        rates = dict(zip(start, module.inner_rates, strict=True))
        steps, first_order = self.inner_steps, self.first_order
        path = network_path(module, start, support, rates, steps, first_order=first_order)
        return settle(module, path, support)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        return apply_network(module, state, query_x, state.get("class_mask"))
