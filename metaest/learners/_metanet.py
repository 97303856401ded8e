"""Meta networks."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from metaest._torch import MASKED_LOGIT, local_seed, mask_logits
from metaest.episodes import Support
from metaest.learners._base import Learner, LearnerNet, State, masked_mean, one_hot, row_losses
from metaest.learners._constraints import SIZE
from metaest.learners._execute import encode
from metaest.learners._head import apply_head, prototype_head
from metaest.nets import NetSpec
from metaest.nets._coordinatewise import log_scaled

#: Gradients below exp of minus this count as small.
_SMALLEST = 7.0


class MetaNet(Learner):
    r"""Make fast weights for a task, and for each of its support rows, from loss gradients.

    A layer on top of the backbone has slow weights :math:`Q` and, in every task, fast ones
    :math:`Q^*`; both look at the features :math:`f` and their outputs add up (layer augmentation).
    A row is represented by its features and by these:

    .. math:: r(x) = \bigl[ f(x),\; \mathrm{relu}(Q f(x) + b) + \mathrm{relu}(Q^* f(x)) \bigr],
              \qquad Q^* = d_\phi(\nabla_Q L_{\mathrm{rep}}).

    The classifier has fast weights only. Row :math:`i` of the support set gives
    :math:`W^*_i = m_\psi(\nabla_W L_i)`, stored in a memory under its key :math:`r(x_i)`, and a
    query row reads them by attention:

    .. math:: W^*(x) = \sum_i \mathrm{softmax}_i \bigl( \cos(r(x), r(x_i)) / \tau \bigr) W^*_i,
              \qquad p(y \mid x) = \mathrm{softmax}\bigl( W^*(x)\, r(x) \bigr).

    The meta learner :math:`d_\phi` and :math:`m_\psi` are small networks that turn one number of
    a gradient into one weight. Both start as a step of gradient descent.

    Simplified so that any number of ways works and the order of the rows does not matter: the
    slow classifier is the same for all classes, which is zero; :math:`L_{\mathrm{rep}}` is a
    prototypical network's loss on the support rows; :math:`d_\phi` reads the mean of the rows'
    gradients (the paper has an LSTM over them); the backbone's own layers have no fast weights.
    The features are part of :math:`r`, unlike in the paper, so that meta-training starts from as
    good a classifier as they allow.

    Parameters
    ----------
    n_hidden : int, default=64
        Units of the layer with slow and fast weights.
    n_meta_hidden : int, default=20
        Hidden units of the networks from gradients to fast weights.

    References
    ----------
    Munkhdalai and Yu, Meta Networks, ICML 2017, algorithm 1.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("metanet", random_state=0)
    >>> clf.fit([[0.0, 1.0], [4.0, 0.0]], ["up", "right"]).predict([[3.0, 0.5]])
    array(['right'], dtype='<U5')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_hidden": [SIZE],
        "n_meta_hidden": [SIZE],
    }

    def __init__(self, *, n_hidden: int = 64, n_meta_hidden: int = 20) -> None:
        self.n_hidden = n_hidden
        self.n_meta_hidden = n_meta_hidden

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        with local_seed(rng):
            module.slow = nn.Linear(n_features, self.n_hidden)
            nn.init.orthogonal_(module.slow.weight, gain=2**0.5)
            module.layer_weights = _FastWeights(self.n_meta_hidden)
            module.row_weights = _FastWeights(self.n_meta_hidden)
        module.log_temperature = nn.Parameter(torch.tensor(0.1).log())
        module.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        gradient = representation_gradient(module, features, support)
        fast = module.layer_weights(gradient)  # (B, h, d)
        keys = _represent(module, features, fast)  # (B, S, d + h)
        # At a zero head all C classes are equally likely, so the gradient of a row's cross-entropy
        # is r (1/C - 1) for its own class and r / C for each of the others. What all classes have
        # in common cancels in the softmax: one vector per row is left of W*_i.
        others = keys / support.class_mask.sum(1).reshape(-1, 1, 1)
        return {
            "fast_layer": fast,
            "keys": keys,
            "values": module.row_weights(others - keys) - module.row_weights(others),
            "y": support.y,
            "mask": support.mask,
            "class_mask": support.class_mask,
        }

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        features = encode(module.embedding, query_x)
        rows = _represent(module, features, state["fast_layer"])  # (B, Q, d + h)
        scores = rows @ state["keys"].transpose(1, 2) / module.log_temperature.exp()
        scores = scores.masked_fill(~state["mask"].unsqueeze(1), MASKED_LOGIT)  # (B, Q, S)
        products = rows @ state["values"].transpose(1, 2)  # (B, Q, S)
        class_mask = state["class_mask"]
        members = one_hot(state["y"], state["mask"], class_mask.shape[1], rows.dtype)
        logits = (scores.softmax(-1) * products) @ members * module.log_scale.exp()
        return mask_logits(logits, class_mask)  # (B, Q, C)


class _FastWeights(nn.Module):
    """From gradients to fast weights of the same shape, each number by itself."""

    def __init__(self, n_hidden: int) -> None:
        super().__init__()
        self.log_rate = nn.Parameter(torch.zeros(()))
        first, last = nn.Linear(2, n_hidden), nn.Linear(n_hidden, 1, bias=False)
        with torch.no_grad():
            last.weight.zero_()  # a step of gradient descent
        self.network = nn.Sequential(first, nn.Tanh(), last)

    def forward(self, gradient: Tensor) -> Tensor:
        nothing = self.network(log_scaled(gradient.new_zeros(()), _SMALLEST))  # (1,)
        change = self.network(log_scaled(gradient, _SMALLEST)) - nothing  # 0 where the gradient is
        return change.squeeze(-1) - self.log_rate.exp() * gradient


def representation_gradient(module: LearnerNet, features: Tensor, support: Support) -> Tensor:
    """Gradient of each task's representation loss in the slow weights.

    Parameters
    ----------
    module : LearnerNet
    features : Tensor of shape (B, S, d)
    support : Support

    Returns
    -------
    Tensor of shape (B, h, d)
        Differentiable where gradients are recorded.
    """
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        slow = module.slow.weight.expand(len(support), -1, -1)  # (B, h, d)
        slow = slow if recorded and slow.requires_grad else slow.detach().requires_grad_()
        hidden = (features @ slow.transpose(1, 2) + module.slow.bias).relu()  # (B, S, h)
        rows = _unit(torch.cat([features, hidden], -1))  # (B, S, d + h)
        head = {name: 10 * value for name, value in prototype_head(rows, support).items()}
        logits = apply_head(rows, head["weight"], head["bias"], support.class_mask)
        loss = masked_mean(row_losses(logits, support.y), support.mask).sum()
        return torch.autograd.grad(loss, slow, create_graph=recorded)[0]


def _represent(module: LearnerNet, features: Tensor, fast: Tensor) -> Tensor:
    """Run slow and fast weights side by side: (B, n, d) and (B, h, d) -> (B, n, d + h)."""
    hidden = module.slow(features).relu() + (features @ fast.transpose(1, 2)).relu()
    return _unit(torch.cat([features, hidden], -1))


def _unit(rows: Tensor) -> Tensor:
    """Scale rows to length 1; with second derivatives, also for rows of zeros."""
    return rows / (rows.square().sum(-1, keepdim=True) + 1e-12).sqrt()
