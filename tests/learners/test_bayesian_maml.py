"""BayesianMAML: against Stein variational gradient descent in numpy, exact posteriors and MAML."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metaest.datasets import make_sinusoid_tasks
from metaest.episodes import EpisodeSampler, Support
from metaest.learners import MAML, BayesianMAML
from metaest.learners._base import row_losses
from metaest.learners._bayesian_maml import _temperature, stein_direction
from metaest.learners._head import apply_network, inner_losses, start_network
from metaest.nets import MLP, NetSpec
from tests.episode_helpers import (
    Episode,
    build,
    collate,
    make_episode,
    meta_gradient,
    predict,
    uneven_episodes,
)

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
KINDS = ("classification", "regression")


def _identity(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


# ------------------------------------------------------------------------- the paper's algorithm


def svgd_direction(particles: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Give phi of Liu and Wang 2016, eq. 8, from (M, D) particles and gradients of log p."""
    m = len(particles)
    pairs = [((particles[i] - particles[j]) ** 2).sum() for i in range(m) for j in range(i + 1, m)]
    width = np.median(pairs) / np.log(m)
    phi = np.zeros_like(particles)
    for i in range(m):
        for j in range(m):
            gap = particles[j] - particles[i]
            kernel = np.exp(-gap @ gap / width)
            phi[i] += (kernel * scores[j] - 2 / width * gap * kernel) / m
    return phi


@pytest.mark.parametrize("m", [2, 3, 6])
def test_direction_is_the_papers_equation(m: int) -> None:
    rng = np.random.default_rng(m)
    particles, gradients = 30 + rng.normal(size=(2, m, 4)), rng.normal(size=(2, m, 4))
    temperature = np.array([0.3, 1.7])
    found = stein_direction(*map(torch.from_numpy, (particles, gradients, temperature)))
    for own, particle, gradient, heat in zip(found, particles, gradients, temperature, strict=True):
        # Descent of U / T at the rate of T.
        expected = -heat * svgd_direction(particle, -gradient / heat)
        np.testing.assert_allclose(own.numpy(), expected, rtol=1e-9, atol=1e-12)


def _linear_heads(module: nn.Module) -> np.ndarray:
    """Give each particle's weights and bias where it starts: (M, d + 1)."""
    nets = (module, *module.others)
    rows = [torch.cat([net.head_weight[0], net.head_bias]).detach().numpy() for net in nets]
    return np.stack(rows)


def _heads(state: dict[str, Tensor]) -> np.ndarray:
    weights = torch.cat([state["weight"][0, :, 0], state["bias"][0]], 1)  # (M, d + 1)
    return weights.detach().numpy()


def test_steps_of_linear_regression_are_svgd_on_the_likelihood() -> None:
    learner = BayesianMAML(n_particles=4, inner_steps=5, inner_lr=0.1)
    module = build(learner, "regression", backbone=_identity)
    batch = collate([make_episode("regression")])
    x, y = batch.support_x[0].numpy(), batch.support_y[0].numpy()
    rows = np.column_stack([x, np.ones(len(x))])
    noise = float(module.log_noise.detach().exp())
    particles = _linear_heads(module)
    step = 0.1 * 2 * noise / len(y)  # a step of 0.1 on the mean squared error, on log p
    for _ in range(5):
        scores = -(particles @ rows.T - y) @ rows / noise  # of sum of -(y - f)^2 / (2 noise)
        particles = particles + step * svgd_direction(particles, scores)
    state = learner.adapt(module, batch.support)
    np.testing.assert_allclose(_heads(state), particles, rtol=1e-9)
    means = particles @ np.column_stack([batch.query_x[0].numpy(), np.ones(6)]).T  # (M, Q)
    found = learner.predict(module, state, batch.query_x)
    np.testing.assert_allclose(found.mean[0].detach(), means.mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.variance[0].detach(), means.var(0) + noise, rtol=1e-9)


