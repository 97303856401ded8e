"""suggest: what is ranked first, what it says, what it refuses."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.datasets import load_diabetes, load_wine, make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import Lasso, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metaest.exceptions import HistoryError, InvalidParameterError, TaskError
from metaest.tuning import (
    History,
    MetaSampler,
    Suggestion,
    default_space,
    embedded_history,
    suggest,
)
from metaest.tuning._embedded import METRICS, MODELS
from metaest.tuning._suggestion import format_suggestions

SPACE = {"x": FloatDistribution(-5, 5), "k": IntDistribution(1, 9)}
GRID = [{"x": float(x), "k": k} for x in range(-5, 6) for k in (1, 5, 9)]


def peak(best: float) -> list[float]:
    """Score the grid: 1 at x = best and k = 5, and falling off around."""
    return [1 - 0.02 * (p["x"] - best) ** 2 - 0.002 * (p["k"] - 5) ** 2 for p in GRID]


def small(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Few rows, many columns, many classes."""
    return make_classification(60, 30, n_informative=12, n_classes=6, random_state=seed)


def large(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Many rows, few columns, two classes."""
    return make_classification(400, 3, n_redundant=0, weights=[0.9], random_state=seed)


@pytest.fixture(scope="module")
def history() -> History:
    """Small data sets want x = -3, large ones x = 3."""
    history = History()
    for seed in range(4):
        X, y = small(seed)
        history.add_trials(
            f"small {seed}", GRID, peak(-3), space=SPACE, X=X, y=y, metric="accuracy"
        )
        X, y = large(seed)
        history.add_trials(f"large {seed}", GRID, peak(3), space=SPACE, X=X, y=y, metric="accuracy")
    return history


@pytest.mark.parametrize(("make", "kind", "best"), [(small, "small", -3.0), (large, "large", 3.0)])
def test_similar_data_sets_decide(history: History, make: Any, kind: str, best: float) -> None:
    first, second = suggest(history, *make(17), n=2)
    assert first.params == {"x": best, "k": 5}
    assert second.params["x"] == -best  # what the first is weak on
    assert first.task.startswith(kind)
    assert second.task.endswith(tuple("0123"))
    assert first.metric == "accuracy"
    assert first.distance is not None
    assert second.distance is not None
    assert first.distance < second.distance
    assert first.expected > 0.9 > second.expected
    assert "8 past data sets, where similar ones weigh more" in first.reasons[1]
    assert "better than those before it" in second.reasons[1]
    assert first.reasons[2].endswith("on 4 of the 8 past data sets")


def test_the_expected_score_is_that_of_similar_data_sets() -> None:
    history = History()
    for seed in range(6):
        for make, shift in ((small, 0.0), (large, -0.5)):
            values = np.array(peak(0)) + shift
            X, y = make(seed)
            history.add_trials(f"{shift} {seed}", GRID, values, space=SPACE, X=X, y=y)
    for make, score in ((small, 1.0), (large, 0.5)):
        found = suggest(history, *make(17), n=1)[0]
        assert found.params == {"x": 0.0, "k": 5}
        assert found.expected_score == pytest.approx(score, abs=0.03)
        assert found.score_error is not None
        assert found.score_error < 0.02


def test_of_scores_that_similarity_does_not_tell_none_is_expected() -> None:
    history, rng = History(), np.random.default_rng(0)
    for seed in range(12):
        X, y = small(seed)
        values = np.array(peak(0)) + rng.normal()
        history.add_trials(str(seed), GRID, values, space=SPACE, X=X, y=y)
    found = suggest(history, *small(17), n=1)[0]
    assert (found.expected_score, found.score_error) == (None, None)
    assert "±" not in str(found)


def test_this_very_data_set_counts_for_nearly_all(history: History) -> None:
    X, y = small(17)
    history.add_trials("itself", GRID, peak(1), space=SPACE, X=X, y=y, metric="accuracy")
    try:
        order = np.random.default_rng(0).permutation(len(y))
        found = suggest(history, X[order], y[order], n=1)[0]
        assert found.params == {"x": 1.0, "k": 5}
        assert found.task == "itself"
        assert found.reasons[0] == "best of 33 trials on itself, this very data set"
        assert found.expected_score == pytest.approx(1.0, abs=0.02)
        assert found.score_error is None
    finally:
        import optuna

        optuna.delete_study(study_name="itself", storage=history.storage)


def test_what_was_measured_on_this_very_data_set_is_not_estimated() -> None:
    history, X, y = History(), *small(17)
    space, grid = {"a": FloatDistribution(0, 1)}, [{"a": 0.1 * step} for step in range(8)]
    for task in range(3):
        values = [step % 5 + task for step in range(8)]
        history.add_trials(f"t{task}", grid, values, space=space, X=X, y=y)
    first, second = suggest(history, X, y, n=2)
    assert first.params == grid[4]
    assert (first.expected, first.expected_score) == (1.0, 5.0)
    assert first.reasons == (
        "best of 8 trials on t0, this very data set",
        "best on this very data set, which was searched before",
        "at least 90% of the way from the worst to the best known on 3 of the 3 past data sets",
    )
    assert (second.params, second.expected_score) == (grid[3], 4.0)


def test_without_data_all_past_data_sets_count_alike(history: History) -> None:
    found = suggest(history, n=50)
    assert [s.rank for s in found] == list(range(1, len(found) + 1))
    assert len({json.dumps(s.params, sort_keys=True) for s in found}) == len(found) < 50
    first, second = (s.params["x"] for s in found[:2])
    assert abs(first) == 2.0  # a compromise, then what it is weak on
    assert second == -1.5 * first
    assert all(s.distance is None for s in found)
    assert found[0].reasons[1] == "estimated best on average over 8 past data sets"


def test_fewer_are_the_first_of_more(history: History) -> None:
    data = small(17)
    assert suggest(history, *data, n=2) == suggest(history, *data, n=4)[:2]


def test_lower_is_better_where_it_is_minimized() -> None:
    history = History()
    for name in "abc":
        values = [2 - value for value in peak(2)]
        history.add_trials(name, GRID, values, space=SPACE, direction="minimize")
    with pytest.raises(HistoryError, match="3 with another direction"):
        suggest(history)
    assert suggest(history, direction="minimize")[0].params == {"x": 2.0, "k": 5}


@pytest.mark.parametrize("failed", [np.inf, -np.inf, np.finfo(float).max, -1e300])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_optuna_keeps_as_an_infinite_value_has_failed(failed: float, direction: str) -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        return failed if x > 0.8 else (1 if direction == "minimize" else -1) * (x - 0.3) ** 2

    history = History()
    for seed in range(3):
        study = optuna.create_study(
            study_name=str(seed),
            direction=direction,
            sampler=optuna.samplers.RandomSampler(seed=seed),
        )
        study.optimize(objective, n_trials=20)
        history.add_study(study)
    records = history.tasks()
    assert len(records[0].trials) == 20 > len(records[0].complete_trials) > 10
    options: dict[str, Any] = {"direction": direction}
    assert all(0.2 < found.params["x"] < 0.5 for found in suggest(history, **options))
    study = optuna.create_study(direction=direction, sampler=MetaSampler(history, seed=0))
    study.optimize(objective, n_trials=5)
    assert [t.user_attrs["metaest:origin"] for t in study.trials[:4]] == [
        *["portfolio"] * 3,
        "surrogate",
    ]
    assert all(0.2 < trial.params["x"] < 0.5 for trial in study.trials[:3])


def test_metrics_are_not_mixed() -> None:
    history = History()
    for number in range(5):
        metric, best = ("accuracy", -3) if number < 3 else ("roc_auc", 3)
        history.add_trials(str(number), GRID, peak(best), space=SPACE, metric=metric)
    found = suggest(history)[0]
    assert (found.metric, found.params["x"]) == ("accuracy", -3.0)
    assert found.expected == pytest.approx(1, abs=0.02)
    assert suggest(history, metric="roc_auc")[0].params["x"] == 3.0
    with pytest.raises(HistoryError, match=r"metric 'f1'\): 5 with another metric"):
        suggest(history, metric="f1")


def test_configurations_are_brought_into_the_asked_space(history: History) -> None:
    space = {"x": FloatDistribution(-1, 1), "k": IntDistribution(6, 7)}
    for suggestion in suggest(history, space=space):
        assert suggestion.params["x"] in (-1.0, 1.0)
        assert suggestion.params["k"] == 6
    with pytest.raises(HistoryError, match="8 with another space"):
        suggest(history, space={"other": FloatDistribution(0, 1)})
    with pytest.raises(InvalidParameterError, match="space must be a dict"):
        suggest(history, space={})


def test_what_is_moved_into_the_asked_space_is_judged_there() -> None:
    history, wide = History(), FloatDistribution(0, 10)
    grid = [{"x": float(x), "z": float(z)} for x in range(1, 11) for z in (2, 5, 8)]
    for task in range(4):
        values = [1 - 0.01 * (p["x"] - 9) ** 2 - 0.003 * (p["z"] - 5) ** 2 for p in grid]
        history.add_trials(f"t{task}", grid, values, space={"x": wide, "z": wide})
    low, high = min(values), max(values)
    found = suggest(history, n=8, space={"x": FloatDistribution(0, 3.5), "z": wide})
    assert found[0].params == {"x": 3.5, "z": 5.0}
    true = (1 - 0.01 * (3.5 - 9) ** 2 - low) / (high - low)
    assert found[0].expected == pytest.approx(true, abs=0.06)
    assert found[0].reasons[0] == "nearest in the new space to the best of 30 trials on t0"
    assert found[0].reasons[2].endswith("on 0 of the 4 past data sets")
    inside = [own.reasons[0] for own in found if own.params["x"] == 3.0]
    assert inside == [f"number {place} of 30 trials on t0" for place in (22, 23)]


def test_a_parameter_that_the_asked_space_lacks_has_any_value() -> None:
    history, unit = History(), FloatDistribution(0, 1)
    params = [{"x": x / 4, "g": g / 4} for x in range(5) for g in range(5)]
    for task in "ab":
        values = [p["g"] - 0.1 * abs(p["x"] - 0.5) for p in params]
        history.add_trials(task, params, values, space={"x": unit, "g": unit})
    found = suggest(history, n=1, space={"x": unit})[0]
    assert found.params == {"x": 0.5}
    assert 0.2 < found.expected < 0.6  # the mean over g, not that of g = 1
    assert found.reasons[0] == "best of 25 trials on a, without its g"


def test_choices_in_another_order_are_the_same_space() -> None:
    history, unit = History(), FloatDistribution(0, 1)
    choices = ["rbf", None, 3]
    params = [{"k": k, "x": x} for k in choices for x in (0.2, 0.6)]
    for task in "ab":
        values = [float(p["k"] is None) - abs(p["x"] - 0.6) for p in params]
        space = {"k": CategoricalDistribution(choices), "x": unit}
        history.add_trials(task, params, values, space=space)
    new = {"k": CategoricalDistribution([3, "rbf", None]), "x": unit}
    assert suggest(history, n=1, space=new)[0].params == {"k": None, "x": 0.6}
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(history, seed=0))
    assert study.ask({"k": new["k"]}).params == {"k": None}
    assert study.trials[0].user_attrs["metaest:origin"] == "portfolio"
    with pytest.raises(HistoryError, match="2 with another space"):
        suggest(history, space={"k": CategoricalDistribution([3.0, "rbf", None]), "x": unit})


def test_only_active_parameters_are_suggested() -> None:
    space = {
        "kernel": CategoricalDistribution(["linear", "poly"]),
        "degree": IntDistribution(2, 5),
    }
    poly = {"kernel": "poly", "degree": 2}
    params = [poly, {"kernel": "linear"}, {**poly, "degree": 5}]
    history = History()
    for name in "abc":
        history.add_trials(name, params, [0.5, 1.0, 0.0], space=space)
    found = suggest(history, n=2)
    assert [s.params for s in found] == [{"kernel": "linear"}, poly]


@pytest.mark.parametrize("n_trials", [1, 2])
def test_a_short_history_will_do(n_trials: int) -> None:
    history = History()
    history.add_trials("only", GRID[:n_trials], [0.1, 0.2][:n_trials], space=SPACE)
    found = suggest(history, *small(0))
    assert found[0].params == GRID[n_trials - 1]
    assert found[0].reasons[0].startswith(f"best of {n_trials} trial")


def test_the_estimator_leaves_out_searches_of_others() -> None:
    history = History()
    history.add_trials(
        "forest", [{"max_depth": 2}], [1], space={"max_depth": IntDistribution(1, 9)}
    )
    space = {"C": FloatDistribution(0, 1)}
    history.add_trials("svc", [{"C": 0.5}], [1], space=space)
    found = suggest(history, estimator=SVC())
    assert [(s.estimator, s.params) for s in found] == [("SVC", {"C": 0.5})]
    with pytest.raises(HistoryError, match="parameters that KNeighborsClassifier does not have"):
        suggest(history, estimator=KNeighborsClassifier())


def test_searches_of_another_model_are_left_out_and_named() -> None:
    history, space = History(), {"alpha": FloatDistribution(0, 9)}
    grid = [{"alpha": 1.0}, {"alpha": 5.0}]
    for number in range(3):
        history.add_trials(
            f"ridge {number}", grid, [0, 1], space=space, estimator=Ridge(), metric="r2"
        )
    with pytest.raises(HistoryError, match=r"used for Lasso .*: 3 with another estimator\. Change"):
        suggest(history, estimator=Lasso())
    for estimator in (None, Ridge()):
        first = suggest(history, estimator=estimator)[0]
        assert (first.estimator, first.params, first.metric) == ("Ridge", {"alpha": 5.0}, "r2")
        assert "not recorded" not in str(first)
        assert first.reasons[1].endswith("over 3 past data sets")
    history.add_trials("lasso", grid, [1, 0], space=space, estimator=Lasso(), metric="mse")
    own = suggest(history, estimator=Lasso())[0]
    assert (own.estimator, own.params, own.metric) == ("Lasso", {"alpha": 1.0}, "mse")


def test_the_model_is_not_made_up() -> None:
    history, space = History(), {"alpha": FloatDistribution(0, 9)}
    grid = [{"alpha": 1.0}, {"alpha": 5.0}]
    history.add_trials("old", grid, [0, 1], space=space)
    unknown = suggest(history)[0]
    assert unknown.estimator is None
    assert "recorded" not in str(unknown)
    for_ridge = suggest(history, estimator=Ridge())[0]
    assert for_ridge.estimator == "Ridge"
    assert for_ridge.reasons[0] == "best of 2 trials on old, whose model is not recorded"
    history.add_trials("new", grid, [0, 1], space=space, estimator="Lasso")
    history.add_trials("newer", grid, [0, 1], space=space, estimator="Ridge")
    mixed = "over 3 past data sets (of Lasso and Ridge and unknown models)"
    assert mixed in suggest(history)[0].reasons[1]
    with pytest.raises(InvalidParameterError, match="got the text 'Ridge'"):
        suggest(history, estimator="Ridge")


def test_a_path_and_a_list_of_records(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.add_trials("a", GRID, peak(1), space=SPACE)
    for given in (str(tmp_path / "history.db"), tmp_path / "history.db", history.tasks()):
        assert suggest(given, n=1)[0].params["x"] == 1.0


@pytest.mark.parametrize("name", list(MODELS))
def test_every_shipped_model(name: str) -> None:
    model = make_pipeline(StandardScaler(), MODELS[name]())
    found = suggest("embedded", *load_wine(return_X_y=True), estimator=model)
    space = default_space(model)
    assert len(found) == 5
    for suggestion in found:
        assert suggestion.params.keys() == space.keys()
        assert suggestion.estimator == MODELS[name].__name__
        assert 0 <= suggestion.expected <= 1
        model.set_params(**suggestion.params)
    expected = [suggestion.expected for suggestion in found]
    assert expected[0] == max(expected)


def test_all_shipped_models_together() -> None:
    found = suggest("embedded", *load_wine(return_X_y=True), n=12)
    assert len({suggestion.estimator for suggestion in found}) > 1
    for suggestion in found:
        own = {make.__name__: make for make in MODELS.values()}[str(suggestion.estimator)]
        assert suggestion.params.keys() == default_space(own()).keys()


def test_it_takes_two_seconds() -> None:
    from metaest.tuning import _portfolio

    data = load_wine(return_X_y=True)
    embedded_history(SVC())
    taken = []
    for _ in range(2):
        _portfolio._evaluated.clear()
        start = time.process_time()
        suggest("embedded", *data, estimator=SVC())
        taken.append(time.process_time() - start)
    assert min(taken) < 2


def test_another_shipped_metric() -> None:
    found = suggest("embedded", *load_wine(return_X_y=True), metric="roc_auc", estimator=SVC())
    assert found[0].metric == "roc_auc"
    with pytest.raises(HistoryError, match="but for SVC, 'neg_log_loss'"):
        suggest("embedded", metric="neg_log_loss", estimator=SVC())
    with pytest.raises(HistoryError, match=", ".join(map(repr, list(METRICS)[:-1]))):
        suggest("embedded", metric="f1")


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (load_diabetes, {}, TaskError, "target of a regression.*214 different values in 442 rows"),
        (lambda **_: (np.ones((9, 2)), ["a"] * 9), {}, TaskError, "one class only .'a'."),
        (lambda **_: (np.ones((9, 2)), np.linspace(0.5, 1, 9)), {}, TaskError, "of a regression"),
        (lambda **_: (np.ones((9, 2)), [1, 2, None] * 3), {}, TaskError, "missing"),
        (lambda **_: (np.ones((9, 2)), [1, 2]), {}, TaskError, "length"),
        (lambda **_: (np.ones((9, 2)), [1, 1]), {}, TaskError, "9 rows, 2 targets"),
        (lambda **_: (np.ones((0, 2)), []), {}, TaskError, "empty|no rows|at least"),
        (lambda **_: (None, [1, 2]), {}, InvalidParameterError, "both, or neither"),
        (load_wine, {"n": 0}, InvalidParameterError, "n must be an int >= 1, got 0"),
        (load_wine, {"n": (1, 2)}, InvalidParameterError, "n must be an int"),
        (load_wine, {"n": True}, InvalidParameterError, "n must be an int"),
        (load_wine, {"direction": "up"}, InvalidParameterError, "'maximize' or 'minimize'"),
        (load_wine, {"direction": "minimize"}, HistoryError, "with another direction"),
        (load_wine, {"metric": "f1"}, HistoryError, "metric 'f1'.*There are some of SVC"),
        (load_wine, {"estimator": KNeighborsClassifier()}, HistoryError, "of KNeighborsClassifier"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_it_refuses(
    data: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    n = options.pop("n", 5) if "n" in options else 5
    with pytest.raises(error, match=message):
        suggest("embedded", *data(return_X_y=True), n, **options)


def test_a_history_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    urls = ("sqlite:///no.db", f"sqlite+pysqlite:///{tmp_path}/no.db?timeout=3")
    for name in ("embeded", "no.db", tmp_path / "no.db", "no.journal", *urls):
        with pytest.raises(HistoryError, match="no such file"):
            suggest(name)
        with pytest.raises(HistoryError, match="no such file"):
            MetaSampler(name).read_records()
    assert MetaSampler("sqlite://").read_records() == []  # in memory
    with pytest.raises(HistoryError, match="Did you mean 'embedded'"):
        suggest("embeded")
    assert list(tmp_path.iterdir()) == []
    for empty in (History(), [], None):
        with pytest.raises(HistoryError, match="holds no searches"):
            suggest(empty)
    constant = History()
    constant.add_trials("a", GRID[:2], [1, 1], space=SPACE)
    with pytest.raises(HistoryError, match="1 with constant scores"):
        suggest(constant)


def test_data_that_cannot_be_described(history: History) -> None:
    from scipy.sparse import csr_matrix

    X, y = small(0)
    for given, message in ((csr_matrix(X), "sparse"), (3, "must be a table"), (X[:5], "length")):
        with pytest.raises(TaskError, match=message):
            suggest(history, given, y)


def test_it_reads_well() -> None:
    two = [
        Suggestion(1, {"C": 1 / 3, "kernel": "rbf"}, 0.987, 0.91, 0.02, "accuracy", "SVC"),
        Suggestion(2, {"C": 2.0}, 0.5, reasons=("for this", "and that")),
    ]
    assert str(two[0]).splitlines() == [
        "1. SVC(C=0.3333, kernel='rbf')",
        "   expected accuracy 0.910 ± 0.020, 0.99 of the way from the worst to the best known",
    ]
    table = format_suggestions(two).splitlines()
    cells = [cell.strip() for cell in table[0].split("  ") if cell]
    assert cells == ["model", "expected accuracy", "of the best", "parameters"]
    assert table[1].endswith("C=0.3333, kernel='rbf'")
    assert table[-3:] == ["Why:", "2. for this", "   and that"]
    assert json.loads(json.dumps(two[1].to_dict()))["reasons"] == ["for this", "and that"]


def test_boosting_parameters_can_be_set() -> None:
    found = suggest("embedded", n=1, estimator=HistGradientBoostingClassifier())[0]
    HistGradientBoostingClassifier(**found.params).fit(*load_wine(return_X_y=True))


@pytest.mark.parametrize("history", ["embedded", None])
def test_a_class_is_no_estimator(history: str | None) -> None:
    with pytest.raises(InvalidParameterError, match=r"got a class: pass SVC\(\)"):
        suggest(History() if history is None else history, estimator=SVC)


def test_suggestions_lie_in_the_space_that_was_asked_for() -> None:
    """Not a rounding beyond, by way of a logarithm."""
    wide = FloatDistribution(1e-4, 1e4, log=True)
    history = History()
    values = np.logspace(-4, 4, 30)
    for number in range(3):
        trials = [{"alpha": float(v)} for v in values]
        scores = -np.abs(np.log10(values) - 1.5 - number)
        history.add_trials(str(number), trials, scores, space={"alpha": wide})
    for high in (10.0, 1e3, 7.3):
        space = {"alpha": FloatDistribution(1e-3, high, log=True)}
        found = [own.params for own in suggest(history, space=space, n=10)]
        History().add_trials("x", found, np.zeros(len(found)), space=space)
        assert max(own["alpha"] for own in found) == pytest.approx(high)
