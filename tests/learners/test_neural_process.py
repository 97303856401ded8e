"""CNP and ANP: against plain loops, their starts, and calibrated on Gaussian processes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import Ridge
from torch import Tensor

from metaest import MetaFewShotRegressor
from metaest.exceptions import InvalidParameterError
from metaest.learners import Gaussian, Learner, ProtoNet, _anp
from metaest.learners._anp import ANP
from metaest.learners._cnp import CNP
from metaest.tasks import TaskSet
from tests.episode_helpers import Episode, build, collate, make_episode, predict
from tests.learners.memory_helpers import LargestTensor

SIZES = {
    CNP: {"n_hidden": 6},
    ANP: {"n_hidden": 6, "n_heads": 2, "head_size": 3},
}
over_both = pytest.mark.parametrize("cls", [CNP, ANP])


def _summary(learner: Learner, module, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Summary of some rows for one query row: (d,), (n, d), (n, h) -> (h,)."""
    if isinstance(learner, CNP):
        return values.mean(0)
    attention = module.attention
    q, k, v = attention.query(query), attention.key(keys), attention.value(values)
    heads = []
    for head in range(learner.n_heads):
        own = slice(head * learner.head_size, (head + 1) * learner.head_size)
        weights = softmax((k[:, own] @ q[own]).numpy() / learner.head_size**0.5)
        heads.append(torch.from_numpy(weights) @ v[:, own])
    return attention.out(torch.cat(heads))


@over_both
def test_regression_against_plain_loops(cls: type[Learner]) -> None:
    learner = cls(min_std=0.2, residual=False, **SIZES[cls])
    module, episode = build(learner, "regression"), make_episode("regression")
    expected = []
    with torch.no_grad():
        x = module.embedding(episode.support_x)
        pairs = zip(x, episode.support_y, strict=True)
        values = torch.stack([module.encoder(torch.cat([row, y[None]])) for row, y in pairs])
        for row in module.embedding(episode.query_x):
            summary = _summary(learner, module, row, x, values)
            mean, raw = module.decoder(torch.cat([row, summary]))
            expected.append([float(mean), 2 * float(torch.log(0.2 + 0.8 * F.softplus(raw)))])
    found = predict(learner, module, collate([episode]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@over_both
def test_classification_against_plain_loops(cls: type[Learner]) -> None:
    learner = cls(residual=False, **SIZES[cls])
    module, episode = build(learner), make_episode(shots=(2, 1, 3))
    expected = []
    with torch.no_grad():
        x, y = module.embedding(episode.support_x), episode.support_y
        values = module.encoder(x)
        for row in module.embedding(episode.query_x):
            summaries = [
                _summary(learner, module, row, x[y == k], values[y == k])
                for k in range(episode.n_classes)
            ]
            mean = sum(summaries) / len(summaries)
            logits = [module.decoder(torch.cat([row, own, mean])) for own in summaries]
            expected.append(torch.cat(logits).log_softmax(0).numpy())
    found = predict(learner, module, collate([episode]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@over_both
def test_starts_close_to_prototypes(cls: type[Learner]) -> None:
    batch = collate([make_episode(shots=(3, 1, 2))])
    found = predict(cls(), build(cls()), batch)
    expected = predict(ProtoNet(), build(ProtoNet()), batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@over_both
def test_starts_close_to_ridge_regression(cls: type[Learner]) -> None:
    episode: Episode = make_episode("regression", shots=(9,), n_queries=5)
    module = build(cls(), "regression")
    with torch.no_grad():
        x, query = (module.embedding(rows).numpy() for rows in (episode.support_x, episode.query_x))
    x, query = (np.c_[rows / rows.shape[1] ** 0.5, np.ones(len(rows))] for rows in (x, query))
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(x, episode.support_y.numpy())
    mean = predict(cls(), module, collate([episode]))[0, :, 0]
    np.testing.assert_allclose(mean, ridge.predict(query), rtol=0, atol=0.05)


@over_both
def test_std_has_a_floor(cls: type[Learner]) -> None:
    learner = cls(min_std=0.3)
    module, batch = build(learner, "regression"), collate([make_episode("regression")])
    with torch.no_grad():
        module.decoder[-1].bias[1] = -100.0
        found = learner.predict(module, learner.adapt(module, batch.support), batch.query_x)
    assert isinstance(found, Gaussian)
    torch.testing.assert_close(found.variance, torch.full_like(found.mean, 0.09))
    with pytest.raises(InvalidParameterError, match="'min_std' parameter of"):
        build(cls(min_std=0.0))


# ------------------------------------------------------------- against the exact Gaussian process

KERNEL = RBF(0.8) + WhiteKernel(0.2**2)


def _draws(n_tasks: int, n_rows: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, size=(n_tasks, n_rows, 1))
    factors = np.linalg.cholesky(np.stack([KERNEL(rows) for rows in x]))
    noise = rng.normal(size=(n_tasks, n_rows, 1))
    return list(zip(x, (factors @ noise)[..., 0], strict=True))


@pytest.mark.slow
def test_intervals_are_calibrated() -> None:
    regressor = MetaFewShotRegressor(
        ANP(n_hidden=64, residual=False),
        n_shots=(3, 20),
        n_queries=20,
        n_episodes=8_000,
        meta_lr=3e-3,
        validation_fraction=0,
        random_state=0,
    )
    regressor.fit_meta(TaskSet.from_datasets(_draws(2000, 40, 0)))
    rng = np.random.default_rng(2)
    likelihoods, inside = [], []
    for X, y in _draws(200, 60, 1):
        n = rng.integers(3, 21)
        exact = GaussianProcessRegressor(KERNEL, optimizer=None).fit(X[:n], y[:n])
        learned = regressor.fit(X[:n], y[:n])
        predictions = [p.predict(X[20:], return_std=True) for p in (learned, exact)]
        predictions.append((0.0, np.sqrt(KERNEL.diag(X[20:]))))  # no point known
        likelihoods.append([norm.logpdf(y[20:], *p).mean() for p in predictions])
        mean, std = predictions[0]
        inside.append((np.abs(y[20:] - mean) < norm.ppf(0.95) * std).mean())
    own, best, prior = np.mean(likelihoods, 0)
    assert prior + 0.5 * (best - prior) < own < best
    assert 0.85 < np.mean(inside) < 0.95


def test_attention_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = ANP(**SIZES[ANP])
    module, batch = build(learner), collate([make_episode(shots=(2,) * 20, n_queries=2)])
    expected = predict(learner, module, batch)
    scores_of_a_row = 20 * learner.n_heads * 40  # classes, heads and support rows
    monkeypatch.setattr(_anp, "_BUDGET", 3 * scores_of_a_row)
    with LargestTensor() as largest:
        found = predict(learner, module, batch)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert largest.numel < 10 * scores_of_a_row  # of 40 query rows
