"""Checks of a learner inside its estimator: it learns, and it can be saved."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import ttest_rel

from metaest._checks import Kind
from metaest.few_shot import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.learners import Learner
from metaest.tasks import TaskSet

_Estimator = MetaFewShotClassifier | MetaFewShotRegressor

#: Columns of the toy tasks, and how many of them matter.
N_COLUMNS, N_INFORMATIVE = 10, 3

#: Rows that a held-out task is learned from: of a regression fewer than columns.
N_SUPPORT = {"classification": 12, "regression": 6}

#: Settings of the estimators; `check_learning` takes others.
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {
        "n_ways": 4,
        "n_shots": 3,
        "n_queries": 6,
        "n_episodes": 960,
        "meta_batch_size": 8,
        "meta_lr": 5e-3,
    },
    "regression": {
        "backbone": "residual",
        "n_shots": 6,
        "n_queries": 12,
        "n_episodes": 960,
        "meta_batch_size": 8,
        "meta_lr": 5e-3,
    },
}


def toy_tasks(kind: Kind, n_tasks: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Make tasks whose rows are noise but for three columns, the same ones in all tasks.

    Parameters
    ----------
    kind : {"classification", "regression"}
        Classes are clusters; a regression is linear, with weights around a common mean.
    n_tasks : int
    seed : int

    Returns
    -------
    list of (X, y)
        X of shape (60, 10).
    """
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(n_tasks):
        X = rng.normal(size=(60, N_COLUMNS))
        if kind == "classification":
            y: np.ndarray = np.arange(60) % 4
            centres = rng.normal(size=(4, N_INFORMATIVE))
            X[:, :N_INFORMATIVE] = centres[y] + 0.3 * X[:, :N_INFORMATIVE]
        else:
            weights = 1 + 0.5 * rng.normal(size=N_INFORMATIVE)
            y = X[:, :N_INFORMATIVE] @ weights + 0.1 * rng.normal(size=60)
        tasks.append((X, y))
    return tasks


def check_learning(
    learner: Learner, kind: Kind, *, settings: Mapping[str, Any] | None = None
) -> None:
    """Meta-training beats an untrained copy on held-out tasks, with p < 0.01.

    The tasks are :func:`toy_tasks`; the test is a paired t-test over 60 of them.

    Parameters
    ----------
    learner : Learner
    kind : {"classification", "regression"}
    settings : mapping, default=None
        Parameters of the estimator that differ from the suite's own.
    """
    estimator = _make_estimator(learner, kind, settings)
    trained = estimator.fit_meta(TaskSet.from_datasets(toy_tasks(kind, 100, seed=0)))
    untrained = _make_estimator(learner, kind, settings)
    gains = np.array([_score(trained, task) for task in toy_tasks(kind, 60, seed=1)])
    starts = np.array([_score(untrained, task) for task in toy_tasks(kind, 60, seed=1)])
    p_value = ttest_rel(gains, starts, alternative="greater").pvalue
    assert p_value < 0.01, (
        f"after meta-training the mean score on held-out tasks is {gains.mean():.3f}, without it "
        f"{starts.mean():.3f} (p = {p_value:.2g}): the learner has not learned to learn"
    )


def check_save_and_load(learner: Learner, kind: Kind) -> None:
    """Save and load an estimator: it predicts the same, and goes on to fit the same."""
    settings = {"n_episodes": 8, "meta_batch_size": 4, "validation_fraction": 0}
    estimator = _make_estimator(learner, kind, settings)
    estimator.fit_meta(TaskSet.from_datasets(toy_tasks(kind, 8, seed=0)))
    (X, y), (other_X, other_y) = toy_tasks(kind, 2, seed=1)
    estimator.fit(X[:20], y[:20])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "estimator"
        estimator.save(path)
        copy = type(estimator).load(path)
    found, expected = copy.predict(X), estimator.predict(X)
    assert np.array_equal(found, expected), "predictions changed by save and load"
    found = copy.fit(other_X[:20], other_y[:20]).predict(other_X)
    expected = estimator.fit(other_X[:20], other_y[:20]).predict(other_X)
    assert np.array_equal(found, expected), "what save and load kept does not fit the same"


def _make_estimator(learner: Learner, kind: Kind, settings: Mapping[str, Any] | None) -> _Estimator:
    cls = MetaFewShotClassifier if kind == "classification" else MetaFewShotRegressor
    estimator = cls(learner, random_state=0)
    return estimator.set_params(**SETTINGS[kind]).set_params(**(settings or {}))


def _score(estimator: _Estimator, task: tuple[np.ndarray, np.ndarray]) -> float:
    """Accuracy, or minus the mean squared error, of the rows that are not learned from."""
    X, y = task
    n = N_SUPPORT[estimator._kind]
    predicted = estimator.fit(X[:n], y[:n]).predict(X[n:])
    if isinstance(estimator, MetaFewShotClassifier):
        return float(np.mean(predicted == y[n:]))
    return -float(np.mean((predicted - y[n:]) ** 2))
