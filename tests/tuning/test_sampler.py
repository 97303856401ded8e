"""MetaSampler: where trials come from, spaces of all kinds, misleading histories."""

import copy
import dataclasses
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState
from sklearn.datasets import make_classification
from sklearn.linear_model import Lasso

from metaest.exceptions import InvalidParameterError
from metaest.tuning import History, MetaSampler, SearchRecord

optuna.logging.set_verbosity(optuna.logging.WARNING)

SPACE: dict[str, Any] = {
    "x": FloatDistribution(-5, 5),
    "scale": FloatDistribution(1e-3, 1e3, log=True),
    "k": IntDistribution(1, 9),
}
Objective = Callable[[Trial], float]


def value_of(params: dict[str, Any], best: float) -> float:
    x, scale, k = params["x"], np.log10(params["scale"]), params["k"]
    return float(-((x - best) ** 2) - 0.5 * (scale - 1) ** 2 - 0.05 * (k - 4) ** 2)


def draw(n: int, seed: int, space: dict[str, Any] = SPACE) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(space).params for _ in range(n)]


def make_history(
    n_tasks: int = 4, n_trials: int = 15, best: float = 1.0, **options: Any
) -> list[SearchRecord]:
    history = History()
    sign = -1.0 if options.get("direction") == "minimize" else 1.0
    for task in range(n_tasks):
        params = draw(n_trials, task)
        values = [sign * value_of(own, best + 0.3 * task) for own in params]
        history.add_trials(f"task {task}", params, values, space=SPACE, **options)
    return history.tasks()


@pytest.fixture(scope="module")
def records() -> list[SearchRecord]:
    """Give four past searches; the surrogate is meta-trained on them once in this process."""
    return make_history()


def suggest_all(trial: Trial) -> dict[str, Any]:
    return {
        "x": trial.suggest_float("x", -5, 5),
        "scale": trial.suggest_float("scale", 1e-3, 1e3, log=True),
        "k": trial.suggest_int("k", 1, 9),
    }


def objective(trial: Trial) -> float:
    return value_of(suggest_all(trial), 1.5)


def run(
    history: Any, n_trials: int, function: Objective = objective, **options: Any
) -> optuna.Study:
    options = {"seed": 0, **options}
    direction = options.pop("direction", "maximize")
    study = optuna.create_study(direction=direction, sampler=MetaSampler(history, **options))
    study.optimize(function, n_trials=n_trials)
    return study


def origins(study: optuna.Study) -> list[str]:
    return [trial.user_attrs["metaest:origin"] for trial in study.trials]


def configurations(study: optuna.Study) -> set[str]:
    return {repr(sorted(trial.params.items())) for trial in study.trials}


# ------------------------------------------------------------------------- where trials are from


def test_first_the_portfolio_then_the_surrogate(records: list[SearchRecord]) -> None:
    study = run(records, 7)
    assert origins(study) == ["portfolio"] * 3 + ["surrogate"] * 4
    names = {record.task for record in records}
    for rank, trial in enumerate(study.trials[:3]):
        source = trial.user_attrs["metaest:source"]
        assert source["task"] in names
        assert (source["rank"], source["distance"], source["weighted"]) == (rank, None, False)
        own = next(r for r in records if r.task == source["task"])
        # a configuration of that search, one of its two best
        values = sorted((t.value for t in own.complete_trials if t.value is not None), reverse=True)
        tried = [t for t in own.complete_trials if t.params == pytest.approx(trial.params)]
        assert [t.value in values[:2] for t in tried] == [True]
    assert len(configurations(study)) == 7
    random = run(None, 7)
    assert study.best_value > random.best_value


def test_without_meta_training(records: list[SearchRecord]) -> None:
    study = run(records, 5, surrogate="cold", n_portfolio=2)
    assert origins(study) == ["portfolio"] * 2 + ["cold"] * 3


def test_a_cold_search_is_random_then_a_model() -> None:
    study = run(None, 6, n_random=4)
    assert origins(study) == ["random"] * 4 + ["cold"] * 2


