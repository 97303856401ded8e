"""The learner contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from metaest._sklearn import validate_parameter_constraints
from metaest.episodes import EpisodeBatch, Support
from metaest.exceptions import InvalidParameterError
from metaest.nets import NetSpec, make_embedding

#: What a learner keeps of B adapted tasks: tensors with a leading task axis.
State = dict[str, Tensor]


class Gaussian(NamedTuple):
    """A regression prediction for B tasks.

    Attributes
    ----------
    mean : Tensor of shape (B, Q)
    variance : Tensor of shape (B, Q), or None where the method has no notion of it
    """

    mean: Tensor
    variance: Tensor | None = None


class LearnerNet(nn.Module):
    """A learner's network: an embedding, and the learner's own parameters beside it.

    Attributes
    ----------
    embedding : nn.Module
        From inputs ``(n, *input_shape)`` to features ``(n, n_features)``.
    n_features : int
    """

    embedding: nn.Module
    n_features: int

    if TYPE_CHECKING:  # the learner's own parameters are tensors or modules of any name

        def __getattr__(self, name: str) -> Any: ...


class Learner(BaseEstimator, ABC):
    """A way to learn B tasks at once: parameters without data, and pure functions on tensors.

    A learner is to :class:`~metaest.few_shot.MetaFewShotClassifier` what a kernel is to a
    Gaussian process: ``get_params`` and ``set_params`` work, so ``learner__inner_steps`` can
    stand in a parameter grid.

    Padded positions (``mask`` False) never change a result. The result for a task does not
    depend on the tasks beside it, nor a query row's on the rows beside it.
    """

    #: Kinds of task that the method can learn.
    kinds: ClassVar[tuple[Literal["classification", "regression"], ...]] = ("classification",)

    #: Values that each parameter may have, as in scikit-learn's estimators.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    #: Whether the method reads the support rows one after another, so that their order counts.
    order_matters: ClassVar[bool] = False

    #: Whether the method can learn a class from its description, with examples or without.
    describes: ClassVar[bool] = False

    #: Whether predicted targets have a variance.
    predicts_variance: ClassVar[bool] = False

    #: Whether one network serves tables of any number of columns.
    any_columns: ClassVar[bool] = False

    #: Whether the method itself standardises each task's targets: their unit does not matter.
    scales_targets: ClassVar[bool] = False

    #: Whether bfloat16 on a GPU is exact enough (gradients through gradients are not).
    autocast: ClassVar[bool] = False

    #: Whether a network of single precision may read the support rows for one of double precision.
    adapts_in_single: ClassVar[bool] = False

    def build(self, spec: NetSpec, rng: np.random.Generator) -> LearnerNet:
        """Make the network, a module with an ``embedding`` and the learner's own parameters.

        Parameters
        ----------
        spec : NetSpec
        rng : numpy.random.Generator
            Source of the initial weights.
        """
        self._check_parameters()
        module = LearnerNet()
        module.embedding, n_features = make_embedding(spec, rng)
        module.n_features = n_features
        self._add_parameters(module, n_features, spec, rng)
        return module

    def _check_parameters(self) -> None:
        """Raise where a parameter has a value that its constraints forbid."""
        try:
            validate_parameter_constraints(
                self._parameter_constraints, self.get_params(deep=False), type(self).__name__
            )
        except ValueError as error:
            raise InvalidParameterError(str(error)) from error

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        """Add the learner's own parameters to a new module."""

    @abstractmethod
    def adapt(self, module: LearnerNet, support: Support) -> State:
        """Learn B tasks from their support sets.

        Parameters
        ----------
        module : LearnerNet
            Made by :meth:`build`.
        support : Support
            x (B, S, ...), y (B, S), mask (B, S), class_mask (B, C) or None.

        Returns
        -------
        dict of Tensor, each of shape (B, ...)
        """

    @abstractmethod
    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        """Predict the query rows of B adapted tasks.

        Parameters
        ----------
        module : LearnerNet
        state : dict of Tensor
            From :meth:`adapt`; the support set is not needed any more.
        query_x : Tensor of shape (B, Q, ...)

        Returns
        -------
        Tensor of shape (B, Q, C) or Gaussian
            Logits, or the mean and variance of the target.
        """

    def in_training(self) -> Learner:
        """Return the learner without what only costs time while its network is trained."""
        return self

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        """Loss that meta-training descends, a mean over the tasks of the batch.

        Returns
        -------
        Tensor, scalar
        """
        state = self.adapt(module, batch.support)
        return query_losses(self.predict(module, state, batch.query_x), batch).mean()


def row_losses(prediction: Tensor | Gaussian, y: Tensor) -> Tensor:
    """Cross-entropy, squared error or Gaussian negative log-likelihood of each row.

    Parameters
    ----------
    prediction : Tensor of shape (B, n, C) or Gaussian of shape (B, n)
    y : Tensor of shape (B, n)

    Returns
    -------
    Tensor of shape (B, n)
    """
    if isinstance(prediction, Tensor):
        losses = F.cross_entropy(prediction.flatten(0, 1), y.flatten(), reduction="none")
        return losses.view_as(y)
    if prediction.variance is None:
        return (prediction.mean - y).square()
    return F.gaussian_nll_loss(prediction.mean, y, prediction.variance, full=True, reduction="none")


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real rows: (B, n) -> (B,)."""
    mask = mask.to(values.dtype)
    return (values * mask).sum(1) / mask.sum(1).clamp(min=1)


def query_losses(prediction: Tensor | Gaussian, batch: EpisodeBatch) -> Tensor:
    """Mean loss over the query rows of each task: (B,)."""
    return masked_mean(row_losses(prediction, batch.query_y), batch.query_mask)


def one_hot(y: Tensor, mask: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Return each row's class indicator: (B, S) -> (B, S, C), all zero where padded."""
    return F.one_hot(y, n_classes).to(dtype) * mask.unsqueeze(-1).to(dtype)
