"""Graph neural networks over a task's rows."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._sklearn import Interval
from metaest._torch import local_seed, mask_logits
from metaest.episodes import Support
from metaest.learners._base import Learner, LearnerNet, State, one_hot
from metaest.learners._constraints import SIZE
from metaest.learners._execute import encode
from metaest.learners._graph import GraphLayer, pair_scores
from metaest.learners._head import apply_head
from metaest.learners._start import add_start, start_head
from metaest.nets import NetSpec
from metaest.nets._attention import start_small

#: Numbers in one tensor of one chunk of graphs, roughly: bounds the memory of predictions.
_BUDGET = 2**22


class GNN(Learner):
    r"""Pass labels along a learned graph from the support rows to a query row.

    Each query row has a graph of its own, whose nodes are the S support rows and itself. A node
    has a vector for each class k: its features, and whether it is of class k (for the query row
    one over the number of classes). A layer computes edges and passes messages along them,

    .. math::

        A_{ij} = \operatorname*{softmax}_{j \ne i} \phi\Bigl(
            \frac{1}{C} \sum_k |v_{ik} - v_{jk}| \Bigr), \qquad
        v_{ik} \leftarrow \Bigl[ v_{ik},\ \rho\bigl( W_1 \sum_j A_{ij} v_{jk} + W_2 v_{ik}
            + W_3 \tfrac{1}{C} \sum_l v_{il} \bigr) \Bigr],

    with a multilayer perceptron :math:`\phi` and the leaky rectifier :math:`\rho`. The last layer
    has one output, which is the query row's logit of class k.

    The paper has one vector per node with all labels in fixed places, and so a fixed number of
    classes. Here all classes share the weights: any number of them, under any names. There is no
    normalisation by the batch.

    Parameters
    ----------
    n_layers : int, default=2
        At least 2. Three or more are slow for many support rows: the layers between the first
        and the last compute the edges among all rows again for each query row.
    n_hidden : int, default=32
        Features that a row enters the graph with, and width of :math:`\phi`.
    n_channels : int, default=16
        What each layer but the last adds to the vectors.
    residual : bool, default=True
        Whether logits are those of a prototypical network plus what the graph says, which starts
        small. False: the graph alone, as in the paper.

    References
    ----------
    Garcia and Bruna, Few-Shot Learning with Graph Neural Networks, ICLR 2018, section 4.

    Examples
    --------
    >>> from metaest import MetaFewShotClassifier
    >>> clf = MetaFewShotClassifier("gnn", random_state=0)
    >>> clf.fit([[0.0, 0.0], [4.0, 4.0]], ["near", "far"]).predict([[1.0, 0.5]])
    array(['near'], dtype='<U4')
    """

    autocast = True
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_layers": [Interval(Integral, 2, None, closed="left")],
        "n_hidden": [SIZE],
        "n_channels": [SIZE],
        "residual": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_layers: int = 2,
        n_hidden: int = 32,
        n_channels: int = 16,
        residual: bool = True,
    ) -> None:
        self.n_layers = n_layers
        self.n_hidden = n_hidden
        self.n_channels = n_channels
        self.residual = residual

    def _add_parameters(
        self, module: LearnerNet, n_features: int, spec: NetSpec, rng: np.random.Generator
    ) -> None:
        sizes = [self.n_hidden + 1 + n * self.n_channels for n in range(self.n_layers)]
        outs = [self.n_channels] * (self.n_layers - 1) + [1]
        with local_seed(rng):
            module.enter = nn.Linear(n_features, self.n_hidden)
            module.layers = nn.ModuleList(
                GraphLayer(n_in, self.n_hidden, n_out)
                for n_in, n_out in zip(sizes, outs, strict=True)
            )
        if self.residual:
            add_start(module, n_features, spec)
            last = module.layers[-1]
            start_small(last.neighbours, last.own, last.classes)

    def adapt(self, module: LearnerNet, support: Support) -> State:
        assert support.class_mask is not None
        features = encode(module.embedding, support.x)  # (B, S, d)
        rows = module.enter(features)  # (B, S, n_hidden)
        labels = one_hot(support.y, support.mask, support.class_mask.shape[1], rows.dtype)
        nodes = _with_labels(rows, labels).unsqueeze(1)  # (B, 1, S, C, n_hidden + 1)
        weights = _weights(support.class_mask, rows.dtype)
        edges = pair_scores(module.layers[0], nodes, nodes, weights)
        state = {
            "rows": rows,
            "labels": labels,
            "mask": support.mask,
            "class_mask": support.class_mask,
            "edges": edges.squeeze(1),  # (B, S, S): in the first layer the same in each graph
        }
        return state | start_head(module, features, support) if self.residual else state

    def predict(self, module: LearnerNet, state: State, query_x: Tensor) -> Tensor:
        features = encode(module.embedding, query_x)  # (B, Q, d)
        n_tasks, n_rows, n_classes = state["labels"].shape
        largest = n_rows * (n_rows + n_classes * module.layers[-1].own.in_features)
        size = max(1, _BUDGET // (n_tasks * largest))
        parts = module.enter(features).split(size, 1)
        logits = torch.cat([self._pass_labels(module, state, part) for part in parts], 1)
        if self.residual:
            start = apply_head(features, state["weight"], state["bias"], state["class_mask"])
            assert isinstance(start, Tensor)
            logits = logits + start
        return mask_logits(logits, state["class_mask"])  # (B, Q, C)

    def _pass_labels(self, module: LearnerNet, state: State, query: Tensor) -> Tensor:
        """Logits of query rows, a graph for each: (B, Q, n_hidden) -> (B, Q, C)."""
        weights = _weights(state["class_mask"], query.dtype)  # (B, C)
        nodes = _join(state, query, weights)  # (B, Q, S + 1, C, n_hidden + 1)
        real = F.pad(state["mask"], (0, 1), value=True)  # (B, S + 1); the last is the query row
        for number, layer in enumerate(module.layers):
            # The last layer needs only what reaches the query row.
            last = number == self.n_layers - 1
            receivers = nodes[:, :, -1:] if last else nodes  # (B, Q, m, C, D)
            if number == 0:
                own = pair_scores(layer, nodes[:, :, -1:], nodes, weights)  # (B, Q, 1, S + 1)
                edges = _bordered(state["edges"], own)
            else:
                edges = pair_scores(layer, receivers, nodes, weights)  # (B, Q, m, S + 1)
            out = layer(receivers, nodes, edges, real, weights)  # (B, Q, m, C, n_out)
            nodes = out if last else torch.cat([nodes, F.leaky_relu(out)], -1)
        return nodes[:, :, 0, :, 0]


def _weights(class_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights of a mean over the classes that a task has: (B, C)."""
    weights = class_mask.to(dtype)
    return weights / weights.sum(1, keepdim=True)