@pytest.mark.parametrize(
    "options",
    [{"direction": "minimize"}, {"metric": "loss"}, {"space": {"z": FloatDistribution(0, 1)}}],
    ids=["direction", "metric", "space"],
)
def test_a_history_of_something_else_leaves_it_cold(options: dict[str, Any]) -> None:
    function: Objective = objective
    if "space" in options:

        def function(trial: Trial) -> float:
            return trial.suggest_float("z", 0, 1)

    study = run(make_history(metric="accuracy"), 5, function, n_random=3, **options)
    assert origins(study) == ["random"] * 3 + ["cold"] * 2


def test_lower_is_better() -> None:
    history = make_history(direction="minimize")
    study = run(history, 4, lambda trial: -objective(trial), direction="minimize", surrogate="cold")
    assert origins(study)[:3] == ["portfolio"] * 3
    assert study.best_value < 3


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_metric_of_the_study_counts() -> None:
    records = make_history(metric="accuracy")
    for metric, origin in (("accuracy", "portfolio"), ("f1", "random")):
        study = optuna.create_study(direction="maximize", sampler=MetaSampler(records, seed=0))
        study.set_metric_names([metric])
        study.optimize(objective, n_trials=1)
        assert origins(study) == [origin]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_brackets_of_hyperband_are_one_study() -> None:
    records = make_history(4, metric="accuracy") + [
        dataclasses.replace(own, task=f"other {own.task}") for own in make_history(3, metric="f1")
    ]
    pruner = optuna.pruners.HyperbandPruner(1, 9, 3)
    sampler = MetaSampler(records, seed=0, surrogate="cold")
    study = optuna.create_study(
        study_name="one", direction="maximize", sampler=sampler, pruner=pruner
    )
    study.set_metric_names(["f1"])

    def prunes(trial: Trial) -> float:
        value = objective(trial)
        for step in range(1, 10):
            trial.report(value - 10 / step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    study.optimize(prunes, n_trials=9)
    assert len({pruner._get_bracket_id(study, trial) for trial in study.trials}) == 3
    assert len(configurations(study)) == 9
    assert origins(study) == ["portfolio"] * 3 + ["cold"] * 6
    sources = [trial.user_attrs["metaest:source"]["task"] for trial in study.trials[:3]]
    assert all(task.startswith("other") for task in sources)  # the study's metric


@pytest.mark.parametrize(("n_tasks", "n_trials"), [(1, 1), (1, 15), (2, 15), (2, 1)])
def test_short_histories(n_tasks: int, n_trials: int) -> None:
    study = run(make_history(n_tasks, n_trials), 6)
    assert origins(study)[0] == "portfolio"
    assert origins(study)[-1] == "cold"  # too few searches to meta-train on
    assert len(configurations(study)) == 6


def test_the_distance_is_said_where_data_sets_are_known() -> None:
    history = History()
    for task in range(3):
        X, y = make_classification(40 + 30 * task, 4 + task, random_state=task)
        params = draw(5, task)
        values = [value_of(own, task) for own in params]
        history.add_trials(f"task {task}", params, values, space=SPACE, X=X, y=y)
    X, y = make_classification(50, 4, random_state=9)
    described = History()
    described.add_trials("new", draw(1, 0), [0.0], space=SPACE, X=X, y=y)
    features = described.tasks()[0].meta_features
    for own in ({"X": X, "y": y}, {"meta_features": features}):
        source = run(history, 1, **own).trials[0].user_attrs["metaest:source"]
        assert 0 < source["distance"] < 1


# -------------------------------------------------------------------------- resumed and parallel


def test_a_resumed_study_does_not_repeat_the_portfolio(
    records: list[SearchRecord], tmp_path: Path
) -> None:
    path = f"sqlite:///{tmp_path / 'study.db'}"
    for _ in range(5):  # a new process each time, as it were, with the same seed
        study = optuna.create_study(
            direction="maximize",
            storage=path,
            study_name="s",
            load_if_exists=True,
            sampler=MetaSampler(records, seed=0, surrogate="cold"),
        )
        study.optimize(objective, n_trials=1)
    assert origins(study) == ["portfolio"] * 3 + ["cold"] * 2
    assert len(configurations(study)) == 5


def test_what_is_asked_at_once_differs(records: list[SearchRecord]) -> None:
    sampler = MetaSampler(records, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials = [study.ask() for _ in range(5)]
    for trial in trials:
        suggest_all(trial)
    assert len(configurations(study)) == 5
    assert origins(study)[:3] == ["portfolio"] * 3
    for trial in trials:
        study.tell(trial, value_of(trial.params, 1.5))
    later = [study.ask() for _ in range(4)]
    for trial in later:
        suggest_all(trial)
    assert len(configurations(study)) == 9
    assert origins(study)[5:] == ["surrogate"] * 4


def test_a_fixed_space_is_asked_for_at_once(records: list[SearchRecord]) -> None:
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(records, seed=0))
    asked = [study.ask(SPACE) for _ in range(4)]
    assert len({repr(sorted(trial.params.items())) for trial in asked}) == 4
    assert all(SPACE["k"]._contains(trial.params["k"]) for trial in asked)


@pytest.mark.parametrize("names", [("a", "b"), ("same", "same"), (None, None)], ids=str)
def test_studies_share_a_sampler(
    records: list[SearchRecord], names: tuple[str | None, str | None]
) -> None:
    sampler = MetaSampler(records, seed=0)
    one, other = (
        optuna.create_study(study_name=name, direction=direction, sampler=sampler)
        for name, direction in zip(names, ("maximize", "minimize"), strict=True)
    )
    for _ in range(3):  # asked and never told: its plan stays
        first, second = one.ask(), other.ask()
        x = first.suggest_float("x", -5, 5)
        assert second.suggest_float("x", -5, 5) != x
        suggest_all(first), suggest_all(second)
    assert origins(one) == ["portfolio"] * 3
    assert origins(other) == ["random"] * 3  # no past search was minimised
    alone = optuna.create_study(direction="maximize", sampler=MetaSampler(records, seed=0))
    for _ in range(3):
        suggest_all(alone.ask())
    assert [t.params for t in one.trials] == [t.params for t in alone.trials]


def test_a_study_in_the_place_of_a_deleted_one(records: list[SearchRecord]) -> None:
    storage = optuna.storages.RDBStorage("sqlite://")
    sampler = MetaSampler(records, seed=0)
    for direction, origin in (("maximize", "portfolio"), ("minimize", "random")):
        study = optuna.create_study(
            storage=storage, study_name="s", direction=direction, sampler=sampler
        )
        suggest_all(study.ask())  # never told; SQLite gives its number again
        assert origins(study) == [origin]
        optuna.delete_study(storage=storage, study_name="s")


def test_threads(records: list[SearchRecord]) -> None:
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(records, seed=0))
    study.optimize(objective, n_trials=12, n_jobs=2)
    assert len(configurations(study)) == 12
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert origins(study).count("portfolio") == 3


