"""Fit and predict: labels, frames, images, scales, episodes."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.metrics import accuracy_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch.callbacks import Callback

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.learners import (
    LEARNERS,
    BayesianMAML,
    Gaussian,
    LearnedOptimizer,
    Learner,
    Reptile,
    RidgeHead,
)
from metaest.nets import MLP
from metaest.tasks import TaskSet

CLASSIFICATION = [name for name, cls in LEARNERS.items() if "classification" in cls.kinds]
REGRESSION = [name for name, cls in LEARNERS.items() if "regression" in cls.kinds]


@pytest.mark.parametrize("learner", CLASSIFICATION)
def test_learns_new_classes_from_few_rows(meta_fitted, learner, task):
    X, y = task
    support = np.concatenate([np.flatnonzero(y == c)[:5] for c in range(4)])
    clf = meta_fitted("classification", learner).fit(X[support], y[support])
    assert clf.score(X, y) > 0.6  # chance: 0.25
    proba = clf.predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(clf.classes_[proba.argmax(1)], clf.predict(X))


@pytest.mark.parametrize("learner", REGRESSION)
def test_learns_a_new_line(meta_fitted, learner, line):
    X, y = line
    reg = meta_fitted("regression", learner).fit(X[:20], y[:20])
    prediction = reg.predict(X)
    assert prediction.dtype == np.float64
    assert prediction.shape == y.shape
    assert np.mean((prediction - y) ** 2) < 0.9 * y.var()  # on the scale of the targets


@pytest.mark.parametrize("learner", REGRESSION)
@pytest.mark.parametrize("fresh", [True, False])
def test_target_scale_is_taken_out_and_brought_back(meta_fitted, learner, fresh, line):
    X, y = line
    if fresh:
        reg = MetaFewShotRegressor(learner, random_state=0)
        other = clone(reg).fit(X, 1000 * y - 7).predict(X)
        np.testing.assert_allclose(other, 1000 * reg.fit(X, y).predict(X) - 7, rtol=1e-4)
    else:
        state = meta_fitted("regression", learner).meta_state_
        if state.learner.scales_targets:  # which would lose digits of other tasks' targets
            assert (state.target_mean, state.target_scale) == (0, 1)
        else:
            assert state.target_mean == pytest.approx(50, abs=5)
            assert state.target_scale > 5


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["d", "b", "c", "a"], "<U1"),
        (["zwei", "eins", "drei", "vier"], object),
        ([3, -1, 7, 100], np.int64),
        ([0.0, 2.0, 1.0, 3.0], np.float64),
        ([True, False, True, False], bool),
    ],
)
def test_labels_of_any_type(clf, task, labels, dtype):
    X, codes = task
    y = np.array(labels, dtype=dtype)[codes]
    clf.fit(X, y)
    np.testing.assert_array_equal(clf.classes_, np.unique(y))
    predicted = clf.predict(X)
    assert predicted.dtype == clf.classes_.dtype
    assert accuracy_score(y, predicted) > 0.5


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("learner", CLASSIFICATION)
def test_one_row_at_a_time_is_the_same(meta_fitted, learner, fresh, task):
    X, y = task
    clf = MetaFewShotClassifier(learner, random_state=0)
    clf = (clf if fresh else meta_fitted("classification", learner)).fit(X, y)
    single = np.concatenate([clf.predict_proba(row[None]) for row in X])
    np.testing.assert_allclose(single, clf.predict_proba(X), rtol=1e-9)


def test_chunks_of_rows_are_the_same(clf, task, monkeypatch):
    X = np.tile(task[0], (10, 1))
    whole = clf.fit(*task).predict_proba(X)
    monkeypatch.setattr("metaest.few_shot._adapter._BUDGET", 1)
    np.testing.assert_allclose(clf.predict_proba(X), whole, rtol=1e-9)


def test_predict_needs_no_support_data(clf, task):
    X, y = (part.copy() for part in task)
    before = clf.fit(X, y).predict_proba(task[0])
    X[:], y[:] = np.nan, 0
    for _ in range(2):
        np.testing.assert_array_equal(clf.predict_proba(task[0]), before)


@pytest.mark.parametrize("learner", [name for name in CLASSIFICATION if name != "in_context"])
def test_random_state_repeats_an_untrained_fit(learner, task):
    X, y = task
    make = functools.partial(MetaFewShotClassifier, learner, backbone="mlp")
    one, two, other = (make(random_state=s).fit(X, y).predict_proba(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_state_is_small_and_on_the_cpu(meta_fitted, task):
    clf = meta_fitted("classification", "protonet").fit(*task)
    assert {value.device.type for value in clf.state_.values()} == {"cpu"}
    assert clf.state_["prototypes"].shape == (1, 4, 4)
    assert not any(value.requires_grad for value in clf.state_.values())


def test_any_number_of_ways_and_unequal_shots(clf):
    rng = np.random.default_rng(0)
    for n_classes in (2, 3, 17):
        y = np.repeat(np.arange(n_classes), rng.integers(1, 6, size=n_classes))
        X = rng.normal(size=(len(y), 4))
        assert clf.fit(X, y).predict_proba(X).shape == (len(y), n_classes)


def test_frames(task):
    X, y = task
    frame = pd.DataFrame(X.astype(np.float32), columns=list("abcd")).assign(e=np.arange(len(X)))
    clf = MetaFewShotClassifier(n_ways=2, n_shots=2, n_queries=3, n_episodes=8, random_state=0)
    clf.fit_meta(frame, y).fit(frame, pd.Series(y).map({0: "a", 1: "b", 2: "c", 3: "d"}))
    assert list(clf.feature_names_in_) == list("abcde")
    assert clf.n_features_in_ == 5
    assert set(clf.predict(frame)) <= set("abcd")
    assert list(clf.meta_state_.feature_names) == list("abcde")


def test_categories_through_the_usual_encoders(task):
    X, y = task
    frame = pd.DataFrame(X[:, :2], columns=["u", "v"])
    frame["colour"] = pd.Categorical(np.array(["red", "green", "blue"])[np.arange(len(X)) % 3])
    encode = make_column_transformer(
        (OneHotEncoder(), ["colour"]), (StandardScaler(), ["u", "v"])
    ).fit(frame)
    clf = MetaFewShotClassifier(n_ways=2, n_shots=2, n_queries=3, n_episodes=8, random_state=0)
    clf.fit_meta(encode.transform(frame), y)
    pipeline = make_pipeline(encode, clf).fit(frame, y)
    assert pipeline.predict_proba(frame).shape == (len(X), 4)
    assert pipeline[-1].meta_state_ is clf.meta_state_


@pytest.fixture(scope="module")
def images() -> tuple:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 8)
    centres = rng.normal(size=(6, 1, 8, 8))
    return (centres[y] + 0.3 * rng.normal(size=(48, 1, 8, 8))).astype(np.float32), y


#: In place of those that take long steps in convolutions.
CHEAP = {
    "reptile": Reptile(adapt_steps=3),
    "learned_optimizer": LearnedOptimizer(inner_steps=1, hidden_size=3),
    "bayesian_maml": BayesianMAML(inner_steps=1, n_particles=2),
}


@pytest.mark.parametrize("learner", CLASSIFICATION)
def test_images_and_flat_rows_with_input_shape_are_the_same(images, learner):
    X, y = images
    flat = X.reshape(len(X), -1)
    learner = CHEAP.get(learner, learner)
    as_images = MetaFewShotClassifier(learner, n_ways=2, n_shots=2, n_queries=3, random_state=0)
    as_images.set_params(n_episodes=4, meta_batch_size=2).fit_meta(X, y)
    as_rows = clone(as_images).set_params(input_shape=(1, 8, 8)).fit_meta(flat, y)
    assert as_rows.meta_state_.spec.input_shape == (1, 8, 8)
    few = np.arange(0, len(X), 4)  # two of each class
    proba = as_images.fit(X[few], y[few]).predict_proba(X)
    np.testing.assert_array_equal(as_rows.fit(flat[few], y[few]).predict_proba(flat), proba)
    assert as_rows.n_features_in_ == 64
    single = np.concatenate([as_images.predict_proba(x[None]) for x in X[:4]])
    np.testing.assert_allclose(single, proba[:4], atol=1e-5)


@pytest.mark.parametrize("learner", ["protonet", "maml"])
def test_flat_images_in_a_pipeline_and_images_of_bytes(images, learner):
    X, y = images
    flat = X.reshape(len(X), -1)
    clf = MetaFewShotClassifier(learner, input_shape=(1, 8, 8), random_state=0)
    expected = clf.fit(StandardScaler().fit_transform(flat), y).classes_
    found = make_pipeline(StandardScaler(), clf).fit(flat, y).predict(flat)
    assert set(found) <= set(expected)
    clf = MetaFewShotClassifier(learner, random_state=0)
    as_bytes = (100 + 10 * X).astype(np.uint8)
    by_bytes = clf.fit(as_bytes, y).predict_proba(as_bytes)
    as_floats = as_bytes.astype(float)
    np.testing.assert_array_equal(clf.fit(as_floats, y).predict_proba(as_floats), by_bytes)


def test_a_backbone_factory(task):
    X, y = task
    wide = functools.partial(MLP, hidden=(7,))
    clf = MetaFewShotClassifier(backbone=wide, n_ways=2, n_shots=2, n_queries=3, n_episodes=4)
    copied = clone(clf.fit_meta(X, y))  # clone copies the partial object
    assert copied.fit(X, y).state_["prototypes"].shape == (1, 4, 7)


def test_label_never_seen_counts_as_wrong(clf, task):
    X, y = task
    clf.fit(X[y < 3], y[y < 3])
    assert clf.score(X[y == 3], y[y == 3]) == 0
    unseen = y == 3
    hits = (clf.predict(X) == y).sum()
    assert clf.score(X, y) == pytest.approx(hits / len(X))
    assert not np.isin(clf.predict(X[unseen]), 3).any()


def _episodes(y: np.ndarray, n: int, seed: int = 0) -> list[tuple]:
    """Draw episodes of different ways, shots and queries."""
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(n):
        classes = rng.choice(np.unique(y), rng.integers(2, 5), replace=False)
        rows = [rng.permutation(np.flatnonzero(y == c)) for c in classes]
        shots = [rng.integers(1, 5) for _ in rows]
        support = np.concatenate([r[:k] for r, k in zip(rows, shots, strict=True)])
        episodes.append((support, np.concatenate([r[8 : rng.integers(9, 13)] for r in rows])))
    return episodes


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("learner", CLASSIFICATION)
def test_many_episodes_at_once_are_the_same(meta_fitted, learner, fresh, task):
    X, codes = task
    y = np.array(["w", "x", "y", "z"])[codes]
    clf = meta_fitted("classification", learner)
    clf = MetaFewShotClassifier(learner, random_state=0) if fresh else clf
    episodes = _episodes(y, 6)
    found = clf.predict_episodes(X, y, episodes)
    assert len(found) == 6
    for (support, query), (classes, proba) in zip(episodes, found, strict=True):
        one = clone(clf).fit(X[support], y[support])
        np.testing.assert_array_equal(classes, one.classes_)
        rtol = 1e-6 if learner == "in_context" else 1e-7  # reads in single precision
        np.testing.assert_allclose(proba, one.predict_proba(X[query]), rtol=rtol, atol=1e-12)
    assert not hasattr(clf, "classes_")


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("learner", REGRESSION)
def test_many_regression_episodes_at_once_are_the_same(meta_fitted, learner, fresh, line):
    X, y = line
    reg = meta_fitted("regression", learner)
    reg = MetaFewShotRegressor(learner, random_state=0) if fresh else reg
    rng = np.random.default_rng(0)
    episodes = [np.split(rng.permutation(30)[:n], [n // 3]) for n in (30, 9, 20)]
    found = reg.predict_episodes(pd.DataFrame(X), y.tolist(), episodes)
    for (support, query), mean in zip(episodes, found, strict=True):
        rtol = 1e-6 if learner == "in_context" else 1e-7  # reads in single precision
        one = clone(reg).fit(X[support], y[support])
        np.testing.assert_allclose(mean, one.predict(X[query]), rtol=rtol)


def test_image_episodes_at_once_are_the_same(images):
    X, y = images
    clf = MetaFewShotClassifier("maml", n_ways=2, n_shots=2, n_queries=3, n_episodes=2)
    clf.set_params(random_state=0).fit_meta(X, y)
    episodes = [(np.r_[0:3, 8:10], np.r_[4:6]), (np.r_[0, 8, 16, 24], np.r_[30:40])]
    for (s, q), (_, proba) in zip(episodes, clf.predict_episodes(X, y, episodes), strict=True):
        one = clone(clf).fit(X[s], y[s])
        np.testing.assert_allclose(proba, one.predict_proba(X[q]), atol=1e-5)


class ConstantGaussian(Learner):
    """Predicts the mean and variance of the support targets."""

    kinds = ("regression",)

    def adapt(self, module, support):
        n = support.mask.sum(1, keepdim=True)
        mean = (support.y * support.mask).sum(1, keepdim=True) / n
        spread = ((support.y - mean).square() * support.mask).sum(1, keepdim=True) / n
        return {"mean": mean, "variance": spread}

    def predict(self, module, state, query_x):
        shape = query_x.shape[:2]
        return Gaussian(state["mean"].expand(shape), state["variance"].expand(shape))


def test_return_std_is_on_the_scale_of_the_targets(line):
    X, y = line
    reg = MetaFewShotRegressor(ConstantGaussian(), random_state=0).fit(X, y)
    mean, std = reg.predict(X[:3], return_std=True)
    np.testing.assert_allclose(mean, y.mean())
    np.testing.assert_allclose(std, y.std())


def test_held_out_classes_choose_the_weights(task):
    X, y = task
    clf = MetaFewShotClassifier(n_ways=2, n_shots=2, n_queries=3, n_episodes=8, random_state=0)
    assert "valid_score" in clf.fit_meta(X, y).meta_state_.history[-1]
    clf.set_params(validation_fraction=0)
    assert "valid_score" not in clf.fit_meta(X, y).meta_state_.history[-1]
    clf.set_params(validation_fraction=0.5, n_ways=3)  # 2 of 4 classes left: hold out none
    assert "valid_score" not in clf.fit_meta(X, y).meta_state_.history[-1]
    held_out = TaskSet.from_pool(X + 1, y)
    fitted = clf.fit_meta(X, y, validation_tasks=held_out)
    assert "valid_score" in fitted.meta_state_.history[-1]


def test_skorch_callbacks_see_meta_training(task):
    rounds = []

    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            rounds.append(len(net.history))

    clf = MetaFewShotClassifier(n_ways=2, n_shots=2, n_queries=3, n_episodes=32, random_state=0)
    clf.set_params(callbacks=[Count()], meta_batch_size=8).fit_meta(*task)
    assert rounds == [1, 2, 3, 4]  # 32 episodes are 4 steps


def test_an_unused_learner_object_stays_untouched(task):
    learner = RidgeHead(penalty=2.0)
    clf = MetaFewShotClassifier(learner, random_state=0).fit(*task)
    assert clf.learner is learner
    assert vars(learner) == {"penalty": 2.0}
    assert clf.learner_ is not learner


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(clf, task):
    X, y = task
    on_cpu = clone(clf).set_params(device="cpu").fit(X, y)
    on_gpu = clone(clf).set_params(device="cuda").fit(X, y)
    np.testing.assert_allclose(on_gpu.predict_proba(X), on_cpu.predict_proba(X), atol=1e-3)
    assert {value.device for value in on_gpu.state_.values()} == {torch.device("cpu")}


def test_columns_keep_their_scale_where_asked_to() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)) * [1.0, 10.0, 0.1], np.arange(40) % 2
    expected = NearestCentroid().fit(X[:6], y[:6]).predict(X)
    clf = MetaFewShotClassifier(backbone="identity", standardize=False, random_state=0)
    assert (clone(clf).fit(X[:6], y[:6]).predict(X) == expected).all()
    assert (clone(clf).set_params(standardize=True).fit(X[:6], y[:6]).predict(X) != expected).any()
    trained = clf.set_params(n_ways=2, n_episodes=4, n_shots=1).fit_meta(X, y)
    assert (trained.meta_state_.weights["embedding.0.scale"] == 1).all()
    assert (trained.fit(X[:6], y[:6]).predict(X) == expected).all()


@pytest.mark.parametrize("cls", [MetaFewShotClassifier, MetaFewShotRegressor])
def test_untrained_columns_far_from_zero_lose_no_digits(cls, tmp_path):
    X = np.random.default_rng(0).integers(-400, 400, size=(60, 3)) / 256  # exact when shifted
    y = X[:, 0] > 0 if cls is MetaFewShotClassifier else X[:, 0]
    far = X + np.array([1234567890.0, 0, 0])
    expected = cls("ridge", random_state=0).fit(X[:40], y[:40])
    reached = cls("ridge", random_state=0).fit(far[:40], y[:40])
    reached.save(tmp_path / "far.metaest")
    for found in (reached, cls.load(tmp_path / "far.metaest")):
        method = "predict_proba" if cls is MetaFewShotClassifier else "predict"
        near = getattr(expected, method)(X[40:])
        np.testing.assert_allclose(getattr(found, method)(far[40:]), near, rtol=1e-6)
