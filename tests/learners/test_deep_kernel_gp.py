"""DeepKernelGP: against scikit-learn, NumPy and SciPy, and what its intervals are worth."""

import functools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import null_space
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from torch import Tensor, nn

from metaest import MetaFewShotRegressor
from metaest.datasets import make_sinusoid_tasks
from metaest.exceptions import InvalidParameterError, TaskError, UnsupportedTaskError
from metaest.learners import DeepKernelGP, LearnerNet, _deep_kernel_gp, _gp
from metaest.learners._deep_kernel_gp import _JITTER
from metaest.learners._gp import Fit, ScalePrior, fit_gp, matern
from tests.episode_helpers import build, collate, make_episode

EXACT = {"rtol": 1e-8, "atol": 1e-8}
SCALINGS = ("none", "offset", "affine")
over_scalings = pytest.mark.parametrize("scaling", SCALINGS)


def _problem(n_rows: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a kernel matrix with noise, a prior mean and targets far from it."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, 2))
    kernel = 0.7 * Matern(nu=2.5)(X) + 0.1 * np.eye(n_rows)
    mean = np.sin(X[:, 0])
    return kernel, mean, 4 + 2.5 * (mean + rng.multivariate_normal(np.zeros(n_rows), kernel))


def _fit(
    kernel: np.ndarray,
    mean: np.ndarray,
    y: np.ndarray,
    scaling: str,
    prior: ScalePrior | None = None,
) -> Fit:
    mask = torch.ones(1, len(y), dtype=torch.bool)
    columns = (torch.from_numpy(a)[None] for a in (kernel, mean, y))
    return fit_gp(*columns, mask, scaling, prior=prior)


def _values(fit: Fit) -> tuple[float, float, float]:
    """Give the offset c, the inverse scale u and the loss."""
    return float(fit.offset), float(fit.inverse_scale), float(fit.loss)


# ---------------------------------------------------------------------- one task's own arithmetic


@pytest.mark.parametrize("n_rows", [1, 2, 9, 40])
def test_posterior_and_likelihood_are_scikit_learns(n_rows: int) -> None:
    rng = np.random.default_rng(n_rows)
    X, query, y = rng.normal(size=(n_rows, 3)), rng.normal(size=(7, 3)), rng.normal(size=n_rows)
    oracle = ConstantKernel(1.7) * Matern(nu=2.5) + WhiteKernel(0.03)
    gp = GaussianProcessRegressor(oracle, optimizer=None, alpha=0.0).fit(X, y)
    expected_mean, expected_std = gp.predict(query, return_std=True)

    a, b = torch.from_numpy(X)[None], torch.from_numpy(query)[None]
    kernel, cross = 1.7 * matern(a, a)[0].numpy(), 1.7 * matern(a, b)[0]
    fit = _fit(kernel + 0.03 * np.eye(n_rows), np.zeros(n_rows), y, "none")
    explained = torch.linalg.solve_triangular(fit.factor[0], cross, upper=False).square().sum(0)
    np.testing.assert_allclose(cross.T @ fit.weights[0], expected_mean, **EXACT)
    np.testing.assert_allclose((1.73 - explained).sqrt(), expected_std, **EXACT)
    assert float(fit.loss) == pytest.approx(-gp.log_marginal_likelihood(), rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("n_rows", [2, 12])
def test_offset_is_generalised_least_squares(n_rows: int) -> None:
    kernel, mean, y = _problem(n_rows)
    offset, inverse_scale, loss = _values(fit := _fit(kernel, mean, y, "offset"))
    precision = np.linalg.inv(kernel)
    expected = (precision @ (y - mean)).sum() / precision.sum()
    assert offset == pytest.approx(expected, rel=1e-8)
    assert inverse_scale == 1
    np.testing.assert_allclose(fit.weights[0], precision @ (y - mean - expected), **EXACT)
    # What is left of the likelihood is that of the contrasts, which no constant changes.
    contrasts = null_space(np.ones((1, n_rows)))
    restricted = multivariate_normal(cov=contrasts.T @ kernel @ contrasts)
    expected_loss = -restricted.logpdf(contrasts.T @ (y - mean)) + 0.5 * np.log(n_rows)
    assert loss == pytest.approx(expected_loss, rel=1e-8)


@pytest.mark.parametrize("n_rows", [2, 3, 12])
def test_scale_and_offset_maximise_the_likelihood(n_rows: int) -> None:
    kernel, mean, y = _problem(n_rows)
    offset, inverse_scale, loss = _values(_fit(kernel, mean, y, "affine"))
    contrasts = null_space(np.ones((1, n_rows)))
    restricted = multivariate_normal(cov=contrasts.T @ kernel @ contrasts)

    def negative(log_u: float) -> float:
        """Return the negative logarithm of the density of y and of the one weak target more."""
        u = np.exp(log_u)
        own = restricted.logpdf(contrasts.T @ (u * y - mean)) + (n_rows - 1) * log_u
        return -own - norm.logpdf(u * np.sqrt(_gp._PRIOR_SQUARE)) - log_u

    best = minimize_scalar(negative, bracket=(-3, 3), tol=1e-12)
    assert np.log(inverse_scale) == pytest.approx(best.x, abs=1e-6)  # of a parabola: sqrt(eps)
    assert loss == pytest.approx(best.fun + 0.5 * np.log(n_rows), rel=1e-8)

    precision = np.linalg.inv(kernel)

    def quadratic(c: np.ndarray) -> float:
        residual = inverse_scale * y - c - mean
        return residual @ precision @ residual

    assert offset == pytest.approx(minimize(quadratic, [0.0], tol=1e-12).x[0], abs=1e-5)


@pytest.mark.parametrize("std", [0.05, 0.4, 1.5])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 12, 60])
def test_the_scale_is_integrated_out(n_rows: int, std: float) -> None:
    kernel, mean, y = _problem(n_rows)
    prior = ScalePrior(torch.tensor(0.3).double(), torch.tensor(std).double())
    fit = _fit(kernel, mean, y, "affine", prior)
    loose = {2: 10, 3: 4}.get(n_rows, 1) if std > 1 else 1  # Laplace's method is for more rows
    log_u = np.linspace(-9, 9, 6001)
    # The density of log u under the prior, and of the contrasts of y given u.
    density = norm(0.3, std).logpdf(log_u)
    if n_rows > 1:
        contrasts = null_space(np.ones((1, n_rows)))
        restricted = multivariate_normal(cov=contrasts.T @ kernel @ contrasts)
        density += restricted.logpdf((np.exp(log_u)[:, None] * y - mean) @ contrasts)
        density += (n_rows - 1) * log_u
    assert np.log(float(fit.inverse_scale)) == pytest.approx(log_u[density.argmax()], abs=0.003)
    total = logsumexp(density)
    expected_loss = -total - np.log(log_u[1] - log_u[0]) + 0.5 * np.log(n_rows)
    assert float(fit.loss) == pytest.approx(expected_loss, abs=0.02 * loose)
    weights = np.exp(density - total)
    variance = weights @ (log_u - weights @ log_u) ** 2
    assert float(fit.spread) == pytest.approx(variance, rel=0.1 * loose)
    # Of a normal log u; without a variance, one that is not has no mean of 1 / u² to compare.
    log_square = 2 * variance - 2 * weights @ log_u
    assert np.log(float(fit.square)) == pytest.approx(log_square, abs=0.1 * loose)


