"""The fast path (predict_episodes) gives the scores of the slow one."""

import numpy as np
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import accuracy_score, make_scorer, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from tests.model_selection.fakes import FastMean, FastNearestMean


def other_rows(estimator, X, y):
    """Asks for other rows than the query set and for a fitted attribute."""
    assert is_classifier(estimator)
    return estimator.means_.mean() + estimator.predict_proba(X[:2]).max()


def own_score(estimator, X, y):
    return estimator.score(X, y) + hasattr(estimator, "decision_function")


def both(estimator, X, y, cv, **params):
    pair = [
        cross_validate_episodes(estimator, X, y, cv=cv, fast=fast, **params)
        for fast in (True, False)
    ]
    return [next(iter(result.scores.values())) for result in pair]


SCORINGS = [
    None,
    "accuracy",
    "balanced_accuracy",
    "f1_macro",
    "roc_auc_ovr",
    "neg_log_loss",
    "top_k_accuracy",
    ["accuracy", "neg_log_loss", "f1_macro"],
    {"a": "accuracy", "b": make_scorer(accuracy_score)},
    make_scorer(roc_auc_score, response_method="predict_proba", multi_class="ovo"),
    other_rows,
    own_score,
]


@pytest.mark.parametrize("scoring", SCORINGS, ids=[f"scoring{i}" for i in range(len(SCORINGS))])
def test_any_scorer_gives_the_same_score(blobs, cv, scoring):
    fast, slow = both(FastNearestMean(), *blobs, cv, scoring=scoring)
    assert fast.keys() == slow.keys()
    for metric in fast:
        assert fast[metric].tolist() == slow[metric].tolist()


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "f1_macro", "neg_brier_score"])
def test_binary_scorers_give_the_same_score(blobs, scoring):
    cv = EpisodicSplit(30, n_ways=2, n_shots=1, n_queries=6, random_state=1)
    fast, slow = both(FastNearestMean(), blobs[0], blobs[1] % 2, cv, scoring=scoring)
    assert fast[scoring].tolist() == slow[scoring].tolist()


@pytest.mark.parametrize("labels", ["str", "object", "frame", "list"])
def test_labels_and_tables_of_any_type(blobs, cv, labels):
    X, y = blobs[0], np.array([f"class {c}" for c in blobs[1]])
    if labels == "frame":
        pandas = pytest.importorskip("pandas")
        X, y = pandas.DataFrame(X).add_prefix("x"), pandas.Series(y)
    elif labels == "list":
        y = list(y)
    else:
        y = y.astype(labels)
    fast, slow = both(FastNearestMean(), X, y, cv)
    assert fast["accuracy"].tolist() == slow["accuracy"].tolist()
    assert 0.4 < fast["accuracy"].mean() < 1


@pytest.mark.parametrize(
    "scoring", [None, "r2", "neg_mean_squared_error", ["r2", "neg_max_error"]], ids=str
)
def test_regressors(blobs, scoring):
    X = blobs[0]
    y = X @ [1.0, 2.0, 0.0, 0.5]
    cv = EpisodicSplit(30, n_shots=5, n_queries=8, random_state=0)
    fast, slow = both(FastMean(), X, y, cv, scoring=scoring)
    for metric in fast:
        assert fast[metric].tolist() == slow[metric].tolist()
    assert is_regressor(FastMean())


def test_the_fast_path_fits_nothing_and_goes_in_chunks(blobs, cv, monkeypatch):
    monkeypatch.setattr(FastNearestMean, "fits", 0)
    monkeypatch.setattr(FastNearestMean, "calls", 0)
    cross_validate_episodes(FastNearestMean(), *blobs, cv=cv, scoring=["accuracy", "neg_log_loss"])
    assert FastNearestMean.fits == 0
    assert FastNearestMean.calls == 2  # 60 episodes
    cross_validate_episodes(FastNearestMean(), *blobs, cv=cv, fast=False)
    assert FastNearestMean.fits == 60


