"""Classes learned from descriptions: with examples, and without."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestCentroid

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.exceptions import (
    ArchitectureMismatchError,
    InvalidParameterError,
    TaskError,
    UnsupportedTaskError,
)
from metaest.learners import ProtoNet
from metaest.tasks import Task, TaskSet

N_SEEN, N_NEW = 30, 5


def _world(length: int = 6) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Make classes whose centres are a linear map of their attributes."""
    rng = np.random.default_rng(0)
    attributes = rng.normal(size=(N_SEEN + N_NEW, length))
    centres = attributes @ rng.normal(size=(length, 4))
    X = np.repeat(centres, 12, axis=0) + 0.3 * rng.normal(size=(12 * len(centres), 4))
    names = [f"class {k:02d}" for k in range(len(centres))]
    return X, np.repeat(names, 12), dict(zip(names, attributes, strict=True))


X, Y, ATTRIBUTES = _world()
SEEN = np.arange(len(X)) < 12 * N_SEEN
NEW = {name: ATTRIBUTES[name] for name in np.unique(Y[~SEEN]).tolist()}
SUPPORT = np.flatnonzero(~SEEN)[::12]  # a row of each new class


def _classifier(**params) -> MetaFewShotClassifier:
    settings: dict[str, Any] = {"n_episodes": 1280, "meta_lr": 0.03, "random_state": 0}
    settings |= {"n_shots": (0, 2), "n_queries": 6, "meta_batch_size": 8}
    return MetaFewShotClassifier(**(settings | params))


@pytest.fixture(scope="module")
def trained() -> MetaFewShotClassifier:
    tasks = TaskSet.from_pool(X[SEEN], Y[SEEN], class_descriptions=ATTRIBUTES)
    return _classifier().fit_meta(tasks)


@pytest.fixture
def clf(trained: MetaFewShotClassifier) -> MetaFewShotClassifier:
    return clone(trained)


def test_new_classes_without_an_example(clf: MetaFewShotClassifier) -> None:
    clf.fit(class_descriptions=NEW)
    assert clf.classes_.tolist() == sorted(NEW)
    assert clf.n_features_in_ == 4
    assert clf.score(X[~SEEN], Y[~SEEN]) > 0.7  # chance is 0.2
    probabilities = clf.predict_proba(X[~SEEN])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (clf.classes_[probabilities.argmax(1)] == clf.predict(X[~SEEN])).all()


def test_order_of_the_mapping_does_not_matter(clf: MetaFewShotClassifier) -> None:
    expected = clf.fit(class_descriptions=NEW).predict_proba(X[:5])
    turned = dict(reversed(NEW.items()))
    np.testing.assert_array_equal(clf.fit(class_descriptions=turned).predict_proba(X[:5]), expected)


def test_examples_and_descriptions_together(clf: MetaFewShotClassifier) -> None:
    alone = clone(clf).fit(X[SUPPORT], Y[SUPPORT]).predict_proba(X[~SEEN])
    described = clone(clf).fit(class_descriptions=NEW).predict_proba(X[~SEEN])
    both = clf.fit(X[SUPPORT], Y[SUPPORT], class_descriptions=NEW)
    assert both.score(X[~SEEN], Y[~SEEN]) > 0.8
    for other in (alone, described):
        assert np.abs(both.predict_proba(X[~SEEN]) - other).max() > 0.01


def test_examples_of_some_classes_only(clf: MetaFewShotClassifier) -> None:
    clf.fit(X[SUPPORT[:2]], Y[SUPPORT[:2]], class_descriptions=NEW)
    assert clf.classes_.tolist() == sorted(NEW)
    assert clf.score(X[~SEEN], Y[~SEEN]) > 0.7


def test_without_descriptions_nothing_changes(clf: MetaFewShotClassifier) -> None:
    assert clf.fit(X[SUPPORT], Y[SUPPORT]).score(X[~SEEN], Y[~SEEN]) > 0.8


def test_untrained_descriptions_like_rows_are_prototypes() -> None:
    X, y = np.random.default_rng(0).normal(size=(40, 3)), np.repeat(list("abcd"), 10)
    means = {label: X[y == label].mean(0) for label in "dbca"}
    found = MetaFewShotClassifier(random_state=0).fit(class_descriptions=means).predict(X)
    np.testing.assert_array_equal(found, NearestCentroid().fit(X, y).predict(X))


