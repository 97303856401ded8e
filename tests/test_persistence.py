"""Saved files give the same predictions back, and bad ones one clear error."""

import functools
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from metaest import MetaFewShotClassifier, MetaFewShotRegressor, persistence
from metaest.exceptions import (
    DeviceError,
    FileFormatError,
    InvalidParameterError,
    NewerVersionError,
)
from metaest.learners import LEARNERS, MAML, ProtoNet
from metaest.nets import MLP
from metaest.persistence import FORMAT_VERSION, read_file, write_file

RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(6), 8)
X = RNG.normal(size=(6, 3))[Y] + 0.3 * RNG.normal(size=(48, 3))
CLASSIFICATION = [name for name, cls in LEARNERS.items() if "classification" in cls.kinds]
KINDS = [(MetaFewShotClassifier, name) for name in CLASSIFICATION] + [
    (MetaFewShotRegressor, name) for name, c in LEARNERS.items() if "regression" in c.kinds
]


def make(cls=MetaFewShotClassifier, learner="protonet", **parameters):
    estimator = cls(learner, n_shots=2, n_queries=3, n_episodes=4, random_state=0)
    if cls is MetaFewShotClassifier:
        estimator.set_params(n_ways=2)
    return estimator.set_params(**parameters)


def small_tasks(estimator):
    return (X, Y) if estimator._kind == "classification" else ([(X, Y + X[:, 0])] * 3,)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "estimator.metaest"


@pytest.mark.parametrize(("cls", "learner"), KINDS)
@pytest.mark.parametrize("fresh", [True, False])
def test_same_predictions(cls, learner, fresh, path):
    estimator = make(cls, learner)
    if not fresh:
        estimator.fit_meta(*small_tasks(estimator))
    estimator.fit(X, Y).save(path)
    loaded = cls.load(path)
    method = "predict_proba" if cls is MetaFewShotClassifier else "predict"
    np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(estimator, method)(X))
    assert loaded.get_params() == estimator.get_params()
    assert repr(loaded.learner_) == repr(estimator.learner_)
    untrained = "pretrained" if learner == "in_context" else "seeded"
    assert loaded.meta_state_.source == (untrained if fresh else "fit_meta")
    assert clone(loaded)._meta is loaded._meta
    np.testing.assert_array_equal(loaded.fit(X, Y).predict(X), estimator.predict(X))


def test_meta_fitted_only(path):
    clf = make(learner=MAML(inner_steps=2, inner_lr=0.3)).fit_meta(X, Y)
    clf.save(path)
    loaded = MetaFewShotClassifier.load(path)
    with pytest.raises(NotFittedError):
        loaded.predict(X)
    assert repr(loaded.learner) == repr(clf.learner)
    assert list(loaded.meta_state_.history) == list(clf.meta_state_.history)
    assert loaded.meta_state_.versions == clf.meta_state_.versions
    expected = clf.fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(loaded.fit(X, Y).predict_proba(X), expected)
    loaded.set_params(learner__inner_steps=1).fit(X, Y)


def test_meta_fitted_again_after_fit(path):
    clf = make().fit_meta(X, Y).fit(X, Y)
    before = clf.predict_proba(X)
    clf.fit_meta(X + RNG.normal(size=X.shape), Y).save(path)
    loaded = MetaFewShotClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), before)
    expected = clf.fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(loaded.fit(X, Y).predict_proba(X), expected)


def test_neither_fitted_nor_meta_fitted(path):
    make(n_shots=(1, 5), device=torch.device("cpu"), n_ways=None).save(path)
    loaded = MetaFewShotClassifier.load(path)
    assert loaded.n_shots == (1, 5)
    assert loaded.n_ways is None
    assert loaded.device == "cpu"
    assert not hasattr(loaded, "meta_state_")


@pytest.mark.parametrize(
    "labels",
    [
        np.array(list("ABCDEF")),
        np.array(["ä", "β", "日", "d", "e", "f"], dtype=object),
        np.array([3, 1, -5, 2**40, 7, 8]),
        np.array([0.0, 1.0, 2.0, 3.0, 4.0, -1e15]),
        np.array([True, False, True, False, True, False]),
        np.arange(6, dtype=np.uint8),
    ],
)
def test_labels_keep_their_type(labels, path):
    clf = make().fit(X, labels[Y])
    clf.save(path)
    loaded = MetaFewShotClassifier.load(path)
    np.testing.assert_array_equal(loaded.classes_, clf.classes_)
    assert loaded.classes_.dtype == clf.classes_.dtype
    assert loaded.predict(X).tolist() == clf.predict(X).tolist()


