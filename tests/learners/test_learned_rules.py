"""MetaLSTM and LearnedOptimizer: against plain loops written from the papers, and MAML."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor, nn
from torch.func import functional_call

from metaest.datasets import make_sinusoid_tasks
from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.exceptions import InvalidParameterError
from metaest.learners import MAML
from metaest.learners._base import Learner
from metaest.learners._head import apply_network, inner_losses, inner_norm, start_network
from metaest.learners._inner import descend
from metaest.learners._learned_optimizer import LearnedOptimizer
from metaest.learners._meta_lstm import MetaLSTM
from metaest.learners._rules import learn_by
from metaest.nets import MLP, CoordinatewiseLSTM
from metaest.nets._coordinatewise import log_scaled
from tests.episode_helpers import build, collate, meta_gradient, predict, uneven_episodes

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
KINDS = ("classification", "regression")
HEADS = ("zero", "prototype")


def scramble(*parameters: Tensor, scale: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(8)
    with torch.no_grad():
        for p in parameters:
            p += scale * torch.randn(p.shape, generator=generator, dtype=p.dtype)


# ------------------------------------------------------------------------------------ the network


def test_log_scaled_is_the_papers_preprocessing() -> None:
    values = [3.0, -0.2, 1e-3, -5e-5, np.exp(-10), 1e-5, -1e-9, 0.0, 1e12]
    expected = [
        (np.log(abs(v)) / 10, np.sign(v)) if abs(v) >= np.exp(-10) else (-1, np.exp(10) * v)
        for v in values
    ]
    found = log_scaled(torch.tensor(values, dtype=torch.float64))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def _lstm(x: np.ndarray, h: np.ndarray, c: np.ndarray, weights: list[np.ndarray]) -> Any:
    w_x, w_h, b_x, b_h = weights
    i, f, g, o = np.split(x @ w_x.T + b_x + h @ w_h.T + b_h, 4, axis=1)
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


def test_coordinatewise_lstm_is_the_textbooks() -> None:
    rule = CoordinatewiseLSTM(hidden_size=4).double()
    scramble(*rule.parameters())
    gradients = np.random.default_rng(0).normal(size=(3, 5))  # 3 steps, 5 coordinates
    arrays = [[p.detach().numpy() for p in layer.parameters()] for layer in rule.layers]
    states = [(np.zeros((5, 4)), np.zeros((5, 4)))] * 2
    hidden = None
    for gradient in gradients:
        x = log_scaled(torch.tensor(gradient)).numpy()
        for k in range(2):
            states[k] = _lstm(x, *states[k], arrays[k])
            x = states[k][0]
        expected = 0.1 * (x @ rule.out.weight.detach().numpy().T + rule.out.bias.detach().numpy())
        update, hidden = rule(torch.tensor(gradient), hidden)
        np.testing.assert_allclose(update.detach(), expected[:, 0], rtol=1e-10, atol=1e-12)


def test_each_coordinate_by_itself() -> None:
    rule = CoordinatewiseLSTM()
    scramble(*rule.parameters())
    gradient = torch.randn(3, 4)
    hidden = torch.randn(2, 2, 12, 20)
    update, _ = rule(gradient, hidden)
    one, _ = rule(gradient[1, 2], hidden[:, :, 6:7])
    torch.testing.assert_close(one, update[1, 2])


# ------------------------------------------------------- the papers' algorithms, task by task


def _task(batch: EpisodeBatch, b: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s, q = batch.support_mask[b], batch.query_mask[b]
    return batch.support_x[b][s], batch.support_y[b][s], batch.query_x[b][q], batch.query_y[b][q]


def _loss(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    body = {k: v for k, v in parameters.items() if k not in ("weight", "bias")}
    out = functional_call(module.embedding, body, (x,)) @ parameters["weight"].T
    out = out + parameters["bias"]
    if y.is_floating_point():
        return nn.functional.mse_loss(out[:, 0], y)
    return nn.functional.cross_entropy(out, y)


def plain_meta_loss(module: nn.Module, batch: EpisodeBatch, steps: int, rule: Callable) -> Tensor:
    """Follow ``rule(value, gradient, loss, memory)``, weight by weight and task by task."""
    losses = []
    for b in range(len(batch)):
        support_x, support_y, query_x, query_y = _task(batch, b)
        parameters, n_ways = dict(module.embedding.named_parameters()), 1
        if batch.class_mask is None:
            parameters |= {"weight": module.head_weight, "bias": module.head_bias}
        else:
            n_ways = int(batch.class_mask[b].sum())
            features = module.embedding(support_x)
            means = torch.stack([features[support_y == k].mean(0) for k in range(n_ways)])
            parameters |= {"weight": 2 * means, "bias": -means.square().sum(1)}
        memory: dict[str, Any] = dict.fromkeys(parameters)
        for _ in range(steps):
            leaves = {k: p.detach().requires_grad_() for k, p in parameters.items()}
            loss = n_ways * _loss(module, leaves, support_x, support_y)
            gradients = torch.autograd.grad(loss, list(leaves.values()))
            if batch.class_mask is None:
                norm = torch.cat([g.flatten() for g in gradients]).norm()
                gradients = [g * min(1.0, 10.0 / float(norm)) for g in gradients]
            for (name, p), g in zip(list(parameters.items()), gradients, strict=True):
                parameters[name], memory[name] = rule(p, g, loss.detach(), memory[name])
        losses.append(_loss(module, parameters, query_x, query_y))
    return torch.stack(losses).mean()


def _preprocess(x: Tensor) -> tuple[Tensor, Tensor]:
    small = x.abs() < np.exp(-10)
    return (
        torch.where(small, -1.0, x.abs().log() / 10),
        torch.where(small, np.exp(10) * x, x.sign()),
    )


def _assert_same(learner: Learner, module: nn.Module, batch: EpisodeBatch, plain: Tensor) -> None:
    loss, gradient = meta_gradient(learner, module, batch)
    learned = [p for p in module.parameters() if p.requires_grad]
    expected = torch.autograd.grad(plain, learned, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(loss, plain.detach(), **TOLERANCE)
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in expected]), **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_meta_lstm_is_the_papers_equations(kind: str) -> None:
    learner = MetaLSTM(inner_steps=3, inner_lr=0.1)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    scramble(module.gate_weights, module.gate_biases)
    w, b = module.gate_weights, module.gate_biases

    def rule(value: Tensor, g: Tensor, loss: Tensor, gates: Any) -> Any:
        before_i, before_f = (0.0, 0.0) if gates is None else gates
        (g1, g2), (l1, l2) = _preprocess(g), _preprocess(loss)
        i, f = (
            torch.sigmoid(
                w[k, 0] * g1
                + w[k, 1] * g2
                + w[k, 2] * l1
                + w[k, 3] * l2
                + w[k, 4] * value
                + w[k, 5] * before
                + b[k]
            )
            for k, before in ((0, before_i), (1, before_f))
        )
        return f * value - i * g, (i, f)

    _assert_same(learner, module, batch, plain_meta_loss(module, batch, 3, rule))


@pytest.mark.parametrize("kind", KINDS)
def test_learned_optimizer_is_the_plain_loop(kind: str) -> None:
    learner = LearnedOptimizer(inner_steps=3, inner_lr=0.1, hidden_size=4)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    scramble(*module.rule.parameters())

    def rule(value: Tensor, g: Tensor, loss: Tensor, hidden: Any) -> Any:
        x = torch.stack(_preprocess(g.flatten()), 1)
        states = []
        for k, layer in enumerate(module.rule.layers):
            states.append(layer(x, None if hidden is None else hidden[k]))
            x = states[-1][0]
        return value - 0.1 * g + 0.1 * module.rule.out(x).view_as(g), states

    _assert_same(learner, module, batch, plain_meta_loss(module, batch, 3, rule))


# ----------------------------------------------------------------------------- special cases


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_fixed_gates_are_gradient_descent(kind: str, head: str) -> None:
    learner = MetaLSTM(inner_steps=4, head=head)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    with torch.no_grad():
        module.gate_biases[0] = np.log(0.3 / 0.7)  # input gate: 0.3
        module.gate_biases[1] = 50.0  # forget gate: 1
        found = learner.adapt(module, batch.support)
        support = batch.support
        start = start_network(module, support, head)

        def loss_of(parameters: Any) -> Tensor:
            out = apply_network(module, parameters, support.x, support.class_mask)
            return inner_losses(out, support)

        norm = inner_norm(support.class_mask)
        expected = descend(loss_of, start, dict.fromkeys(start, 0.3), 4, max_norm=norm)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_before_meta_training_the_learned_optimizer_is_maml(kind: str, head: str) -> None:
    learner, maml = LearnedOptimizer(head=head), MAML(head=head)
    batch = collate(uneven_episodes(kind))
    found = predict(learner, build(learner, kind), batch)
    torch.testing.assert_close(found, predict(maml, build(maml, kind), batch), **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_before_meta_training_meta_lstm_is_nearly_maml(kind: str) -> None:
    learner, maml = MetaLSTM(inner_steps=3), MAML(inner_steps=3, head="prototype")
    batch = collate(uneven_episodes(kind))
    found = predict(learner, build(learner, kind), batch)
    expected = predict(maml, build(maml, kind), batch)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("learner", [MetaLSTM(inner_steps=0), LearnedOptimizer(inner_steps=0)])
def test_without_steps_the_start_is_the_result(learner: Learner) -> None:
    maml = MAML(inner_steps=0, head="prototype")
    batch = collate(uneven_episodes("classification"))
    expected = predict(maml, build(maml), batch)
    torch.testing.assert_close(predict(learner, build(learner), batch), expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("learner", "message"),
    [
        (MetaLSTM(inner_lr=1.0), "'inner_lr' parameter of MetaLSTM"),
        (MetaLSTM(head="one"), "'head' parameter of MetaLSTM"),
        (LearnedOptimizer(hidden_size=0), "'hidden_size' parameter of LearnedOptimizer"),
    ],
)
def test_wrong_parameters(learner: Learner, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        build(learner)


# -------------------------------------------------------------------------------- it learns


def test_slow_gates_learn_to_be_quicker() -> None:
    # Only the rule learns here: the start is a seed's random weights.
    learner = MetaLSTM(inner_steps=3, inner_lr=1e-3)
    module = build(learner, "regression", (1,), backbone=lambda shape: MLP(shape, (20, 20)))
    sampler = EpisodeSampler(make_sinusoid_tasks(100, random_state=0), n_shots=10, n_queries=10)
    train, test = (sampler.batch(range(i, i + 16)).to(dtype=torch.float64) for i in (0, 16))
    adam = torch.optim.Adam([module.gate_weights, module.gate_biases], lr=0.05)
    before = float(learner.meta_loss(module, test).detach())
    for _ in range(20):
        adam.zero_grad()
        learner.meta_loss(module, train).backward()
        adam.step()
    assert float(learner.meta_loss(module, test).detach()) < 0.95 * before


@pytest.mark.parametrize("kind", KINDS)
def test_long_gradients_are_shortened_where_the_loss_has_no_bound(kind: str) -> None:
    batch = collate(uneven_episodes(kind))
    if kind == "regression":
        batch = replace(batch, support_y=1000 * batch.support_y)
    module, seen = build(LearnedOptimizer(), kind), []

    def rule(value: Tensor, gradient: Tensor, losses: Tensor, memory: None) -> tuple[Tensor, None]:
        seen.append(gradient.flatten(1))
        return value, None

    learn_by(rule, module, batch.support, 1, "prototype")
    start = start_network(module, batch.support, "prototype")
    out = apply_network(module, start, batch.support_x, batch.class_mask)
    plain = torch.autograd.grad(inner_losses(out, batch.support).sum(), list(start.values()))
    expected = torch.cat([g.flatten(1) for g in plain], 1)
    if kind == "regression":
        assert (expected.norm(dim=1) > 10).all()
        expected = 10 * nn.functional.normalize(expected, dim=1)
    torch.testing.assert_close(torch.cat(seen, 1), expected)