def test_enqueued_trials_are_run_as_they_are(records: list[SearchRecord]) -> None:
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(records, seed=0))
    study.enqueue_trial({"x": 1.5, "scale": 10.0, "k": 4})
    study.enqueue_trial({"x": 4.5})
    study.optimize(objective, n_trials=6)
    assert study.trials[0].params == {"x": 1.5, "scale": 10.0, "k": 4}
    assert study.trials[1].params["x"] == 4.5
    assert study.best_value == 0.0
    assert sum(t.user_attrs.get("metaest:origin") == "portfolio" for t in study.trials) >= 3


def test_failed_and_pruned_trials_are_not_tried_again(records: list[SearchRecord]) -> None:
    def fails(trial: Trial) -> float:
        params = suggest_all(trial)
        if trial.number % 3 == 1:
            raise ValueError
        trial.report(value_of(params, 1.5), 0)
        if trial.number % 3 == 2:
            raise optuna.TrialPruned
        return value_of(params, 1.5)

    study = optuna.create_study(direction="maximize", sampler=MetaSampler(records, seed=0))
    study.optimize(fails, n_trials=10, catch=(ValueError,))
    assert len(configurations(study)) == 10
    assert origins(study)[:3] == ["portfolio"] * 3


# ------------------------------------------------------------------------------- the same again