@pytest.mark.parametrize("unit", [1e-12, 1e-7, 1e-3, 1e5])
def test_a_scale_far_from_the_usual_one_is_integrated_out(unit: float) -> None:
    n, yy, ym, mean, std = 19.0, 15.0 * unit**2, 4.0 * unit, -1.0, 1.8
    u, spread, square = (
        float(v)
        for v in _gp._integrate_scale(
            *(torch.tensor([v]).double() for v in (n, yy, ym)),
            ScalePrior(torch.tensor(mean).double(), torch.tensor(std).double()),
        )
    )
    log_u = np.log(u) + np.linspace(-6, 6, 6001)
    density = n * log_u - yy * np.exp(2 * log_u) / 2 + ym * np.exp(log_u)
    density += norm(mean, std).logpdf(log_u)
    assert np.log(u) == pytest.approx(log_u[density.argmax()], abs=0.003)
    weights = np.exp(density - logsumexp(density))
    assert spread == pytest.approx(weights @ (log_u - weights @ log_u) ** 2, rel=0.1)
    assert square == pytest.approx(weights @ np.exp(-2 * log_u), rel=0.1)


def test_equal_targets_have_a_scale_that_is_a_number() -> None:
    n, zero = torch.tensor([5.0, 9999.0]).double(), torch.zeros(2).double()
    prior = ScalePrior(torch.tensor(3.0).double(), torch.tensor(2.0).double())
    for value in _gp._integrate_scale(n, zero, zero, prior):
        assert value.isfinite().all()
        assert (value > 0).all()


