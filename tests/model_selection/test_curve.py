"""AdaptationCurveDisplay: its points are those of cross_validate_episodes, and it draws them."""

import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.exceptions import EpisodeError, InvalidParameterError, MissingDependencyError
from metaest.learners import MAML, FineTune, Reptile
from metaest.model_selection import (
    AdaptationCurveDisplay,
    EpisodicSplit,
    Estimate,
    cross_validate_episodes,
)
from metaest.model_selection._curve_points import find_steps, with_seed, with_shots


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


@pytest.fixture
def models():
    return {"1-nn": KNeighborsClassifier(1), "logistic": LogisticRegression()}


def ends_of(band):
    """Return the lower and upper edges of a band, by their horizontal position."""
    vertices = band.get_paths()[0].vertices
    x = np.unique(vertices[:, 0])
    at = [vertices[vertices[:, 0] == value, 1] for value in x]
    return x, np.array([own.min() for own in at]), np.array([own.max() for own in at])


def test_the_points_against_shots_are_those_of_the_cross_validation(blobs, cv, models):
    X, y = blobs
    display = AdaptationCurveDisplay.against_shots(models, X, y, shots=(5, 1), cv=cv)
    assert display.values == [1, 5]
    assert list(display.curves) == ["1-nn", "logistic"]
    for position, n_shots in enumerate((1, 5)):
        own = EpisodicSplit(60, n_ways=3, n_shots=n_shots, n_queries=5, random_state=0)
        for estimate in cross_validate_episodes(models, X, y, cv=own).summary():
            assert display.curves[estimate.estimator][position] == estimate
    assert cv.n_shots == 2  # the caller's


def test_more_shots_keep_the_classes_and_the_rows_of_fewer(blobs):
    X, y = blobs
    cv = with_seed(EpisodicSplit(20, n_ways=3), {})  # without a seed: one is drawn, once
    few, many = with_shots(cv, 1).split(X, y), with_shots(cv, 4).split(X, y)
    for (support, _), (longer, _) in zip(few, many, strict=True):
        assert set(support) <= set(longer)
        assert set(y[support]) == set(y[longer])


def test_the_points_against_steps_are_those_of_the_cross_validation(blobs, cv):
    X, y = blobs
    clf = MetaFewShotClassifier(MAML(head="prototype"), n_ways=3, n_episodes=16, random_state=0)
    clf.fit_meta(X, y)
    display = AdaptationCurveDisplay.against_steps({"maml": clf}, X, y, steps=(0, 3), cv=cv)
    for steps, estimate in zip((0, 3), display.curves["maml"], strict=True):
        own = clone(clf).set_params(learner__inner_steps=steps)
        expected = cross_validate_episodes({"maml": own}, X, y, cv=cv).summary()[0]
        assert estimate == expected
    assert clf.learner.inner_steps == 5  # the caller's


def test_lines_bands_and_words_show_the_estimates(blobs, cv, models, tmp_path):
    X, y = blobs
    display = AdaptationCurveDisplay.against_shots(models, X, y, shots=(1, 2, 5), cv=cv)
    assert len(display.lines_) == len(display.fill_between_) == 2
    for line, band, (name, curve) in zip(
        display.lines_, display.fill_between_, display.curves.items(), strict=True
    ):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 5])
        np.testing.assert_allclose(line.get_ydata(), [100 * e.mean for e in curve])
        x, low, high = ends_of(band)
        np.testing.assert_array_equal(x, [1, 2, 5])
        np.testing.assert_allclose(low, [100 * e.low for e in curve])
        np.testing.assert_allclose(high, [100 * e.high for e in curve])
    ax = display.ax_
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "2", "5"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("shots", "accuracy (%)")
    assert ax.get_title(loc="left") == "Mean and 95 % interval, over 60 episodes"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(models)
    colors = {line.get_color() for line in display.lines_}
    assert len(colors) == 2
    display.figure_.savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000


