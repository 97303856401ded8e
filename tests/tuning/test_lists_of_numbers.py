"""Lists of numbers, as scikit-learn's searches have them, learn from past ranges."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from sklearn.datasets import load_iris
from sklearn.svm import SVC

from metaest.tuning import History, MetaSampler, MetaSearchCV, suggest
from metaest.tuning._configurations import Configurations
from metaest.tuning._sources import are_compatible, merge_spaces_of

C = FloatDistribution(1e-3, 1e3, log=True)
LIST = CategoricalDistribution([0.1, 1, 10])


def make_history() -> History:
    """Make searches whose best C is 10."""
    rng, history = np.random.default_rng(0), History()
    for i in range(4):
        params = [{"C": float(10 ** rng.uniform(-3, 3))} for _ in range(20)]
        scores = [-((np.log10(p["C"]) - 1) ** 2) for p in params]
        history.add_trials(f"task {i}", params, scores, space={"C": C})
    return history


@pytest.mark.parametrize(
    ("wide", "choices"),
    [
        (C, (0.1, 1, 10)),
        (FloatDistribution(-1, 1), (-1.0, 0.3)),
        (IntDistribution(1, 64, log=True), (2, 64, 5)),
        (IntDistribution(0, 9), (7,)),
    ],
    ids=["log", "float", "log int", "int"],
)
def test_new_configurations_have_values_of_the_list(wide, choices) -> None:
    rng = np.random.default_rng(0)
    listed = Configurations({"p": wide}).narrowed({"p": CategoricalDistribution(choices)})
    drawn = listed.draw(40, rng)
    outside = Configurations({"p": wide}).draw(40, rng)
    for rows in (drawn, listed.vary(drawn, rng), listed.bring_inside(outside)):
        found = [listed.write(rows, number)["p"] for number in range(len(rows))]
        assert set(found) <= set(choices)
    assert {listed.write(drawn, number)["p"] for number in range(40)} == set(choices)
    for choice in choices:  # what was tried is known again
        again = listed.bring_inside(listed.read([{"p": choice}]))
        assert listed.write(again, 0) == {"p": choice}


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        (C, LIST, C),
        (FloatDistribution(1, 2, log=True), LIST, FloatDistribution(0.1, 10, log=True)),
        (IntDistribution(2, 5), CategoricalDistribution([1, 9]), IntDistribution(1, 9)),
        (LIST, CategoricalDistribution([1, 100]), FloatDistribution(0.1, 100, log=True)),
        (CategoricalDistribution([1, 2]), CategoricalDistribution([0, 2]), FloatDistribution(0, 2)),
        (C, CategoricalDistribution([0.0, 1.0]), None),
        (C, CategoricalDistribution([1.0, "auto"]), None),
        (C, CategoricalDistribution([True, False]), None),
        (IntDistribution(2, 5), CategoricalDistribution([2.5]), None),
    ],
    ids=str,
)
def test_lists_and_ranges_are_joined(one, other, joined) -> None:
    for a, b in ((one, other), (other, one)):
        assert are_compatible({"p": a}, {"p": b}) == (joined is not None)
        if joined is not None:
            assert merge_spaces_of([{"p": a}, {"p": b}]) == {"p": joined}


def test_a_list_learns_from_ranges_and_ranges_from_a_list() -> None:
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(make_history(), seed=0))
    study.optimize(lambda trial: trial.suggest_categorical("C", [0.1, 1, 10]), n_trials=3)
    assert study.trials[0].params == {"C": 10}
    assert study.trials[0].user_attrs["metaest:origin"] == "portfolio"
    assert {trial.params["C"] for trial in study.trials} == {0.1, 1, 10}  # none twice
    past = History()
    past.add_study(study, task="a list")
    found = suggest(past, space={"C": C}, n=1)
    assert found[0].params["C"] == pytest.approx(10)


def test_a_search_over_lists_starts_warm_from_its_first_trial() -> None:
    X, y = load_iris(return_X_y=True)
    space = {"kernel": ["rbf", "linear"], "C": [0.01, 1, 100], "gamma": [1e-3, 1e-1]}
    search = MetaSearchCV(SVC(), space, n_trials=5, cv=2, random_state=0, record=False).fit(X, y)
    assert [t.user_attrs["metaest:origin"] for t in search.study_.trials[:2]] == ["portfolio"] * 2
    tried = [tuple(trial.params.items()) for trial in search.study_.trials]
    assert len(set(tried)) == 5
