"""What fit_meta learned survives everything that scikit-learn does to an estimator."""

import copy
import pickle
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from metaest import MetaFewShotClassifier
from metaest.learners import LEARNERS, MAML, BayesianMAML, ProtoNet

ESTIMATORS = [(kind, name) for name, cls in LEARNERS.items() for kind in cls.kinds]


@pytest.mark.parametrize(("kind", "learner"), ESTIMATORS)
def test_fit_meta_does_not_fit(meta_fitted, kind, learner):
    estimator = meta_fitted(kind, learner)
    assert estimator.meta_state_.source == "fit_meta"
    with pytest.raises(NotFittedError):
        check_is_fitted(estimator)
    with pytest.raises(NotFittedError):
        estimator.predict([[0.0] * 4])


def test_fit_meta_does_not_unfit(clf, task):
    X, y = task
    clf.set_params(n_episodes=1).fit(X, y)
    before = clf.predict_proba(X)
    old = clf.meta_state_
    clf.fit_meta(X, y)
    assert clf.meta_state_ is not old
    np.testing.assert_array_equal(clf.predict_proba(X), before)  # until the next fit
    assert not np.array_equal(clf.fit(X, y).predict_proba(X), before)


def test_meta_state_is_missing_before_any_fit():
    clf = MetaFewShotClassifier(random_state=0)
    assert not hasattr(clf, "meta_state_")
    with pytest.raises(AttributeError, match="no meta_state_ before fit_meta or fit"):
        _ = clf.meta_state_


def test_meta_state_is_read_only(clf):
    with pytest.raises(AttributeError):
        clf.meta_state_ = None


def test_plain_fit_shows_the_untrained_state_and_clones_start_without(task):
    clf = MetaFewShotClassifier("protonet", random_state=0).fit(*task)
    assert clf.meta_state_.source == "seeded"
    assert not hasattr(clone(clf), "meta_state_")


@pytest.mark.parametrize(("kind", "learner"), ESTIMATORS)
def test_clone_carries_it_by_reference(meta_fitted, kind, learner, task):
    estimator = meta_fitted(kind, learner).fit(*task)
    copied = clone(estimator)
    assert copied.meta_state_ is estimator.meta_state_
    with pytest.raises(NotFittedError):
        check_is_fitted(copied)


def test_second_fit_is_as_the_first(clf, task):
    X, y = task
    first = clf.fit(X, y).predict_proba(X)
    state = clf.meta_state_
    other = clf.fit(X[y < 2], np.array(["a", "b"])[y[y < 2]])
    assert other.predict_proba(X).shape == (len(X), 2)
    np.testing.assert_array_equal(clf.fit(X, y).predict_proba(X), first)
    assert clf.meta_state_ is state


@pytest.mark.parametrize(("kind", "learner"), ESTIMATORS)
@pytest.mark.parametrize("copier", ["pickle", "joblib", "deepcopy"])
def test_copies_predict_the_same(meta_fitted, kind, learner, copier, task, tmp_path: Path):
    X, y = task
    estimator = meta_fitted(kind, learner).fit(X, y)
    if copier == "pickle":
        copied = pickle.loads(pickle.dumps(estimator))
    elif copier == "joblib":
        joblib.dump(estimator, tmp_path / "estimator.joblib")
        copied = joblib.load(tmp_path / "estimator.joblib")
    else:
        copied = copy.deepcopy(estimator)
    np.testing.assert_array_equal(copied.predict(X), estimator.predict(X))
    assert copied.meta_state_.source == "fit_meta"
    np.testing.assert_array_equal(copied.fit(X, y).predict(X), estimator.predict(X))


def test_pickle_holds_the_weights_once(clf, task):
    clf.fit(*task).predict(task[0])
    n_bytes = sum(w.numel() * w.element_size() for w in clf.meta_state_.weights.values())
    n_bytes += sum(w.numel() * w.element_size() for w in clf.state_.values())
    assert len(pickle.dumps(clf)) < n_bytes + 20_000  # not the cached networks too


def test_grid_search_over_inner_steps(clf, task):
    X, y = task
    search = GridSearchCV(clf, {"learner__inner_steps": [0, 1, 5]}, cv=3).fit(X, y)
    assert search.best_estimator_.meta_state_ is clf.meta_state_
    scores = search.cv_results_["mean_test_score"]
    assert scores[0] < scores[2]  # without a step the zero head knows nothing
    assert search.best_params_["learner__inner_steps"] > 0


def test_pipeline(clf, task):
    X, y = task
    pipeline = make_pipeline(FunctionTransformer(), clf)
    expected = clone(clf).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clone(pipeline).fit(X, y).predict_proba(X), expected)
    assert clone(pipeline)[-1].meta_state_ is clf.meta_state_


