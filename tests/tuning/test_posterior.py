"""What each search fits for itself, and how far it goes from what past ones say."""

import numpy as np
import pytest
import torch
from scipy import stats

from metaest.tuning._posterior import Features, Posterior, Prior

SPREAD = torch.tensor([0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 0.5], dtype=torch.float64)
CENTER = torch.tensor([0.0, 0.0, -6.0, -2.0, -2.0, -2.0, 1.0], dtype=torch.float64)
LEARNED = Prior(CENTER, SPREAD, has_mean=True)


def densities(parameters: np.ndarray, has_mean: bool) -> float:
    z = (parameters - CENTER.numpy()) / SPREAD.numpy()
    last = stats.t(2) if has_mean else stats.norm()
    return -stats.norm.logpdf(z[:-1]).sum() - last.logpdf(z[-1])


@pytest.mark.parametrize("has_mean", [False, True])
def test_penalties_are_minus_log_densities(has_mean: bool) -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 7))
    prior = Prior(CENTER, SPREAD, has_mean)
    found = prior.penalty(torch.from_numpy(one)) - prior.penalty(torch.from_numpy(two))
    assert float(found) == pytest.approx(densities(one, has_mean) - densities(two, has_mean))


def fitted_factor(sign: float) -> float:
    """Return the factor of a mean that is right but for its sign."""
    rng = np.random.default_rng(1)
    x = torch.from_numpy(rng.uniform(-1, 1, size=(12, 2)))
    mean = torch.sin(3 * x[:, 0]) + x[:, 1]
    scores = sign * mean.numpy() + 0.1 * rng.normal(size=12)
    posterior = Posterior(Features(x, x, x, mean), scores, LEARNED)
    return float(posterior.parameters[-1] / mean.std() * scores.std())


def test_a_mean_that_is_right_keeps_its_factor() -> None:
    assert fitted_factor(1.0) == pytest.approx(1.0, abs=0.3)


def test_a_mean_that_is_the_wrong_way_round_is_turned() -> None:
    assert fitted_factor(-1.0) < -0.5
