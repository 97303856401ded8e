"""MetaSearchCV: spaces that prune, and spaces that come to an end."""

import copy
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from metaest.exceptions import InvalidParameterError, SearchWarning
from metaest.tuning import History, MetaSearchCV
from metaest.tuning._search_space import SearchSpace
from metaest.tuning._search_values import choices_of

X, Y = load_iris(return_X_y=True)
TWO = {"kernel": ["linear", "rbf"]}


class Fixed(ClassifierMixin, BaseEstimator):
    """Scores `a`; fails where that is 0."""

    def __init__(self, a: float = 0.0, b: float = 0.0) -> None:
        self.a = a
        self.b = b

    def fit(self, X: Any, y: Any) -> "Fixed":
        if self.a == 0:
            raise RuntimeError("a is 0")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])

    def score(self, X: Any, y: Any) -> float:
        return self.a


def make_search(estimator: Any, space: Any, **options: Any) -> MetaSearchCV:
    options = {"history": None, "random_state": 0, "cv": 3, **options}
    return MetaSearchCV(estimator, space, **options)


def infeasible_above_5(trial: Any) -> dict[str, Any]:
    a = trial.suggest_float("a", 1.0, 10.0)
    if a > 5:
        raise optuna.TrialPruned(f"a={a} is infeasible")
    return {"a": a}


@pytest.mark.parametrize("sampler", [None, RandomSampler(seed=0)], ids=["meta", "random"])
@pytest.mark.parametrize("pruner", [None, optuna.pruners.MedianPruner()], ids=["none", "median"])
@pytest.mark.parametrize("n_jobs", [None, 6])
def test_a_space_may_prune(sampler: Any, pruner: Any, n_jobs: Any, tmp_path: Path) -> None:
    seen: list[TrialState] = []
    options: dict[str, Any] = {
        "sampler": sampler,
        "pruner": pruner,
        "n_jobs": n_jobs,
        "callbacks": [lambda study, trial: seen.append(trial.state)],
        "storage": tmp_path / "study.db",
        "study_name": "study",
        "history": (history := History()),
        "return_train_score": True,
    }
    search = make_search(Fixed(), infeasible_above_5, n_trials=12, **options).fit(X, Y)
    drawn = np.array([trial.params["a"] for trial in search.study_.trials])
    is_out = drawn > 5
    assert 0 < is_out.sum() < 12
    assert seen == [trial.state for trial in search.study_.trials]
    assert all(seen[i] == TrialState.PRUNED for i in np.flatnonzero(is_out))
    assert search.n_trials_ == len(search.cv_results_["params"]) == 12
    results = search.cv_results_
    for column in ("mean_test_score", "split0_test_score", "mean_train_score", "mean_fit_time"):
        assert np.isnan(results[column][is_out]).all()
    assert np.isfinite(results["split0_test_score"][~is_out]).all()
    assert all(not results["params"][i] for i in np.flatnonzero(is_out))
    assert np.ma.getmaskarray(results["param_a"]).tolist() == is_out.tolist()
    assert search.best_score_ == drawn[~is_out].max()
    assert len(history.tasks()[0].trials) == 12
    more = make_search(Fixed(), infeasible_above_5, n_trials=14, **options).fit(X, Y)
    assert more.n_trials_ == 14
    assert more.cv_results_["params"][:12] == results["params"]


def test_a_space_that_prunes_always_comes_to_an_end() -> None:
    def space(trial: Any) -> dict[str, Any]:
        trial.suggest_float("a", 0.0, 1.0)
        raise optuna.TrialPruned

    storage = InMemoryStorage()
    search = make_search(Fixed(), space, n_trials=5, storage=storage, study_name="study")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"TrialPruned in all 5 trials"):
            search.fit(X, Y)
    assert len(optuna.load_study(study_name="study", storage=storage).trials) == 5


def test_a_space_that_fails_and_prunes_shows_the_failures() -> None:
    def space(trial: Any) -> dict[str, Any]:
        if trial.number % 2:
            raise optuna.TrialPruned
        return {"a": trial.suggest_float("a", 0.0, 0.0)}

    with pytest.raises(ValueError, match=r"(?s)All the 9 fits failed.*a is 0"):
        make_search(Fixed(), space, n_trials=6).fit(X, Y)


def test_a_trial_that_would_now_be_pruned_cannot_be_read_back(tmp_path: Path) -> None:
    bounds = [0.0, 1.0]

    def space(trial: Any) -> dict[str, Any]:
        if trial.suggest_float("a", 0.5, 1.0) < bounds[0]:
            raise optuna.TrialPruned("too low")
        return {"a": 1.0}

    options: dict[str, Any] = {"storage": tmp_path / "study.db", "study_name": "study"}
    make_search(Fixed(), space, n_trials=2, **options).fit(X, Y)
    bounds[0] = 2.0
    with pytest.raises(InvalidParameterError, match=r"any more \(too low\)"):
        make_search(Fixed(), space, n_trials=2, **options).fit(X, Y)


@pytest.mark.parametrize("n_jobs", [None, 7])
def test_a_finite_space_is_tried_once(n_jobs: Any) -> None:
    with pytest.warns(SearchWarning, match="2 trials, of n_trials=12: the space has 2 conf"):
        search = make_search(SVC(), TWO, n_trials=12, n_jobs=n_jobs).fit(X, Y)
    assert sorted(params["kernel"] for params in search.cv_results_["params"]) == ["linear", "rbf"]
    with pytest.warns(SearchWarning, match="until the timeout"):
        assert make_search(SVC(), TWO, n_trials=None, timeout=60).fit(X, Y).n_trials_ == 2
    assert make_search(SVC(), TWO, n_trials=2).fit(X, Y).n_trials_ == 2


