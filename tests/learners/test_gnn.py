"""GNN: against plain loops over nodes and classes, and what bounds its memory."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from metaest.exceptions import InvalidParameterError
from metaest.learners import ProtoNet, _gnn, _graph
from metaest.learners._gnn import GNN
from tests.episode_helpers import Episode, build, collate, make_episode, predict, uneven_episodes

SMALL = {"n_hidden": 4, "n_channels": 3}


def _reference(learner: GNN, module: torch.nn.Module, episode: Episode) -> np.ndarray:
    """One graph at a time, one pair of nodes at a time: log-probabilities (Q, C)."""
    n_classes = episode.n_classes
    support = module.enter(module.embedding(episode.support_x))
    queries = module.enter(module.embedding(episode.query_x))
    out = []
    for query in queries:
        rows = torch.cat([support, query[None]])
        unknown = torch.full((1, n_classes), 1 / n_classes, dtype=torch.float64)
        labels = torch.cat([torch.eye(n_classes)[episode.support_y], unknown])
        nodes = [
            [torch.cat([row, label[k : k + 1]]) for k in range(n_classes)]
            for row, label in zip(rows, labels, strict=True)
        ]
        for number, layer in enumerate(module.layers):
            last = number == learner.n_layers - 1
            nodes = [_node(layer, nodes, i, last) for i in range(len(nodes))]
        out.append([float(nodes[-1][k]) for k in range(n_classes)])
    logits = torch.tensor(out, dtype=torch.float64)
    if learner.residual:
        x = module.embedding(episode.support_x)
        means = torch.stack([x[episode.support_y == k].mean(0) for k in range(n_classes)])
        distances = (module.embedding(episode.query_x)[:, None] - means).square().sum(-1)
        logits = logits - distances / module.log_temperature.exp()
    return logits.log_softmax(-1).numpy()


def _node(layer: torch.nn.Module, nodes: list[list[Tensor]], i: int, last: bool) -> list[Tensor]:
    n_classes = len(nodes[i])
    others = [j for j in range(len(nodes)) if j != i]
    scores = []
    for j in others:
        pairs = zip(nodes[i], nodes[j], strict=True)
        scores.append(float(layer.edge(sum((a - b).abs() for a, b in pairs) / n_classes)))
    edges = softmax(scores)
    mean = sum(nodes[i]) / n_classes
    new = []
    for k in range(n_classes):
        message = sum(a * nodes[j][k] for a, j in zip(edges, others, strict=True))
        value = layer.neighbours(message) + layer.own(nodes[i][k]) + layer.classes(mean)
        kept = torch.where(value > 0, value, 0.01 * value)
        new.append(value if last else torch.cat([nodes[i][k], kept]))
    return new


@pytest.mark.parametrize(
    "learner",
    [GNN(**SMALL), GNN(n_layers=3, **SMALL), GNN(residual=False, **SMALL)],
    ids=["default", "three layers", "paper"],
)
def test_against_plain_loops(learner: GNN) -> None:
    module, episode = build(learner), make_episode(shots=(2, 1, 3))
    with torch.no_grad():
        for p in module.layers[-1].parameters():
            p.mul_(1 if p.abs().max() > 0.05 else 100)  # what starts small would hardly show
        expected = _reference(learner, module, episode)
    found = predict(learner, module, collate([episode]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_starts_close_to_prototypes() -> None:
    batch = collate([make_episode(shots=(3, 1, 2))])
    found = predict(GNN(), build(GNN()), batch)
    expected = predict(ProtoNet(), build(ProtoNet()), batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    assert not torch.equal(found, expected)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = GNN(n_layers=3, **SMALL)
    module, batch = build(learner), collate(uneven_episodes("classification"))
    expected = predict(learner, module, batch)
    monkeypatch.setattr(_gnn, "_BUDGET", 1)  # a query row at a time
    monkeypatch.setattr(_graph, "_BUDGET", 1)  # a receiving node at a time
    torch.testing.assert_close(predict(learner, module, batch), expected, rtol=1e-10, atol=1e-10)


def test_two_layers_at_least() -> None:
    with pytest.raises(InvalidParameterError, match="'n_layers' parameter of GNN must be"):
        build(GNN(n_layers=1))
