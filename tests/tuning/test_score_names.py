"""A score has one name, in a history and in the results of episodes."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    fbeta_score,
    get_scorer,
    log_loss,
    make_scorer,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest.exceptions import InvalidParameterError
from metaest.model_selection._scoring import name_score
from metaest.tuning import History, MetaSearchCV
from metaest.tuning._callables import code_of
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
        (get_scorer("accuracy"), Ridge(), "accuracy"),
        (half_score, Ridge(), "half_score"),
        (get_scorer("f1"), Ridge(), "f1"),
        (get_scorer("f1_macro"), Ridge(), "f1_macro"),
        (get_scorer("roc_auc_ovr"), Ridge(), "roc_auc_ovr"),
        (make_scorer(fbeta_score, beta=2), Ridge(), "fbeta(beta=2)"),
        (
            make_scorer(fbeta_score, beta=1, average="macro"),
            Ridge(),
            "fbeta(average='macro', beta=1)",
        ),
    ],
)
def test_one_name_for_a_score(scoring: Any, estimator: Any, name: str) -> None:
    assert metric_name(scoring, None, estimator) == name
    assert name_score(scoring, {"a": estimator}) == name


class Weighted:
    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        return float(self.weight)

    def score(self, estimator: Any, X: Any, y: Any) -> float:
        return float(self.weight)


def nested(weight: Any) -> Callable[..., Any]:
    def score(estimator: Any, X: Any, y: Any) -> float:
        return float(weight)

    return score


def with_default(weight: Any) -> Callable[..., Any]:
    def score(estimator: Any, X: Any, y: Any, weight: Any = weight) -> float:
        return float(weight)

    return score


@pytest.mark.parametrize(
    "make",
    [
        lambda w: lambda e, X, y: w,
        lambda w: (lambda e, X, y: 0.5) if w == 1 else (lambda e, X, y: 0.25),
        lambda w: make_scorer(lambda y, z: w * accuracy_score(y, z)),
        lambda w: make_scorer(lambda y, z, beta: beta, beta=w),
        lambda w: make_scorer(lambda y, z: 0.5, greater_is_better=w == 1),
        lambda w: lambda e, X, y: (lambda: w)(),
        lambda w: partial(half_score, X=w),
        lambda w: Weighted(w),
        lambda w: Weighted(lambda: w),  # cannot be pickled
        lambda w: Weighted(w).score,
        lambda w: Weighted(np.full(3, w)),
        nested,
        with_default,
    ],
    ids=[
        "closure",
        "code",
        "scorer",
        "scorer's options",
        "scorer's sign",
        "inner",
        "partial",
        "object",
        "object with a lambda",
        "method",
        "array",
        "nested",
        "default",
    ],
)
def test_scores_without_a_name_are_told_apart(make: Callable[[Any], Any]) -> None:
    one, again, other = (metric_name(make(w), None, Ridge()) for w in (1, 1, 2))
    assert one == again != other
    assert one.startswith("score:")


def test_the_code_of_a_lambda_is_the_same_in_another_session() -> None:
    source = "lambda e, X, y: float(len({'a', 'b', None} | {t for t in ('a', 1)} or mine))"
    program = (
        "from metaest.tuning._callables import code_of; import re; mine = 2; "
        f"print(code_of({source}), code_of(lambda e, X, y: 'x' in {{'a', 'b', 'c'}}))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_function_that_refers_to_itself_has_a_code() -> None:
    def endless(estimator: Any, X: Any, y: Any) -> Any:
        return endless(estimator, X, y)

    assert code_of(endless) == code_of(endless) is not None
    assert code_of("accuracy") is code_of(half_score) is code_of(accuracy_score) is None


def test_the_metric_that_refit_names_is_part_of_the_name() -> None:
    assert metric_name(half_score, "gain", Ridge()) == "half_score:gain"
    assert metric_name(half_score, "cost", Ridge()) == "half_score:cost"


def two_scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    return {"gain": float(estimator.score(X, y)), "cost": 1000.0}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((two_scores, "gain"), (two_scores, "cost")),
        ((lambda e, X, y: e.score(X, y), True), (lambda e, X, y: 1000 * e.score(X, y), True)),
        (
            (make_scorer(fbeta_score, average="macro", beta=1), True),
            (make_scorer(fbeta_score, average="macro", beta=2), True),
        ),
    ],
    ids=["refit", "lambda", "beta"],
)
def test_a_search_learns_from_the_same_score_alone(one: Any, other: Any) -> None:
    X, y = load_iris(return_X_y=True)
    history = History()
    origins = []
    for scoring, refit in (one, other, one):
        search = MetaSearchCV(
            LogisticRegression(max_iter=1000),
            {"C": [0.01, 0.1, 1.0, 10.0]},
            history=history,
            n_trials=3,
            random_state=0,
            scoring=scoring,
            refit=refit,
        ).fit(X, y)
        origins.append(set(search.warm_start_report_.origins))
    assert "portfolio" in origins[2]
    assert origins[0] == origins[1] == {"random"}
    metrics = [record.metric for record in history.tasks()]
    assert metrics[0] == metrics[2] != metrics[1]


def test_the_name_of_one_score_of_several() -> None:
    scoring = {"mine": make_scorer(balanced_accuracy_score), "loss": "neg_log_loss"}
    assert metric_name(scoring, "mine", Ridge()) == "balanced_accuracy"
    assert metric_name(scoring, "loss", Ridge()) == "neg_log_loss"
    assert metric_name(["accuracy", "f1"], "f1", Ridge()) == "f1"
    assert name_score(lambda e, X, y: 0.5, {"a": Ridge()}) == "score"
    assert name_score(make_scorer(lambda y, z: 0.5), {"a": Ridge()}) == "score"
    with pytest.raises(InvalidParameterError, match="scoring=None is the accuracy of classifiers"):
        name_score(None, {"a": Ridge(), "b": LogisticRegression()})