def test_bagging(clf, task):
    bag = BaggingClassifier(clf, n_estimators=3, random_state=0).fit(*task)
    assert {id(member.meta_state_) for member in bag.estimators_} == {id(clf.meta_state_)}
    assert bag.score(*task) > 0.5


def test_calibration(clf, task):
    X, y = task
    calibrated = CalibratedClassifierCV(clf, cv=3).fit(X, y)
    for member in calibrated.calibrated_classifiers_:
        assert member.estimator.meta_state_ is clf.meta_state_
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_cross_validation_in_parallel_gives_the_same(clf, task, backend):
    serial = cross_val_score(clf, *task, cv=4)
    with joblib.parallel_config(backend, n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(clf, *task, cv=4), serial)


def test_threads_do_not_share_a_network(clf, task):
    # MAML swaps its network's parameters while it runs.
    X, y = task
    rng = np.random.default_rng(0)
    parts = [rng.choice(len(X), 24, replace=False) for _ in range(40)]
    work = [joblib.delayed(_fit_predict)(clf, X, y, rows) for rows in parts]
    threads = joblib.Parallel(n_jobs=4, backend="threading")(work)
    for rows, found in zip(parts, threads, strict=True):
        np.testing.assert_array_equal(found, _fit_predict(clf, X, y, rows))


def _fit_predict(clf, X, y, rows):
    return clone(clf).fit(X[rows], y[rows]).predict_proba(X)


def test_fit_time_parameters_keep_it(clf, task):
    X, y = task
    state = clf.meta_state_
    one = clf.set_params(learner__inner_steps=1).fit(X, y).predict_proba(X)
    five = clf.set_params(learner__inner_steps=5).fit(X, y).predict_proba(X)
    assert clf.meta_state_ is state
    assert not np.allclose(one, five)


def test_changing_the_learner_after_fit_does_not_change_predictions(clf, task):
    X, y = task
    before = clf.fit(X, y).predict_proba(X)
    clf.set_params(learner__inner_steps=1)
    np.testing.assert_array_equal(clf.predict_proba(X), before)


def test_a_name_stays_a_name():
    clf = MetaFewShotClassifier("maml")
    assert clf.learner == "maml"
    assert clf.fit([[0.0], [1.0]], [0, 1]).learner == "maml"
    assert isinstance(clf.learner_, MAML)


def test_fit_meta_twice_with_a_seed_is_the_same(task):
    X, y = task
    clf = MetaFewShotClassifier(n_ways=2, n_shots=2, n_queries=3, n_episodes=16, random_state=3)
    first = clf.fit_meta(X, y).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(clf.fit_meta(X, y).fit(X, y).predict_proba(X), first)
    clf.set_params(random_state=4)
    assert not np.array_equal(clf.fit_meta(X, y).fit(X, y).predict_proba(X), first)


def test_meta_training_in_threads_is_as_alone(meta_fitted, task):
    alone = meta_fitted("classification", "protonet").set_params(n_episodes=8)
    X, y = task

    def weights(_):
        return clone(alone).fit_meta(X, y).meta_state_.weights

    first, *others = joblib.Parallel(4, backend="threading")(map(joblib.delayed(weights), range(8)))
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


@contextmanager
def _double_precision():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("mode", [_double_precision, torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize(
    ("learner", "shape"),
    [
        (MAML(inner_steps=1), (4,)),
        (BayesianMAML(n_particles=2, inner_steps=1), (4,)),
        (ProtoNet(), (1, 4, 4)),
    ],
    ids=["maml", "bayesian_maml", "images"],
)
def test_whatever_the_caller_set_in_torch(mode, learner, shape):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, *shape)), np.repeat(np.arange(4), 6)
    settings = {"n_ways": 2, "n_shots": 1, "n_queries": 2, "n_episodes": 8, "random_state": 0}
    settings["meta_batch_size"] = 8
    clf = MetaFewShotClassifier(learner, **settings)

    def run() -> list[np.ndarray]:
        trained = clf.fit_meta(X, y).fit(X, y).predict_proba(X)
        many = clf.predict_episodes(X, y, [(range(0, 24, 2), range(1, 24, 2))])[0][1]
        untrained = MetaFewShotClassifier(learner, random_state=0).fit(X, y).predict_proba(X)
        return [trained, many, untrained]

    expected = run()
    with mode():
        found = run()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_of_another_byte_order(meta_fitted, task):
    clf = meta_fitted("classification", "protonet").set_params(n_episodes=8)
    X, y = task
    here, there = (clone(clf).fit_meta(rows, y).fit(rows, y) for rows in (X, X.astype(">f8")))
    np.testing.assert_array_equal(here.predict_proba(X), there.predict_proba(X.astype(">f8")))
