"""A pretrained network that learns a table by reading it."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from metaest._sklearn import Interval
from metaest._torch import local_seed, mask_logits, select
from metaest.episodes import EpisodeBatch, Support
from metaest.exceptions import UnsupportedTaskError
from metaest.learners._base import Gaussian, Learner, LearnerNet, State, query_losses
from metaest.learners._companions import OF_ROWS, fit_companions, predict_companions
from metaest.learners._constraints import POSITIVE, SIZE
from metaest.learners._in_context_bins import bin_loss, predict_moments, read_bins, to_gaussian
from metaest.learners._in_context_columns import choose_columns, take_columns
from metaest.learners._in_context_members import assign_slots, class_ranks, combine
from metaest.learners._opinions import as_columns
from metaest.learners._regression_companions import fit_regressors, predict_regressors
from metaest.nets import NetSpec
from metaest.nets._in_context import InContextNet
from metaest.nets._in_context_parts import predict_in_parts, read_in_parts

#: What the state's names of the companions begin with.
_COMPANION = "companion_"

#: Probabilities are at least this before their logarithm: no single voice rules a class out.
_LEAST = 1e-6

#: Parameters that are sizes of the network.
_SIZES = ("n_outputs", "cell_width", "row_width", "n_inducing", "n_row_layers", "n_layers")


class InContextTransformer(Learner):
    r"""Predict a table's rows in one forward pass over its labelled rows.

    A transformer :math:`q_\theta(y \mid x, S)` that is trained on very many tasks approximates
    the posterior predictive distribution under the prior that these come from: learning a new
    task takes no gradient step. :meth:`adapt` reads the support rows once and keeps what the
    query rows attend to.

    Tables may have any number of columns, not only that of meta-training; values that are not
    finite are missing, and a column with one value only does not count. Columns of codes are
    recognised by their few values. Neither the order of rows or columns nor the names of the
    classes matter: classes take the network's outputs in an order that follows from the data.

    A number is predicted by the same network, without a weight of its own: the support targets
    are cut at quantiles into at most `n_outputs` bins, which are the classes, elsewhere in each
    pass. With :math:`p_k` the probability of bin k, and :math:`m_k` and :math:`s_k` the means
    in it of the targets and of their squares, mean and variance are

    .. math::
        \mu = \sum_k p_k m_k, \qquad \sigma^2 = \sum_k p_k s_k - \mu^2,

    averaged over the passes before the square is taken off.

    Parameters
    ----------
    n_estimators : int, default=4
        Passes with the classes at different outputs, whose log-probabilities are averaged; of
        a regression with other bins.
        With more than `n_outputs` classes, several share an output in each pass, at least
        4 + 2 n_classes / n_outputs passes are made, and the classes that always had the
        likely outputs win (error-correcting output codes); their averaged log-probabilities
        are doubled, for classes that share outputs with the right one flatten them.
    temperature : float, default=1.0
        The averaged log-probabilities are divided by it.
    companions : float, default=0.6
        Share that classical classifiers, fitted to the support rows, have in the answer: a
        logistic regression (its penalty chosen by rows left out, from 20 to 2,000 support rows)
        and a forest, at first in equal parts. Small tables are where they are
        good, too, and they err elsewhere. The answer is the weighted mean of the logarithms of the
        network's probabilities and theirs. From 80 support rows on (and up to 10 classes) the
        network also reads, as columns, what regression and forest say of rows that they were not
        fitted to: it learns in context how far to trust them, and the part of each in their share
        is the one that such rows make likeliest. For numbers a ridge regression and
        a forest, and the answer is the mixture of the distributions; of theirs each has the part
        that rows it was not fitted to speak for, and where both together explain more than
        `companions` of the variance of such rows, that is their share; where they err less there
        than the mixture's variance says, it is multiplied by what is right. 0: the network alone.
    n_trees : int, default=128
        Trees of the forest of up to 141 support rows, where time counts, and from 2,829 on; twice
        as many of up to 282 or from 1,415 on, four times as many in between.
    max_rows : int, default=10000
        Most support rows; attention takes memory for each, and time for each pair.
    max_columns : int, default=300
        Most columns that the network reads, for whose pairs it takes time: of a wider table those
        that tell most of the targets alone, by the F statistic. The companions read all.
    n_outputs : int, default=10
        Classes that the network tells apart in one pass.
    cell_width, row_width : int, default=32, 128
        Sizes of the vectors of a cell and of a row.
    n_inducing : int, default=2
        Points that summarise a column.
    n_row_layers, n_layers : int, default=2, 6
        Layers over the columns of a row, and over rows.

    References
    ----------
    Müller et al., Transformers Can Do Bayesian Inference, ICLR 2022, eq. 1-2.
    Hollmann et al., TabPFN, ICLR 2023.
    Qu et al., TabICL, ICML 2025 (columns, then rows, then context).
    Breiman, Stacked Regressions, Machine Learning 1996 (parts of the companions of numbers).
    Wolpert, Stacked Generalization, Neural Networks 1992 (opinions as columns).
    Dietterich and Bakiri, Solving Multiclass Learning Problems via Error-Correcting Output
    Codes, JAIR 1995 (more classes than outputs).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("in_context", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    kinds = ("classification", "regression")
    predicts_variance = True
    autocast = True
    any_columns = True
    scales_targets = True
    adapts_in_single = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_estimators": [SIZE],
        "temperature": [POSITIVE],
        "companions": [Interval(Real, 0, 1, closed="both")],
        "n_trees": [SIZE],
        "max_rows": [SIZE],
        "max_columns": [SIZE],
        "n_outputs": [SIZE],
        "cell_width": [SIZE],
        "row_width": [SIZE],
        "n_inducing": [SIZE],
        "n_row_layers": [SIZE],
        "n_layers": [SIZE],
    }

    def __init__(
        self,
        *,
        n_estimators: int = 4,
        temperature: float = 1.0,
        companions: float = 0.6,
        n_trees: int = 128,
        max_rows: int = 10_000,
        max_columns: int = 300,
        n_outputs: int = 10,
        cell_width: int = 32,
        row_width: int = 128,
        n_inducing: int = 2,
        n_row_layers: int = 2,
        n_layers: int = 6,
    ) -> None:
        self.n_estimators = n_estimators
        self.temperature = temperature
        self.companions = companions
        self.n_trees = n_trees
        self.max_rows = max_rows
        self.max_columns = max_columns
        self.n_outputs = n_outputs
        self.cell_width = cell_width
        self.row_width = row_width
        self.n_inducing = n_inducing
        self.n_row_layers = n_row_layers
        self.n_layers = n_layers

    def build(self, spec: NetSpec, rng: np.random.Generator) -> LearnerNet:
        """Make the network, which does not depend on the number of columns."""
        self._check_parameters()
        module = LearnerNet()
        module.embedding, module.n_features = nn.Flatten(), math.prod(spec.input_shape)
        sizes = self.network_parameters()
        with local_seed(rng):
            module.network = InContextNet(n_classes=sizes.pop("n_outputs"), **sizes)
        return module

    def network_parameters(self) -> dict[str, int]:
        """Return the parameters that the network's weights depend on."""
        return {name: getattr(self, name) for name in _SIZES}

    def adapt(self, module: LearnerNet, support: Support) -> State:
        self._check_rows(support)
        fitted: State = {}
        if self.companions > 0:
            fit = fit_regressors if support.class_mask is None else fit_companions
            fitted = fit(support, self.n_trees)
        opinions = fitted.pop(f"{OF_ROWS}opinions", None)
        columns = choose_columns(support, self.max_columns)
        support = replace(support, x=take_columns(support.x.flatten(2), columns))
        if support.class_mask is None:
            state = read_bins(module.network, support, self.n_estimators)
        else:
            state = self._read(module, support, self.n_estimators, fitted, opinions)
        state |= {} if columns is None else {"columns": columns}
        return state | {f"{_COMPANION}{name}": value for name, value in fitted.items()}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        fitted, query_x = select(state, _COMPANION), query_x.flatten(2)
        read = take_columns(query_x, state.get("columns"))
        if "class_mask" not in state:
            own = predict_moments(module.network, state, read, self.temperature)  # (B, Q, 2)
            if not fitted:
                return to_gaussian(own, state)
            theirs = predict_regressors(fitted, query_x)
            _, explained, spread = fitted["trust"][:, None].unbind(-1)  # (B, 1) each
            share = explained.unsqueeze(2).clamp(min=self.companions)
            return to_gaussian((1 - share) * own + share * theirs, state, spread)
        if self.companions == 0:
            return self._answer(module, state, read)
        voices = predict_companions(fitted, query_x)
        x = _beside(read, voices.opinions, state["ranks"], state["class_mask"], fitted)
        logits = self._answer(module, state, x)
        theirs = voices.mean.clamp(min=_LEAST).log()
        own = logits.double().log_softmax(-1).clamp(min=math.log(_LEAST))
        mixed = (1 - self.companions) * own + self.companions * theirs
        return mask_logits(mixed, state["class_mask"])

    def _answer(self, module: LearnerNet, state: State, x: Tensor) -> Tensor:
        """Return the network's own logits: (B, Q, C)."""
        slots, member_mask = state["slots"], state["member_mask"]
        logits = predict_in_parts(module.network, select(state, "net_"), x)  # (B, M, Q, outputs)
        class_mask = state["class_mask"]
        logits = combine(logits, slots, member_mask, class_mask) / self.temperature  # (B, Q, C)
        return mask_logits(logits, class_mask)

    def in_training(self) -> InContextTransformer:
        """Return the learner with a single pass and no companions."""
        return clone(self).set_params(n_estimators=1, companions=0.0)

    def meta_loss(self, module: LearnerNet, batch: EpisodeBatch) -> Tensor:
        """Query loss of a single pass; of a regression an energy score."""
        self._check_rows(batch.support)
        columns = choose_columns(batch.support, self.max_columns)
        batch = replace(
            batch,
            support_x=take_columns(batch.support_x.flatten(2), columns),
            query_x=take_columns(batch.query_x.flatten(2), columns),
        )
        if batch.class_mask is None:
            return bin_loss(module.network, batch, self.temperature)
        state = self._read(module, batch.support, 1)
        return query_losses(self._answer(module, state, batch.query_x.flatten(2)), batch).mean()

    def _check_rows(self, support: Support) -> None:
        n_rows = int(support.mask.sum(1).max())
        if n_rows > self.max_rows:
            kind = "Regressor" if support.class_mask is None else "Classifier"
            raise UnsupportedTaskError(
                f"learner='in_context' reads at most max_rows={self.max_rows} labelled rows, got "
                f"{n_rows}. Fit on a sample of the rows, raise max_rows (memory and time grow with "
                f"it), or use an estimator for large data such as HistGradientBoosting{kind}."
            )

    def _read(
        self,
        module: LearnerNet,
        support: Support,
        n_estimators: int,
        fitted: State | None = None,
        opinions: Tensor | None = None,
    ) -> State:
        """Read the support rows of B tasks in M passes, and what fitted models say of them."""
        assert support.class_mask is not None
        x = support.x.flatten(2)  # (B, S, F)
        ranks = class_ranks(x, support)  # (B, C)
        slots, member_mask = assign_slots(ranks, support.class_mask, n_estimators, self.n_outputs)
        n_members = slots.shape[1]
        y = slots.gather(2, support.y.unsqueeze(1).expand(-1, n_members, -1))  # (B, M, S)
        used = slots.new_zeros(*slots.shape[:2], self.n_outputs)  # (B, M, outputs)
        present = support.class_mask.unsqueeze(1).expand(slots.shape)
        used = used.scatter_reduce(2, slots, present.to(slots.dtype), "amax") > 0

        if fitted and opinions is not None:
            x = _beside(x, opinions, ranks, support.class_mask, fitted)
        read = read_in_parts(module.network, x, y, support.mask, used)
        state = {f"net_{k}": v for k, v in read.items()}
        own = {"slots": slots, "member_mask": member_mask, "class_mask": support.class_mask}
        return state | own | {"ranks": ranks}


def _beside(
    x: Tensor, opinions: Tensor, ranks: Tensor, class_mask: Tensor, fitted: State
) -> Tensor:
    """Put the columns of opinions beside a table's own: (B, n, F) -> (B, n, F + k)."""
    columns = as_columns(opinions, ranks, class_mask, fitted["asked"].squeeze(1))
    return torch.cat([x, columns.to(x.dtype)], 2)
