"""MAML and ANIL: against plain loops written from the papers, and against each other."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaest.datasets import make_sinusoid_tasks
from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.exceptions import InvalidParameterError
from metaest.learners import ANIL, MAML, ProtoNet
from metaest.learners._inner import descend, shorten
from metaest.nets import MLP, NetSpec
from tests.episode_helpers import (
    build,
    collate,
    directional_derivatives,
    make_episode,
    meta_gradient,
    output,
    predict,
    uneven_episodes,
)

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
KINDS = ("classification", "regression")


# ----------------------------------------------------------- the papers' algorithms, task by task


def _loss(module: nn.Module, parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Give the loss of one task, from nothing but functional_call and a linear head."""
    body = {k: v for k, v in parameters.items() if k not in ("weight", "bias")}
    out = functional_call(module.embedding, body, (x,)) @ parameters["weight"].T
    out = out + parameters["bias"]
    if y.is_floating_point():
        return nn.functional.mse_loss(out[:, 0], y)
    return nn.functional.cross_entropy(out, y)


def _task(batch: EpisodeBatch, b: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    s, q = batch.support_mask[b], batch.query_mask[b]
    return batch.support_x[b][s], batch.support_y[b][s], batch.query_x[b][q], batch.query_y[b][q]


def _start(module: nn.Module, batch: EpisodeBatch, b: int) -> dict[str, Tensor]:
    start = dict(module.embedding.named_parameters())
    if batch.class_mask is None:
        return start | {"weight": module.head_weight, "bias": module.head_bias}
    n_classes, zeros = int(batch.class_mask[b].sum()), torch.zeros
    weight = zeros(n_classes, module.n_features, dtype=torch.float64, requires_grad=True)
    return start | {
        "weight": weight,
        "bias": zeros(n_classes, dtype=torch.float64, requires_grad=True),
    }


def plain_meta_loss(
    module: nn.Module,
    batch: EpisodeBatch,
    steps: int,
    rate_of: Callable[[int, str], Tensor | float],
) -> Tensor:
    """Give MAML's loss (Finn et al. 2017, algorithm 1), one task and one step at a time."""
    losses = []
    for b in range(len(batch)):
        support_x, support_y, query_x, query_y = _task(batch, b)
        parameters = _start(module, batch, b)
        for _ in range(steps):
            # The support loss counts times the number of ways: one rate for any number of them.
            n_ways = 1 if batch.class_mask is None else int(batch.class_mask[b].sum())
            loss = n_ways * _loss(module, parameters, support_x, support_y)
            gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
            parameters = {
                name: p - rate_of(i, name) * g
                for i, ((name, p), g) in enumerate(zip(parameters.items(), gradients, strict=True))
            }
        losses.append(_loss(module, parameters, query_x, query_y))
    return torch.stack(losses).mean()


def _gradient(module: nn.Module, loss: Tensor) -> Tensor:
    learned = [p for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, learned, allow_unused=True, materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("learned", [False, True], ids=["fixed rate", "learned rates"])
def test_maml_is_the_plain_loop(kind: str, steps: int, learned: bool) -> None:
    learner = MAML(inner_steps=steps, inner_lr=0.3, head_lr=0.05, learn_inner_lr=learned)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    if learned:
        with torch.no_grad():
            module.inner_rates *= torch.linspace(0.5, 2, len(module.inner_rates))
    loss, gradient = meta_gradient(learner, module, batch)

    def rate_of(i: int, name: str) -> Tensor | float:
        fixed = 0.05 if name in ("weight", "bias") else 0.3
        return module.inner_rates[i] if learned else fixed

    plain = plain_meta_loss(module, batch, steps, rate_of)
    torch.testing.assert_close(loss, plain.detach(), **TOLERANCE)
    torch.testing.assert_close(gradient, _gradient(module, plain), **TOLERANCE)
    if learned:
        assert module.inner_rates.requires_grad
        assert len(module.inner_rates) == len(list(module.embedding.parameters())) + 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 4])
