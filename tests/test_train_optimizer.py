"""Learned optimizers outside few-shot learning: training one, and the torch optimizer."""

import copy
import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel
from torch import Tensor, nn

from metaest.exceptions import InvalidParameterError
from metaest.nets import CoordinatewiseLSTM
from metaest.training import LSTMOptimizer, train_optimizer
from metaest.training._train_optimizer import _unrolled


def quadratics(generator: torch.Generator, n: int = 32, d: int = 10):
    """Draw n functions |W theta - y|^2 at once."""
    W, y = (torch.randn(n, d, k, generator=generator) for k in (d, 1))
    start = {"theta": torch.zeros(n, d, 1)}
    return start, lambda p: (W @ p["theta"] - y).square().sum((1, 2))


def losses_after(make, steps: int, *, seed: int, n: int = 200) -> np.ndarray:
    start, loss_of = quadratics(torch.Generator().manual_seed(seed), n)
    theta = start["theta"].clone().requires_grad_()
    optimizer = make([theta])
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of({"theta": theta}).sum().backward()
        optimizer.step()
    return loss_of({"theta": theta}).detach().numpy()


@pytest.fixture(scope="module")
def rule() -> CoordinatewiseLSTM:
    return train_optimizer(quadratics, n_problems=3, n_steps=12, unroll=5)


def model_and_loss(seed: int = 0) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(9, 3)


def train(model: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


# ------------------------------------------------------------------------------------- training


@pytest.mark.slow
def test_beats_tuned_optimizers_on_new_quadratics() -> None:
    # Andrychowicz et al. 2016, figure 4, with less training and after 20 steps.
    rule = train_optimizer(quadratics, n_problems=150, n_steps=20)
    learned = losses_after(lambda params: LSTMOptimizer(params, rule), 20, seed=2)
    for optimizer, rates in {
        torch.optim.SGD: np.geomspace(1e-3, 0.1, 21),
        torch.optim.Adam: np.geomspace(0.01, 1, 21),
    }.items():
        makes = [lambda params, o=optimizer, r=r: o(params, lr=float(r)) for r in rates]
        means = [losses_after(make, 20, seed=1).mean() for make in makes]
        best = int(np.nanargmin(means))
        assert 0 < best < len(makes) - 1, "the best rate must lie inside the grid"
        tuned = losses_after(makes[best], 20, seed=2)
        test = ttest_rel(learned, tuned, alternative="less")
        assert test.pvalue < 1e-4, (learned.mean(), tuned.mean())


def test_training_lowers_the_loss() -> None:
    rule = train_optimizer(quadratics, n_problems=10, n_steps=10, unroll=10, lr=0.02)
    learned = losses_after(lambda params: LSTMOptimizer(params, rule), 10, seed=2)
    assert learned.mean() < 0.7 * losses_after(lambda p: torch.optim.SGD(p, 0.0), 0, seed=2).mean()


def test_window_gradient_is_the_derivative_with_constant_gradients() -> None:
    # One step: the problem's gradient is taken at a constant, so differences see the same.
    generator = torch.Generator().manual_seed(0)
    W, y = (torch.randn(3, 4, k, generator=generator).double() for k in (4, 1))
    start = {"theta": torch.zeros(3, 4, 1).double()}
    rule = CoordinatewiseLSTM(hidden_size=3).double()
    nn.init.constant_(rule.out.weight, 0.3)

    def loss_of(p: dict[str, Tensor]) -> Tensor:
        return (W @ p["theta"] - y).square().sum((1, 2))

    # Along a direction in all weights: that of a single one is lost in rounding.
    weights = list(rule.parameters())
    directions = [torch.randn(w.shape, generator=generator).double() for w in weights]
    loss, *_ = _unrolled(rule, loss_of, start, {"theta": None}, 1)
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    pairs = zip(gradients, directions, strict=True)
    found = sum(float((g * d).sum()) for g, d in pairs if g is not None)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight += step * direction
        values.append(float(_unrolled(rule, loss_of, start, {"theta": None}, 1)[0].detach()))
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight -= step * direction
    assert found == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def _plain_window(rule: CoordinatewiseLSTM, loss_of, theta: Tensor, steps: int) -> Tensor:
    """Mean of the losses after each step, over the one before them all."""
    memory, losses, first = None, [], loss_of({"theta": theta}).mean()
    for _ in range(steps):
        leaf = theta.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of({"theta": leaf}).sum(), leaf)
        update, memory = rule(gradient, memory)
        theta = theta + update
        losses.append(loss_of({"theta": theta}).mean())
    return torch.stack(losses).mean() / first


def _shaken_rule() -> CoordinatewiseLSTM:
    rule = CoordinatewiseLSTM(hidden_size=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in rule.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return rule


def test_window_is_the_plain_loop() -> None:
    start, loss_of = quadratics(torch.Generator().manual_seed(0), n=3, d=4)
    rule, theta = _shaken_rule(), start["theta"]
    values = []
    for loss in (
        _unrolled(rule, loss_of, start, {"theta": None}, 3)[0],
        _plain_window(rule, loss_of, theta, 3),
    ):
        gradients = torch.autograd.grad(loss, list(rule.parameters()))
        values.append([loss.detach(), *gradients])
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-6)


