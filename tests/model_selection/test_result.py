"""EpisodeScores: means, intervals, differences, tables and the picture."""

import numpy as np
import pytest
from scipy import stats

from metaest.exceptions import InvalidParameterError
from metaest.model_selection import EpisodeScores, EpisodeScoresDisplay, Estimate, EstimateTable

N = 50
RNG = np.random.default_rng(0)
BASE = RNG.beta(8, 2, N)


def make_result(scores, n_ways=5, confidence=0.95):
    n = len(next(iter(next(iter(scores.values())).values())))
    episodes = [(np.array([0]), np.array([1]))] * n
    times = {name: np.full(n, 0.1) for name in scores}
    describe = {"episode": np.arange(n), "n_ways": np.full(n, n_ways)}
    return EpisodeScores(
        scores,
        episodes,
        describe=describe,
        fit_times=times,
        score_times=times,
        confidence=confidence,
    )


@pytest.fixture
def result():
    better = np.clip(BASE + 0.05, 0, 1)
    return make_result(
        {
            "base": {"accuracy": BASE, "neg_log_loss": -BASE},
            "better": {"accuracy": better, "neg_log_loss": -better / 10},
        }
    )


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 7, 600])
def test_the_interval_is_students(n, confidence):
    values = RNG.normal(size=n)
    estimate = make_result({"a": {"score": values}}, confidence=confidence).summary()[0]
    low, high = stats.t.interval(confidence, n - 1, values.mean(), stats.sem(values))
    assert estimate.mean == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert estimate.n_episodes == n


def test_the_interval_of_many_episodes_is_the_usual_one():
    estimate = make_result({"a": {"score": RNG.normal(size=600)}}).summary()[0]
    values = np.sqrt(600) * estimate.half_width
    assert values == pytest.approx(1.96, rel=0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    draws = RNG.beta(8, 2, size=(2000, 30))
    covered = [
        abs(make_result({"a": {"s": row}}).summary()[0].mean - 0.8)
        <= make_result({"a": {"s": row}}).summary()[0].half_width
        for row in draws
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_one_episode_has_a_mean_and_no_interval():
    result = make_result({"a": {"accuracy": np.array([0.8])}})
    assert np.isnan(result.summary()[0].half_width)
    assert repr(result) == "accuracy: 80.0 % (1 episode)"
    result.plot()


def test_differences_are_paired(result):
    estimate = result.compare("base")[0]
    differences = np.clip(BASE + 0.05, 0, 1) - BASE
    interval = stats.t.interval(0.95, N - 1, differences.mean(), stats.sem(differences))
    assert (estimate.estimator, estimate.metric) == ("better", "accuracy")
    assert (estimate.low, estimate.high) == pytest.approx(interval)
    assert estimate.half_width < result.summary()[0].half_width / 2
    assert result.compare("better")[0].mean == pytest.approx(-estimate.mean)


def test_an_episode_that_failed_for_one_is_left_out_of_the_difference():
    holed = BASE.copy()
    holed[:10] = np.nan
    result = make_result({"a": {"accuracy": BASE}, "b": {"accuracy": holed}})
    assert result.compare("a")[0].n_episodes == N - 10
    assert result.compare("a")[0].mean == 0
    assert len(result) == N


def test_titles_tell_over_how_many_episodes_the_means_are():
    holed = BASE.copy()
    holed[:10] = np.nan
    result = make_result({"a": {"accuracy": BASE}, "b": {"accuracy": holed}})
    assert repr(result.compare("a")).startswith("difference to a (40 of 50 episodes): mean")
    assert repr(result).startswith("EpisodeScores (50 episodes): mean")
    result = make_result({"b": {"accuracy": holed}, "c": {"accuracy": holed}})
    assert repr(result).startswith("EpisodeScores (40 of 50 episodes): mean")


def test_the_frame_has_a_row_per_estimator_and_episode(result):
    frame = result.to_frame()
    assert frame.shape == (2 * N, 7)
    assert frame.groupby("estimator").accuracy.mean()["base"] == pytest.approx(BASE.mean())
    summary = result.summary().to_frame()
    assert summary.columns.tolist() == [
        "estimator",
        "metric",
        "mean",
        "half_width",
        "low",
        "high",
        "n_episodes",
    ]
    assert (summary.high - summary.low).to_numpy() == pytest.approx(
        2 * summary.half_width.to_numpy()
    )


def test_names_are_in_order(result):
    assert result.estimators == ["base", "better"]
    assert result.metrics == ["accuracy", "neg_log_loss"]


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate("a", "accuracy", 0.9731, 0.0041, 600), "accuracy: 97.3 ± 0.4 % (600 episodes)"),
        (Estimate("a", "accuracy", 0.98517, 0.0006, 9), "accuracy: 98.52 ± 0.06 % (9 episodes)"),
        (
            Estimate("a", "balanced_accuracy", 0.5, 0.0, 9),
            "balanced_accuracy: 50.0 ± 0.0 % (9 episodes)",
        ),
        (
            Estimate("a", "neg_log_loss", -0.5123, 0.0213, 9),
            "neg_log_loss: -0.512 ± 0.021 (9 episodes)",
        ),
        (
            Estimate("a", "neg_mean_squared_error", -3021.4, 251.0, 9),
            "neg_mean_squared_error: -3021 ± 251 (9 episodes)",
        ),
        (Estimate("a", "r2", 0.5, 0.0, 9), "r2: 0.500 ± 0.000 (9 episodes)"),
        (Estimate("a", "r2", 0.5, 1e-17, 9), "r2: 0.500 ± 0.000 (9 episodes)"),
        (Estimate("a", "accuracy", 97.3, 0.4, 9), "accuracy: 97.30 ± 0.40 (9 episodes)"),
    ],
    ids=[
        "percent",
        "narrow",
        "no width",
        "loss",
        "large",
        "share",
        "rounding",
        "in percent already",
    ],
)
def test_numbers_are_written_with_the_digits_that_count(estimate, text):
    assert str(estimate) == text