def test_column_names(path):
    frame = pd.DataFrame(X, columns=["a", "b", "größe"])
    make().fit_meta(frame, Y).fit(frame, Y).save(path)
    loaded = MetaFewShotClassifier.load(path)
    assert list(loaded.feature_names_in_) == ["a", "b", "größe"]
    assert loaded.feature_names_in_.dtype == object
    assert list(loaded.meta_state_.feature_names) == ["a", "b", "größe"]
    loaded.predict(frame)  # no warning about names
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"a": "z"}))


def test_images(path):
    images = RNG.normal(size=(48, 36))
    clf = make(input_shape=(1, 6, 6)).fit_meta(images, Y).fit(images, Y)
    clf.save(path)
    loaded = MetaFewShotClassifier.load(path)
    assert loaded.input_shape == (1, 6, 6)
    np.testing.assert_array_equal(loaded.predict_proba(images), clf.predict_proba(images))


def test_another_process_reads_it(path):
    clf = make(learner="maml").fit_meta(X, Y).fit(X, Y)
    clf.save(path)
    code = (
        "import sys, json; from metaest import MetaFewShotClassifier\n"
        f"clf = MetaFewShotClassifier.load({str(path)!r})\n"
        "print(json.dumps(clf.predict_proba(json.load(sys.stdin)).tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(X.tolist()),
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_allclose(json.loads(done.stdout), clf.predict_proba(X), rtol=1e-12)


def test_small_and_without_pickle(path):
    clf = make().fit_meta(X, Y).fit(X, Y)
    clf.save(path)
    n_bytes = sum(w.numel() * w.element_size() for w in clf.meta_state_.weights.values())
    assert path.stat().st_size < n_bytes + 20_000
    assert safetensors.torch.load_file(path)  # any reader of the format can
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())


# Devices


def test_a_file_from_a_gpu_machine(path):
    make(device="cuda").save(path)  # as on a machine that has one
    assert MetaFewShotClassifier.load(path).device == "cuda"
    assert MetaFewShotClassifier.load(path, device="cpu").device == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_fitted_file_from_a_gpu_machine(path):
    clf = make().fit_meta(X, Y).fit(X, Y)
    expected = clf.predict_proba(X)
    clf.set_params(device="cuda").save(path)
    with pytest.raises(DeviceError, match="device='cuda' cannot be used on this machine"):
        MetaFewShotClassifier.load(path).predict(X)
    loaded = MetaFewShotClassifier.load(path, device="auto")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


@pytest.mark.gpu
@pytest.mark.parametrize(("first", "second"), [("cuda", "cpu"), ("cpu", "cuda")])
@pytest.mark.parametrize("learner", CLASSIFICATION)
def test_across_devices(learner, first, second, path):
    clf = make(learner=learner, device=first).fit_meta(X, Y).fit(X, Y)
    clf.save(path)
    loaded = MetaFewShotClassifier.load(path, device=second)
    np.testing.assert_allclose(loaded.predict_proba(X), clf.predict_proba(X), atol=1e-3)


# Code is not in the file


def test_a_backbone_factory_has_to_be_given(path):
    factory = functools.partial(MLP, hidden=(5,))
    clf = make(backbone=factory).fit_meta(X, Y).fit(X, Y)
    clf.save(path)
    with pytest.raises(InvalidParameterError, match=r"backbone factory .*load\(path, backbone=fac"):
        MetaFewShotClassifier.load(path)
    with pytest.raises(InvalidParameterError, match=r"makes another network than the one in"):
        MetaFewShotClassifier.load(path, backbone=MLP)
    loaded = MetaFewShotClassifier.load(path, backbone=factory)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    loaded.fit(X, Y)


def test_a_backbone_that_is_not_needed(path):
    make().fit(X, Y).save(path)
    with pytest.raises(InvalidParameterError, match="load it without backbone="):
        MetaFewShotClassifier.load(path, backbone=MLP)


