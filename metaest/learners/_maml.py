"""Model-agnostic meta-learning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaest._sklearn import StrOptions
from metaest.episodes import EpisodeBatch, Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State, query_losses
from metaest.learners._constraints import COUNT, RATE
from metaest.learners._head import add_head, apply_network, start_network, step_size
from metaest.learners._inner import Rates, network_path
from metaest.learners._settle import settle
from metaest.nets import NetSpec


class MAML(Learner):
    r"""Meta-learn weights from which a few gradient steps solve a new task.

    The weights of a task are :math:`\theta' = \theta - \alpha \nabla_\theta L_S(\theta)`,
    repeated `inner_steps` times, where :math:`L_S` is the mean loss of the support rows (times
    the number of classes for classification, so that one step size serves any number of ways).
    Meta-training descends the query loss :math:`L_Q(\theta')` in :math:`\theta`, through the
    inner gradients.

    The head must serve any number of ways, so all classes start alike: at zero (a start shared
    by all classes cancels in the softmax), or at the prototypes. From zero the first step moves
    the head alone (the body's gradient is zero), so use at least 2 steps. `fit` shortens steps
    that end with a higher support loss than they began.

    Parameters
    ----------
    inner_steps : int, default=5
        Gradient steps on the support set. May be changed after meta-training.
    inner_lr : float, default=None
        Step size :math:`\alpha`, the starting value where it is learned. None: 0.01 for
        classification, 0.05 for regression, whose gradients are scaled down to a norm of 10.
    head_lr : float, default=None
        Step size of the head. None: as `inner_lr`. A single step from zero only scales the
        logits and may be large (0.4 on Omniglot); several are stable at 0.01.
    learn_inner_lr : bool or int, default=False
        Meta-learn one step size per weight tensor. A number n: one for each of the first n steps
        as well, as in MAML++; steps beyond them use the n-th (so `inner_steps` may still change
        after meta-training). True is 1.
    relative_rates : bool, default=False
        With `learn_inner_lr`: learn factors of `inner_lr` and `head_lr`. Adam moves all that is
        learned by about `meta_lr` at a step, so a step size smaller than that is soon lost.
    multi_step_loss : bool, default=False
        Meta-train on the mean of the query losses after each inner step, instead of the loss
        after the last, which steadies long inner loops. In MAML++ the weights of the earlier
        steps fall to zero while training goes on; here they stay equal, for a learner does not
        know how far training has come.
    first_order : bool, default=False
        Treat the inner gradients as constants (first-order MAML).
    head : {"zero", "prototype"}, default="zero"
        Where a classification head starts; "prototype" is Proto-MAML. Such a start nearly fits
        the support set, so take a small `inner_lr`: on Omniglot 0.001 meta-trains several times
        as fast as 0.005.

    References
    ----------
    Finn, Abbeel and Levine, Model-Agnostic Meta-Learning, ICML 2017, algorithm 1.
    Antoniou, Edwards and Storkey, How to train your MAML, ICLR 2019, section 4 (MAML++: learned
    rates per layer and step, multi-step loss).
    Ye and Chao, How to Train Your MAML to Excel in Few-Shot Classification, ICLR 2022 (the head).
    Triantafillou et al., Meta-Dataset, ICLR 2020 (Proto-MAML).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> from metaest.learners import MAML
    >>> clf = MetaFewShotClassifier(MAML(inner_steps=3), random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "inner_steps": [COUNT],
        "inner_lr": [RATE, None],
        "head_lr": [RATE, None],
        "learn_inner_lr": ["boolean", COUNT],
        "relative_rates": ["boolean"],
        "multi_step_loss": ["boolean"],
        "first_order": ["boolean"],
        "head": [StrOptions({"zero", "prototype"})],
    }

    def __init__(
        self,
        *,
        inner_steps: int = 5,
        inner_lr: float | None = None,
        head_lr: float | None = None,
        learn_inner_lr: bool | int = False,
        relative_rates: bool = False,
        multi_step_loss: bool = False,
        first_order: bool = False,
        head: Literal["zero", "prototype"] = "zero",
    ) -> None:
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.head_lr = head_lr
        self.learn_inner_lr = learn_inner_lr
        self.relative_rates = relative_rates
        self.multi_step_loss = multi_step_loss
        self.first_order = first_order
        self.head = head

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_head(module, n_features, spec, rng)
        if self.learn_inner_lr:
            n_rates = len(list(module.embedding.parameters())) + 2  # the head's weight and bias
            body_rate = head_rate = 1.0
            if not self.relative_rates:
                body_rate, head_rate = self._start_rates(spec.kind == "classification")
            rates = torch.full((n_rates,), float(body_rate))
            rates[-2:] = head_rate
            n_steps = int(self.learn_inner_lr)
            module.inner_rates = nn.Parameter(rates if n_steps == 1 else rates.repeat(n_steps, 1))

    def adapt(self, module: LearnerNet, support: Support) -> State:
        return settle(module, self._path(module, support), support)

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        return apply_network(module, state, query_x, state.get("class_mask"))

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        if not self.multi_step_loss:
            return super().meta_loss(module, batch)
        states = list(self._path(module, batch.support))
        losses = [
            query_losses(self.predict(module, state, batch.query_x), batch)
            for state in states[1:] or states
        ]
        return torch.stack(losses).mean()

    def _path(self, module: LearnerNet, support: Support) -> Iterator[State]:
        """Yield the tasks' networks at the start and after each step."""
        start = start_network(module, support, self.head)
        rates = self._rates(module, list(start), support.class_mask is not None)
        steps, first_order = self.inner_steps, self.first_order
        return network_path(module, start, support, rates, steps, first_order=first_order)

    def _rates(self, module: LearnerNet, names: list[str], classifies: bool) -> list[Rates]:
        """Return the step sizes of each step."""
        body_rate, head_rate = self._start_rates(classifies)
        start = dict.fromkeys(names, body_rate) | dict.fromkeys(("weight", "bias"), head_rate)
        if not self.learn_inner_lr:
            return [start]
        units = start if self.relative_rates else dict.fromkeys(names, 1.0)
        return [
            {name: rate * units[name] for name, rate in zip(names, rates, strict=True)}
            for rates in module.inner_rates.reshape(-1, len(names))
        ]

    def _start_rates(self, classifies: bool) -> tuple[float, float]:
        """Return the step sizes of the body and of the head."""
        body_rate = step_size(self.inner_lr, classifies)
        return body_rate, body_rate if self.head_lr is None else self.head_lr
