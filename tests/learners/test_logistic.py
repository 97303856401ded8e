"""The logistic regression among the companions: its penalty."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest.learners._logistic import fit_logistic, predict_logistic
from metaest.learners._opinions import folds

NUMBERS = np.zeros(3, dtype=bool)


def task(n_rows: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 3))
    return X, (X[:, 0] + noise * rng.normal(size=n_rows) > 0).astype(int)


def model(inverse_penalty: float):
    return make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=300))


def predict(tables: dict[str, np.ndarray], X: np.ndarray) -> np.ndarray:
    state = {name: torch.from_numpy(value)[None] for name, value in tables.items()}
    return predict_logistic(state, torch.from_numpy(X)[None])[0].numpy()


@pytest.mark.parametrize(
    ("n_rows", "noise", "expected"),
    [(200, 0.0, 10.0), (200, 30.0, 0.1), (200, 0.7, 1.0), (19, 0.0, 1.0), (2001, 0.0, 1.0)],
)
def test_rows_left_out_choose_the_penalty(n_rows: int, noise: float, expected: float) -> None:
    X, y = task(n_rows, noise)
    tables, _ = fit_logistic(X, y, 2, NUMBERS)
    found = predict(tables, X)
    np.testing.assert_allclose(found, model(expected).fit(X, y).predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.7, 30.0])
def test_what_is_said_of_rows_left_out(noise: float) -> None:
    X, y = task(100, noise)
    _, said = fit_logistic(X, y, 2, NUMBERS)
    losses = {}
    for inverse in (0.1, 1.0, 10.0):
        expected = np.empty((100, 2))
        for own, other in folds(y):
            expected[own] = model(inverse).fit(X[other], y[other]).predict_proba(X[own])
        losses[inverse] = -np.log(expected[np.arange(100), y].clip(0.003)).mean()
        if np.allclose(said, expected, atol=1e-6):
            chosen = inverse
    assert losses[chosen] == min(losses.values())


def test_too_few_rows_are_not_left_out() -> None:
    X, y = task(19, 0.7)
    assert np.isnan(fit_logistic(X, y, 2, NUMBERS)[1]).all()
