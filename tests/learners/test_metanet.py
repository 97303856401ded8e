"""MetaNet: against the paper's algorithm, row by row and class by class."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.learners import MetaNet, State
from metaest.tasks import TaskSet
from metaest.training import meta_train
from tests.episode_helpers import build, collate, make_episode, predict


def _generate(part: nn.Module, gradient: Tensor) -> Tensor:
    """Turn a gradient into fast weights one number after another."""

    def network(value: float) -> float:
        small = abs(value) < math.exp(-7)
        first = -1.0 if small else math.log(abs(value)) / 7
        second = value * math.exp(7) if small else math.copysign(1, value)
        return part.network(torch.tensor([first, second], dtype=torch.float64)).item()

    rate = part.log_rate.exp().item()
    made = [network(g) - network(0.0) - rate * g for g in gradient.flatten().tolist()]
    return torch.tensor(made, dtype=torch.float64).view_as(gradient)


def _unit(row: Tensor) -> Tensor:
    return row / row.norm()


def _representation_gradient(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Take the mean of the rows' gradients, one after another."""
    weight = module.slow.weight.detach().clone().requires_grad_()
    hidden = [(weight @ f + module.slow.bias.detach()).relu() for f in x]
    rows = [_unit(torch.cat([f, h])) for f, h in zip(x, hidden, strict=True)]
    means = [
        torch.stack([r for r, k in zip(rows, y, strict=True) if k == label]).mean(0)
        for label in range(int(y.max()) + 1)
    ]
    gradient = torch.zeros_like(weight)
    for row, label in zip(rows, y, strict=True):
        distances = torch.stack([(row - mean).square().sum() for mean in means])
        loss = -(-10 * distances).log_softmax(0)[label] / len(y)
        gradient += torch.autograd.grad(loss, weight, retain_graph=True)[0]
    return gradient


def _reference(module: nn.Module, batch: EpisodeBatch) -> Tensor:
    """Munkhdalai and Yu, algorithm 1, on one task with whole matrices of fast weights."""
    with torch.no_grad():
        x, query = module.embedding(batch.support_x[0]), module.embedding(batch.query_x[0])
    y = batch.support_y[0]
    n_classes = int(y.max()) + 1
    fast_layer = _generate(module.layer_weights, _representation_gradient(module, x, y))

    def represent(features: Tensor) -> Tensor:
        slow = module.slow.weight @ features + module.slow.bias
        hidden = slow.relu() + (fast_layer @ features).relu()
        return _unit(torch.cat([features, hidden])).detach()

    keys = [represent(features) for features in x]
    memory = []
    for key, label in zip(keys, y, strict=True):
        head = torch.zeros(n_classes, len(key), dtype=torch.float64, requires_grad=True)
        loss = nn.functional.cross_entropy((head @ key)[None], label[None])
        memory.append(_generate(module.row_weights, torch.autograd.grad(loss, head)[0]))
    temperature, scale = module.log_temperature.exp().item(), module.log_scale.exp().item()
    outputs = []
    for features in query:
        row = represent(features)
        scores = torch.stack([row @ key for key in keys]) / temperature
        head = sum(a * weights for a, weights in zip(scores.softmax(0), memory, strict=True))
        outputs.append((scale * head @ row).log_softmax(0))
    return torch.stack(outputs)


@pytest.fixture
def module() -> nn.Module:
    """Return a network whose fast weights are far from a step of gradient descent."""
    module = build(MetaNet(n_hidden=6, n_meta_hidden=4))
    torch.manual_seed(0)
    for part in (module.layer_weights, module.row_weights):
        nn.init.normal_(part.network[-1].weight, std=0.5)
    return module


@pytest.mark.parametrize("shots", [(2, 1, 3), (1, 1)], ids=str)
def test_predictions_are_the_papers_algorithm(module: nn.Module, shots: tuple[int, ...]) -> None:
    batch = collate([make_episode(shots=shots)])
    found = predict(MetaNet(n_hidden=6, n_meta_hidden=4), module, batch)[0]
    torch.testing.assert_close(found, _reference(module, batch), rtol=1e-8, atol=1e-8)


def test_fast_weights_start_as_a_step_of_gradient_descent() -> None:
    module = build(MetaNet(n_hidden=6, n_meta_hidden=4))
    gradient = torch.tensor([[0.3, -2.0, 1e-5]], dtype=torch.float64)
    assert torch.equal(module.layer_weights(gradient), -gradient)


def test_no_gradient_no_fast_weights(module: nn.Module) -> None:
    zeros = torch.zeros(2, 3, dtype=torch.float64)
    assert torch.equal(module.layer_weights(zeros), zeros)


def test_all_parts_learn(module: nn.Module) -> None:
    learner = MetaNet(n_hidden=6, n_meta_hidden=4)
    learner.meta_loss(module, collate([make_episode()])).backward()
    still = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def _tasks_of_one_column(n_tasks: int, seed: int) -> TaskSet:
    """Make pairs of classes that differ in one of six columns, another in each task."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], 20)
    tasks = []
    for _ in range(n_tasks):
        X = rng.normal(size=(len(y), 6))
        column = rng.integers(6)
        X[:, column] = (2 * y - 1) * rng.choice([-1, 1]) + 0.3 * X[:, column]
        tasks.append((X, y))
    return TaskSet.from_datasets(tasks, kind="classification")


def test_fast_weights_matter() -> None:
    learner = MetaNet(n_hidden=32)
    shape = {"n_ways": 2, "n_shots": 5, "n_queries": 10}
    training = {"n_episodes": 2400, "meta_batch_size": 16, "meta_lr": 5e-3}
    meta = meta_train(learner, _tasks_of_one_column(1000, seed=0), **shape, **training)
    module = meta.module(learner, torch.device("cpu"), torch.float64)
    sampler = EpisodeSampler(_tasks_of_one_column(200, seed=1), **shape)
    batch = sampler.batch(range(200)).to(dtype=torch.float64)

    def accuracy(state: State) -> float:
        found = learner.predict(module, state, batch.query_x).argmax(-1)
        return (found == batch.query_y).double().mean().item()

    with torch.no_grad():
        state = learner.adapt(module, batch.support)
        of_rows = accuracy(state | {"values": torch.zeros_like(state["values"])})
        whole = accuracy(state)
        module.layer_weights = _NoFastWeights()
        of_layer = accuracy(learner.adapt(module, batch.support))
    assert of_rows == 0.5  # nothing is left that tells classes apart
    assert whole > 0.9
    assert of_layer < whole - 0.02  # 0.93 and 0.89: 200 tasks of 20 rows


class _NoFastWeights(nn.Module):
    def forward(self, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)