def test_many_steps_of_linear_regression_reach_the_posterior() -> None:
    # A flat prior: the posterior is normal around least squares, with variance s2 (X'X)^-1.
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 1, generator=generator, dtype=torch.float64)
    y = 0.8 * x[:, 0] - 0.3 + 0.5 * torch.randn(12, generator=generator, dtype=torch.float64)
    learner = BayesianMAML(n_particles=30, inner_steps=600, inner_lr=0.5)
    module = build(learner, "regression", (1,), backbone=_identity)
    with torch.no_grad():
        module.log_noise.fill_(np.log(0.25))
        state = learner.adapt(module, collate([Episode(x, y, x, y, None)]).support)
    rows = np.column_stack([x.numpy(), np.ones(12)])
    covariance = 0.25 * np.linalg.inv(rows.T @ rows)
    least_squares = np.linalg.lstsq(rows, y.numpy(), rcond=None)[0]
    particles = _heads(state)
    np.testing.assert_allclose(particles.mean(0), least_squares, atol=1e-3)
    np.testing.assert_allclose(np.cov(particles.T, bias=True), covariance, rtol=0.25, atol=2e-3)


def test_particles_are_kept_apart_less_where_there_are_more_rows() -> None:
    episode = make_episode("regression", shots=(4,))
    spreads = []
    for copies in (1, 5):
        x, y = episode.support_x.repeat(copies, 1), episode.support_y.repeat(copies)
        batch = collate([Episode(x, y, x, y, None)])
        learner = BayesianMAML(inner_steps=200, inner_lr=0.1)
        state = learner.adapt(build(learner, "regression", backbone=_identity), batch.support)
        spreads.append(float(state["weight"].var(1).mean().detach()))
    assert spreads[1] < 0.6 * spreads[0]


# --------------------------------------------------------------------------- particles and MAML


@pytest.mark.parametrize("kind", KINDS)
def test_one_particle_is_maml(kind: str) -> None:
    options = {"inner_steps": 3, "inner_lr": 0.3}
    ours, maml = BayesianMAML(n_particles=1, **options), MAML(**options)
    one, two = build(ours, kind), build(maml, kind)
    batch = collate(uneven_episodes(kind))
    if kind == "regression":  # at this noise the likelihood is the squared error and a constant
        with torch.no_grad():
            one.log_noise.fill_(np.log(0.5))
    found, expected = predict(ours, one, batch), predict(maml, two, batch)
    if kind == "classification":  # absent classes have logarithms of any large size
        found, expected = found.exp(), expected.exp()
    else:
        found = found[..., 0]
    torch.testing.assert_close(found, expected, **TOLERANCE)
    loss, gradient = meta_gradient(ours, one, batch)
    maml_loss, maml_gradient = meta_gradient(maml, two, batch)
    constant = 0.0 if kind == "classification" else 0.5 * np.log(np.pi)
    weights = [name != "log_noise" for name, p in one.named_parameters() for _ in p.flatten()]
    torch.testing.assert_close(loss, maml_loss + constant, **TOLERANCE)
    torch.testing.assert_close(gradient[torch.tensor(weights)], maml_gradient, **TOLERANCE)


def test_without_steps_probabilities_are_the_mean_of_networks_on_their_own() -> None:
    learner = BayesianMAML(n_particles=3, inner_steps=0, head="prototype")
    module, batch = build(learner), collate(uneven_episodes("classification"))
    maml = MAML(inner_steps=0, head="prototype")
    nets = (module, *module.others)
    alone = torch.stack([predict(maml, net, batch).exp() for net in nets])
    assert (alone[0] - alone[1]).abs().max() > 1e-3
    torch.testing.assert_close(predict(learner, module, batch).exp(), alone.mean(0), **TOLERANCE)


