"""Distillation: a student learns from a meta-trained teacher's predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metaest.episodes import EpisodeBatch
from metaest.exceptions import InvalidParameterError, TaskError
from metaest.learners import Gaussian, Learner, LearnerNet
from metaest.learners._base import masked_mean
from metaest.nets import NetSpec
from metaest.tasks import TaskSet
from metaest.training._rows import readable
from metaest.training._state import MetaState

#: ``loss(module, batch) -> scalar`` that meta-training descends.
MetaLoss = Callable[[LearnerNet, EpisodeBatch], Tensor]


@dataclass(frozen=True, eq=False)
class Distillation:
    r"""Learn from what a teacher predicts, besides the labels.

    The teacher adapts to the same support sets. Where :math:`t` and :math:`s` are teacher's and
    student's logits for a query row, the student descends

    .. math:: (1 - w) L + w\, T^2\, \mathrm{KL}
              \bigl(\mathrm{softmax}(t / T) \,\Vert\, \mathrm{softmax}(s / T)\bigr)

    with its own meta-loss :math:`L`; for regression the second term is the squared distance of
    the predicted means.

    Parameters
    ----------
    teacher : MetaState
        Any learner and backbone, meta-trained for tasks of the same kind and rows of the same
        shape. Not changed.
    weight : float, default=0.5
        The weight :math:`w` of the teacher, in [0, 1].
    temperature : float, default=2.0
        The temperature :math:`T`.

    Raises
    ------
    InvalidParameterError
        If the teacher is not meta-trained, or a number is out of its range.

    References
    ----------
    Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv:1503.02531,
    2015, section 2.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> from metaest.datasets import load_digit_tasks
    >>> from metaest.nets import MLP
    >>> from metaest.training import Distillation
    >>> tasks = load_digit_tasks().tasks
    >>> settings = {"n_ways": 3, "n_shots": 1, "n_episodes": 32, "random_state": 0}
    >>> teacher = MetaFewShotClassifier("protonet", **settings).fit_meta(tasks)
    >>> distill = Distillation(teacher.meta_state_, weight=0.7)
    >>> student = MetaFewShotClassifier("anil", backbone=MLP, **settings)
    >>> student = student.fit_meta(tasks, distill=distill)
    """

    teacher: MetaState
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        source = getattr(self.teacher, "source", "none")
        if source == "pretrained":
            raise InvalidParameterError(
                "distill is the pretrained network, which learner='auto' keeps where meta-training "
                "does no better. Name the teacher's learner, such as learner='protonet', and call "
                "its fit_meta again, or leave out distill."
            )
        if source != "fit_meta":
            raise InvalidParameterError(
                "distill must be a meta-trained estimator, its meta_state_, or a Distillation of "
                f"that; got {self.teacher!r}. Call fit_meta of the teacher first."
            )
        if not 0 <= self.weight <= 1 or not self.temperature > 0:
            raise InvalidParameterError(
                "weight must be in [0, 1] and temperature above 0, got "
                f"weight={self.weight!r}, temperature={self.temperature!r}."
            )

    @classmethod
    def of(cls, distill: Any) -> Distillation | None:
        """Return the distillation that an estimator, a MetaState, an object or None stands for."""
        if isinstance(distill, cls):
            return distill
        return None if distill is None else cls(getattr(distill, "meta_state_", distill))

    def align(self, tasks: TaskSet) -> TaskSet:
        """Return the tasks as the teacher can read them, their columns in one order.

        Raises
        ------
        TaskError
            If it cannot read them.
        """
        try:
            return readable(tasks, None, self.teacher.learner)[0]
        except TaskError as error:
            raise TaskError(
                f"distill: the teacher, {self.teacher.learner!r}, cannot read the tasks. Take one "
                f"that can, or leave out distill. {error}"
            ) from error

    def wrap(
        self,
        learner: Learner,
        spec: NetSpec,
        mean: float,
        scale: float,
        feature_names: np.ndarray | None = None,
    ) -> MetaLoss:
        """Return the student's meta-loss.

        Parameters
        ----------
        learner : Learner
            The student.
        spec : NetSpec
            Of the student's network.
        mean, scale : float
            Statistics by which the student's targets are standardised (regression).
        feature_names : ndarray of str, default=None
            The columns of the student's tasks. The teacher finds its own among them by name.

        Raises
        ------
        InvalidParameterError
            If the teacher is for other tasks or columns than the student's; by the loss, if the
            student's predictions have no gradient that the teacher's could act on.
        """
        own, wanted = self.teacher.spec, (spec.kind, spec.input_shape)
        if (own.kind, own.input_shape) != wanted:
            raise InvalidParameterError(
                f"the teacher is meta-trained for {own.kind} with input_shape={own.input_shape}, "
                f"but the tasks are {spec.kind} with input_shape={spec.input_shape}. Meta-train "
                "the teacher on tasks of this kind."
            )
        learner, order = learner.in_training(), self._order_of(feature_names)
        # From the student's standardised targets to the teacher's: a factor and a shift.
        factor = scale / self.teacher.target_scale
        shift = (mean - self.teacher.target_mean) / self.teacher.target_scale

        def loss(module: LearnerNet, batch: EpisodeBatch) -> Tensor:
            told = self._ask(batch, factor, shift, order)
            state = learner.adapt(module, batch.support)
            gaps = self._gaps(told, learner.predict(module, state, batch.query_x))  # (B, Q)
            taught = masked_mean(gaps, batch.query_mask).mean()
            if self.weight and torch.is_grad_enabled() and not taught.requires_grad:
                raise _deaf(learner)
            return (1 - self.weight) * learner.meta_loss(module, batch) + self.weight * taught

        return loss

    def fingerprint(self) -> str:
        """Return a hash of all that the loss depends on."""
        own = self.teacher
        weights = {name: value.numpy() for name, value in own.weights.items()}
        names = None if own.feature_names is None else list(own.feature_names)
        statistics = [own.target_mean, own.target_scale, names]
        settings = [self.weight, self.temperature, repr(own.learner)]
        return joblib.hash([*settings, weights, statistics])

    def _order_of(self, names: np.ndarray | None) -> list[int] | None:
        """Return where the teacher's columns are among those of these names; None: in place."""
        wanted = self.teacher.feature_names
        if self.teacher.learner.any_columns or names is None or wanted is None:
            return None
        if not all(isinstance(name, str) for name in (*names, *wanted)):
            return None
        if set(names) != set(wanted):
            new, gone = (
                [n for n in a if n not in b] for a, b in ((names, wanted), (wanted, names))
            )
            raise InvalidParameterError(
                "the teacher is meta-trained on other columns than those of the tasks (new: "
                f"{new[:5]}, missing: {gone[:5]}). Rename the tasks' columns, or meta-train the "
                "teacher on tasks with these."
            )
        position = {name: i for i, name in enumerate(names)}
        return [position[name] for name in wanted]

    def _ask(
        self, batch: EpisodeBatch, factor: float, shift: float, order: list[int] | None
    ) -> Tensor:
        """Return what the teacher predicts: logits (B, Q, C), or standardised means (B, Q)."""
        learner, x = self.teacher.learner, batch.support_x
        module = self.teacher.module(learner, x.device, x.dtype)
        support, query_x = batch.support, batch.query_x
        if order is not None:
            support = replace(support, x=_in_order(support.x, order))
            query_x = _in_order(query_x, order)
        if support.class_mask is None:
            support = replace(support, y=factor * support.y + shift)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            told = learner.predict(module, learner.adapt(module, support), query_x)
        return (told.mean - shift) / factor if isinstance(told, Gaussian) else told

    def _gaps(self, told: Tensor, prediction: Tensor | Gaussian) -> Tensor:
        """Return how far the student's predictions are from the teacher's: (B, Q)."""
        if isinstance(prediction, Gaussian):
            return (prediction.mean - told).square()
        teacher = (told / self.temperature).log_softmax(-1)  # (B, Q, C)
        student = (prediction / self.temperature).log_softmax(-1)
        kl = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
        return self.temperature**2 * kl


def _in_order(x: Tensor, order: list[int]) -> Tensor:
    """Put the columns of rows into another order: (B, n, ...)."""
    return x.flatten(2)[:, :, order].view(x.shape)


def _deaf(learner: Learner) -> InvalidParameterError:
    return InvalidParameterError(
        f"distill has no effect on {learner!r}: its predictions have no gradient in the weights "
        "that meta-training moves. Meta-train it without distill, or a learner whose predictions "
        "have one, such as MAML or ProtoNet."
    )