def test_repr_is_a_table_for_many_and_a_line_for_one(result):
    lines = repr(result).splitlines()
    assert lines[0] == "EpisodeScores (50 episodes): mean ± 95 % interval"
    assert lines[1].split() == ["accuracy", "neg_log_loss"]
    assert [line.split()[0] for line in lines[2:]] == ["base", "better"]
    assert lines[2].index("±") == lines[3].index("±")
    one = make_result({"a": {"accuracy": BASE}}, confidence=0.9)
    assert repr(one).startswith("accuracy: ")
    assert "+" in repr(result.compare("base"))
    assert "90 % interval" in repr(one.summary())


def test_a_table_is_a_sequence(result):
    table = result.summary()
    assert isinstance(table, EstimateTable)
    assert len(table) == len(list(table)) == 4
    assert [e.metric for e in table[:2]] == ["accuracy", "neg_log_loss"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda r: r.compare("bse"),
            "no estimator 'bse', only 'base', 'better'. Did you mean 'base'",
        ),
        (lambda r: r.plot("acuracy"), "no metric 'acuracy'.*Did you mean 'accuracy'"),
        (lambda r: make_result({"a": r.scores["base"]}).compare("a"), "only 'a'; pass .* a dict"),
    ],
    ids=["estimator", "metric", "alone"],
)
def test_bad_input_is_one_clear_error(result, call, message):
    with pytest.raises(InvalidParameterError, match=message):
        call(result)


def test_the_picture_shows_every_estimator_with_its_numbers(result, tmp_path):
    display = result.plot()
    assert isinstance(display, EpisodeScoresDisplay)
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == ["better", "base"][::-1]
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts[0] == result.summary()[0].format()
    assert "chance" in texts
    assert display.ax_.get_xlabel() == "accuracy of an episode (%)"
    display.figure_.savefig(tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 5000


def test_the_picture_takes_axes_colour_and_metric(result):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2)
    display = result.plot("neg_log_loss", ax=axes[1], color="C1")
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert "chance" not in [text.get_text() for text in axes[1].texts]
    assert axes[1].get_xlabel() == "neg_log_loss of an episode"


@pytest.mark.parametrize("name", ["short", "n" * 70, "a pipeline with a name of many words " * 4])
def test_long_names_are_wrapped_and_leave_room(name):
    display = make_result({name: {"accuracy": RNG.random(20)}}).plot()
    display.figure_.draw_without_rendering()  # a layout that fails warns, which is an error
    lines = display.ax_.get_yticklabels()[0].get_text().split("\n")
    assert len(lines) <= 3
    assert max(map(len, lines)) <= 30
    assert display.ax_.bbox.width > 3.5 * display.figure_.dpi
    title = display.ax_._left_title.get_window_extent()
    assert title.x1 < display.figure_.bbox.x1


def test_the_picture_is_seen_on_a_dark_background():
    from matplotlib import pyplot as plt

    result = make_result({"a": {"accuracy": RNG.random(20)}})
    grids, alphas = [], []
    for style in ("default", "dark_background"):
        with plt.style.context(style):
            ax = result.plot().ax_
        line = ax.get_xgridlines()[0]
        grids.append((line.get_color(), line.get_alpha() < 0.3))
        alphas.append(ax.patches[0].get_alpha())
    assert grids == [("black", True), ("white", True)]
    assert alphas[0] < alphas[1]


@pytest.mark.parametrize(
    "values",
    [
        np.full(20, 0.5),
        np.array([0.2, np.nan, 0.4]),
        RNG.integers(0, 76, 600) / 75,
        RNG.normal(size=600),
    ],
    ids=["constant", "failed", "lattice", "continuous"],
)
def test_the_histogram_counts_every_episode(values):
    from metaest.model_selection._display import _bins

    edges = _bins(values)
    finite = values[np.isfinite(values)]
    assert np.histogram(finite, bins=edges)[0].sum() == len(finite)
    assert len(edges) <= 42
    make_result({"a": {"accuracy": values}}).plot()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    from matplotlib import pyplot as plt

    plt.close("all")


def test_an_estimator_without_scores_leaves_the_others_their_unit() -> None:
    result = make_result({"good": {"accuracy": BASE}, "bad": {"accuracy": np.full(N, np.nan)}})
    percent = f"{100 * BASE.mean():.1f}"
    assert percent in repr(result)
    display = result.plot()
    assert display.ax_.get_xlabel().endswith("(%)")
    assert display.ax_.get_xlim()[1] > 50


@pytest.mark.parametrize("name", ["cost in $", "$5 and $7_x", r"$\foo$"])
def test_dollars_in_names_are_no_formulas(name, tmp_path) -> None:
    display = make_result({name: {"accuracy": BASE}}).plot()
    display.figure_.savefig(tmp_path / "a.png")
    (label,) = display.ax_.get_yticklabels()
    assert label.get_text() == name.replace("$", r"\$")