def test_the_picture_takes_axes_and_another_confidence():
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2)
    curves = {"a": [Estimate("a", "r2", 0.2, 0.1, 9), Estimate("a", "r2", 0.4, 0.1, 9)]}
    display = AdaptationCurveDisplay([0, 5], curves, along="steps", confidence=0.5)
    assert display.plot(axes[1]) is display
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert (axes[1].get_xlabel(), axes[1].get_ylabel()) == ("steps of adaptation", "r2")
    assert axes[1].get_title(loc="left").startswith("Mean and 50 % interval")
    assert axes[1].get_xscale() == "linear"


def draw(names, values=(1, 10), ax=None):
    """Draw curves without computing any."""
    curves = {name: [Estimate(name, "r2", 0.2, 0.1, 9)] * len(values) for name in names}
    return AdaptationCurveDisplay(list(values), curves, along="shots").plot(ax)


def test_no_two_curves_look_the_same():
    lines = draw([f"model {i}" for i in range(56)]).lines_
    assert (
        len({(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}) == 56
    )


@pytest.mark.parametrize("n_curves", [1, 2, 5, 6, 20])
def test_the_legend_names_every_curve_and_leaves_room(n_curves):
    names = [f"_{i}, a model with a long name that goes on and on" for i in range(n_curves)]
    display = draw(names)
    display.figure_.draw_without_rendering()  # a layout that fails warns, which is an error
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert [text.replace("\n", " ") for text in texts] == names
    assert display.ax_.bbox.width > 3.5 * display.figure_.dpi
    assert display.ax_.bbox.height > 2.5 * display.figure_.dpi


def test_long_names_stand_beside_the_curves_and_differ():
    names = [f"Pipeline(steps={'x, y, ' * 20}C={c})" for c in (1, 2)]
    display = draw(names)
    display.figure_.draw_without_rendering()
    legend = display.ax_.get_legend()
    assert legend.get_window_extent().x0 >= display.ax_.bbox.x1
    shown = [text.get_text() for text in legend.get_texts()]
    assert [text[-4:] for text in shown] == ["C=1)", "C=2)"]
    assert all(len(text.split("\n")) == 3 for text in shown)


def test_a_single_value_has_its_interval():
    from matplotlib.collections import LineCollection

    ax = draw("ab", [5]).ax_
    bars = [each.get_segments()[0] for each in ax.collections if isinstance(each, LineCollection)]
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [(0.1, 0.3)] * 2)
    assert bars[0][0, 0] < 5 < bars[1][0, 0]  # side by side
    assert [text.get_text() for text in ax.get_xticklabels()] == ["5"]


def test_ticks_too_close_together_are_not_all_named():
    ax = draw("a", [*range(1, 11), 20, 21]).ax_
    texts = [text.get_text() for text in ax.get_xticklabels()]
    assert len(texts) == 12
    assert texts[:6] == list("123456")
    assert texts[-2:] == ["", "21"]


def test_curves_are_seen_on_a_dark_background():
    from matplotlib import pyplot as plt
    from matplotlib.colors import to_rgb

    with plt.style.context("dark_background"):
        display = draw([f"model {i}" for i in range(8)])
    assert min(max(to_rgb(line.get_color())) for line in display.lines_) > 0.5
    assert display.ax_.get_ygridlines()[0].get_alpha() < 0.3


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    display = AdaptationCurveDisplay([1], {"a": [Estimate("a", "r2", 0, 1, 9)]}, along="shots")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"AdaptationCurveDisplay.*metaest\[plot\]"):
        display.plot()


def test_the_frame_has_a_row_per_estimator_and_value(blobs, cv, models):
    X, y = blobs
    display = AdaptationCurveDisplay.against_shots(models, X, y, shots=(1, 2), cv=cv)
    frame = display.to_frame()
    assert frame.columns.tolist()[:4] == ["shots", "estimator", "metric", "mean"]
    assert frame.shots.tolist() == [1, 2, 1, 2]
    assert frame.estimator.tolist() == ["1-nn", "1-nn", "logistic", "logistic"]
    assert frame["mean"][1] == display.curves["1-nn"][1].mean