def test_windows_go_on_from_place_and_memory() -> None:
    start, loss_of = quadratics(torch.Generator().manual_seed(0), n=3, d=4)
    rule, hidden = _shaken_rule(), {"theta": None}
    _, whole, _ = _unrolled(rule, loss_of, start, hidden, 4)
    _, half, memory = _unrolled(rule, loss_of, start, hidden, 2)
    _, end, _ = _unrolled(rule, loss_of, half, memory, 2)
    torch.testing.assert_close(end["theta"], whole["theta"])


def test_same_seed_same_rule() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rules = [
        train_optimizer(quadratics, n_problems=2, n_steps=4, unroll=3, random_state=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert_equal(rules[0], rules[1])
    assert not torch.equal(rules[0].out.weight, rules[2].out.weight)


def test_problems_of_several_tensors() -> None:
    def problem(generator: torch.Generator):
        goal = torch.randn(4, generator=generator)
        start = {"a": torch.zeros(4), "b": torch.ones(())}
        return start, lambda p: (p["a"] * p["b"] - goal).square().sum()

    assert train_optimizer(problem, n_problems=2, n_steps=4).out.weight.isfinite().all()


def test_losses_that_are_not_finite() -> None:
    def problem(generator: torch.Generator):
        return {"a": torch.ones(1)}, lambda p: p["a"].sum() / 0.0

    with pytest.raises(InvalidParameterError, match="loss is not finite"):
        train_optimizer(problem, n_problems=1)


def test_numbers_too_small() -> None:
    with pytest.raises(InvalidParameterError, match="unroll must be"):
        train_optimizer(quadratics, unroll=0)
    with pytest.raises(InvalidParameterError, match=r"n_steps must be an int >= 1, got \(1, 2\)"):
        train_optimizer(quadratics, n_steps=(1, 2))
    with pytest.raises(InvalidParameterError, match="random_state must be an int >= 0, got None"):
        train_optimizer(quadratics, random_state=None)


def test_seeds_of_numpy() -> None:
    settings = {"n_problems": 1, "n_steps": 4}
    rules = [train_optimizer(quadratics, random_state=s, **settings) for s in (1, np.int64(1))]
    assert_equal(*rules)


def test_problems_in_double_precision() -> None:
    def parabolas(dtype: torch.dtype, generator: torch.Generator):
        goals = torch.randn(8, 3, generator=generator).to(dtype)
        start = {"x": torch.zeros(8, 3, dtype=dtype)}
        return start, lambda p: (p["x"] - goals).square().sum(1)

    single, double = (
        train_optimizer(partial(parabolas, dtype), n_problems=2, n_steps=6, unroll=3)
        for dtype in (torch.float32, torch.float64)
    )
    for one, other in zip(single.parameters(), double.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


# ------------------------------------------------------------------------------------ optimizer


def test_steps_are_the_rules(rule: CoordinatewiseLSTM) -> None:
    model, x = model_and_loss()
    other, _ = model_and_loss()
    train(model, x, LSTMOptimizer(model.parameters(), rule), 3)
    hidden = [None] * 4
    for _ in range(3):
        gradients = torch.autograd.grad(other(x).square().mean(), list(other.parameters()))
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(other.parameters(), gradients, strict=True)):
                update, hidden[i] = rule(g, hidden[i])
                p += update
    assert_equal(model, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_goes_on_from_its_state(rule: CoordinatewiseLSTM, dtype: torch.dtype) -> None:
    model, x = model_and_loss()
    model, x = model.to(dtype), x.to(dtype)
    optimizer = LSTMOptimizer(model.parameters(), rule)
    train(model, x, optimizer, 2)
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), rule.state_dict()], file)
    train(model, x, optimizer, 2)
    file.seek(0)
    weights, state, rule_weights = torch.load(file, weights_only=True)
    again, _ = model_and_loss(seed=1)
    again.to(dtype).load_state_dict(weights)
    same_rule = CoordinatewiseLSTM()
    same_rule.load_state_dict(rule_weights)
    resumed = LSTMOptimizer(again.parameters(), same_rule)
    resumed.load_state_dict(state)
    train(again, x, resumed, 2)
    assert_equal(model, again)


def test_copies_keep_the_rule(rule: CoordinatewiseLSTM) -> None:
    model, x = model_and_loss()
    optimizer = LSTMOptimizer(model.parameters(), rule)
    train(model, x, optimizer, 1)
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert_equal(copied.rule, rule)
        assert copied.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()


def test_schedules_scale_the_updates(rule: CoordinatewiseLSTM) -> None:
    models = [model_and_loss()[0] for _ in range(3)]
    x, start = model_and_loss()[1], copy.deepcopy(models[0])
    for model, lr in zip(models, (1.0, 0.5, 0.0), strict=True):
        optimizer = LSTMOptimizer(model.parameters(), rule, lr=lr)
        torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        train(model, x, optimizer, 1)
    assert_equal(models[2], start)
    for one, half, none in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(2 * (half - none), one - none)


def test_closures_and_parameters_without_gradient(rule: CoordinatewiseLSTM) -> None:
    moved, left = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = LSTMOptimizer([moved, left], rule)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = moved.square().sum()
        loss.backward()
        return loss

    assert float(optimizer.step(closure).detach()) == 2.0
    assert not torch.equal(moved, torch.ones(2))
    assert torch.equal(left, torch.ones(2))
    assert all(p.grad is None for p in rule.parameters())


def test_negative_rate(rule: CoordinatewiseLSTM) -> None:
    with pytest.raises(InvalidParameterError, match="lr must be at least 0"):
        LSTMOptimizer([nn.Parameter(torch.ones(2))], rule, lr=-1.0)
