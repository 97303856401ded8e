"""Parameters that MetaSampler does not choose: enqueued ones, and those of PartialFixedSampler."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import PartialFixedSampler
from optuna.trial import Trial
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from metaest.tuning import History, MetaSampler, MetaSearchCV
from metaest.tuning._configurations import Configurations

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE: dict[str, Any] = {
    "k": CategoricalDistribution(["a", "b"]),
    "x": FloatDistribution(-5, 5),
}


def value_of(params: dict[str, Any]) -> float:
    """Return 5 at best with a, and 0 with b, in another place."""
    best, top = (3.0, 5.0) if params["k"] == "a" else (-3.0, 0.0)
    return float(top - (params["x"] - best) ** 2)


def first_k(trial: Trial) -> float:
    k = trial.suggest_categorical("k", ["a", "b"])
    return value_of({"k": k, "x": trial.suggest_float("x", -5, 5)})


def first_x(trial: Trial) -> float:
    x = trial.suggest_float("x", -5, 5)
    return value_of({"k": trial.suggest_categorical("k", ["a", "b"]), "x": x})


@pytest.fixture(scope="module")
def history() -> History:
    """Give four past searches, all better with a."""
    rng, history = np.random.default_rng(0), History()
    for task in range(4):
        params = [
            {"k": str(rng.choice(["a", "b"])), "x": float(rng.uniform(-5, 5))} for _ in range(20)
        ]
        history.add_trials(f"task {task}", params, [value_of(p) for p in params], space=SPACE)
    return history


def start(sampler: Any) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=sampler)


def noted(study: optuna.Study, key: str) -> list[Any]:
    return [trial.user_attrs.get("metaest:" + key) for trial in study.trials]


@pytest.mark.parametrize("objective", [first_k, first_x], ids=["first", "later"])
@pytest.mark.parametrize("is_enqueued", [True, False], ids=["enqueued", "PartialFixedSampler"])
def test_the_others_are_planned_to_go_with_them(
    history: History, objective: Callable[[Trial], float], is_enqueued: bool
) -> None:
    sampler = MetaSampler(history, seed=0)
    study = start(sampler if is_enqueued else PartialFixedSampler({"k": "b"}, sampler))
    for _ in range(8 * is_enqueued):
        study.enqueue_trial({"k": "b"})
    study.optimize(objective, n_trials=8)
    assert len({trial.params["x"] for trial in study.trials}) == 8
    assert study.best_value > -0.1
    assert study.trials[0].params["x"] < 0  # the past's advice for b
    assert noted(study, "fixed") == [["k"]] * 8
    origins = noted(study, "origin")
    assert origins.count("portfolio") + origins.count("adapted") <= 3


def test_the_outer_one_of_two_fixes(history: History) -> None:
    inner = PartialFixedSampler({"k": "a", "x": 1.0}, MetaSampler(history, seed=0))
    study = start(PartialFixedSampler({"k": "b"}, inner))
    study.optimize(first_k, n_trials=1)
    assert study.trials[0].params == {"k": "b", "x": 1.0}
    study.sampler = PartialFixedSampler({"k": "b"}, PartialFixedSampler({"k": "a"}, inner))
    study.sampler._base_sampler._base_sampler = MetaSampler(history, seed=0)
    study.optimize(first_k, n_trials=1)
    assert study.trials[1].params["x"] < 0


def test_fixed_trials_are_no_portfolio(history: History) -> None:
    study = start(MetaSampler(history, seed=0))
    for x in (-4.5, -4.0, 4.5, 4.0):
        study.enqueue_trial({"x": x})
    study.optimize(first_x, n_trials=7)
    assert noted(study, "origin") == ["adapted"] * 3 + ["surrogate"] + ["portfolio"] * 3
    assert [source["moved"] for source in noted(study, "source")[:3]] == [True] * 3
    assert noted(study, "fixed") == [["x"]] * 4 + [None] * 3
    study.enqueue_trial({"x": 0.0})  # the portfolio is over, for this one too
    study.optimize(first_x, n_trials=1)
    assert noted(study, "origin")[7] in ("surrogate", "cold")


def test_a_cold_search_plans_with_them_too() -> None:
    study = start(PartialFixedSampler({"k": "b"}, MetaSampler(None, n_random=3, seed=0)))
    study.optimize(first_k, n_trials=12)
    assert len({trial.params["x"] for trial in study.trials}) == 12
    assert study.best_value > -0.1


def test_values_outside_of_the_space_do_no_harm(history: History) -> None:
    study = start(MetaSampler(history, seed=0))
    for fixed in ({"x": 7.0}, {"x": 7.0}, {"other": 1}, {"x": -5.0, "other": None}):
        study.enqueue_trial(fixed)
    with pytest.warns(UserWarning, match="out of range"):
        study.optimize(first_k, n_trials=4)
    assert study.trials[0].params["k"] != study.trials[1].params["k"]
    configurations = Configurations(SPACE).fixed_at({"x": np.inf, "k": "c", "other": 1})
    assert configurations.limits == Configurations(SPACE).limits


def test_a_search_does_not_report_them_as_start_up_trials(history: History) -> None:
    study = optuna.create_study(direction="maximize")
    space = {"C": FloatDistribution(1e-2, 1e2, log=True), "gamma": FloatDistribution(1e-3, 1)}
    past = History()
    rng = np.random.default_rng(0)
    for task in range(3):
        params = [
            {"C": float(10 ** rng.uniform(-2, 2)), "gamma": float(rng.uniform(1e-3, 1))}
            for _ in range(8)
        ]
        past.add_trials(f"task {task}", params, list(range(8)), space=space, metric="accuracy")
    for gamma in (0.01, 0.02, 0.03):
        study.enqueue_trial({"gamma": gamma})
    storage, name = study._storage, study.study_name
    search = MetaSearchCV(
        SVC(), space, n_trials=5, cv=3, storage=storage, study_name=name, history=past, record=False
    ).fit(*load_iris(return_X_y=True))
    report = search.warm_start_report_
    assert report.origins == {"adapted": 3, "portfolio": 2}
    assert [trial["number"] for trial in report.startup_trials] == [3, 4]