def test_anil_is_the_plain_loop_on_the_head(kind: str, steps: int) -> None:
    learner = ANIL(inner_steps=steps, inner_lr=0.3)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    loss, gradient = meta_gradient(learner, module, batch)
    plain = plain_meta_loss(
        module, batch, steps, lambda _, name: 0.3 if name in ("weight", "bias") else 0.0
    )
    torch.testing.assert_close(loss, plain.detach(), **TOLERANCE)
    torch.testing.assert_close(gradient, _gradient(module, plain), **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_anil_is_maml_with_the_bodys_rates_at_zero(kind: str) -> None:
    anil, maml = ANIL(inner_steps=3, inner_lr=0.2), MAML(inner_steps=3, learn_inner_lr=True)
    small, large = build(anil, kind), build(maml, kind)
    with torch.no_grad():
        large.inner_rates[:-2] = 0.0
        large.inner_rates[-2:] = 0.2
    batch = collate(uneven_episodes(kind))
    torch.testing.assert_close(
        predict(maml, large, batch), predict(anil, small, batch), **TOLERANCE
    )
    torch.testing.assert_close(
        maml.meta_loss(large, batch), anil.meta_loss(small, batch), **TOLERANCE
    )


def test_anil_adapts_the_head_alone() -> None:
    learner, batch = ANIL(), collate(uneven_episodes("classification"))
    state = learner.adapt(build(learner), batch.support)
    assert set(state) == {"weight", "bias", "class_mask"}


# ---------------------------------------------------------------------------------- second order


def _normed(norm: Callable[[int], nn.Module]) -> Callable[[tuple[int, ...]], nn.Module]:
    def backbone(input_shape: tuple[int, ...]) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 6), norm(6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh())

    return backbone


@pytest.mark.parametrize(
    "norm",
    [nn.LayerNorm, nn.RMSNorm, lambda n: nn.GroupNorm(2, n), nn.BatchNorm1d],
    ids=["layer", "rms", "group", "batch"],
)
def test_second_order_through_normalisation(norm: Callable[[int], nn.Module]) -> None:
    # vmap(grad) is wrong here in torch 2.13, silently; vmap of the forward alone is right.
    learner = MAML(inner_steps=3, inner_lr=0.3)
    module = build(learner, backbone=_normed(norm))
    batch = collate(uneven_episodes("classification"))
    found, expected = directional_derivatives(learner, module, batch)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learner_class", [MAML, ANIL])
def test_first_order_is_the_query_gradient_at_the_adapted_weights(kind: str, learner_class) -> None:
    learner = learner_class(inner_steps=2, inner_lr=0.3, first_order=True)
    module, episodes = build(learner, kind), uneven_episodes(kind)
    expected = []
    for episode in episodes:
        batch = collate([episode])
        _, _, query_x, query_y = _task(batch, 0)
        with torch.no_grad():
            state = learner.adapt(module, batch.support)
        adapted = {k.removeprefix("embedding."): v[0] for k, v in state.items()}
        adapted.pop("class_mask", None)
        # ANIL's body is not adapted.
        adapted = dict(module.embedding.named_parameters()) | adapted
        leaves = {k: v.detach().requires_grad_() for k, v in adapted.items()}
        _loss(module, leaves, query_x, query_y).backward()
        grads = {f"embedding.{k}": v.grad for k, v in leaves.items()}
        grads |= {"head_weight": leaves["weight"].grad, "head_bias": leaves["bias"].grad}
        expected.append(torch.cat([grads[k].flatten() for k, _ in module.named_parameters()]))
    _, found = meta_gradient(learner, module, collate(episodes))
    torch.testing.assert_close(found, torch.stack(expected).mean(0), **TOLERANCE)


def test_first_and_second_order_differ_by_the_order_of_the_rate() -> None:
    gaps = {}
    for rate in (0.0, 1e-3, 1e-4, 1e-5):
        options = {"inner_steps": 2, "inner_lr": rate}
        first, second = MAML(first_order=True, **options), MAML(**options)
        module, batch = build(second, "regression"), collate(uneven_episodes("regression"))
        one, two = (meta_gradient(learner, module, batch)[1] for learner in (first, second))
        gaps[rate] = float((one - two).norm())
    assert gaps[0.0] < 1e-14
    assert gaps[1e-4] / gaps[1e-5] == pytest.approx(10, rel=0.02)
    assert gaps[1e-3] / gaps[1e-4] == pytest.approx(10, rel=0.1)


# ------------------------------------------------------------------------------------------ heads