@pytest.mark.filterwarnings("ignore:One or more of the")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_failing_configurations_count_as_tried(tmp_path: Path) -> None:
    space = {"a": FloatDistribution(0.0, 0.3, step=0.1), "b": IntDistribution(0, 4, step=4)}
    options: dict[str, Any] = {"storage": tmp_path / "study.db", "study_name": "study"}
    make_search(Fixed(), space, n_trials=3, **options).fit(X, Y)
    with pytest.warns(SearchWarning, match="the space has 8 configurations"):
        search = make_search(Fixed(), space, n_trials=30, **options).fit(X, Y)
    found = {tuple(params.values()) for params in search.cv_results_["params"]}
    assert len(found) == search.n_trials_ == 8
    assert any(trial.state == TrialState.FAIL for trial in search.study_.trials)
    with pytest.warns(SearchWarning, match="ends after 8 trials"):
        assert make_search(Fixed(), space, n_trials=30, **options).fit(X, Y).n_trials_ == 8


def test_the_users_sampler_may_repeat() -> None:
    search = make_search(SVC(), TWO, n_trials=6, sampler=RandomSampler(seed=0)).fit(X, Y)
    assert search.n_trials_ == 6


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (TWO, 2),
        ({**TWO, "C": [1, 2, 3]}, 6),
        ({"C": IntDistribution(1, 10)}, 10),
        ({"C": IntDistribution(1, 8, log=True)}, 8),
        ({"C": IntDistribution(1, 7, step=3)}, 3),
        ({"C": FloatDistribution(0, 1, step=0.1)}, 11),
        ({"C": FloatDistribution(1, 1)}, 1),
        ({"C": CategoricalDistribution([None])}, 1),
        ({**TWO, "C": FloatDistribution(0, 1)}, None),
        (infeasible_above_5, None),
    ],
)
def test_the_size_of_a_space(space: Any, size: int | None) -> None:
    assert SearchSpace(space, ["kernel", "C"]).n_configurations == size


def keep(rows: Any) -> Any:
    return rows


def zero(rows: Any) -> Any:
    return rows * 0


class Thing:
    def __init__(self, size: int) -> None:
        self.size = size


class Alike(Thing):
    def __repr__(self) -> str:
        return "Alike()"


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ([0.1, 0.1, 1.0, 0.1], r"0.1, 0.1 \(2\), 1.0, 0.1 \(3\)"),
        ([1, True], "1, True"),
        ([(5,), (5, 5)], r"\(5,\), \(5, 5\)"),
        ([keep, zero], r"\S+\.keep, \S+\.zero"),
        ([lambda x: x, lambda x: x * 0], r"\S+<lambda> \w{12}, \S+<lambda> \w{12}"),
        ([partial(keep), partial(zero)], r"functools.partial \w+, functools.partial \w+"),
        ([Thing(1), Thing(2)], r"\S+\.Thing \w+, \S+\.Thing \w+"),
        ([Alike(1), Alike(2)], r"\S+\.Alike \w+, \S+\.Alike \w+"),
        (
            [FunctionTransformer(lambda x: x), FunctionTransformer(lambda x: x * 0)],
            r"\S+FunctionTransformer \w{12}, \S+FunctionTransformer \w{12}",
        ),
    ],
    ids=["twice", "equal", "tuples", "names", "lambdas", "partials", "objects", "repr", "within"],
)
def test_what_optuna_cannot_store_has_labels_that_say_what_it_is(
    values: list[Any], pattern: str
) -> None:
    labels, real = choices_of("name", values)
    assert re.fullmatch(pattern, ", ".join(labels.choices)), labels.choices
    assert real is not None
    assert all(one is other for one, other in zip(real, values, strict=True))
    again, _ = choices_of("name", [copy.deepcopy(value) for value in values])
    assert again == labels
    if "(2)" not in labels.choices[1]:
        turned, _ = choices_of("name", values[::-1])
        assert turned.choices == labels.choices[::-1]


def test_parameters_of_chance_or_of_an_older_version_are_not_compared() -> None:
    chance = iter(range(10))

    def space(trial: Any) -> dict[str, Any]:
        C = trial.suggest_float("C", 0.0, 5.0)
        return {"C": C, "gamma": next(chance), "random_state": len(seen)}

    seen: list[int] = []
    study = optuna.create_study()
    study.enqueue_trial({"C": 3})  # read back as 3.0
    checked = SearchSpace(space, ["C", "gamma", "random_state"])
    _, params = checked.ask(study)
    assert params == {"C": 3, "gamma": 0, "random_state": 0}
    stored = copy.deepcopy(study.trials[0])
    stored.params = {"C": 3.0}
    seen.append(1)
    assert checked.params_of(stored)["random_state"] == 1
    other = SearchSpace(lambda trial: {"C": -trial.suggest_float("C", 0.0, 5.0)}, ["C"])
    with pytest.raises(InvalidParameterError, match=r"'C' was 3.0, and would be -3.0"):
        other.params_of(stored)
    stored.user_attrs = {}
    assert other.params_of(stored) == {"C": -3.0}


def test_what_is_enqueued_outside_of_a_space_is_none_of_its_configurations() -> None:
    space = SearchSpace({"C": FloatDistribution(0, 1, step=0.5)}, ["C"])
    study = optuna.create_study()
    for value in (0.0, 0.5, 0.5000000001, 2.0, 0.7):
        wide = {"C": FloatDistribution(0, 5)}
        attrs = {"metaest:folds": []}
        study.add_trial(
            optuna.create_trial(
                value=0.0, params={"C": value}, distributions=wide, user_attrs=attrs
            )
        )
    assert space.count_tried(study) == 2