def test_a_seed_decides(records: list[SearchRecord]) -> None:
    first, second = (run(records, 7) for _ in range(2))
    assert [t.params for t in first.trials] == [t.params for t in second.trials]
    other = run(records, 7, seed=1)
    assert [t.params for t in first.trials] != [t.params for t in other.trials]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))], ids=["copy", "pickle"]
)
def test_copies_go_on_as_the_original_would(
    records: list[SearchRecord], duplicate: Callable[[Any], Any]
) -> None:
    study = run(records, 4)
    twin = duplicate(study.sampler)
    copied = optuna.create_study(direction="maximize", sampler=twin)
    for trial in study.trials:
        copied.add_trial(trial)
    for own in (study, copied):
        own.optimize(objective, n_trials=2)
    assert [t.params for t in study.trials] == [t.params for t in copied.trials]


# ------------------------------------------------------------------------------------ the spaces


def conditional(trial: Trial, best: float) -> float:
    if trial.suggest_categorical("model", ["svm", "forest"]) == "forest":
        depth = trial.suggest_int("depth", 1, 12)
        return -0.1 * abs(depth - 6) - 0.5
    c = trial.suggest_float("C", 1e-3, 1e3, log=True)
    if trial.suggest_categorical("kernel", ["linear", "rbf"]) == "linear":
        return -0.3
    gamma = trial.suggest_float("gamma", 1e-4, 1e1, log=True)
    return float(-0.1 * abs(np.log10(c) - best) - 0.1 * abs(np.log10(gamma) + 1))


def test_a_conditional_space_that_is_defined_by_running() -> None:
    history = History()
    for task in range(4):
        past = optuna.create_study(
            study_name=f"past {task}",
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(seed=task),
        )
        past.optimize(lambda trial, task=task: conditional(trial, task / 2), n_trials=25)
        history.add_study(past)
    study = run(history, 12, lambda trial: conditional(trial, 0.8))
    assert origins(study)[:3] == ["portfolio"] * 3
    assert set(origins(study)[3:]) <= {"surrogate", "cold"}
    allowed = {
        ("depth", "model"),
        ("C", "kernel", "model"),
        ("C", "gamma", "kernel", "model"),
    }
    assert {tuple(sorted(trial.params)) for trial in study.trials} <= allowed
    assert len(configurations(study)) >= 11  # the linear kernel's C does not matter
    assert study.best_value > -0.2
    first = study.trials[0]
    task = first.user_attrs["metaest:source"]["task"]
    past = next(record for record in history.tasks() if record.task == task)
    # as a whole, not each parameter by itself
    assert [t for t in past.complete_trials if t.params == pytest.approx(first.params)]


def test_a_narrower_range_than_the_past_ones(records: list[SearchRecord]) -> None:
    def narrow(trial: Trial) -> float:
        x = trial.suggest_float("x", -4, -2)
        scale = trial.suggest_float("scale", 1e-2, 1e-1, log=True)
        k = trial.suggest_int("k", 2, 3)
        assert -4 <= x <= -2
        assert 1e-2 <= scale <= 1e-1
        assert k in (2, 3)
        return value_of(trial.params, -3)

    study = run(records, 12, narrow)
    assert origins(study)[0] == "portfolio"
    assert study.trials[0].params["x"] == -2.0  # the nearest to what was best
    assert len(configurations(study)) == 12
    assert abs(study.best_params["x"] + 3) < 0.5


def test_what_lies_outside_is_judged_where_it_is_moved_to() -> None:
    history, wide = History(), FloatDistribution(1e-2, 1e4, log=True)
    scores = [0.6, 0.5, 0.4, 0.7, 0.8, 0.9, 0.95]  # at 1 the worst: nearest to what is best
    for task in range(4):
        params = [{"C": 10.0**k} for k in range(-2, 5)]
        history.add_trials(f"task {task}", params, scores, space={"C": wide})
    study = run(history, 3, lambda trial: trial.suggest_float("C", 1e-3, 1, log=True))
    assert origins(study) == ["portfolio"] * 3
    assert study.trials[0].params["C"] == pytest.approx(0.01)
    is_moved = [t.user_attrs["metaest:source"].get("moved", False) for t in study.trials]
    assert is_moved == [t.params["C"] == 1.0 for t in study.trials]
    assert not is_moved[0]


