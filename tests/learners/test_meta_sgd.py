"""Meta-SGD: against plain loops written from the paper, and against MAML."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metaest.datasets import make_sinusoid_tasks
from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.exceptions import InvalidParameterError
from metaest.learners import MAML, Learner, MetaSGD
from metaest.nets import MLP, NetSpec
from tests.episode_helpers import build, collate, make_episode, predict, uneven_episodes

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
KINDS = ("classification", "regression")


def _jitter(module: nn.Module) -> None:
    """Give every rate a value of its own, some of them negative."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for rates in module.inner_rates:
            rates += 0.2 * torch.randn(rates.shape, generator=generator, dtype=rates.dtype)


def _maml_gradient(learner: Learner, module: nn.Module, batch: EpisodeBatch) -> Tensor:
    learned = [p for name, p in module.named_parameters() if "inner_rates" not in name]
    loss = learner.meta_loss(module, batch)
    gradients = torch.autograd.grad(loss, learned, materialize_grads=True, allow_unused=True)
    return torch.cat([loss.reshape(1), *(g.flatten() for g in gradients)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"first_order": True}, {"head": "prototype"}], ids=str)
def test_equal_rates_are_maml(kind: str, options: dict) -> None:
    ours = MetaSGD(inner_steps=3, inner_lr=0.25, **options)
    maml = MAML(inner_steps=3, inner_lr=0.25, **options)
    batch = collate(uneven_episodes(kind))
    found = _maml_gradient(ours, build(ours, kind), batch)
    torch.testing.assert_close(found, _maml_gradient(maml, build(maml, kind), batch), **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_rates_alike_within_a_tensor_are_mamls_learned_rates(kind: str) -> None:
    ours, maml = MetaSGD(inner_steps=3), MAML(inner_steps=3, learn_inner_lr=True)
    one, two = build(ours, kind), build(maml, kind)
    with torch.no_grad():
        two.inner_rates *= torch.linspace(-1, 9, len(two.inner_rates))
        for own, rate in zip(one.inner_rates, two.inner_rates, strict=True):
            own.fill_(rate)
    batch = collate(uneven_episodes(kind))
    torch.testing.assert_close(predict(ours, one, batch), predict(maml, two, batch), **TOLERANCE)


def test_one_step_of_linear_regression_by_hand() -> None:
    learner = MetaSGD(inner_steps=1)
    module = build(learner, "regression", backbone=lambda shape: nn.Identity())
    _jitter(module)
    batch = collate([make_episode("regression")])
    x, y, query_x = (t[0].numpy() for t in (batch.support_x, batch.support_y, batch.query_x))
    w, b = module.head_weight.detach().numpy()[0], module.head_bias.detach().numpy()
    weight_rates, bias_rate = (rates.detach().numpy() for rates in module.inner_rates)
    assert (weight_rates < 0).any()
    residual = x @ w + b - y
    w, b = w - weight_rates * (2 * residual @ x / len(y)), b - bias_rate * 2 * residual.mean()
    np.testing.assert_allclose(predict(learner, module, batch)[0].numpy(), query_x @ w + b)


def test_one_step_of_a_classification_head_by_hand() -> None:
    # From zero: a feature's rate times the ways times the mean of (one-hot - uniform) x feature.
    learner = MetaSGD(inner_steps=1)
    module = build(learner, backbone=lambda shape: nn.Identity())
    _jitter(module)
    batch = collate([make_episode()])
    pull = nn.functional.one_hot(batch.support_y[0], 3).double() - 1 / 3
    weight_rates, bias_rate = module.inner_rates
    state = learner.adapt(module, batch.support)
    expected = weight_rates * (3 * pull.T @ batch.support_x[0] / len(pull))
    torch.testing.assert_close(state["weight"][0], expected, **TOLERANCE)
    torch.testing.assert_close(state["bias"][0], bias_rate * 3 * pull.mean(0), **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_a_rate_that_is_learned(kind: str) -> None:
    learner = MetaSGD(inner_steps=2, inner_lr=0.3)
    module = build(learner, kind)
    weights = [p.shape for p in module.embedding.parameters()]
    assert [r.shape for r in module.inner_rates] == [*weights, (module.n_features,), (1,)]
    assert all((r - 0.3).abs().max() < 1e-6 for r in module.inner_rates)
    learner.meta_loss(module, collate(uneven_episodes(kind))).backward()
    assert all(r.grad is not None and r.grad.abs().max() > 0 for r in module.inner_rates)


def _error_after_meta_training(learner: Learner, seed: int) -> float:
    """Give the squared error of held-out sinusoids, each learned from 5 points."""
    spec = NetSpec((1,), "regression", backbone=lambda shape: MLP(shape, (40, 40)))
    module = learner.build(spec, np.random.default_rng(seed))
    # The paper's amplitudes over their standard deviation: the estimator standardises targets.
    tasks = make_sinusoid_tasks(1000, n_rows=30, amplitude=(0.05, 2.4), random_state=seed)
    options = {"n_shots": 5, "random_state": seed}
    train = EpisodeSampler(tasks[:800], n_queries=10, **options)
    held_out = EpisodeSampler(tasks[800:], n_queries=25, **options).batch(range(200))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for step in range(200):
        optimizer.zero_grad()
        learner.meta_loss(module, train.batch(range(16 * step, 16 * step + 16))).backward()
        optimizer.step()
    with torch.no_grad():
        return float(learner.meta_loss(module, held_out))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_learns_sinusoids_in_one_step_better_than_maml(seed: int) -> None:
    ours = _error_after_meta_training(MetaSGD(inner_steps=1), seed)
    maml = _error_after_meta_training(MAML(inner_steps=1), seed)
    assert ours < 0.85 * maml, f"{ours:.3f}, MAML {maml:.3f}"


def test_bad_parameters() -> None:
    with pytest.raises(InvalidParameterError, match=r"'head' parameter of MetaSGD must be"):
        build(MetaSGD(head="x"))
    with pytest.raises(InvalidParameterError, match=r"'inner_steps' parameter of MetaSGD must be"):
        build(MetaSGD(inner_steps=-1))