class OwnLearner(ProtoNet):
    pass


def test_a_learner_of_ones_own(path, monkeypatch):
    clf = make(learner=OwnLearner(metric="cosine")).fit_meta(X, Y).fit(X, Y)
    clf.save(path)
    loaded = MetaFewShotClassifier.load(path)
    assert type(loaded.learner) is OwnLearner
    assert loaded.learner.metric == "cosine"
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))
    monkeypatch.setattr(persistence, "_subclasses", lambda cls: iter(()))  # as if not imported
    with pytest.raises(FileFormatError, match=r"needs the learner .*OwnLearner.*Import the module"):
        MetaFewShotClassifier.load(path)


def test_what_json_cannot_hold(path):
    clf = make(callbacks=[object()], random_state=np.random.RandomState(0)).fit(X, Y)
    message = "callbacks, random_state cannot be saved without pickle"
    with pytest.warns(UserWarning, match=message) as told:
        clf.save(path)
    assert told[0].filename == __file__
    loaded = MetaFewShotClassifier.load(path)
    assert loaded.callbacks is None
    assert loaded.random_state is None
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


def test_a_parameter_that_cannot_be_saved(path):
    clf = make(learner=ProtoNet(temperature=object()))
    with pytest.raises(InvalidParameterError, match=r"learner__temperature=<object.*cannot be sav"):
        clf.save(path)
    assert not path.exists()


def test_labels_that_cannot_be_saved(path):
    clf = make().fit(X, Y)
    clf.classes_ = np.array([(1, 2), None, "a"], dtype=object)
    with pytest.raises(InvalidParameterError, match=r"labels of type NoneType, str, tuple"):
        clf.save(path)


# Bad files


@pytest.fixture
def saved(path: Path) -> Path:
    make().fit_meta(X, Y).fit(X, Y).save(path)
    return path


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.99])
def test_truncated(saved, share):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FileFormatError, match=r"cannot be read: .*copy it again.*save the estimat"):
        MetaFewShotClassifier.load(saved)


@pytest.mark.parametrize("where", [0, 4, 9, 200, 3000, -1, -1000])
def test_one_wrong_byte(saved, where):
    data = bytearray(saved.read_bytes())
    data[where] ^= 0x21
    saved.write_bytes(data)
    with pytest.raises(FileFormatError, match="cannot be read"):
        MetaFewShotClassifier.load(saved)


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x04" + bytes(100), b"{}" * 500])
def test_not_our_file(path, data):
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="was not written by metaest"):
        MetaFewShotClassifier.load(path)


def test_safetensors_of_someone_else(path):
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(FileFormatError, match="its header is not one of metaest"):
        MetaFewShotClassifier.load(path)


def test_a_newer_format(saved, monkeypatch):
    content, tensors = read_file(saved)
    monkeypatch.setattr(persistence, "FORMAT_VERSION", FORMAT_VERSION + 1)
    monkeypatch.setattr("metaest.__version__", "9.8.7")
    write_file(saved, content, tensors)
    monkeypatch.undo()
    with pytest.raises(NewerVersionError, match=r"format 2, written by metaest 9\.8\.7.*up to f"):
        MetaFewShotClassifier.load(saved)


def test_the_other_estimator(saved, path):
    with pytest.raises(FileFormatError, match=r"holds a classification est.*Regressor is for regr"):
        MetaFewShotRegressor.load(saved)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        MetaFewShotClassifier.load(tmp_path / "nowhere")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "nowhere" / "estimator.metaest"
    with pytest.raises(FileNotFoundError) as raised:
        make().save(path)
    assert str(raised.value) == f"cannot write {path}: its folder does not exist; create it."


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make().save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_write_and_read_any_tensors(path):
    tensors = {
        "scalar": torch.tensor(1.5, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
        "view": torch.arange(12).reshape(3, 4).T,
        "twice": torch.ones(1, 3).expand(2, 3),
        "bool": torch.tensor([True, False]),
        "half": torch.ones(2, dtype=torch.bfloat16),
    }
    content = {"text": "ü", "number": 0.1, "nothing": None, "list": [1, [2.5]]}
    write_file(path, content, tensors)
    found, read = read_file(path)
    assert found == content
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
