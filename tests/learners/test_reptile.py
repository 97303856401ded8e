"""Reptile: its step is that of plain training runs."""

import copy

import pytest
import torch
from torch import Tensor, nn

from metaest.episodes import EpisodeBatch, Support
from metaest.learners import Reptile
from tests.episode_helpers import (
    build,
    collate,
    make_episode,
    meta_gradient,
    predict,
    uneven_episodes,
)

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
over_kinds = pytest.mark.parametrize("kind", Reptile.kinds)


class PlainNet(nn.Module):
    """The same weights as an ordinary network with an ordinary head."""

    def __init__(self, module: nn.Module, n_classes: int | None) -> None:
        super().__init__()
        self.embedding = copy.deepcopy(module.embedding)
        self.head = nn.Linear(module.n_features, n_classes or 1).double()
        with torch.no_grad():
            self.head.weight.copy_(module.head_weight) if n_classes is None else (
                self.head.weight.zero_()
            )
            self.head.bias.copy_(module.head_bias) if n_classes is None else self.head.bias.zero_()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        out = self.head(self.embedding(x))
        if y.is_floating_point():
            return nn.functional.mse_loss(out[:, 0], y)
        return nn.functional.cross_entropy(out, y)


def _rows(batch: EpisodeBatch, b: int) -> tuple[Tensor, Tensor]:
    """Give all real rows of a task, support first."""
    s, q = batch.support_mask[b], batch.query_mask[b]
    x = torch.cat([batch.support_x[b][s], batch.query_x[b][q]])
    return x, torch.cat([batch.support_y[b][s], batch.query_y[b][q]])


def _plain_nets(module: nn.Module, batch: EpisodeBatch) -> list[PlainNet]:
    counts = [None] * len(batch) if batch.class_mask is None else batch.class_mask.sum(1).tolist()
    return [PlainNet(module, n_classes) for n_classes in counts]


def _learned(module: nn.Module, net: PlainNet) -> list[Tensor]:
    """Give the plain network's values of what the module learns, in the module's order."""
    values = {f"embedding.{name}": p for name, p in net.embedding.named_parameters()}
    values |= {"head_weight": net.head.weight, "head_bias": net.head.bias}
    return [values[name] for name, _ in module.named_parameters()]


def _flat(values: list[Tensor]) -> Tensor:
    return torch.cat([value.detach().flatten() for value in values])


@over_kinds
def test_meta_gradient_is_the_way_to_the_trained_weights(kind: str) -> None:
    learner = Reptile(inner_steps=5, inner_lr=0.1, n_minibatches=2)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    steps = []
    for b, net in enumerate(_plain_nets(module, batch)):
        start = _flat(_learned(module, net))
        x, y = _rows(batch, b)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(5):
            optimizer.zero_grad()
            net.loss(x[step % 2 :: 2], y[step % 2 :: 2]).backward()
            optimizer.step()
        steps.append(start - _flat(_learned(module, net)))
    loss, found = meta_gradient(learner, module, batch)
    torch.testing.assert_close(found, torch.stack(steps).mean(0), **TOLERANCE)
    half = 0.5 * torch.stack([step.square().sum() for step in steps]).mean()
    torch.testing.assert_close(loss, half, **TOLERANCE)


def test_one_step_on_all_rows_is_joint_training() -> None:
    # The paper, section 2: with one inner step Reptile descends the mean loss over tasks.
    learner = Reptile(inner_steps=1, inner_lr=0.3, n_minibatches=1)
    module, batch = build(learner, "regression"), collate(uneven_episodes("regression"))
    gradients = []
    for b, net in enumerate(_plain_nets(module, batch)):
        net.loss(*_rows(batch, b)).backward()
        gradients.append(_flat([p.grad for p in _learned(module, net)]))
    _, found = meta_gradient(learner, module, batch)
    torch.testing.assert_close(found, 0.3 * torch.stack(gradients).mean(0), **TOLERANCE)


def test_a_gradient_step_is_reptiles_interpolation() -> None:
    learner = Reptile(inner_steps=3, n_minibatches=1, inner_lr=0.1, adapt_steps=3)
    module = build(learner, "regression")
    episode = make_episode("regression")
    batch = collate([episode])
    with torch.no_grad():
        rows = Support(
            *(part.unsqueeze(0) for part in (*_rows(batch, 0), torch.ones(12).bool())), None
        )
        end = learner.adapt(module, rows)
    start = {name: p.detach().clone() for name, p in module.named_parameters()}
    learner.meta_loss(module, batch).backward()
    torch.optim.SGD(module.parameters(), lr=0.25).step()
    for name, parameter in module.named_parameters():
        target = end[name.removeprefix("head_")][0]
        expected = start[name] + 0.25 * (target.view_as(start[name]) - start[name])
        torch.testing.assert_close(parameter.detach(), expected, **TOLERANCE)


@over_kinds
def test_adapting_is_plain_gradient_descent(kind: str) -> None:
    learner = Reptile(adapt_steps=7, inner_lr=0.2)
    module, episode = build(learner, kind), make_episode(kind)
    batch = collate([episode])
    (net,) = _plain_nets(module, batch)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)
    for _ in range(7):
        optimizer.zero_grad()
        net.loss(episode.support_x, episode.support_y).backward()
        optimizer.step()
    with torch.no_grad():
        out = net.head(net.embedding(episode.query_x))
    expected = out[:, 0] if kind == "regression" else out.log_softmax(-1)
    torch.testing.assert_close(predict(learner, module, batch)[0], expected, **TOLERANCE)


@pytest.mark.parametrize("n_minibatches", [1, 2, 3, 100])
def test_minibatches_share_out_the_real_rows(n_minibatches: int) -> None:
    learner = Reptile(n_minibatches=n_minibatches)
    episodes = uneven_episodes("classification")
    support = collate(episodes, extra=(3, 0, 0)).support
    for b, episode in enumerate(episodes):
        n_rows = len(episode.support_x)
        n_parts = min(n_minibatches, n_rows)
        seen, sizes = [], []
        for step in range(n_parts):
            part = learner._minibatch(support, step)
            seen.append(part.x[b][part.mask[b]])
            sizes.append(len(seen[-1]))
        assert max(sizes) - min(sizes) <= 1
        found = torch.cat(seen)
        assert len(found) == n_rows
        assert set(found[:, 0].tolist()) == set(episode.support_x[:, 0].tolist())
