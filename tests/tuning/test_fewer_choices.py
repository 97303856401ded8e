"""A new search that offers fewer choices than past ones did."""

import itertools

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from metaest.exceptions import HistoryError
from metaest.tuning import History, MetaSampler, suggest

WORTH = {"rbf": 1.0, "poly": 0.8, "sigmoid": 0.1}
SCALE = FloatDistribution(0.0, 1.0)


@pytest.fixture(scope="module")
def history() -> History:
    past = History()
    trials = [{"kernel": k, "x": x} for k, x in itertools.product(WORTH, np.linspace(0, 1, 5))]
    for number in range(3):
        values = [WORTH[t["kernel"]] - 0.01 * (t["x"] - 0.2 * number) ** 2 for t in trials]
        space = {"kernel": CategoricalDistribution(list(WORTH)), "x": SCALE}
        past.add_trials(f"task {number}", trials, values, space=space)
    return past


@pytest.mark.parametrize("kernels", [["sigmoid", "poly"], ["poly", "sigmoid"]])
@pytest.mark.parametrize("is_given", [True, False], ids=["space", "define by run"])
def test_past_trials_within_the_new_list_decide(history, kernels: list[str], is_given) -> None:
    space = {"kernel": CategoricalDistribution(kernels), "x": SCALE} if is_given else None
    study = optuna.create_study(
        direction="maximize", sampler=MetaSampler(history, space=space, seed=0)
    )

    def objective(trial: optuna.Trial) -> float:
        return WORTH[trial.suggest_categorical("kernel", kernels)] - trial.suggest_float("x", 0, 1)

    study.optimize(objective, n_trials=3)
    advised = [t for t in study.trials if t.user_attrs["metaest:origin"] == "portfolio"]
    assert len(advised) == 3 if is_given else advised  # a single parameter may fit no search
    assert {trial.params["kernel"] for trial in advised} == {"poly"}


@pytest.mark.parametrize("kernels", [["sigmoid", "poly"], ["poly", "sigmoid"]])
def test_suggestions_are_of_the_new_list(history: History, kernels: list[str]) -> None:
    space = {"kernel": CategoricalDistribution(kernels), "x": SCALE}
    found = suggest(history, n=4, space=space)
    assert {own.params["kernel"] for own in found[:2]} == {"poly"}
    assert "best of 10 trials" in found[0].reasons[0]  # of 15, five with another kernel
    assert {own.params["kernel"] for own in found} <= set(kernels)


def test_a_new_choice_makes_another_space(history: History) -> None:
    space = {"kernel": CategoricalDistribution(["poly", "linear"]), "x": SCALE}
    with pytest.raises(HistoryError, match="3 with another space"):
        suggest(history, space=space)
