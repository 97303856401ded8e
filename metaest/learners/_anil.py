"""Almost no inner loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._constraints import COUNT, RATE
from metaest.learners._execute import encode
from metaest.learners._head import (
    add_head,
    apply_head,
    initial_head,
    inner_losses,
    step_size,
)
from metaest.learners._inner import descend_to_state
from metaest.nets import NetSpec


class ANIL(Learner):
    r"""MAML whose inner loop adapts the head alone; the features are meta-learned and stay.

    Parameters
    ----------
    inner_steps : int, default=5
        Gradient steps on the support set. May be changed after meta-training.
    inner_lr : float, default=None
        Step size, as in MAML. None: 0.01 for classification, 0.05 for regression, whose gradients
        are scaled down to a norm of 10.
    first_order : bool, default=False
        Treat the inner gradients as constants.

    References
    ----------
    Raghu, Raghu, Bengio and Vinyals, Rapid Learning or Feature Reuse? Towards Understanding the
    Effectiveness of MAML, ICLR 2020, section 4.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("anil", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [COUNT],
        "inner_lr": [RATE, None],
        "first_order": ["boolean"],
    }

    def __init__(
        self, *, inner_steps: int = 5, inner_lr: float | None = None, first_order: bool = False
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.first_order = first_order

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        features = encode(module.embedding, support.x)  # (B, S, d), once: they do not adapt
        start = initial_head(module, support, features.shape[-1])

        def loss_of(head: Mapping[str, Tensor]) -> Tensor:
            prediction = apply_head(features, head["weight"], head["bias"], support.class_mask)
            return inner_losses(prediction, support)

        rate = step_size(self.inner_lr, support.class_mask is not None)
        rates = dict.fromkeys(start, rate)
        steps, first_order = self.inner_steps, self.first_order
        return descend_to_state(loss_of, start, rates, steps, support, first_order=first_order)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        features = encode(module.embedding, query_x)
        return apply_head(features, state["weight"], state["bias"], state.get("class_mask"))
