"""Data for the tests of episodic validation."""

import numpy as np
import pytest

from metaest.model_selection import EpisodicSplit


@pytest.fixture(scope="session")
def blobs():
    """Eight overlapping classes of 20 rows."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(8), 20)
    X = rng.normal(size=(8, 4))[y] + rng.normal(scale=0.7, size=(160, 4))
    return X, y


@pytest.fixture
def cv():
    return EpisodicSplit(60, n_ways=3, n_shots=2, n_queries=5, random_state=0)