def _with_labels(rows: Tensor, labels: Tensor) -> Tensor:
    """Give each row a vector for each class: (..., h), (..., C) -> (..., C, h + 1)."""
    shared = rows.unsqueeze(-2).expand(*labels.shape, rows.shape[-1])
    return torch.cat([shared, labels.unsqueeze(-1)], -1)


def _join(state: State, query: Tensor, weights: Tensor) -> Tensor:
    """Nodes of each query row's graph, itself the last: (B, Q, S + 1, C, h + 1)."""
    n_queries = query.shape[1]
    rows = state["rows"].unsqueeze(1).expand(-1, n_queries, -1, -1)  # (B, Q, S, h)
    labels = state["labels"].unsqueeze(1).expand(-1, n_queries, -1, -1)  # (B, Q, S, C)
    unknown = weights[:, None, None].expand(-1, n_queries, 1, -1)  # (B, Q, 1, C)
    return _with_labels(torch.cat([rows, query.unsqueeze(2)], 2), torch.cat([labels, unknown], 2))


def _bordered(edges: Tensor, own: Tensor) -> Tensor:
    """Add the query row's edges to the support rows': (B, S, S), (B, Q, 1, S + 1) -> (B, Q, n, n).

    Edge scores are symmetric.
    """
    shared = edges.unsqueeze(1).expand(-1, own.shape[1], -1, -1)  # (B, Q, S, S)
    column = own[..., :-1].transpose(2, 3)  # (B, Q, S, 1)
    return torch.cat([torch.cat([shared, column], 3), own], 2)