def test_groups_scoring_and_a_regressor(blobs):
    X, y = blobs
    target = X @ np.ones(4)
    cv = EpisodicSplit(10, n_queries=4, random_state=0)
    display = AdaptationCurveDisplay.against_shots(
        Ridge(), X, target, shots=(2, 8), groups=y, cv=cv, scoring="neg_mean_absolute_error"
    )
    means = [estimate.mean for estimate in display.curves["Ridge"]]
    assert means[0] < means[1] < 0
    assert display.ax_.get_ylabel() == "neg_mean_absolute_error"
    cv = EpisodicSplit(10, kind="regression", random_state=0)
    AdaptationCurveDisplay.against_shots(DummyRegressor(), X, y, shots=(2,), cv=cv)


@pytest.mark.parametrize(
    ("estimator", "found"),
    [
        (MetaFewShotClassifier(MAML()), "learner__inner_steps"),
        (MetaFewShotClassifier(Reptile()), "learner__adapt_steps"),
        (MetaFewShotRegressor(FineTune()), "learner__adapt_steps"),
        (
            make_pipeline(StandardScaler(), MetaFewShotClassifier(MAML())),
            "metafewshotclassifier__learner__inner_steps",
        ),
    ],
    ids=["maml", "reptile", "finetune", "pipeline"],
)
def test_the_steps_are_found(estimator, found):
    assert find_steps("it", estimator, None) == found


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ({"shots": ()}, r"shots must be some ints, such as \(1, 5\), got \(\)"),
        ({"shots": 3}, "shots must be some ints"),
        ({"shots": "12"}, "shots must be some ints"),
        ({"shots": (0, 1)}, "each of shots must be an int >= 1, got 0"),
        ({"shots": (1.5,)}, "each of shots must be an int >= 1, got 1.5"),
        ({"cv": 5}, "cv must be an EpisodicSplit or None, got 5"),
        ({"cv": EpisodicSplit(random_state="a")}, "random_state must be None, an int"),
        ({"scoring": ["accuracy", "f1_macro"]}, "scoring must give one score.*accuracy, f1_macro"),
        ({"scoring": "acuracy"}, "Did you mean 'accuracy'"),
        ({"estimator": {}}, "estimator is an empty dict"),
        ({"estimator": KNeighborsClassifier}, "must be an instance with a fit method"),
        ({"confidence": 2}, r"confidence must be a float in \(0, 1\)"),
    ],
)
def test_bad_input_of_shots(blobs, cv, call, match):
    X, y = blobs
    arguments = {"estimator": KNeighborsClassifier(1), "shots": (1,), "cv": cv} | call
    with pytest.raises(InvalidParameterError, match=match):
        AdaptationCurveDisplay.against_shots(X=X, y=y, **arguments)


def test_too_few_rows_for_the_shots(blobs, cv):
    with pytest.raises(EpisodeError, match="Lower n_shots"):
        AdaptationCurveDisplay.against_shots(KNeighborsClassifier(1), *blobs, shots=(16,), cv=cv)


@pytest.mark.parametrize(
    ("estimator", "parameter", "match"),
    [
        (KNeighborsClassifier(), None, "'it' has no parameter adapt_steps, inner_steps or head"),
        (MetaFewShotClassifier("maml"), None, "learner is a name, pass an object"),
        (
            MetaFewShotClassifier(MAML()),
            "learner__inner_step",
            "Did you mean 'learner__inner_steps",
        ),
    ],
    ids=["none", "name", "misspelt"],
)
def test_bad_input_of_steps(blobs, cv, estimator, parameter, match):
    with pytest.raises(InvalidParameterError, match=match):
        AdaptationCurveDisplay.against_steps({"it": estimator}, *blobs, parameter=parameter, cv=cv)


def test_any_number_can_stand_for_steps(blobs, cv):
    display = AdaptationCurveDisplay.against_steps(
        KNeighborsClassifier(), *blobs, steps=(1, 3), parameter="n_neighbors", cv=cv
    )
    expected = cross_validate_episodes(KNeighborsClassifier(3), *blobs, cv=cv).summary()[0]
    assert display.curves["KNeighborsClassifier"][1] == expected
