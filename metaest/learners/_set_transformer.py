"""Prototypes that attend to the support set and to one another."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from metaest._torch import local_seed
from metaest.episodes import Support
from metaest.learners._base import Gaussian, Learner, LearnerNet, State, one_hot
from metaest.learners._constraints import SIZE
from metaest.learners._execute import encode
from metaest.learners._head import apply_head, class_means
from metaest.learners._start import add_start, prototype_logits
from metaest.nets import NetSpec
from metaest.nets._attention import MAB, SAB


class SetTransformer(Learner):
    r"""Nearest prototype, after attention over the whole task has moved the prototypes.

    The prototypes :math:`c_k`, the means of the classes' features, pass through `n_layers` pairs
    of attention blocks: they attend to all support rows, in each head with a learned advantage
    :math:`b` for the rows of their own class, and then to one another,

    .. math::

        c \leftarrow \mathrm{MAB}\bigl(c, f(x);\ b\,1[y_i = k]\bigr), \qquad
        c \leftarrow \mathrm{SAB}(c), \qquad
        p(y = k \mid x) \propto \exp(-\lVert f(x) - c_k \rVert^2 / \tau).

    So a class is placed by what sets it apart from the other classes of the task. Classes have no
    slots: all share the same weights. The blocks start close to the identity, and the learner
    close to a prototypical network. For regression, see the attentive neural process.

    Parameters
    ----------
    n_layers : int, default=1
        Pairs of blocks.
    n_heads : int, default=4
        Heads of each attention.
    head_size : int, default=16
        Features of a head.

    References
    ----------
    Lee et al., Set Transformer, ICML 2019, eq. 6-8 (the blocks).
    Ye, Hu, Zhan and Sha, Few-Shot Learning via Embedding Adaptation with Set-to-Set Functions,
    CVPR 2020, section 4.1 (attention among prototypes).

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("set_transformer", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    autocast = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_layers": [SIZE],
        "n_heads": [SIZE],
        "head_size": [SIZE],
    }

    def __init__(self, *, n_layers: int = 1, n_heads: int = 4, head_size: int = 16) -> None:
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.head_size = head_size

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        add_start(module, n_features, spec)
        sizes = {"n_heads": self.n_heads, "head_size": self.head_size}
        with local_seed(rng):
            module.to_rows = nn.ModuleList(
                MAB(n_features, n_features, identity_start=True, **sizes)
                for _ in range(self.n_layers)
            )
            module.to_classes = nn.ModuleList(
                SAB(n_features, identity_start=True, **sizes) for _ in range(self.n_layers)
            )
        # A head each for what the own class has and for what the others have, where there are two.
        advantage = torch.linspace(2.0, -2.0, self.n_heads)
        module.own_class = nn.Parameter(advantage.repeat(self.n_layers, 1))  # (layers, h)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        prototypes = class_means(features, support)  # (B, C, d)
        n_classes = support.class_mask.shape[1]
        members = one_hot(support.y, support.mask, n_classes, features.dtype).transpose(1, 2)
        rows = support.mask.unsqueeze(1)  # (B, 1, S)
        for to_rows, to_classes, own in zip(
            module.to_rows, module.to_classes, module.own_class, strict=True
        ):
            bias = own[:, None, None] * members.unsqueeze(1)  # (B, h, C, S)
            prototypes = to_rows(prototypes, features, rows, bias)
            prototypes = to_classes(prototypes, support.class_mask)
        return {**prototype_logits(module, prototypes), "class_mask": support.class_mask}

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor | Gaussian:
        features = encode(module.embedding, query_x)  # (B, Q, d)
        return apply_head(features, state["weight"], state["bias"], state["class_mask"])
