"""Meta-trained estimators: many episodes at once, the scores of one after another."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.model_selection import EpisodicSplit, TaskSplit, cross_validate_episodes

BUDGET = {"n_episodes": 16, "meta_batch_size": 4, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    train, test = next(TaskSplit(2, random_state=0).split(X, y))
    assert np.intersect1d(y[train], y[test]).size == 0
    return X[train], y[train], X[test], y[test]


@pytest.fixture(scope="module")
def protonet(digits):
    return MetaFewShotClassifier("protonet", n_ways=3, **BUDGET).fit_meta(*digits[:2])


def both(estimator, X, y, cv, **params):
    fast, slow = (
        cross_validate_episodes(estimator, X, y, cv=cv, fast=fast, **params)
        for fast in (True, False)
    )
    (fast,), (slow,) = fast.scores.values(), slow.scores.values()
    return fast, slow


def test_protonet_has_the_scores_of_the_loop(digits, protonet):
    X, y = digits[2:]
    cv = EpisodicSplit(20, n_shots=1, random_state=0)
    loop = [clone(protonet).fit(X[s], y[s]).score(X[q], y[q]) for s, q in cv.split(X, y)]
    result = cross_validate_episodes(protonet, X, y, cv=cv)
    assert result.scores["MetaFewShotClassifier"]["accuracy"].tolist() == loop


@pytest.mark.parametrize("shape", [{"n_ways": (2, 5), "n_shots": (1, 4)}, {"n_ways": 3}], ids=str)
def test_protonet_with_any_scorer_and_shape(digits, protonet, shape):
    cv = EpisodicSplit(12, n_queries=(3, 10), random_state=0, **shape)
    scoring = ["accuracy", "neg_log_loss", "balanced_accuracy"]
    fast, slow = both(protonet, *digits[2:], cv, scoring=scoring)
    assert fast["accuracy"].tolist() == slow["accuracy"].tolist()
    for metric in scoring:
        assert fast[metric] == pytest.approx(slow[metric], rel=1e-4)


@pytest.mark.parametrize("learner", ["matching", "maml", "anil", "reptile", "ridge", "finetune"])
def test_other_learners(digits, learner):
    clf = MetaFewShotClassifier(learner, n_ways=3, **BUDGET).fit_meta(*digits[:2])
    cv = EpisodicSplit(6, n_ways=3, n_shots=2, n_queries=4, random_state=0)
    fast, slow = both(clf, *digits[2:], cv, scoring="neg_log_loss")
    assert fast["neg_log_loss"] == pytest.approx(slow["neg_log_loss"], rel=1e-3)


def test_regressor_over_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 20)
    X = rng.uniform(-5, 5, size=(240, 1))
    y = np.sin(X[:, 0] + groups)
    seen = groups < 8
    reg = MetaFewShotRegressor(n_shots=5, **BUDGET).fit_meta(X[seen], y[seen], groups=groups[seen])
    cv = EpisodicSplit(12, n_shots=5, n_queries=10, random_state=0)
    rest = (X[~seen], y[~seen], cv)
    fast, slow = both(reg, *rest, groups=groups[~seen], scoring="neg_mean_squared_error")
    for metric, values in fast.items():
        assert values == pytest.approx(slow[metric], rel=1e-3)


@pytest.mark.parametrize(
    ("learner", "random_state"),
    [("auto", 0), ("reptile", np.random.RandomState(0))],
    ids=["seed", "state"],
)
def test_untrained_estimators_work_too(digits, learner, random_state):
    cv = EpisodicSplit(4, n_ways=3, n_shots=2, n_queries=4, random_state=0)
    fast, slow = both(MetaFewShotClassifier(learner, random_state=random_state), *digits[2:], cv)
    assert fast["accuracy"].tolist() == slow["accuracy"].tolist()


def test_workers_change_nothing(digits, protonet):
    cv = EpisodicSplit(60, n_shots=1, random_state=0)
    alone, together = (
        cross_validate_episodes(protonet, *digits[2:], cv=cv, scoring="neg_log_loss", n_jobs=n)
        for n in (1, 2)
    )
    for own, other in zip(alone.scores.values(), together.scores.values(), strict=True):
        assert own["neg_log_loss"].tolist() == other["neg_log_loss"].tolist()