def test_the_gradient_is_that_of_the_likeliest_scale() -> None:
    yy, ym = torch.tensor([2.0, 0.1], dtype=float), torch.tensor([0.5, -3.0], dtype=float)
    n = torch.tensor([1.0, 9.0], dtype=float)

    def scale(yy: Tensor, ym: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, ...]:
        return _gp._integrate_scale(n, yy, ym, ScalePrior(mean, std))

    inputs = (yy, ym, torch.tensor(0.3, dtype=float), torch.tensor(0.8, dtype=float))
    assert torch.autograd.gradcheck(
        lambda *a: scale(*a), [i.clone().requires_grad_() for i in inputs], atol=1e-6
    )


@over_scalings
def test_padding_is_no_row(scaling: str) -> None:
    kernel, mean, y = _problem()
    expected = _fit(kernel, mean, y, scaling)
    rng = np.random.default_rng(1)
    keep = np.sort(rng.permutation(17)[:12])  # padding between the rows, of any content
    big, big_mean, big_y = rng.normal(size=(17, 17)), rng.normal(size=17), rng.normal(size=17)
    big[np.ix_(keep, keep)], big_mean[keep], big_y[keep] = kernel, mean, y
    mask = torch.zeros(1, 17, dtype=torch.bool)
    mask[0, keep] = True
    found = fit_gp(*(torch.from_numpy(a)[None] for a in (big, big_mean, big_y)), mask, scaling)
    np.testing.assert_allclose(_values(found), _values(expected), rtol=1e-12)
    np.testing.assert_allclose(found.weights[0, keep], expected.weights[0], rtol=1e-10)
    assert (found.weights[~mask] == 0).all()


@pytest.mark.parametrize("scaling", ["offset", "affine"])
def test_targets_far_from_zero_keep_their_digits(scaling: str) -> None:
    kernel, mean, y = _problem()
    near, far = _fit(kernel, mean, y, scaling), _fit(kernel, mean, y + 1e9, scaling)
    np.testing.assert_allclose(far.weights, near.weights, rtol=0, atol=1e-4)
    assert float(far.loss) == pytest.approx(float(near.loss), rel=1e-5)


def test_a_singular_kernel_spares_the_other_tasks() -> None:
    kernel, mean, y = _problem()
    batch = torch.from_numpy(np.stack([kernel, -kernel]))
    mean, y = (torch.from_numpy(a).expand(2, -1) for a in (mean, y))
    mask = torch.ones(2, len(kernel), dtype=torch.bool)
    with pytest.raises(torch.linalg.LinAlgError, match="not positive-definite"):
        fit_gp(batch, mean, y, mask, "affine")
    found = fit_gp(batch, mean, y, mask, "affine", on_singular="nan")
    alone = fit_gp(batch[:1], mean[:1], y[:1], mask[:1], "affine")
    torch.testing.assert_close(found.loss[0], alone.loss[0], rtol=1e-12, atol=0)
    assert found.loss[1].isnan()
    assert found.weights[1].isnan().all()


