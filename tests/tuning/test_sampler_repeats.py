"""MetaSampler: what was tried is not tried again, whatever the past searches had."""

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from metaest.tuning import History, MetaSampler, suggest
from metaest.tuning._configurations import Configurations
from metaest.tuning._observations import observe
from metaest.tuning._planner import _absent
from metaest.tuning._scaling import fit_into

WIDE = FloatDistribution(1e-3, 1e3, log=True)


def value_of(params: dict[str, Any]) -> float:
    c, gamma = np.log10(params["C"]), np.log10(params["gamma"])
    return float(-((c - 1) ** 2) - (gamma + 1) ** 2)


def ask(trial: Trial) -> dict[str, Any]:
    return {name: trial.suggest_float(name, 1e-3, 1e3, log=True) for name in ("C", "gamma")}


@pytest.fixture(scope="module")
def history() -> History:
    """Give four past searches, two of them with a parameter that the new one lacks."""
    rng = np.random.default_rng(0)
    history = History()
    for task in range(4):
        names = ["C", "gamma", "tol"] if task % 2 else ["C", "gamma"]
        params = [{name: float(10 ** rng.uniform(-3, 3)) for name in names} for _ in range(15)]
        values = [value_of(own) for own in params]
        history.add_trials(f"task {task}", params, values, space=dict.fromkeys(names, WIDE))
    return history


def start(history: Any, **options: Any) -> optuna.Study:
    sampler = MetaSampler(history, seed=0, **options)
    return optuna.create_study(direction="maximize", sampler=sampler)


def distinct(study: optuna.Study) -> int:
    return len({repr(sorted(trial.params.items())) for trial in study.trials})


def test_past_searches_that_have_another_parameter_now_and_then(history: History) -> None:
    study = start(history, surrogate="cold")
    study.optimize(lambda trial: value_of(ask(trial)), n_trials=6)
    assert distinct(study) == 6


def test_other_processes_and_failures_count_before_there_is_a_score(history: History) -> None:
    study = start(history)
    ask(study.ask())  # runs elsewhere: the next sampler has no plan of it
    study.sampler = MetaSampler(history, seed=0)

    def fails(trial: Trial) -> float:
        ask(trial)
        raise ValueError

    study.optimize(fails, n_trials=4, catch=(ValueError,))
    assert distinct(study) == 5


def test_a_parameter_that_trials_should_have_and_never_do_is_absent() -> None:
    space: dict[str, BaseDistribution] = {"C": WIDE, "gamma": WIDE, "tol": WIDE}
    past = [{"C": 1.0, "gamma": 1.0, "tol": 1.0}, {"C": 1.0, "gamma": 1.0}]
    plain = Configurations(space)
    always = plain.with_conditions(plain.read(past))
    depends = plain.with_conditions(plain.read([{"C": 1.0, "gamma": 1.0}, {"C": 100.0}]))

    def absent(configurations: Configurations, params: dict[str, float]) -> list[str]:
        own = dict.fromkeys(params, WIDE)
        trial = optuna.create_trial(value=0.0, params=params, distributions=own)
        return _absent(configurations, observe([trial], configurations, "maximize"))

    assert absent(always, {"C": 1.0, "gamma": 1.0}) == ["tol"]
    assert absent(always, {"C": 1.0, "gamma": 1.0, "tol": 1.0}) == []
    assert absent(depends, {"C": 1.0}) == ["gamma", "tol"]
    assert absent(depends, {"C": 200.0}) == ["tol"]  # its gamma may be yet to come
    assert _absent(always, observe([], always, "maximize")) == []


def dependent(trial: Trial) -> float:
    a = trial.suggest_int("a", 2, 40)
    return float(-((a - 22) ** 2) - (trial.suggest_int("b", 1, a) - 17) ** 2)


def test_plans_that_the_ranges_do_not_hold_are_not_made_again() -> None:
    study = start(None)
    study.optimize(dependent, n_trials=30)
    assert distinct(study) >= 24
    assert [t.user_attrs["metaest:origin"] for t in study.trials].count("random") == 8
    moved = [trial for trial in study.trials if "metaest:planned" in trial.user_attrs]
    assert moved
    assert all(t.params["b"] == t.params["a"] < t.user_attrs["metaest:planned"]["b"] for t in moved)
    # What lies outside of the whole range, not of one that depends, says nothing new.
    space = {"b": IntDistribution(1, 9)}
    trial = optuna.create_trial(
        value=0.0,
        params={"b": 9},
        distributions=space,
        user_attrs={"metaest:planned": {"b": 20}},
    )
    wide = Configurations({"b": IntDistribution(1, 40)})
    assert len(observe([trial], wide, "maximize").rows) == 2
    assert len(observe([trial], wide.narrowed(space), "maximize").rows) == 1


@pytest.mark.parametrize(
    ("past", "new", "n"),
    [
        (IntDistribution(10, 100), IntDistribution(10, 100, step=10), 10),
        (IntDistribution(10, 200, step=10), IntDistribution(10, 100, step=10), 10),
        (IntDistribution(10, 50, step=10), IntDistribution(10, 80, step=10), 8),
        (IntDistribution(1, 40), IntDistribution(5, 40, step=5), 8),
        (FloatDistribution(0, 1), FloatDistribution(0, 1, step=0.1), 11),
        (FloatDistribution(0, 3, step=0.5), FloatDistribution(0.25, 1, step=0.25), 4),
    ],
    ids=str,
)
def test_steps_hold_whatever_the_past_searches_had(past: Any, new: Any, n: int) -> None:
    history = History()
    middle = 0.55 * past.high
    for seed in range(4):
        other = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        params = [other.ask({"p": past}).params for _ in range(12)]
        values = [-abs(own["p"] - middle) for own in params]
        history.add_trials(f"task {seed}", params, values, space={"p": past})
    study = start(history)
    for _ in range(n):
        trial = study.ask({"p": new})
        study.tell(trial, -abs(trial.params["p"] - new.low))
    assert distinct(study) == n
    asked = suggest(history, n=3, space={"p": new})
    found = [own.params["p"] for own in asked]
    assert found == [fit_into(new, value) for value in found]


@pytest.mark.parametrize("seed", range(5))
def test_random_trials_are_new_where_there_is_something_new(seed: int) -> None:
    study = optuna.create_study(sampler=MetaSampler(None, seed=seed))
    study.optimize(lambda trial: float(trial.suggest_categorical("C", [1, 2, 3])), n_trials=5)
    assert distinct(study) == 3
    assert len({trial.params["C"] for trial in study.trials[:3]}) == 3


def test_what_is_interrupted_twice_is_not_tried_again() -> None:
    """A configuration may be what kills the process."""
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(surrogate="cold", seed=0))
    study.optimize(lambda trial: trial.suggest_int("n", 1, 3), n_trials=1)
    tried = study.trials[0].params["n"]
    space = {"n": optuna.distributions.IntDistribution(1, 3)}
    for n in (1, 2, 2):
        n = (tried + n - 1) % 3 + 1
        trial = optuna.create_trial(
            state=optuna.trial.TrialState.FAIL, params={"n": n}, distributions=space,
            user_attrs={"metaest:abandoned": True},
        )  # fmt: skip
        study.add_trial(trial)
    study.optimize(lambda trial: trial.suggest_int("n", 1, 3), n_trials=1)
    assert study.trials[-1].params["n"] == tried % 3 + 1