@pytest.mark.parametrize(
    "wrap",
    [lambda e: make_pipeline(StandardScaler(), e), lambda e: CalibratedClassifierCV(e, cv=2)],
    ids=["pipeline", "calibration"],
)
def test_a_wrapper_is_fitted_as_a_whole(blobs, cv, wrap):
    X, y = blobs
    model = wrap(FastNearestMean())
    result = cross_validate_episodes(
        model, X, y, cv=EpisodicSplit(2, n_shots=3, n_queries=5, random_state=0)
    )
    loop = [
        clone(model).fit(X[s], y[s]).score(X[q], y[q])
        for s, q in EpisodicSplit(2, n_shots=3, n_queries=5, random_state=0).split(X, y)
    ]
    assert next(iter(result.scores.values()))["accuracy"].tolist() == loop


def test_an_episode_that_fails_does_not_take_its_chunk_along(blobs, cv):
    class Picky(FastNearestMean):
        def fit(self, X, y):
            if 0 in y:
                raise RuntimeError("no class 0, please")
            return super().fit(X, y)

        def predict_episodes(self, X, y, episodes):
            for support, _ in episodes:
                Picky().fit(X[support], y[support])
            return super().predict_episodes(X, y, episodes)

    X, y = blobs
    with pytest.raises(RuntimeError, match="no class 0"):
        cross_validate_episodes(Picky(), X, y, cv=cv)
    with pytest.warns(match="of 60 episodes of 'Picky' failed"):
        result = cross_validate_episodes(Picky(), X, y, cv=cv, error_score=np.nan)
    failed = [0 in y[support] for support, _ in cv.split(X, y)]
    assert np.isnan(result.scores["Picky"]["accuracy"]).tolist() == failed


class FailsTogether(FastNearestMean):
    """Cannot adapt episodes at once, nor an episode with class 0 unless that is allowed."""

    def __init__(self, allowed=False):
        self.allowed = allowed

    def fit(self, X, y):
        if 0 in y and not self.allowed:
            raise RuntimeError("no class 0, please")
        return super().fit(X, y)

    def predict_episodes(self, X, y, episodes):
        raise RuntimeError("too many at once")


@pytest.mark.parametrize("fast", [True, False])
def test_an_error_tells_the_episode(blobs, fast):
    X, y = blobs
    rows = [np.flatnonzero(y == c) for c in range(3)]
    pairs = [(np.r_[rows[a][:2], rows[b][:2]], rows[b][2:]) for a, b in [(1, 2), (2, 1), (0, 1)]]
    with pytest.raises(RuntimeError, match="no class 0") as failed:
        cross_validate_episodes(FailsTogether(), X, y, cv=pairs, fast=fast)
    assert failed.value.__notes__ == ["This was episode 2 of estimator 'FailsTogether'."]


def test_an_error_of_all_at_once_stays_an_error(blobs, cv):
    with pytest.raises(RuntimeError, match="too many at once") as failed:
        cross_validate_episodes(FailsTogether(allowed=True), *blobs, cv=cv)
    (note,) = failed.value.__notes__
    assert note == "This was in episodes 0 to 49 of 'FailsTogether', adapted at once."


def test_a_subclass_with_a_prediction_of_its_own_is_asked(blobs, cv):
    class Contrary(FastNearestMean):
        def predict(self, X):
            return self.classes_[self.predict_proba(X).argmin(1)]

    fast, slow = both(Contrary(), *blobs, cv)
    assert fast["accuracy"].tolist() == slow["accuracy"].tolist()
    assert fast["accuracy"].mean() < 0.3


def test_a_scorer_may_ask_predict_for_more(blobs, cv):
    class Careful(FastMean):
        def predict(self, X, return_std=False):
            mean = super().predict(X)
            return (mean, np.ones_like(mean)) if return_std else mean

        def predict_episodes(self, X, y, episodes):
            return super().predict_episodes(X, y, episodes)

    def scorer(estimator, X, y):
        mean, std = estimator.predict(X, return_std=True)
        return -float(np.mean(((y - mean) / std) ** 2))

    fast, slow = both(Careful(), blobs[0], blobs[1] + 0.5, cv, scoring=scorer)
    assert {k: v.tolist() for k, v in fast.items()} == {k: v.tolist() for k, v in slow.items()}