# ------------------------------------------------------------------------------------ the learner


def _module(learner: DeepKernelGP) -> nn.Module:
    """Build a network whose parts all count: unequal amplitudes and lengths, a prior mean."""
    module = build(learner, "regression")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (module.log_amplitude, module.log_length, module.mean.weight):
            parameter += 0.5 * torch.randn(
                parameter.shape, generator=generator, dtype=parameter.dtype
            )
    return module


def _kernel(module: LearnerNet, parts_a: dict, parts_b: dict) -> np.ndarray:
    """Compute the documented kernel of one task's rows with scikit-learn's Matern."""
    a = {name: value[0].numpy() for name, value in parts_a.items()}
    b = {name: value[0].numpy() for name, value in parts_b.items()}
    raw, radial, linear = module.log_amplitude.detach().exp().numpy()
    kernel = raw * Matern(nu=2.5)(a["raw"], b["raw"])
    kernel += radial * Matern(nu=2.5)(a["radial"], b["radial"])
    return kernel + linear * a["linear"] @ b["linear"].T


@torch.no_grad()
def test_linear_kernel_is_a_mean_over_the_latent_features() -> None:
    learner = DeepKernelGP(n_latent=5)
    module = build(learner, "regression")
    module.log_amplitude.copy_(torch.tensor([-80.0, -80.0, 0.7]))
    x = collate([make_episode("regression")]).support_x
    parts = learner.parts(module, x)
    latent = module.linear(module.embedding(x[0]))
    expected = np.exp(0.7) * latent @ latent.T / 5
    torch.testing.assert_close(_deep_kernel_gp._kernel(module, parts, parts)[0], expected)


@torch.no_grad()
def test_rows_alone_are_scikit_learns_gaussian_process() -> None:
    learner = DeepKernelGP(scaling="none")
    module = build(learner, "regression")
    module.log_amplitude.copy_(torch.tensor([0.4, -torch.inf, -torch.inf]))
    module.log_length.copy_(torch.tensor([0.1, 0.5, -0.2]))
    batch = collate([make_episode("regression", shots=(10,), n_queries=6)])
    found = learner.predict(module, learner.adapt(module, batch.support), batch.query_x)

    lengths = module.log_length.exp().numpy()
    noise = float(module.log_noise.exp()) + _JITTER
    oracle = ConstantKernel(np.exp(0.4)) * Matern(lengths, nu=2.5) + WhiteKernel(noise)
    gp = GaussianProcessRegressor(oracle, optimizer=None, alpha=0.0)
    gp.fit(batch.support_x[0], batch.support_y[0])
    mean, std = gp.predict(batch.query_x[0], return_std=True)
    np.testing.assert_allclose(found.mean[0], mean, **EXACT)
    np.testing.assert_allclose(found.variance[0].sqrt(), std, **EXACT)
    # Meta-training maximises the likelihood of all rows, not of the support set's alone.
    rows = torch.cat([batch.support_x, batch.query_x], 1)[0]
    targets = torch.cat([batch.support_y, batch.query_y], 1)[0]
    expected = -gp.fit(rows, targets).log_marginal_likelihood() / len(rows)
    assert float(learner.meta_loss(module, batch)) == pytest.approx(expected, rel=1e-8)