def test_prototype_head_without_steps_is_the_prototypical_network() -> None:
    maml = MAML(inner_steps=0, head="prototype")
    proto = ProtoNet(metric="euclidean", temperature=1.0, learn_temperature=False)
    one, two = build(maml), build(proto)
    batch = collate(uneven_episodes("classification"))
    found, expected = predict(maml, one, batch).exp(), predict(proto, two, batch).exp()
    torch.testing.assert_close(found, expected, **TOLERANCE)
    embedding = [p for name, p in one.named_parameters() if name.startswith("embedding.")]
    found = torch.autograd.grad(maml.meta_loss(one, batch), embedding)
    expected = meta_gradient(proto, two, batch)[1]
    torch.testing.assert_close(torch.cat([g.flatten() for g in found]), expected, **TOLERANCE)


def test_zero_head_moves_alone_in_the_first_step() -> None:
    learner = MAML(inner_steps=1, head_lr=0.1)
    module, batch = build(learner), collate([make_episode()])
    state = learner.adapt(module, batch.support)
    for name, parameter in module.embedding.named_parameters():
        assert torch.equal(state[f"embedding.{name}"][0], parameter)
    # A step from zero: the rate times the ways times the mean of (one-hot - uniform) x features.
    support_x, support_y, _, _ = _task(batch, 0)
    features = module.embedding(support_x)
    pull = nn.functional.one_hot(support_y, 3).double() - 1 / 3
    expected = 0.1 * 3 * pull.T @ features / len(support_y)
    torch.testing.assert_close(state["weight"][0], expected)


def test_one_step_of_linear_regression_by_hand() -> None:
    learner = MAML(inner_steps=1, inner_lr=0.2)
    module = build(learner, "regression", backbone=lambda shape: nn.Identity())
    batch = collate([make_episode("regression")])
    x, y, query_x, _ = (t.numpy() for t in _task(batch, 0))
    w, b = module.head_weight.detach().numpy()[0], module.head_bias.detach().numpy()
    residual = x @ w + b - y
    w, b = w - 0.2 * 2 * residual @ x / len(y), b - 0.2 * 2 * residual.mean()
    np.testing.assert_allclose(predict(learner, module, batch)[0].numpy(), query_x @ w + b)


@pytest.mark.parametrize("kind", KINDS)
def test_more_steps_fit_the_support_set_better(kind: str) -> None:
    batch = collate(uneven_episodes(kind))
    losses = []
    for steps in (0, 1, 5, 50):
        learner = MAML(inner_steps=steps, inner_lr=0.1)
        module = build(learner, kind)  # the same weights: the steps are no part of the network
        state = learner.adapt(module, batch.support)
        out = learner.predict(module, state, batch.support_x)
        if kind == "regression":
            rows = (output(out) - batch.support_y).square()
        else:
            rows = -output(out).gather(2, batch.support_y.unsqueeze(2)).squeeze(2)
        losses.append(float(rows[batch.support_mask].mean().detach()))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("learner_class", [MAML, ANIL])
def test_a_step_on_the_head_is_the_same_for_any_number_of_ways(learner_class) -> None:
    # Other classes beside it, of rows that say nothing (features 0), leave a class's step alone.
    learner = learner_class(inner_steps=1)
    module = build(learner, backbone=lambda shape: nn.Identity())
    moved = []
    for n_ways in (2, 5):
        episode = make_episode(shots=(1,) * n_ways)
        episode.support_x[0], episode.support_x[1:] = 1.0, 0.0
        state = learner.adapt(module, collate([episode]).support)
        moved.append(state["weight"][0, 0] / (1 - 1 / n_ways))
    torch.testing.assert_close(*moved)


@pytest.mark.parametrize(
    ("learner", "kind", "body", "head"),
    [
        (MAML(), "classification", 0.01, 0.01),
        (MAML(), "regression", 0.05, 0.05),
        (MAML(inner_lr=0.2), "classification", 0.2, 0.2),
        (MAML(inner_lr=0.2, head_lr=0.3), "classification", 0.2, 0.3),
        (MAML(inner_lr=0.2, head="prototype"), "classification", 0.2, 0.2),
        (MAML(inner_lr=0.2), "regression", 0.2, 0.2),
    ],
)
def test_rates_of_body_and_head(learner: MAML, kind: str, body: float, head: float) -> None:
    learned = MAML(**{**learner.get_params(), "learn_inner_lr": True})
    rates = build(learned, kind).inner_rates.detach()
    expected = torch.tensor([body] * (len(rates) - 2) + [head, head])
    torch.testing.assert_close(rates, expected.double(), rtol=1e-6, atol=0)
    # Learned rates start where fixed ones are.
    batch = collate(uneven_episodes(kind))
    fixed = meta_gradient(learner, build(learner, kind), batch)[0]
    start = meta_gradient(learned, build(learned, kind), batch)[0]
    torch.testing.assert_close(start, fixed, rtol=1e-6, atol=0)


