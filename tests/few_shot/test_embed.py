"""The features that an estimator learned: those of its own backbone, whatever else happens."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.exceptions import ArchitectureMismatchError, InvalidParameterError
from metaest.few_shot import _adapter
from metaest.learners import InContextTransformer, ProtoNet


def features_of(state, X):
    """Run rows through the backbone of a state, without any of our machinery."""
    module = state.module(state.learner, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        return module.embedding(torch.from_numpy(np.asarray(X, dtype=np.float64))).numpy()


@pytest.mark.parametrize(
    ("kind", "learner"),
    [
        ("classification", "protonet"),
        ("classification", "maml"),
        ("regression", "maml"),
        ("regression", "deep_kernel_gp"),
    ],
)
def test_the_features_are_the_backbones(meta_fitted, task, line, kind, learner):
    X, y = task if kind == "classification" else line
    estimator = meta_fitted(kind, learner)
    features = estimator.embed(X)
    assert features.dtype == np.float64
    np.testing.assert_array_equal(features, features_of(estimator.meta_state_, X))
    np.testing.assert_array_equal(estimator.fit(X, y).embed(X), features)  # before adaptation


def test_prototypes_of_the_features_are_what_a_protonet_compares_with(meta_fitted, task):
    X, y = task
    clf = meta_fitted("classification", "protonet").fit(X, y)
    features = clf.embed(X)
    prototypes = np.stack([features[y == c].mean(axis=0) for c in clf.classes_])
    distances = np.square(features[:, None] - prototypes).sum(-1)
    np.testing.assert_array_equal(clf.classes_[distances.argmin(1)], clf.predict(X))


def test_chunks_change_nothing(clf, monkeypatch):
    X = np.random.default_rng(0).normal(size=(200, 4))
    whole = clf.embed(X)
    monkeypatch.setattr(_adapter, "_BUDGET", 1)  # 64 rows at a time
    np.testing.assert_allclose(clf.embed(X), whole, rtol=1e-12)


@pytest.mark.parametrize("fitted", [False, True])
def test_features_survive_a_file_and_a_clone(clf, task, tmp_path, fitted):
    X, y = task
    if fitted:
        clf.fit(X, y)
    clf.save(tmp_path / "clf.safetensors")
    again = MetaFewShotClassifier.load(tmp_path / "clf.safetensors")
    np.testing.assert_array_equal(again.embed(X), clf.embed(X))
    np.testing.assert_array_equal(clone(clf).embed(X), clf.embed(X))


def test_embed_neither_fits_nor_changes_the_estimator(clf, task):
    before = set(vars(clf))
    clf.embed(task[0])
    assert set(vars(clf)) == before
    with pytest.raises(NotFittedError):
        clf.predict(task[0])


def test_a_fitted_estimator_keeps_its_features_as_it_keeps_its_predictions(clf, task):
    X, y = task
    features = clf.set_params(n_episodes=1).fit(X, y).embed(X)
    clf.fit_meta(X, y)
    np.testing.assert_array_equal(clf.embed(X), features)
    assert not np.array_equal(clf.fit(X, y).embed(X), features)


def test_without_meta_training_the_features_are_those_of_the_fit(task):
    X, y = task
    clf = MetaFewShotClassifier(random_state=0).fit(X, y)
    np.testing.assert_array_equal(clf.embed(X), features_of(clf.meta_state_, X))


def test_images(task):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 1, 8, 8)), np.repeat(np.arange(4), 5)
    clf = MetaFewShotClassifier(n_ways=2, n_shots=1, n_queries=2, n_episodes=2, random_state=0)
    clf.fit_meta(X, y)
    expected = features_of(clf.meta_state_, X)
    np.testing.assert_allclose(clf.embed(X), expected, atol=1e-4)  # single precision
    flat = clone(clf).set_params(input_shape=(1, 8, 8))
    np.testing.assert_array_equal(flat.embed(X.reshape(20, 64)), clf.embed(X))


def test_the_in_context_learner_has_no_backbone(task):
    X, y = task
    learner = InContextTransformer(n_layers=1, n_row_layers=1, cell_width=8, row_width=16)
    clf = MetaFewShotClassifier(learner, random_state=0).fit(X, y)
    np.testing.assert_allclose(clf.embed(X), X)


@pytest.mark.parametrize("estimator", [MetaFewShotClassifier(), MetaFewShotRegressor()])
def test_before_any_fit_there_are_none(estimator, task):
    with pytest.raises(NotFittedError, match="no features before fit_meta or fit: call one"):
        estimator.embed(task[0])


def test_other_rows_are_one_clear_error(clf, task):
    X, y = task
    with pytest.raises(ArchitectureMismatchError, match=r"X has 3 columns, but .* on 4"):
        clf.embed(X[:, :3])
    with pytest.raises(ValueError, match="X contains NaN"):
        clf.embed(np.full((1, 4), np.nan))
    with pytest.raises(ValueError, match=r"3 features, but .* is expecting 4"):
        clone(clf).fit(X, y).embed(X[:, :3])
    with pytest.raises(ArchitectureMismatchError, match="ProtoNet"):
        clf.set_params(learner=ProtoNet()).embed(X)
    with pytest.raises(InvalidParameterError, match="learner='nothing' is unknown"):
        clf.set_params(learner="nothing").embed(X)


def test_columns_of_meta_training_are_compared_by_name(task):
    X, y = task
    frame = pd.DataFrame(X, columns=list("abcd"))
    clf = MetaFewShotClassifier(n_ways=2, n_shots=1, n_queries=2, n_episodes=2, random_state=0)
    clf.fit_meta(frame, y)
    np.testing.assert_array_equal(clf.embed(frame), features_of(clf.meta_state_, X))
    with pytest.raises(ArchitectureMismatchError, match="the order differs"):
        clf.embed(frame[list("dcba")])
