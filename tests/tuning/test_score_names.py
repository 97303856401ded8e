"""A score has one name, in a history and in the results of episodes."""

from typing import Any

import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    get_scorer,
    log_loss,
    make_scorer,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest.model_selection._scoring import name_score
from metaest.tuning._search_identity import metric_name


class OwnScore(ClassifierMixin, BaseEstimator):
    def score(self, X: Any, y: Any) -> float:
        return 0.5


def half_score(estimator: Any, X: Any, y: Any) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("scoring", "estimator", "name"),
    [
        ("f1_macro", Ridge(), "f1_macro"),
        (None, LogisticRegression(), "accuracy"),
        (None, make_pipeline(StandardScaler(), make_pipeline(Ridge())), "r2"),
        (None, KMeans(), "score"),
        (None, OwnScore(), "score"),
        (None, LogisticRegressionCV(scoring="f1_macro"), "score"),
        (make_scorer(balanced_accuracy_score), Ridge(), "balanced_accuracy"),
        (make_scorer(log_loss, greater_is_better=False), Ridge(), "neg_log_loss"),
        (make_scorer(lambda y, z: accuracy_score(y, z)), Ridge(), "score"),
        (get_scorer("accuracy"), Ridge(), "accuracy"),
        (half_score, Ridge(), "half_score"),
        (lambda e, X, y: 0.5, Ridge(), "score"),
    ],
)
def test_one_name_for_a_score(scoring: Any, estimator: Any, name: str) -> None:
    assert metric_name(scoring, None, estimator) == name
    assert name_score(scoring, {"a": estimator}) == name


def test_the_name_of_one_score_of_several() -> None:
    scoring = {"mine": make_scorer(balanced_accuracy_score), "loss": "neg_log_loss"}
    assert metric_name(scoring, "mine", Ridge()) == "balanced_accuracy"
    assert metric_name(scoring, "loss", Ridge()) == "neg_log_loss"
    assert metric_name(["accuracy", "f1"], "f1", Ridge()) == "f1"
    assert name_score(None, {"a": Ridge(), "b": LogisticRegression()}) == "score"