def test_unknown_head() -> None:
    with pytest.raises(InvalidParameterError, match=r"'head' parameter of MAML must be .* Got 'x'"):
        build(MAML(head="x"))


# ----------------------------------------------------------------------------------- the toy task


def test_sinusoids_are_learned_in_one_step() -> None:
    learner = MAML(inner_steps=1, inner_lr=0.05)
    spec = NetSpec((1,), "regression", backbone=lambda shape: MLP(shape, (40, 40)))
    module = learner.build(spec, np.random.default_rng(0))
    # The paper's amplitudes over their standard deviation: the estimator standardises targets.
    tasks = make_sinusoid_tasks(400, n_rows=20, amplitude=(0.05, 2.4), random_state=0)
    options = {"n_shots": 10, "n_queries": 10}
    train = EpisodeSampler(tasks[:300], **options)
    held_out = EpisodeSampler(tasks[300:], **options).batch(range(100))
    with torch.no_grad():
        before = float(learner.meta_loss(module, held_out))
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for step in range(150):
        optimizer.zero_grad()
        learner.meta_loss(module, train.batch(range(25 * step, 25 * step + 25))).backward()
        optimizer.step()
    with torch.no_grad():
        after = float(learner.meta_loss(module, held_out))
        learner.set_params(inner_steps=0)
        unadapted = float(learner.meta_loss(module, held_out))
    assert after < 0.6 * before
    assert after < 0.7 * unadapted, "the inner step must be what helps"


# ------------------------------------------------------------------------------------ inner descent


def test_nothing_recorded_nothing_shared() -> None:
    start = torch.zeros(2, 3, requires_grad=True)
    unused = torch.ones(2, 1, requires_grad=True)

    def loss_of(parameters) -> Tensor:
        return (parameters["a"] - 1).square().sum(1)

    for steps in (0, 2):
        with torch.no_grad():
            end = descend(loss_of, {"a": start, "b": unused}, {"a": 0.1, "b": 0.1}, steps)
        for value, origin in ((end["a"], start), (end["b"], unused)):
            assert not value.requires_grad
            assert value.data_ptr() != origin.data_ptr()
    assert not start.grad
    torch.testing.assert_close(end["a"], torch.full((2, 3), 1 - 0.8**2))
    torch.testing.assert_close(end["b"], torch.ones(2, 1))


def test_frozen_weights_are_adapted_but_not_learned() -> None:
    learner = MAML(inner_steps=2)
    module, batch = build(learner, "regression"), collate(uneven_episodes("regression"))
    free = predict(learner, module, batch)
    for parameter in module.embedding.parameters():
        parameter.requires_grad_(False)
    torch.testing.assert_close(predict(learner, module, batch), free)
    learner.meta_loss(module, batch).backward()
    assert all(p.grad is None for p in module.embedding.parameters())
    assert module.head_weight.grad is not None


def test_a_regression_step_cannot_run_away() -> None:
    # Squared error at a rate far beyond the stable one: without the bound this is infinite.
    learner = MAML(inner_steps=50, inner_lr=100.0)
    module, batch = build(learner, "regression"), collate(uneven_episodes("regression"))
    with torch.no_grad():
        state = learner.adapt(module, batch.support)
    assert all(value.isfinite().all() for value in state.values())
    start = torch.zeros(2, 3, dtype=torch.float64)
    slopes = torch.tensor([[3.0, 4.0, 0.0], [0.3, 0.4, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        end = descend(lambda p: (p["w"] * slopes).sum(1), {"w": start}, {"w": 1.0}, 1, max_norm=1)
    expected = torch.tensor([[-0.6, -0.8, 0.0], [-0.3, -0.4, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(end["w"], expected)


def test_gradients_through_the_bound_are_those_of_differences() -> None:
    def shortened(*parts: Tensor) -> tuple[Tensor, ...]:
        return tuple(g for g in shorten([*parts, None], 2.0) if g is not None)

    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, *n, generator=generator).double() for n in ((3,), (2, 2))]
    parts = [p * torch.tensor([0.1, 5.0]).double().view(2, *[1] * (p.ndim - 1)) for p in parts]
    assert torch.autograd.gradcheck(shortened, [p.requires_grad_() for p in parts])