def test_more_and_fewer_parameters_than_the_past_ones(records: list[SearchRecord]) -> None:
    def more(trial: Trial) -> float:
        own = suggest_all(trial)
        return value_of(own, 1.5) - trial.suggest_float("new", 0, 1)

    def fewer(trial: Trial) -> float:
        return -abs(trial.suggest_float("x", -5, 5) - 1.5) + trial.suggest_int("k", 1, 9)

    for function in (more, fewer):
        study = run(records, 10, function)
        assert "portfolio" in origins(study)
        assert len(configurations(study)) == 10
        assert study.best_value > study.trials[0].value - 1e-12  # type: ignore[operator]
    news = [trial.params["new"] for trial in run(records, 10, more).trials]
    assert len(set(news)) > 3


def test_values_are_those_of_the_asked_distribution() -> None:
    space: dict[str, Any] = {
        "step": FloatDistribution(0, 1, step=0.25),
        "by": IntDistribution(2, 14, step=3),
        "log": IntDistribution(1, 1024, log=True),
        "of": CategoricalDistribution(["a", None, True, 2, 0.5]),
    }

    def function(trial: Trial) -> float:
        step = trial.suggest_float("step", 0, 1, step=0.25)
        by = trial.suggest_int("by", 2, 14, step=3)
        log = trial.suggest_int("log", 1, 1024, log=True)
        of = trial.suggest_categorical("of", ["a", None, True, 2, 0.5])
        for name, value in (("step", step), ("by", by), ("log", log), ("of", of)):
            assert space[name]._contains(space[name].to_internal_repr(value))
        return step - abs(by - 8) + np.log(log) + (of is True)

    history = History()
    for task in range(3):
        params = draw(12, task, space)
        history.add_trials(str(task), params, [p["step"] + p["by"] for p in params], space=space)
    study = run(history, 15, function)
    assert {"portfolio", "surrogate"} <= set(origins(study))
    assert len(configurations(study)) == 15


def test_a_parameter_that_is_left_out_later() -> None:
    def leaves_out(trial: Trial) -> float:
        kind, x = trial.suggest_categorical("kind", ["a", "b"]), trial.suggest_float("x", 0, 1)
        return x + (trial.suggest_float("z", 0, 1) if trial.number < 5 else 0.0) + (kind == "b")

    study = run(None, 8, leaves_out, n_random=4)
    assert origins(study)[4:] == ["cold"] * 4


def test_a_space_that_is_tried_out_goes_on(records: list[SearchRecord]) -> None:
    study = run(None, 6, lambda trial: trial.suggest_categorical("a", [1, 2]), n_random=2)
    assert {trial.params["a"] for trial in study.trials} == {1, 2}


# -------------------------------------------------------------------------- misleading histories


def misleading(kind: str) -> list[SearchRecord]:
    """Give searches that say nothing of the objective, or the opposite of it."""
    history = History()
    rng = np.random.default_rng(0)
    for task in range(5):
        params = draw(20, 50 + task)
        values = [-value_of(own, 1.5) for own in params]
        if kind == "useless":
            values = rng.permutation(values).tolist()
        history.add_trials(f"{kind} {task}", params, values, space=SPACE)
    return history.tasks()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["useless", "adversarial"])
def test_a_misleading_history_does_not_ruin_the_search(kind: str) -> None:
    history = misleading(kind)
    found: dict[str, list[float]] = {"warm": [], "cold": []}
    for seed in range(3):
        found["warm"].append(run(history, 22, seed=seed).best_value)
        found["cold"].append(run(None, 22, seed=seed).best_value)
    # The values span 0 to about -60; a random search of 22 trials ends near -1.
    assert np.mean(found["warm"]) > np.mean(found["cold"]) - 0.05


