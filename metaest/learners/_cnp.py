"""Conditional neural processes."""

from __future__ import annotations

from torch import Tensor

from metaest.episodes import Support
from metaest.learners._base import LearnerNet, State
from metaest.learners._head import class_means
from metaest.learners._neural_process import NeuralProcess


class CNP(NeuralProcess):
    r"""Decode the mean of the support rows' representations beside the query row.

    .. math::

        r = \frac{1}{S} \sum_i h(f(x_i), y_i), \qquad
        (\mu, \omega) = g(f(x), r), \qquad
        y \mid x \sim \mathcal{N}\bigl(\mu,\ \sigma^2\bigr), \quad
        \sigma = \sigma_0 + (1 - \sigma_0)\,\mathrm{softplus}(\omega).

    For classes, :math:`r_k` is the mean over the rows of class k, and the logit of k is
    :math:`g(f(x), r_k, \frac{1}{C} \sum_l r_l)`. The paper gives each class a place in the
    decoder's input; here all share the weights, so that any number of classes can come.

    Parameters
    ----------
    n_hidden : int, default=128
        Width of the encoder h and the decoder g, and length of a representation.
    min_std : float, default=0.1
        :math:`\sigma_0`, the smallest standard deviation of a predicted target, in units of the
        targets' standard deviation over the tasks of meta-training.
    residual : bool, default=True
        Whether g adds to a head in closed form on the same features, a ridge regression or
        prototypes, and starts small. False: g alone, as in the paper.

    References
    ----------
    Garnelo et al., Conditional Neural Processes, ICML 2018, section 2.2 and 4.3.

    Examples
    --------
    >>> from metaest import MetaFewShotRegressor
    >>> reg = MetaFewShotRegressor("cnp", random_state=0)
    >>> reg = reg.fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0])
    >>> mean, std = reg.predict([[1.5], [9.0]], return_std=True)
    >>> std.shape
    (2,)
    """

    def __init__(self, *, n_hidden: int = 128, min_std: float = 0.1, residual: bool = True) -> None:
        self.n_hidden = n_hidden
        self.min_std = min_std
        self.residual = residual

    def _keep(self, features: Tensor, representations: Tensor, support: Support) -> State:
        if support.class_mask is not None:
            return {"summary": class_means(representations, support)}  # (B, C, h)
        weights = support.mask.to(features.dtype)
        weights = weights / weights.sum(1, keepdim=True)  # (B, S)
        return {"summary": weights.unsqueeze(1) @ representations}  # (B, 1, h)

    def _summarise(self, module: LearnerNet, state: State, features: Tensor) -> Tensor:
        return state["summary"].unsqueeze(1)  # (B, 1, G, h)