@torch.no_grad()
@over_scalings
def test_prediction_is_the_posterior_of_the_documented_kernel(scaling: str) -> None:
    learner = DeepKernelGP(n_latent=4, scaling=scaling)
    module = _module(learner)
    batch = collate([make_episode("regression", shots=(9,), n_queries=6)])
    found = learner.predict(module, state := learner.adapt(module, batch.support), batch.query_x)

    own, other = learner.parts(module, batch.support_x), learner.parts(module, batch.query_x)
    noise = float(module.log_noise.exp()) + _JITTER
    kernel = _kernel(module, own, own) + noise * np.eye(9)
    cross, query = _kernel(module, own, other), _kernel(module, other, other)
    prior, y = own["prior"][0].numpy(), batch.support_y[0].numpy()
    c, u = (float(state[name]) for name in ("offset", "inverse_scale"))  # tested above
    mean = other["prior"][0].numpy() + cross.T @ np.linalg.solve(kernel, u * y - c - prior) + c
    covariance = query - cross.T @ np.linalg.solve(kernel, cross)
    if scaling != "none":  # Rasmussen and Williams, equation 2.42, with h(x) = 1
        precision = np.linalg.inv(kernel)
        left = 1 - cross.T @ precision.sum(0)
        covariance += np.outer(left, left) / precision.sum()
    variance, square = np.diag(covariance), 1.0
    if scaling == "affine":  # what 1 / u multiplies is as uncertain as u
        offset = (precision @ prior).sum() / precision.sum()
        multiplied = other["prior"][0].numpy() - offset - cross.T @ precision @ (prior - offset)
        variance = variance + float(state["spread"]) * multiplied**2
        square = float(state["square"])  # tested above
        assert square > 1 / u**2
    np.testing.assert_allclose(found.mean[0], mean / u, **EXACT)
    np.testing.assert_allclose(found.variance[0], (variance + noise) * square, **EXACT)
    latent_mean, latent = learner.latent(module, state, batch.query_x)
    np.testing.assert_allclose(latent[0], variance * square, **EXACT)
    assert torch.equal(latent_mean, found.mean)


@torch.no_grad()
@pytest.mark.parametrize("n_rows", [1, 2, 10])
def test_offset_is_a_constant_of_unlimited_variance(n_rows: int) -> None:
    learner = DeepKernelGP(n_latent=4, scaling="offset")
    module = _module(learner)
    batch = collate([make_episode("regression", shots=(n_rows,), n_queries=6)])
    found = learner.predict(module, learner.adapt(module, batch.support), batch.query_x)

    own, other = learner.parts(module, batch.support_x), learner.parts(module, batch.query_x)
    noise = float(module.log_noise.exp()) + _JITTER
    kernel = _kernel(module, own, own) + noise * np.eye(n_rows) + 1e7
    cross, query = _kernel(module, own, other) + 1e7, _kernel(module, other, other) + 1e7
    residual = batch.support_y[0].numpy() - own["prior"][0].numpy()
    mean = other["prior"][0].numpy() + cross.T @ np.linalg.solve(kernel, residual)
    variance = np.diag(query - cross.T @ np.linalg.solve(kernel, cross)) + noise
    np.testing.assert_allclose(found.mean[0], mean, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.variance[0], variance, rtol=0, atol=1e-5)


def _predict_targets(learner: DeepKernelGP, change, prior_shift=0.0) -> tuple[Tensor, Tensor]:
    """Give mean and standard deviation where targets and the prior of their scale were changed."""
    batch = collate([make_episode("regression", shots=(12,), n_queries=6)])
    module = _module(learner)
    support = replace(batch.support, y=change(batch.support_y))
    with torch.no_grad():
        if learner.scaling == "affine":
            module.scale_prior[0] += prior_shift / _deep_kernel_gp._FASTER
        mean, variance = learner.predict(module, learner.adapt(module, support), batch.query_x)
    return mean, variance.sqrt()


