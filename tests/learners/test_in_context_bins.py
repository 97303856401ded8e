"""Regression by the in-context network: bins, moments, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metaest.episodes import EpisodeBatch, Support
from metaest.exceptions import UnsupportedTaskError
from metaest.learners import _in_context_bins as bins
from metaest.learners._in_context import InContextTransformer
from metaest.learners._regression_companions import fit_regressors
from metaest.testing._episodes import collate, make_episode
from metaest.testing._runs import build, meta_gradient, predict

SMALL = {"cell_width": 8, "row_width": 16, "n_inducing": 2, "n_layers": 2, "n_row_layers": 1}
LEARNER = InContextTransformer(n_estimators=3, companions=0.0, **SMALL)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def batch() -> EpisodeBatch:
    return collate([make_episode("regression", shots=(7, 7), seed=seed) for seed in (1, 2)])


@pytest.fixture
def module() -> torch.nn.Module:
    return build(LEARNER, "regression")


def cut(y: list[float], n_passes: int = 1, n_bins: int = 10) -> np.ndarray:
    targets = torch.tensor([y], dtype=torch.float64)
    mask = torch.ones_like(targets, dtype=torch.bool)
    return bins.choose_cuts(targets, mask, n_passes, n_bins)[0].numpy()


def test_cuts_are_quantiles_elsewhere_in_each_pass() -> None:
    y = np.random.default_rng(0).permutation(np.arange(120.0))
    cuts = cut(y.tolist(), n_passes=4)
    for number, shift in enumerate((1 / 8, 3 / 8, 5 / 8, 7 / 8)):
        expected = np.round((np.arange(9) + shift) / 9 * 120) - 1  # the last one below
        np.testing.assert_array_equal(cuts[number], expected)


@pytest.mark.parametrize(
    ("n_rows", "n_bins", "expected"),
    [(1, 10, 0), (2, 10, 1), (5, 10, 1), (6, 10, 2), (29, 10, 9), (100, 10, 9), (100, 1, 0)],
)
def test_few_rows_have_few_bins(n_rows: int, n_bins: int, expected: int) -> None:
    cuts = cut(list(range(n_rows)), n_bins=n_bins)
    assert np.isfinite(cuts).sum() == expected


def test_equal_targets_stay_together() -> None:
    assert not np.isfinite(cut([2.0] * 20)).any()
    cuts = cut([0.0] * 15 + [1.0, 2.0, 3.0] + [5.0] * 12)
    assert set(cuts[np.isfinite(cuts)]) <= {0.0, 1.0, 2.0, 3.0}
    y = torch.tensor([[0.0, 0.0, 5.0, 5.0]])
    outputs = bins.find_outputs(y, torch.from_numpy(cuts).unsqueeze(0))[0, 0]
    assert outputs[0] == outputs[1] != outputs[2] == outputs[3]


def test_mean_and_variance_are_those_of_the_mixture(batch, module) -> None:
    with torch.no_grad():
        state = LEARNER.adapt(module, batch.support)
        found = LEARNER.predict(module, state, batch.query_x)
        read = {k.removeprefix("net_"): v for k, v in state.items() if k.startswith("net_")}
        logits = bins.predict_in_parts(module.network, read, batch.query_x)  # (B, M, Q, O)
    shares = np.exp(bins._SHARPNESS * logits.numpy())
    shares = shares / shares.sum(-1, keepdims=True)
    for task in range(2):
        y = batch.support_y[task]
        cuts = bins.choose_cuts(y.unsqueeze(0), batch.support_mask[[task]], 3, 10)
        outputs = bins.find_outputs(y.unsqueeze(0), cuts)[0].numpy()  # (M, S)
        weights = np.zeros((shares.shape[2], len(y)))  # of each support row in each answer
        for number in range(3):
            own = outputs[number][None] == outputs[number][:, None]
            weights += shares[task, number][:, outputs[number]] / own.sum(0) / 3
        mean = weights @ y.numpy()
        variance = weights @ y.numpy() ** 2 - mean**2
        np.testing.assert_allclose(found.mean[task], mean, rtol=1e-9)
        np.testing.assert_allclose(found.variance[task], variance, rtol=1e-6)


def test_logits_are_doubled(batch, module) -> None:
    with torch.no_grad():
        state = LEARNER.adapt(module, batch.support)
        read = {k.removeprefix("net_"): v for k, v in state.items() if k.startswith("net_")}
        logits = bins.predict_in_parts(module.network, read, batch.query_x)
        found = bins._shares(module.network, state, batch.query_x, 2.0)
    torch.testing.assert_close(found, logits.softmax(-1))


def moments(batch: EpisodeBatch, companions: float) -> torch.Tensor:
    learner = InContextTransformer(n_trees=8, companions=companions, **SMALL)
    mean, log_variance = predict(learner, build(learner, "regression"), batch).unbind(-1)
    return torch.stack([mean, log_variance.exp() + mean.square()])


def test_shares_of_the_companions(batch) -> None:
    expected = 0.7 * moments(batch, 0.0) + 0.3 * moments(batch, 1.0)
    torch.testing.assert_close(moments(batch, 0.3), expected, **EXACT)


def test_companions_that_explain_more_have_a_larger_share() -> None:
    x = torch.randn(2, 40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.stack([x[0, :, 0] + x[0, :, 1], torch.cos(40 * x[1, :, 0])])  # a line, and noise
    known = torch.ones_like(y, dtype=torch.bool)
    parts = [whole[:, rows] for rows in (slice(30), slice(30, 40)) for whole in (x, y, known)]
    batch = EpisodeBatch(*parts)
    fitted = fit_regressors(batch.support, 8)
    _, explained, spread = fitted["trust"].T[:, :, None]
    assert explained[0] > 0.6 > 0.3 > explained[1]
    assert spread[0] < 0.8  # the forest is farther off than the line, and counts for little

    def before(companions: float) -> torch.Tensor:
        mean, square = moments(batch, companions)
        return torch.stack([mean, mean.square() + (square - mean.square()) / spread])

    share = explained.clamp(min=0.3)
    expected = (1 - share) * moments(batch, 0.0) + share * before(1.0)
    torch.testing.assert_close(before(0.3), expected, **EXACT)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]], ids=str)
def test_the_order_of_columns_does_not_matter(batch, module, order: list[int]) -> None:
    turned = replace(
        batch, support_x=batch.support_x[..., order], query_x=batch.query_x[..., order]
    )
    expected = predict(LEARNER, module, batch)
    torch.testing.assert_close(predict(LEARNER, module, turned), expected, **EXACT)


@pytest.mark.parametrize(
    ("scale", "shift"), [(1e12, 0.0), (1e-12, 0.0), (1e200, 0.0), (3.0, 1e6)], ids=str
)
def test_units_of_the_target_do_not_matter(batch, module, scale: float, shift: float) -> None:
    learner = InContextTransformer(n_estimators=4, companions=0.0, **SMALL)
    rescaled = replace(batch, support_y=batch.support_y * scale + shift)
    with torch.no_grad():
        found, expected = (
            learner.predict(module, learner.adapt(module, b.support), b.query_x)
            for b in (rescaled, batch)
        )
    torch.testing.assert_close((found.mean - shift) / scale, expected.mean, rtol=1e-7, atol=0)
    if scale < 1e150:  # the square of others is no number
        spread = found.variance.sqrt() / scale
        torch.testing.assert_close(spread, expected.variance.sqrt(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("value", [0.0, -3.5, 1e12])
def test_equal_targets_are_predicted(batch, module, value: float) -> None:
    learner = InContextTransformer(n_trees=4, **SMALL)
    constant = replace(batch, support_y=torch.full_like(batch.support_y, value))
    with torch.no_grad():
        found = learner.predict(module, learner.adapt(module, constant.support), batch.query_x)
    torch.testing.assert_close(found.mean, torch.full_like(found.mean, value))
    assert (found.variance > 0).all()


def test_the_loss_is_the_energy_score(batch, module) -> None:
    single = LEARNER.in_training()
    with torch.no_grad():
        state = single.adapt(module, batch.support)
        shares = bins._shares(module.network, state, batch.query_x, 1.0)[:, 0]  # (B, Q, O)
    means = state["moments"][:, 0, :, 0]  # (B, O)
    targets = (batch.query_y - state["center"]) / state["scale"]
    scores = []
    for task, row in np.ndindex(2, batch.query_y.shape[1]):
        p, m, y = shares[task, row].numpy(), means[task].numpy(), float(targets[task, row])
        spread = sum(p[k] * p[j] * abs(m[k] - m[j]) ** 1.5 for k, j in np.ndindex(10, 10))
        scores.append(p @ abs(m - y) ** 1.5 - spread / 2)
    loss, _ = meta_gradient(LEARNER, module, batch)
    np.testing.assert_allclose(loss, np.mean(scores))


def test_too_many_rows(batch, module) -> None:
    small = InContextTransformer(max_rows=13, **SMALL)
    message = r"max_rows=13 labelled rows, got 14.*HistGradientBoostingRegressor"
    with pytest.raises(UnsupportedTaskError, match=message):
        small.adapt(module, batch.support)
    with pytest.raises(UnsupportedTaskError, match=message):
        small.meta_loss(module, batch)


def test_standardised_targets() -> None:
    y = torch.tensor([[1.0, 2.0, 6.0, 99.0], [5.0, 5.0, 5.0, 5.0]])
    mask = torch.tensor([[True, True, True, False], [True] * 4])
    z, center, scale = bins.standardize_targets(Support(y.unsqueeze(-1), y, mask, None))
    np.testing.assert_allclose(center[:, 0], [3.0, 5.0])
    np.testing.assert_allclose(scale[:, 0], [np.std([1.0, 2.0, 6.0]), 5.0])
    assert (z[1] == 0).all()