class _RandomFeatures(nn.Module):
    """Random features, which are no weights, and a layer."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(*input_shape, 8))
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear((x @ self.directions).cos())


def test_prototypes_are_of_the_features_that_predict() -> None:
    learner = BayesianMAML(n_particles=3, inner_steps=0, head="prototype")
    module = build(learner, backbone=_RandomFeatures)
    batch = collate(uneven_episodes("classification"))
    found = predict(learner, module, batch).exp()
    nets, maml = (module, *module.others), MAML(inner_steps=0, head="prototype")
    for net in nets:
        net.embedding[1].directions = module.embedding[1].directions
    alone = torch.stack([predict(maml, net, batch).exp() for net in nets])
    torch.testing.assert_close(found, alone.mean(0), **TOLERANCE)


def test_particles_that_coincide_stay_finite() -> None:
    # An identity has no weights, and all heads start at zero.
    learner = BayesianMAML(n_particles=3, inner_steps=3, inner_lr=0.1)
    module, batch = build(learner, backbone=_identity), collate(uneven_episodes("classification"))
    state = learner.adapt(module, batch.support)
    assert torch.equal(state["weight"][:, 0], state["weight"][:, 1])
    assert state["weight"].abs().max() > 0
    assert learner.predict(module, state, batch.query_x).isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_particle_has_a_start_that_is_learned(kind: str) -> None:
    learner = BayesianMAML(n_particles=3, inner_steps=2, inner_lr=0.1)
    module = build(learner, kind)
    learner.meta_loss(module, collate(uneven_episodes(kind))).backward()
    for net in (module, *module.others):
        assert all(p.grad.abs().max() > 0 for p in net.embedding.parameters())
    first, second = (next(net.embedding.parameters()) for net in (module, module.others[0]))
    assert (first - second).abs().max() > 0.1


# ------------------------------------------------------------------------------------ uncertainty


@pytest.mark.slow
def test_unsure_where_the_support_is_far() -> None:
    learner = BayesianMAML(n_particles=4, inner_steps=3, inner_lr=0.1)
    spec = NetSpec((1,), "regression", backbone=lambda shape: MLP(shape, (40, 40)))
    module = learner.build(spec, np.random.default_rng(0))
    # The paper's amplitudes over their standard deviation: the estimator standardises targets.
    tasks = make_sinusoid_tasks(1000, n_rows=20, amplitude=(0.05, 2.4), random_state=0)
    train = EpisodeSampler(tasks, n_shots=5, n_queries=10)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for step in range(200):
        optimizer.zero_grad()
        learner.meta_loss(module, train.batch(range(16 * step, 16 * step + 16))).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 10.0)
        optimizer.step()
    # New sinusoids, of which five points on the left are known.
    rng = np.random.default_rng(1)
    amplitude, phase = rng.uniform(0.05, 2.4, (100, 1)), rng.uniform(0, np.pi, (100, 1))
    x, query_x = rng.uniform(-5, 0, (100, 5)), np.tile(np.linspace(-5, 5, 40), (100, 1))
    y, query_y = (torch.from_numpy(amplitude * np.sin(v - phase)).float() for v in (x, query_x))
    inputs, queries = (torch.from_numpy(v).float().unsqueeze(2) for v in (x, query_x))
    support = Support(inputs, y, torch.ones(100, 5, dtype=torch.bool), None)
    with torch.no_grad():
        found = learner.predict(module, learner.adapt(module, support), queries)
    std, error = found.variance.sqrt(), (found.mean - query_y).abs()
    near, far = std[:, :20].mean(), std[:, 20:].mean()
    figures = f"std {near:.2f} near, {far:.2f} far; error {error.mean():.2f}"
    assert far > 1.3 * near, figures
    assert error[:, 20:].mean() > 1.3 * error[:, :20].mean(), "it is unsure where it errs"
    inside = (error < 2 * std).float().mean()
    assert 0.85 < inside < 0.999, f"{inside:.2f} of the targets within two standard deviations"


@pytest.mark.parametrize("kind", KINDS)
def test_temperature_is_the_inner_loss_over_the_energy(kind: str) -> None:
    module, batch = build(BayesianMAML(), kind), collate(uneven_episodes(kind))
    support, mask = batch.support, batch.support_mask
    start = start_network(module, support)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(start["weight"].shape, generator=generator, dtype=torch.float64)
    out = apply_network(module, start | {"weight": weight}, support.x, support.class_mask)
    energy = (row_losses(out, support.y) * mask).sum(1)  # minus the log-likelihood
    if kind == "regression":
        energy = energy / (2 * module.log_noise.exp())
    expected = inner_losses(out, support) / energy
    found = _temperature(module, support).double()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(("kind", "rate"), [("classification", 0.01), ("regression", 0.05)])
@pytest.mark.parametrize("m", [1, 4])
def test_default_rate_makes_up_for_particles_far_apart(kind: str, rate: float, m: int) -> None:
    batch = collate(uneven_episodes(kind))
    default = BayesianMAML(n_particles=m, inner_steps=1)
    given = BayesianMAML(n_particles=m, inner_steps=1, inner_lr=rate * (m + 1) / 2)
    module = build(default, kind)
    torch.testing.assert_close(predict(default, module, batch), predict(given, module, batch))