@pytest.mark.parametrize("factor", [0.5, 3.0, 40.0])
def test_affine_follows_the_units(factor: float) -> None:
    learner = DeepKernelGP(n_latent=4)
    mean, std = _predict_targets(learner, lambda y: y)
    changed = _predict_targets(learner, lambda y: factor * y + 7, -np.log(factor))
    torch.testing.assert_close((changed[0] - 7) / factor, mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(changed[1] / factor, std, rtol=1e-9, atol=1e-9)


def test_offset_follows_a_shift_and_no_other_does() -> None:
    for scaling, follows in zip(SCALINGS, (False, True, True), strict=True):
        learner = DeepKernelGP(n_latent=4, scaling=scaling)
        mean, std = _predict_targets(learner, lambda y: y)
        shifted, shifted_std = _predict_targets(learner, lambda y: y + 7)
        assert torch.allclose(shifted, mean + 7, rtol=1e-9, atol=1e-9) == follows
        assert torch.allclose(shifted_std, std, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scaling": "linear"}, "'scaling' parameter of DeepKernelGP must be a str among"),
        ({"n_latent": 0}, "'n_latent' parameter of DeepKernelGP must be an int"),
        ({"noise": 0.0}, "'noise' parameter of DeepKernelGP must be a float"),
    ],
)
def test_wrong_parameters(parameters: dict, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        build(DeepKernelGP(**parameters), "regression")


# ---------------------------------------------------------------------------------- the estimator


@functools.cache
def _meta_trained(scaling: str = "affine") -> MetaFewShotRegressor:
    tasks = make_sinusoid_tasks(200, n_rows=30, noise=0.3, random_state=0)
    reg = MetaFewShotRegressor(DeepKernelGP(scaling=scaling), n_shots=(2, 15), random_state=0)
    return reg.set_params(n_episodes=4800, meta_lr=0.01).fit_meta(tasks)


def _errors(reg: MetaFewShotRegressor, n_shots: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Give errors and standard deviations on the other rows of 100 new tasks."""
    errors, stds = [], []
    for task in make_sinusoid_tasks(100, n_rows=n_shots + 20, noise=0.3, random_state=1):
        reg.fit(task.X[:n_shots], task.y[:n_shots])
        mean, std = reg.predict(task.X[n_shots:], return_std=True)
        errors.append(task.y[n_shots:] - mean)
        stds.append(std)
    return np.concatenate(errors), np.concatenate(stds)


def test_meta_training_helps() -> None:
    errors, _ = _errors(clone(_meta_trained()))
    untrained, _ = _errors(MetaFewShotRegressor("deep_kernel_gp", random_state=0))
    assert np.mean(errors**2) < 0.25 * np.mean(untrained**2)


@pytest.mark.parametrize("n_shots", [2, 8])
@over_scalings
def test_intervals_hold_what_they_say(scaling: str, n_shots: int) -> None:
    errors, std = _errors(clone(_meta_trained(scaling)), n_shots)
    assert 0.93 < np.mean(np.abs(errors) < 1.96 * std) < 0.98


def test_tasks_tell_how_much_their_scales_vary() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 20, 2))
    y = X @ [1.0, -1.0] + 0.1 * rng.normal(size=(120, 20))
    learned = []
    for units in (np.ones(120), 10.0 ** rng.uniform(-1, 1, 120)):
        tasks = [(X[i], unit * y[i]) for i, unit in enumerate(units)]
        reg = MetaFewShotRegressor("deep_kernel_gp", n_episodes=8000, random_state=0, meta_lr=0.01)
        learned.append(reg.fit_meta(tasks).meta_state_.weights["scale_prior"][1])
        # From a single row, whose target says nothing of the unit.
        errors = np.array(
            [
                (y[i, 1:] * units[i] - mean) / std
                for i in range(120)
                for mean, std in [
                    reg.fit(X[i, :1], tasks[i][1][:1]).predict(X[i, 1:], return_std=True)
                ]
            ]
        )
        assert np.mean(np.abs(errors) < 1.96) > 0.9
    assert learned[0] < learned[1] - 0.1


@pytest.mark.parametrize("is_trained", [False, True])
def test_uncertainty_grows_away_from_the_support(is_trained: bool) -> None:
    reg = clone(_meta_trained()) if is_trained else MetaFewShotRegressor("deep_kernel_gp")
    X = np.linspace(-2, 0, 8)[:, None]
    _, std = reg.fit(X, np.sin(X[:, 0])).predict([[-1.0], [1.0], [3.0], [8.0]], return_std=True)
    assert (np.diff(std) > 0).all()


def test_std_has_the_unit_of_the_targets() -> None:
    X = np.linspace(-2, 2, 8)[:, None]
    reg = MetaFewShotRegressor("deep_kernel_gp", random_state=0)
    mean, std = reg.fit(X, np.sin(X[:, 0])).predict(X, return_std=True)
    found, found_std = reg.fit(X, 50 + 10 * np.sin(X[:, 0])).predict(X, return_std=True)
    np.testing.assert_allclose(found, 50 + 10 * mean, rtol=1e-9)
    np.testing.assert_allclose(found_std, 10 * std, rtol=1e-9)


@over_scalings
def test_saved_and_loaded_predicts_the_same(scaling: str, tmp_path: Path) -> None:
    task = make_sinusoid_tasks(1, random_state=2)[0]
    reg = clone(_meta_trained(scaling)).fit(task.X[:8], task.y[:8])
    reg.save(tmp_path / "gp.safetensors")
    loaded = MetaFewShotRegressor.load(tmp_path / "gp.safetensors")
    assert loaded.get_params()["learner__scaling"] == scaling
    for one in (loaded, clone(loaded).fit(task.X[:8], task.y[:8])):
        expected = reg.predict(task.X, return_std=True)
        np.testing.assert_array_equal(one.predict(task.X, return_std=True), expected)


@over_scalings
def test_many_rows(scaling: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(-5, 5, size=(2000, 1))
    y = 2 * np.sin(X[:, 0] - 1) + rng.normal(scale=0.3, size=2000)
    start = time.process_time()
    reg = clone(_meta_trained(scaling)).fit(X, y)
    mean, std = reg.predict(X[:500], return_std=True)
    assert time.process_time() - start < 10  # about one second
    assert np.mean((mean - 2 * np.sin(X[:500, 0] - 1)) ** 2) < 0.02
    assert np.isfinite(std).all()


DEGENERATE = {
    "equal rows": (np.ones((50, 1)), np.random.default_rng(0).normal(size=50)),
    "equal rows, equal targets": (np.ones((50, 1)), np.ones(50)),
    "pairs of equal rows": (np.repeat(np.linspace(-3, 3, 20), 2)[:, None], np.arange(40.0) % 2),
    "equal targets": (np.linspace(-3, 3, 30)[:, None], np.full(30, 7.0)),
    "equal targets, far": (np.linspace(-3, 3, 30)[:, None], np.full(30, 1e9)),
    "one row": (np.zeros((1, 1)), np.array([3.0])),
    "rows a little apart": (np.linspace(0, 1e-9, 30)[:, None], np.arange(30.0)),
    "rows far away": (np.linspace(0, 1, 30)[:, None] + 1e5, np.arange(30.0)),
}


@over_scalings
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.parametrize("is_trained", [False, True])
def test_degenerate_tasks_stay_finite(scaling: str, case: str, is_trained: bool) -> None:
    X, y = DEGENERATE[case]
    fresh = MetaFewShotRegressor(DeepKernelGP(scaling=scaling), random_state=0)
    reg = clone(_meta_trained(scaling)) if is_trained else fresh
    mean, std = reg.fit(X, y).predict(np.r_[X, [[1.0]]], return_std=True)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()
    assert (std > 0).all()
    if np.ptp(y) == 0 and scaling != "none":  # the offset says it all
        np.testing.assert_allclose(mean[:-1], y, rtol=0.02)


def test_absurd_rows_are_told_of() -> None:
    X = np.r_[np.linspace(-3, 3, 20), np.linspace(-3, 3, 20) * 1e12][:, None]
    with pytest.raises(TaskError, match=r"not finite.*far from those that the network"):
        clone(_meta_trained()).fit(X, np.tile(np.sin(X[:20, 0]), 2))


def test_too_many_rows_are_refused_before_memory_is() -> None:
    X = np.zeros((10_001, 2))
    with pytest.raises(UnsupportedTaskError, match=r"at most 10000 labelled rows.*got 10001"):
        MetaFewShotRegressor("deep_kernel_gp", random_state=0).fit(X, X[:, 0])