def test_a_misled_search_turns_cold() -> None:
    study = run(misleading("adversarial"), 16)
    assert origins(study)[:3] == ["portfolio"] * 3
    assert "cold" in origins(study)[8:]


# ---------------------------------------------------------------------------------- time, refusals


@pytest.mark.slow
def test_a_suggestion_at_100_trials_takes_a_fifth_of_a_second(records: list[SearchRecord]) -> None:
    study = run(records, 6)
    for own in draw(94, 99):
        study.add_trial(
            optuna.create_trial(params=own, distributions=SPACE, value=value_of(own, 1.5))
        )
    taken = []
    for _ in range(7):
        start = time.process_time()
        trial = study.ask()
        suggest_all(trial)
        taken.append(time.process_time() - start)
        study.tell(trial, value_of(trial.params, 1.5))
    assert min(taken) < 0.2  # others may use the machine, too


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"X": [[1.0]]}, "both, or neither"),
        ({"meta_features": {"a": 1.0}, "X": 1, "y": 1}, "give one of them"),
        ({"meta_features": {"a": float("nan")}}, "must be finite"),
        ({"n_portfolio": 0}, "n_portfolio must be an int"),
        ({"surrogate": "warm"}, "surrogate must be 'meta' or 'cold'"),
        ({"space": {"a": [1, 2]}}, r"space\['a'\] must be an Optuna"),
        ({"space": "x"}, "space must be a dict"),
        ({"seed": "a"}, "seed must be an int >= 0, got 'a'"),
        ({"seed": -1}, "seed must be an int >= 0"),
        ({"defaults": [1]}, "defaults must be a dict"),
    ],
    ids=str,
)
def test_what_it_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        MetaSampler(None, **options)


def test_a_history_of_another_kind_is_refused() -> None:
    study = optuna.create_study(sampler=MetaSampler([1, 2]))
    with pytest.raises(InvalidParameterError, match="a list of SearchRecord"):
        study.optimize(objective, n_trials=1)


def test_without_a_metric_the_usual_one_of_the_space_is_taken() -> None:
    space, grid = {"x": SPACE["x"]}, [{"x": -5.0}, {"x": 5.0}]
    history = History()
    for number in range(6):
        history.add_trials(
            f"other space {number}", [{"k": 1}], [1], space={"k": SPACE["k"]}, metric="r2"
        )
    for number in range(3):
        history.add_trials(f"a{number}", grid, [0, 1], space=space, metric="accuracy")
    for number in range(2):
        other = [{"x": -4.0}, {"x": 4.0}]
        history.add_trials(f"time {number}", other, [1, 0], space=space, metric="neg_time")
    history.add_trials("unknown", [{"x": 2.0}], [1], space=space)

    def sources(**options: Any) -> set[str]:
        study = optuna.create_study(
            direction="maximize", sampler=MetaSampler(history, seed=0, n_portfolio=9, **options)
        )
        study.optimize(lambda trial: trial.suggest_float("x", -5, 5), n_trials=4)
        found = [trial.user_attrs.get("metaest:source") for trial in study.trials]
        return {own["task"].split()[0] for own in found if own is not None}

    assert "time" not in sources()
    assert sources() >= {"a0", "unknown"}
    assert "time" in sources(metric="neg_time")


def test_the_model_of_a_plain_study_can_be_told() -> None:
    space, grid = {"x": SPACE["x"]}, [{"x": -5.0}, {"x": 5.0}]
    history = History()
    for model, best in (("Ridge", 0), ("Lasso", 1)):
        values = [float(place == best) for place in range(2)]
        history.add_trials(model, grid, values, space=space, estimator=model)
    for estimator, first in (("Ridge", -5.0), (Lasso(), 5.0), (Lasso, 5.0)):
        sampler = MetaSampler(history, estimator=estimator, seed=0)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        assert study.ask(space).params["x"] == first
    with pytest.raises(InvalidParameterError, match="estimator must be an estimator"):
        MetaSampler(history, estimator=3)