@pytest.mark.parametrize("labels", [[3, 1], [2.0, -1.0], [True, False], ["b", "a"]], ids=str)
def test_labels_of_any_type(labels: list) -> None:
    clf = MetaFewShotClassifier(random_state=0)
    clf.fit(class_descriptions=dict(zip(labels, [[0.0, 0.0], [4.0, 4.0]], strict=True)))
    assert clf.classes_.tolist() == sorted(labels)
    assert clf.predict([[5.0, 4.0]]).tolist() == [labels[1]]
    clf.fit([[2.0, 2.0]], labels[:1], class_descriptions={label: [0.0, 0.0] for label in labels})
    assert clf.predict([[1.5, 1.2]]).tolist() == [labels[0]]


def test_images_and_attributes() -> None:
    images = X[:, :, None, None].repeat(8, 2).repeat(8, 3)
    tasks = TaskSet.from_pool(images[SEEN], Y[SEEN], class_descriptions=ATTRIBUTES)
    clf = _classifier(n_episodes=4, n_shots=0, n_queries=1, input_shape=(4, 8, 8)).fit_meta(tasks)
    clf.fit(class_descriptions=NEW)
    found = clf.predict_proba(images[:3])
    np.testing.assert_allclose(clf.predict_proba(images[:3].reshape(3, -1)), found, rtol=1e-6)
    assert not hasattr(clf, "n_features_in_")


def test_save_and_load(clf: MetaFewShotClassifier, tmp_path: Path) -> None:
    expected = clf.fit(class_descriptions=NEW).predict_proba(X)
    clf.save(tmp_path / "clf")
    loaded = MetaFewShotClassifier.load(tmp_path / "clf")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    again = loaded.fit(class_descriptions=NEW)
    np.testing.assert_array_equal(again.predict_proba(X), expected)


def test_column_names_come_from_meta_training() -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    tasks = TaskSet.from_pool(frame[SEEN], Y[SEEN], class_descriptions=ATTRIBUTES)
    clf = _classifier(n_episodes=16).fit_meta(tasks).fit(class_descriptions=NEW)
    assert clf.feature_names_in_.tolist() == list("abcd")
    assert clf.predict(frame[:2]).shape == (2,)
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[["b", "a", "c", "d"]])


def test_an_earlier_fit_leaves_no_columns() -> None:
    clf = MetaFewShotClassifier(random_state=0).fit(X[SUPPORT], Y[SUPPORT])
    clf.fit(class_descriptions={"a": [0.0, 0.0], "b": [1.0, 1.0]})
    assert clf.n_features_in_ == 2
    assert clf.predict([[2.0, 2.0]]).tolist() == ["b"]


