"""Parameters that no past search has: the portfolio leaves them as the estimator has them."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from metaest.tuning import History, MetaSampler, MetaSearchCV

C = FloatDistribution(1e-3, 1e3, log=True)
DEGREE = IntDistribution(2, 5)
TOL = FloatDistribution(1e-6, 1e-1, log=True)


def make_history() -> History:
    """Make searches over C and degree, with the best at 10 and 4."""
    history = History()
    for i in range(3):
        params = [{"C": 10.0**k, "degree": d} for k in range(-3, 4) for d in (2, 4)]
        scores = [-abs(k - 1) - abs(d - 4) - 0.1 * i for k in range(-3, 4) for d in (2, 4)]
        history.add_trials(f"task {i}", params, scores, space={"C": C, "degree": DEGREE})
    return history


@pytest.mark.parametrize(
    ("distribution", "own", "expected"),
    [
        (TOL, 0.01, pytest.approx(0.01)),
        (TOL, 10.0, pytest.approx(0.1)),  # outside: the nearest
        (TOL, "scale", pytest.approx(10**-3.5)),  # none of it: the middle
        (CategoricalDistribution(["rbf", "poly", None]), "poly", "poly"),
        (CategoricalDistribution(["rbf", "poly", None]), None, None),
        (CategoricalDistribution(["rbf", "poly", None]), "linear", "rbf"),  # the first
        (CategoricalDistribution([0.1, 0.2, 0.4]), 0.2, 0.2),
        (IntDistribution(1, 9), 3, 3),
    ],
)
def test_portfolio_takes_the_default_of_a_new_parameter(distribution, own, expected) -> None:
    space = {"C": C, "degree": DEGREE, "new": distribution}
    sampler = MetaSampler(make_history(), space=space, defaults={"new": own, "C": 0.5}, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trial = study.ask(space)
    assert study.trials[0].user_attrs["metaest:origin"] == "portfolio"
    assert trial.params == {"C": pytest.approx(10.0), "degree": 4, "new": expected}


def test_search_gives_the_values_of_its_estimator() -> None:
    space = {"C": C, "degree": DEGREE, "kernel": ["linear", "rbf", "poly"], "tol": TOL}
    search = MetaSearchCV(
        SVC(kernel="poly", tol=0.02), space, history=make_history(), n_trials=2, record=False, cv=3
    )
    search.fit(*load_iris(return_X_y=True))
    origins = [trial.user_attrs["metaest:origin"] for trial in search.study_.trials]
    assert origins == ["portfolio"] * 2
    for params in search.cv_results_["params"]:
        assert params["kernel"] == "poly"
        assert params["tol"] == pytest.approx(0.02)
