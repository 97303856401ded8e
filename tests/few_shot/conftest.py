"""Meta-trained estimators, made once; tests clone them."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import clone

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.learners import LEARNERS
from metaest.tasks import TaskSet

N_COLUMNS = 4


def make_pool(seed: int = 0, n_classes: int = 10, n_rows: int = 12) -> tuple:
    """Make rows of many classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(scale=2, size=(n_classes, N_COLUMNS))
    X = np.repeat(centres, n_rows, axis=0) + rng.normal(size=(n_classes * n_rows, N_COLUMNS))
    return X, np.repeat(np.arange(n_classes), n_rows)


def make_lines(seed: int = 0, n_tasks: int = 10) -> list[tuple]:
    """Make linear regression tasks, far from zero."""
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(n_tasks):
        X = rng.normal(size=(30, N_COLUMNS))
        tasks.append((X, 50 + 10 * X @ rng.normal(size=N_COLUMNS)))
    return tasks


@functools.cache
def _meta_fitted(kind: str, learner: str) -> MetaFewShotClassifier | MetaFewShotRegressor:
    if kind == "classification":
        clf = MetaFewShotClassifier(LEARNERS[learner](), n_ways=3, n_shots=3, n_queries=5)
        clf.set_params(n_episodes=32, random_state=0)
        return clf.fit_meta(*make_pool())
    learner_ = LEARNERS[learner]()
    if learner in ("maml", "anil"):
        learner_.set_params(inner_lr=0.1)  # larger steps, for so short a meta-training
    reg = MetaFewShotRegressor(learner_, n_shots=8, n_episodes=160, random_state=0)
    reg.set_params(meta_lr=0.01)
    return reg.fit_meta(TaskSet.from_datasets(make_lines(n_tasks=40)))


@pytest.fixture
def meta_fitted() -> Callable:
    """Return meta_fitted(kind, learner) -> a fresh, meta-trained, unfitted estimator."""
    return lambda kind, learner: clone(_meta_fitted(kind, learner))


@pytest.fixture
def clf(meta_fitted: Callable) -> MetaFewShotClassifier:
    return meta_fitted("classification", "maml")


@pytest.fixture
def reg(meta_fitted: Callable) -> MetaFewShotRegressor:
    return meta_fitted("regression", "ridge")


@pytest.fixture
def task() -> tuple:
    """Give a new task: rows and labels of four unseen classes."""
    return make_pool(seed=1, n_classes=4)


@pytest.fixture
def line() -> tuple:
    """Give a new regression task."""
    return make_lines(seed=1, n_tasks=1)[0]