def test_an_earlier_fit_leaves_no_categories() -> None:
    rows = {"word": ["a", "b", "a", "b"], "x": [0.0, 1.0, 0.1, 0.9]}
    clf = MetaFewShotClassifier().fit(pd.DataFrame(rows), [0, 1, 0, 1])
    clf.fit(class_descriptions={"a": [0.0, 0.0], "b": [1.0, 1.0]})
    assert not hasattr(clf, "categories_")
    assert clf.predict([[2.0, 2.0]]).tolist() == ["b"]


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("descriptions", "message"),
    [
        ([[0.0], [1.0]], "must be a mapping of label to vector, got list"),
        ({"a": [0.0]}, r"at least 2 classes, got \['a'\]"),
        ({"a": [0.0, 1.0], "b": [1.0]}, r"vectors of one length, got shapes \[\(1,\), \(2,\)\]"),
        ({"a": 1.0, "b": 2.0}, r"vectors of one length, got shapes \[\(\)\]"),
        ({"a": [0.0], "b": [np.nan]}, "class b of fit has missing or infinite values"),
        ({"a": ["x"], "b": ["y"]}, "must be numeric"),
        ({"a": [0.0], 1: [1.0]}, "mixes values of the types int, str"),
        ({"a": [0.0], None: [1.0]}, "has 1 missing values"),
        ({"a": [], "b": []}, r"got shape \(2, 0\)"),
    ],
)
def test_bad_descriptions(descriptions, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        MetaFewShotClassifier().fit(class_descriptions=descriptions)


def test_rows_and_labels_go_together() -> None:
    with pytest.raises(TaskError, match="fit needs rows X with labels y, or class_descriptions"):
        MetaFewShotClassifier().fit()
    with pytest.raises(TaskError, match="labels y without rows X"):
        MetaFewShotClassifier().fit(y=["a", "b"], class_descriptions=NEW)
    with pytest.raises(ValueError, match="requires y to be passed"):
        MetaFewShotClassifier().fit(X, class_descriptions=NEW)
    with pytest.raises(ValueError, match="requires y to be passed"):
        MetaFewShotClassifier().fit(X)


def test_every_label_needs_a_description(clf: MetaFewShotClassifier) -> None:
    with pytest.raises(TaskError, match=r"lack 1 of the classes in y: \['other'\]"):
        clf.fit(X[:2], ["class 30", "other"], class_descriptions=NEW)


def test_descriptions_of_another_length(clf: MetaFewShotClassifier) -> None:
    short = {name: vector[:5] for name, vector in NEW.items()}
    with pytest.raises(ArchitectureMismatchError, match=r"have 5 values each, .* had 6"):
        clf.fit(class_descriptions=short)
    with pytest.raises(UnsupportedTaskError, match=r"have 6 values, but rows .*Call fit_meta"):
        MetaFewShotClassifier().fit(X[SUPPORT], Y[SUPPORT], class_descriptions=NEW)


def test_meta_trained_without_descriptions() -> None:
    clf = _classifier(n_shots=1, n_episodes=16).fit_meta(X[SEEN], Y[SEEN])
    with pytest.raises(UnsupportedTaskError, match="Call fit_meta with tasks that have"):
        clone(clf).fit(class_descriptions=NEW)
    rows = dict(zip(Y[SUPPORT].tolist(), X[SUPPORT], strict=True))  # described like rows
    assert clf.fit(class_descriptions=rows).score(X[~SEEN], Y[~SEEN]) > 0.8


def test_learners_that_cannot_use_descriptions(meta_fitted: Callable) -> None:
    with pytest.raises(UnsupportedTaskError, match=r"MAML cannot use class descr.*'protonet'"):
        meta_fitted("classification", "maml").fit(class_descriptions=NEW)
    tasks = TaskSet.from_pool(X, Y, class_descriptions=ATTRIBUTES)
    with pytest.raises(UnsupportedTaskError, match="MAML cannot use"):
        MetaFewShotClassifier("maml").fit_meta(tasks)
    with pytest.raises(TypeError, match="class_descriptions"):
        MetaFewShotRegressor().fit(X, X[:, 0], class_descriptions=NEW)


def test_validation_tasks_need_the_same_descriptions() -> None:
    tasks = TaskSet.from_pool(X[SEEN], Y[SEEN], class_descriptions=ATTRIBUTES)
    with pytest.raises(TaskError, match="validation_tasks have class descriptions of length None"):
        _classifier().fit_meta(tasks, validation_tasks=[(X[~SEEN], Y[~SEEN])])


def test_no_shots_need_descriptions() -> None:
    with pytest.raises(InvalidParameterError, match="n_shots must be an int >= 1"):
        _classifier(n_shots=0).fit_meta(X[SEEN], Y[SEEN])


def test_one_task_of_the_set_in_zero_shot_meta_training() -> None:
    # Held-out classes choose the weights, and keep their descriptions.
    tasks = TaskSet([Task(X[SEEN], Y[SEEN], class_descriptions=ATTRIBUTES)])
    clf = _classifier(n_shots=0, n_episodes=64).fit_meta(tasks)
    assert clf.meta_state_.spec.description_size == 6
    assert "valid_score" in clf.meta_state_.history[-1]


# ---------------------------------------------------------------------------------- real texts


@pytest.mark.skipif("METAEST_DATA" not in os.environ, reason="METAEST_DATA is not set")
def test_intents_by_their_names() -> None:
    """Names such as "pay_bill" alone tell unseen intents apart, far above chance."""
    import gzip
    import json

    path = Path(os.environ["METAEST_DATA"]) / "clinc150.json.gz"
    if not path.exists():
        pytest.skip("clinc150.json.gz is not in METAEST_DATA")
    with gzip.open(path, "rt") as file:
        text, intent = (np.array(column) for column in zip(*json.load(file)["val"], strict=True))
    names = np.unique(intent)[::10]  # 15 of 150
    rows = np.isin(intent, names)
    words = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), max_features=3000).fit(text)
    described = words.transform([name.replace("_", " ") for name in names]).toarray()
    clf = MetaFewShotClassifier(ProtoNet(metric="cosine"), backbone="identity", random_state=0)
    clf.fit(class_descriptions=dict(zip(names.tolist(), described, strict=True)))
    assert clf.score(words.transform(text[rows]).toarray(), intent[rows]) > 0.5  # chance is 0.07
