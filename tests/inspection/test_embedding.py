"""EmbeddingDisplay: what is drawn is where the estimator puts the rows."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest import MetaFewShotClassifier
from metaest.exceptions import InvalidParameterError, MissingDependencyError, TaskError
from metaest.inspection import EmbeddingDisplay
from metaest.inspection._plane import features_of
from metaest.model_selection import AdaptationCurveDisplay, Estimate

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 5))
Y = np.repeat(np.array(["a", "b", "c", "d"]), 12)
X = np.repeat(CENTRES, 12, axis=0) + 0.8 * RNG.normal(size=(48, 5))
IS_SUPPORT = np.arange(48) % 12 < 4
TASK = (X[IS_SUPPORT], Y[IS_SUPPORT], X[~IS_SUPPORT], Y[~IS_SUPPORT])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


@pytest.fixture(scope="module")
def clf():
    clf = MetaFewShotClassifier(n_ways=3, n_shots=2, n_queries=3, n_episodes=16, random_state=0)
    return clf.fit_meta(np.repeat(RNG.normal(size=(8, 5)), 8, axis=0), np.repeat(np.arange(8), 8))


def distances(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=-1)


def test_the_points_are_the_principal_components_of_the_embedding(clf):
    display = EmbeddingDisplay.from_estimator(clf, *TASK)
    features = np.concatenate([clf.embed(TASK[0]), clf.embed(TASK[2])])
    centred = features - features.mean(axis=0)
    scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
    points = np.concatenate([display.support, display.query])
    np.testing.assert_allclose(distances(points, points), distances(scores, scores), atol=1e-9)
    share = np.square(scores).sum(axis=0) / np.square(centred).sum()
    assert display.ax_.get_xlabel() == f"component 1 ({100 * share[0]:.0f} % of variance)"


def test_what_is_drawn_is_where_the_rows_are(clf, tmp_path):
    display = EmbeddingDisplay.from_estimator(clf, *TASK)
    np.testing.assert_array_equal(display.support_.get_offsets(), display.support)
    np.testing.assert_array_equal(display.query_.get_offsets(), display.query)
    means = [display.support[TASK[1] == label].mean(axis=0) for label in "abcd"]
    np.testing.assert_allclose(display.prototypes_.get_offsets(), means)
    wrong = clf.fit(*TASK[:2]).predict(TASK[2]) != TASK[3]
    assert 0 < wrong.sum() < len(wrong)
    np.testing.assert_array_equal(display.wrong_.get_offsets(), display.query[wrong])
    assert display.support_.get_sizes()[0] > 4 * display.query_.get_sizes()[0]
    expected = f"{100 * (1 - wrong.mean()):.1f} % of 32 query rows right"
    assert display.ax_.get_title(loc="left") == expected
    display.figure_.savefig(tmp_path / "embedding.png")
    assert (tmp_path / "embedding.png").stat().st_size > 5000


def test_colours_follow_the_classes(clf):
    display = EmbeddingDisplay.from_estimator(clf, *TASK)
    of_class = display.prototypes_.get_facecolors()
    assert len(np.unique(of_class, axis=0)) == 4
    codes = np.searchsorted(list("abcd"), TASK[1])
    np.testing.assert_array_equal(display.support_.get_facecolors(), of_class[codes])
    codes = np.searchsorted(list("abcd"), TASK[3])
    np.testing.assert_array_equal(display.query_.get_facecolors()[:, :3], of_class[codes, :3])


def test_the_legend_names_classes_and_parts(clf):
    texts = EmbeddingDisplay.from_estimator(clf, *TASK).ax_.get_legend().get_texts()
    parts = ["support row", "prototype", "query row", "predicted wrongly"]
    assert [text.get_text() for text in texts] == [*"abcd", *parts]
    assert EmbeddingDisplay.from_estimator(clf, *TASK, legend=False).ax_.get_legend() is None


def display_of(labels):
    """Points of support and query rows at random, some predicted wrongly."""
    y = np.repeat(labels, 3)
    points = np.random.default_rng(0).normal(size=(2, len(y), 2))
    return EmbeddingDisplay(points[0], y, points[1], y_query=y, y_pred=np.roll(y, 1))


@pytest.mark.parametrize(("n_classes", "n_named"), [(8, 8), (9, 9), (20, 20), (21, 0), (100, 0)])
def test_many_classes_have_colours_of_their_own_and_leave_room(n_classes, n_named):
    labels = np.array([f"_{i:02}, a class with quite a long name" for i in range(n_classes)])
    display = display_of(labels).plot()
    display.figure_.draw_without_rendering()  # a layout that fails warns, which is an error
    assert len(np.unique(display.prototypes_.get_facecolors(), axis=0)) == n_classes
    legend = display.ax_.get_legend()
    texts = [text.get_text().replace("\n", " ") for text in legend.get_texts()]
    assert texts[:-4] == labels[:n_named].tolist()
    assert legend.get_title().get_text() == ("" if n_named else f"{n_classes} classes")
    assert display.ax_.bbox.width > 3 * display.figure_.dpi
    assert display.ax_.bbox.height > 3.5 * display.figure_.dpi


def test_the_legend_leaves_room_in_axes_of_the_caller():
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    display = display_of(np.arange(14)).plot(axes[0])
    figure.draw_without_rendering()
    assert display.ax_.bbox.height > 2.5 * figure.dpi


@pytest.mark.parametrize("style", ["default", "dark_background"])
@pytest.mark.parametrize("transparent", [False, True])
def test_marks_are_seen_on_the_background(style, transparent):
    from matplotlib import pyplot as plt

    paper, ink = ("black", "white") if style == "dark_background" else ("white", "black")
    with plt.style.context(style):
        _, ax = plt.subplots()
        if transparent:
            ax.set_facecolor("none")
        display = display_of(np.arange(8)).plot(ax)
    assert to_rgba(paper) not in set(map(tuple, display.prototypes_.get_facecolors()))
    for drawn, edge in [
        (display.wrong_, ink),
        (display.prototypes_, ink),
        (display.support_, paper),
    ]:
        assert set(map(tuple, drawn.get_edgecolors())) == {to_rgba(edge)}


def test_without_query_labels_the_colours_are_the_predictions(clf):
    display = EmbeddingDisplay.from_estimator(clf, *TASK[:3])
    assert display.y_query is None
    assert len(display.wrong_.get_offsets()) == 0
    assert display.ax_.get_title(loc="left") == ""
    codes = np.searchsorted(list("abcd"), clf.fit(*TASK[:2]).predict(TASK[2]))
    of_class = display.prototypes_.get_facecolors()
    np.testing.assert_array_equal(display.query_.get_facecolors()[:, :3], of_class[codes, :3])


def test_a_transformer_without_predictions_has_grey_query_rows():
    display = EmbeddingDisplay.from_estimator(StandardScaler(), *TASK[:3])
    assert display.y_pred is None
    assert len(np.unique(display.query_.get_facecolors(), axis=0)) == 1
    assert display.classes.tolist() == list("abcd")


def test_the_estimator_is_left_alone(clf):
    other = KNeighborsClassifier(1).fit(TASK[2], TASK[3])
    before = other.predict(TASK[0])
    EmbeddingDisplay.from_estimator(other, *TASK)
    np.testing.assert_array_equal(other.predict(TASK[0]), before)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda clf: clf, lambda clf: clf.embed(X)),
        (
            lambda clf: make_pipeline(StandardScaler(), clf).fit(X, Y),
            lambda clf: clf.embed(StandardScaler().fit_transform(X)),
        ),
        (lambda clf: PCA(3).fit(X), lambda clf: PCA(3).fit_transform(X)),
        (lambda clf: FrozenEstimator(PCA(3).fit(X)), lambda clf: PCA(3).fit_transform(X)),
        (
            lambda clf: make_pipeline(StandardScaler(), NearestCentroid()).fit(X, Y),
            lambda clf: StandardScaler().fit_transform(X),
        ),
        (lambda clf: LogisticRegression().fit(X, Y), lambda clf: X),
    ],
    ids=["embed", "pipeline-embed", "transform", "frozen", "pipeline-rows", "rows"],
)
def test_the_features_are_embed_transform_or_the_rows(clf, make, expected):
    np.testing.assert_allclose(features_of(make(clf), X), expected(clf))


def test_images_frames_and_sparse_features_are_rows_too():
    assert features_of(KNeighborsClassifier(), X.reshape(12, 2, 2, 5)).shape == (12, 20)
    frame = pd.DataFrame(X, columns=list("vwxyz"))
    np.testing.assert_array_equal(features_of(KNeighborsClassifier(), frame), X)
    words = ["one fish", "two fish", "red fish", "blue fish"]
    display = EmbeddingDisplay.from_estimator(TfidfVectorizer(), words[:2], ["a", "b"], words[2:])
    assert display.query.shape == (2, 2)


def test_a_frozen_transformer_is_not_fitted_again():
    frozen = FrozenEstimator(StandardScaler().fit(1000 * X))
    display = EmbeddingDisplay.from_estimator(frozen, *TASK[:3])
    spread = np.concatenate([display.support, display.query]).std()
    assert spread < 0.01  # the scale is that of the rows it was fitted on


def test_lda_tells_the_support_classes_apart_and_does_not_look_at_query_labels(clf):
    display = EmbeddingDisplay.from_estimator(clf, *TASK, projection="lda")
    blind = EmbeddingDisplay.from_estimator(clf, *TASK[:3], projection="lda")
    np.testing.assert_array_equal(display.query, blind.query)

    def between(points):
        means = np.stack([points[TASK[1] == label].mean(axis=0) for label in "abcd"])
        return np.square(means - points.mean(axis=0)).mean() / points.var()

    principal = EmbeddingDisplay.from_estimator(clf, *TASK)
    assert between(display.support) > between(principal.support)
    assert display.ax_.get_xlabel() == "discriminant 1"


def test_lda_takes_constant_features():
    flat = [np.hstack([part, np.ones((len(part), 1))]) for part in (TASK[0], TASK[2])]
    display = EmbeddingDisplay.from_estimator(
        KNeighborsClassifier(1), flat[0], TASK[1], flat[1], projection="lda"
    )
    plain = EmbeddingDisplay.from_estimator(KNeighborsClassifier(1), *TASK[:3], projection="lda")
    np.testing.assert_allclose(display.support, plain.support)  # the constant column says nothing
    np.testing.assert_allclose(display.query, plain.query)


def test_one_column_and_one_shot_can_be_drawn():
    display = EmbeddingDisplay.from_estimator(
        KNeighborsClassifier(1), [[0.0], [1.0]], [0, 1], [[0.2], [0.9], [0.4]], [0, 1, 1]
    )
    np.testing.assert_array_equal(display.prototypes, display.support)
    np.testing.assert_allclose(display.query[:, 1], 0, atol=1e-12)
    assert len(display.wrong_.get_offsets()) == 1


def test_rows_that_are_all_equal_fall_on_one_point():
    same = np.ones((4, 3))
    display = EmbeddingDisplay.from_estimator(KNeighborsClassifier(1), same[:2], [0, 1], same)
    np.testing.assert_array_equal(display.query, np.zeros((4, 2)))
    assert display.ax_.get_xlabel() == "component 1 (0 % of variance)"


def test_many_classes_and_a_class_without_support_rows():
    y = np.arange(12)
    rows = RNG.normal(size=(12, 3))
    display = EmbeddingDisplay.from_estimator(
        KNeighborsClassifier(1), rows[:10], y[:10], rows[10:], y[10:]
    )
    assert len(display.classes) == 12
    assert len(display.prototypes) == 10
    assert len(np.unique(display.prototypes_.get_facecolors(), axis=0)) == 10
    assert len(display.wrong_.get_offsets()) == 2


def test_the_colours_are_those_of_a_curve_in_their_order(clf):
    display = EmbeddingDisplay.from_estimator(clf, *TASK)
    curves = {label: [Estimate(label, "accuracy", 0.5, 0.1, 9)] for label in "abcd"}
    lines = AdaptationCurveDisplay([1], curves, along="shots").plot().lines_
    found = display.prototypes_.get_facecolors()
    np.testing.assert_allclose(found, [to_rgba(line.get_color()) for line in lines])


def test_the_frame_has_a_row_per_point(clf):
    display = EmbeddingDisplay.from_estimator(clf, *TASK)
    frame = display.to_frame()
    assert frame.part.value_counts().to_dict() == {"query": 32, "support": 16, "prototype": 4}
    query = frame[frame.part == "query"]
    np.testing.assert_array_equal(query[["x", "y"]], display.query)
    assert query.label.tolist() == TASK[3].tolist()
    assert query.predicted.tolist() == display.y_pred.tolist()
    assert frame[frame.part == "prototype"].label.tolist() == list("abcd")
    blind = EmbeddingDisplay(display.support, TASK[1], display.query).to_frame()
    assert blind[blind.part == "query"].label.isna().all()


def test_axes_of_ones_own(clf):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2)
    display = EmbeddingDisplay.from_estimator(clf, *TASK, ax=axes[1])
    assert (display.ax_, display.figure_) == (axes[1], figure)


@pytest.mark.parametrize(
    ("package", "extra", "call"),
    [
        ("matplotlib", "plot", lambda display: display.plot()),
        ("pandas", "frame", lambda display: display.to_frame()),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, extra, call):
    display = EmbeddingDisplay(np.zeros((2, 2)), np.array([0, 1]), np.zeros((3, 2)))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"EmbeddingDisplay.*metaest\[{extra}\]"):
        call(display)


class Speaks(ClassifierMixin, BaseEstimator):
    """Its features are words."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def transform(self, X):
        return np.full((len(X), 2), "word")


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        ({"projection": "tsne"}, InvalidParameterError, "must be 'pca' or 'lda', got 'tsne'"),
        (
            {"X_support": TASK[0][::4], "y_support": TASK[1][::4], "projection": "lda"},
            InvalidParameterError,
            "at least 3 classes and more support rows than classes, got 4 classes and 4 rows",
        ),
        ({"y_support": TASK[1][:3]}, TaskError, "X and y of the support set differ in length"),
        ({"y_query": TASK[3][:3]}, TaskError, "X and y of the query set differ in length"),
        (
            {"estimator": Ridge(), "y_support": np.linspace(0, 1.5, 16), "y_query": None},
            TaskError,
            "y of the support set holds numbers to predict, not classes",
        ),
        ({"estimator": Speaks()}, TaskError, "the features of Speaks are no numbers"),
        (
            {"y_query": ["abcd".index(label) for label in TASK[3]]},
            TaskError,
            "in two ways: 'a' and 0. Give both as text, or both as numbers",
        ),
        ({"X_query": TASK[2][:0], "y_query": None}, TaskError, "X_query has no rows. Pass at"),
    ],
    ids=["projection", "lda", "support", "query", "regression", "words", "two types", "no rows"],
)
def test_bad_input_is_one_clear_error(call, error, match):
    names = ("X_support", "y_support", "X_query", "y_query")
    arguments = dict(zip(names, TASK, strict=True)) | {"estimator": KNeighborsClassifier(1)} | call
    with pytest.raises(error, match=match):
        EmbeddingDisplay.from_estimator(**arguments)


@pytest.mark.parametrize("n_varying", [0, 1])
def test_lda_asks_for_two_features_that_vary(n_varying: int) -> None:
    rows = [np.asarray(part, dtype=float).copy() for part in (TASK[0], TASK[2])]
    for part in rows:
        part[:, n_varying:] = 1.0
    clf = KNeighborsClassifier(1)
    with pytest.raises(InvalidParameterError, match=f"2 features that vary.*got {n_varying}"):
        EmbeddingDisplay.from_estimator(clf, rows[0], TASK[1], rows[1], projection="lda")
