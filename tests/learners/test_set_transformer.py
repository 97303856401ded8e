"""SetTransformer: against plain loops, and its start."""

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from metaest.learners import ProtoNet
from metaest.learners._set_transformer import SetTransformer
from metaest.nets._attention import MAB
from tests.episode_helpers import Episode, build, collate, make_episode, predict


def _shaken(learner: SetTransformer) -> torch.nn.Module:
    """Build a network whose branches are not small any more."""
    module = build(learner)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in module.parameters():
            p += 0.5 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return module


def _attend(block: MAB, row: Tensor, others: Tensor, bias: np.ndarray) -> Tensor:
    """One row through a block, a head at a time: (d,), (m, d), (h, m) -> (d,)."""
    attention = block.attention
    first, second, third = block.norms
    others = third(others)
    query, keys, values = (
        attention.query(first(row)),
        attention.key(others),
        attention.value(others),
    )
    size = len(query) // attention.n_heads
    heads = []
    for h in range(attention.n_heads):
        own = slice(h * size, (h + 1) * size)
        scores = (keys[:, own] @ query[own]).numpy() / size**0.5 + bias[h]
        heads.append(torch.from_numpy(softmax(scores)) @ values[:, own])
    hidden = row + attention.out(torch.cat(heads))
    return hidden + block.feedforward(second(hidden))


def _reference(learner: SetTransformer, module: torch.nn.Module, episode: Episode) -> Tensor:
    x, y = module.embedding(episode.support_x), episode.support_y
    classes = range(episode.n_classes)
    prototypes = torch.stack([x[y == k].mean(0) for k in classes])
    for n in range(learner.n_layers):
        own = module.own_class[n].numpy()[:, None]
        moved = [
            _attend(module.to_rows[n], prototypes[k], x, own * (y == k).numpy()) for k in classes
        ]
        rows = torch.stack(moved)
        free = np.zeros((learner.n_heads, 1))
        block = module.to_classes[n].block
        prototypes = torch.stack([_attend(block, row, rows, free) for row in rows])
    query = module.embedding(episode.query_x)
    distances = (query[:, None] - prototypes).square().sum(-1)
    return (-distances / module.log_temperature.exp()).log_softmax(-1)


def test_against_plain_loops() -> None:
    learner = SetTransformer(n_layers=2, n_heads=3, head_size=2)
    module, episode = _shaken(learner), make_episode(shots=(2, 1, 3, 1))
    found = predict(learner, module, collate([episode]))[0]
    with torch.no_grad():
        expected = _reference(learner, module, episode)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    plain = predict(ProtoNet(), build(ProtoNet()), collate([episode]))[0]
    assert (found - plain).abs().max() > 0.1  # the blocks do something


def test_starts_close_to_prototypes() -> None:
    batch = collate([make_episode(shots=(3, 1, 2))])
    module, plain = build(SetTransformer()), build(ProtoNet())
    found, expected = predict(SetTransformer(), module, batch), predict(ProtoNet(), plain, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    assert not torch.equal(found, expected)


def test_a_class_is_placed_by_the_others() -> None:
    learner, episode = SetTransformer(), make_episode(shots=(2, 2, 2))
    module = _shaken(learner)
    two = collate([make_episode(shots=(2, 2, 2))]).support
    with torch.no_grad():
        all_three = learner.adapt(module, two)["weight"][0]
        rows = episode.support_y < 2
        pair = Episode(
            episode.support_x[rows], episode.support_y[rows], *_query(episode), torch.arange(2)
        )
        both = learner.adapt(module, collate([pair]).support)["weight"][0]
    assert (all_three[:2] - both).abs().max() > 1e-3


def _query(episode: Episode) -> tuple[Tensor, Tensor]:
    rows = episode.query_y < 2
    return episode.query_x[rows], episode.query_y[rows]


def test_every_weight_learns() -> None:
    learner = SetTransformer(n_layers=2)
    module = _shaken(learner)
    learner.meta_loss(module, collate([make_episode()])).backward()
    still = {n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()}
    assert not {n for n in still if not n.startswith("embedding")}
