"""Layers of graphs whose edges are learned."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaest._torch import MASKED_LOGIT

#: Numbers in the differences of one chunk of receiving nodes, roughly.
_BUDGET = 2**22


class GraphLayer(nn.Module):
    """Edges from differences of nodes, and messages along them, with weights all classes share.

    Parameters
    ----------
    n_in : int
        Numbers of a node for a class.
    n_hidden : int
        Width of the network that scores an edge.
    n_out : int

    References
    ----------
    Garcia and Bruna, Few-Shot Learning with Graph Neural Networks, ICLR 2018, section 4.
    """

    def __init__(self, n_in: int, n_hidden: int, n_out: int) -> None:
        super().__init__()
        self.edge = nn.Sequential(
            nn.Linear(n_in, n_hidden),
            nn.LeakyReLU(),
            nn.Linear(n_hidden, n_hidden),
            nn.LeakyReLU(),
            nn.Linear(n_hidden, 1),
        )
        self.neighbours = nn.Linear(n_in, n_out, bias=False)
        self.own = nn.Linear(n_in, n_out)
        self.classes = nn.Linear(n_in, n_out, bias=False)

    def forward(
        self, receivers: Tensor, nodes: Tensor, edges: Tensor, real: Tensor, weights: Tensor
    ) -> Tensor:
        """Pass messages to the receivers, which are the last m of the nodes.

        Parameters
        ----------
        receivers : Tensor of shape (B, Q, m, C, n_in)
        nodes : Tensor of shape (B, Q, n, C, n_in)
        edges : Tensor of shape (B, Q, m, n)
            Scores.
        real : Tensor of bool, shape (B, n)
            False at padded nodes.
        weights : Tensor of shape (B, C)
            Of a mean over the classes.

        Returns
        -------
        Tensor of shape (B, Q, m, C, n_out)
        """
        n_receivers, n_nodes = edges.shape[2:]
        itself = torch.eye(n_nodes, dtype=torch.bool, device=edges.device)[-n_receivers:]
        allowed = real[:, None, None] & ~itself  # (B, 1, m, n)
        adjacency = edges.masked_fill(~allowed, MASKED_LOGIT).softmax(-1)
        # The weights come first: there are fewer numbers to sum after them than before.
        messages = adjacency @ self.neighbours(nodes).flatten(3)  # (B, Q, m, C n_out)
        means = class_mean(receivers, weights).unsqueeze(3)  # (B, Q, m, 1, n_in)
        messages = messages.unflatten(3, (nodes.shape[3], -1))
        return messages + self.own(receivers) + self.classes(means)


def pair_scores(layer: GraphLayer, a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """Score the edge of each pair of nodes: (B, Q, m, C, D), (B, Q, n, C, D) -> (B, Q, m, n).

    The differences of all pairs are by far the largest tensor, so they are made for a few
    receiving nodes at a time.
    """
    size = max(1, _BUDGET // b.numel())
    scores = []
    for part in a.split(size, 2):
        differences = (part.unsqueeze(3) - b.unsqueeze(2)).abs()  # (B, Q, m, n, C, D)
        scores.append(layer.edge(class_mean(differences, weights)).squeeze(-1))
    return torch.cat(scores, 2)


def class_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the classes: (B, ..., C, D), (B, C) -> (B, ..., D)."""
    shape = (len(weights), *[1] * (values.ndim - 3), -1, 1)
    return (values * weights.view(shape).to(values.dtype)).sum(-2)
