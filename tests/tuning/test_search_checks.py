"""MetaSearchCV against scikit-learn: its checks, and its own searches on the same candidates."""

import warnings
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import NopPruner
from optuna.samplers import GridSampler, RandomSampler
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import check_estimator

from metaest.tuning import History, MetaSearchCV

IRIS = load_iris(return_X_y=True)
C = {"C": FloatDistribution(1e-2, 1e2, log=True)}


def make_search(estimator: Any, space: Any, **options: Any) -> MetaSearchCV:
    options = {"history": None, "n_trials": 3, "sampler": RandomSampler(seed=0), **options}
    return MetaSearchCV(estimator, space, **options)


CHECKED = {
    "classifier": make_search(LogisticRegression(), C, cv=2, error_score="raise"),
    "regressor": make_search(
        Ridge(), {"alpha": FloatDistribution(0.1, 1.0)}, cv=2, error_score="raise"
    ),
    "pipeline": make_search(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0]},
        cv=2,
        error_score="raise",
    ),
}
#: scikit-learn lists it for its own searches, too: the folds' warnings about the shape of y are not
#: one warning, as the check asks.
EXPECTED_FAILURES = {"regressor": {"check_supervised_y_2d"}}


@pytest.mark.parametrize("name", CHECKED)
def test_scikit_learn_checks(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(CHECKED[name], on_skip=None, on_fail=None)
    failed = {result["check_name"] for result in results if result["status"] == "failed"}
    assert failed == EXPECTED_FAILURES.get(name, set())
    assert sum(result["status"] == "passed" for result in results) > 45


@pytest.mark.parametrize("options", [{}, {"pruner": NopPruner()}], ids=["plain", "pruner"])
def test_results_are_those_of_randomized_search(options: dict[str, Any]) -> None:
    X, y = IRIS
    values = {"C": [0.01, 1.0, 100.0], "kernel": ["linear", "rbf"]}
    cv = StratifiedKFold(4, shuffle=True, random_state=0)
    scoring = {"acc": "accuracy", "f1": "f1_macro"}
    common = {"cv": cv, "return_train_score": True, "scoring": scoring}
    mine = make_search(SVC(), values, n_trials=8, refit="f1", **common, **options).fit(X, y)
    theirs = RandomizedSearchCV(SVC(), values, n_iter=6, refit="f1", **common).fit(X, y)
    assert sorted(mine.cv_results_) == sorted(theirs.cv_results_)
    for key, column in theirs.cv_results_.items():
        assert type(mine.cv_results_[key]) is type(column), key
        assert getattr(mine.cv_results_[key], "dtype", None) == getattr(column, "dtype", None), key
    for index, params in enumerate(mine.cv_results_["params"]):
        same = theirs.cv_results_["params"].index(params)
        for key, column in theirs.cv_results_.items():
            if "split" in key or key in ("mean_test_acc", "std_test_f1", "mean_train_f1"):
                assert mine.cv_results_[key][index] == column[same]
    assert mine.multimetric_
    assert mine.n_splits_ == 4
    assert set(mine.scorer_) == {"acc", "f1"}
    assert mine.best_score_ == mine.cv_results_["mean_test_f1"].max()
    assert mine.best_index_ == mine.cv_results_["rank_test_f1"].argmin()
    assert mine.best_params_ == mine.cv_results_["params"][mine.best_index_]
    assert mine.best_trial_.number == mine.best_index_
    assert mine.best_trial_.value == pytest.approx(mine.best_score_)


def test_attributes_are_those_of_randomized_search() -> None:
    X, y = IRIS
    mine = make_search(SVC(), C).fit(X, y)
    theirs = RandomizedSearchCV(SVC(), {"C": [1.0]}, n_iter=1).fit(X, y)
    extra = {"study_", "best_trial_", "n_trials_", "warm_start_report_"}
    public = [{n for n in vars(s) if n.endswith("_") and n[0] != "_"} for s in (mine, theirs)]
    assert public[0] - extra == public[1]
    assert set(theirs.get_params()) - {"param_distributions", "n_iter", "pre_dispatch"} < set(
        mine.get_params()
    )


def test_a_nested_search_is_at_the_level_of_grid_search() -> None:
    X, y = IRIS
    values = {"C": [0.01, 0.1, 1.0, 10.0, 100.0], "gamma": [0.001, 0.01, 0.1, 1.0]}
    grid = cross_val_score(GridSearchCV(SVC(), values), X, y, cv=3)
    mine = cross_val_score(make_search(SVC(), values, n_trials=10), X, y, cv=3)
    assert abs(mine.mean() - grid.mean()) < 0.03
    assert mine.min() > 0.9


def test_every_candidate_of_a_grid_gives_the_grids_choice() -> None:
    X, y = IRIS
    values = {"C": [0.01, 1.0, 100.0], "kernel": ["linear", "rbf"]}
    grid = GridSearchCV(SVC(), values).fit(X, y)
    mine = make_search(SVC(), values, n_trials=50, sampler=GridSampler(values, seed=0)).fit(X, y)
    assert mine.n_trials_ == 6  # the sampler stops the study
    assert mine.best_score_ == grid.best_score_
    np.testing.assert_array_equal(
        np.sort(mine.cv_results_["mean_test_score"]), np.sort(grid.cv_results_["mean_test_score"])
    )


def test_regression_and_a_callable_scorer() -> None:
    X, y = load_diabetes(return_X_y=True)
    scorer = make_scorer(mean_absolute_error, greater_is_better=False)
    search = make_search(Ridge(), {"alpha": loguniform(1e-3, 1e3)}, scoring=scorer).fit(X, y)
    assert search.best_score_ < 0
    assert search.score(X, y) == scorer(search, X, y)
    assert search.study_.best_value == pytest.approx(search.best_score_)


class Log:
    """A callback of scikit-learn that writes down where it is called."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def setup(self, estimator: Any, context: Any) -> None:
        self.lines.append("setup")

    def on_fit_task_begin(self, estimator: Any, context: Any, **data: Any) -> None:
        self.lines.append((context.task_name, context.task_id, context.max_subtasks))

    def on_fit_task_end(self, estimator: Any, context: Any, **data: Any) -> None:
        self.lines.append((context.task_name, context.task_id))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.lines.append("teardown")


def test_callbacks_of_scikit_learn_are_called_as_in_randomized_search() -> None:
    mine, theirs = Log(), Log()
    values = {"C": [0.1, 1.0, 10.0]}
    make_search(SVC(), values, cv=2).set_callbacks(mine).fit(*IRIS)
    RandomizedSearchCV(SVC(), values, n_iter=3, cv=2).set_callbacks(theirs).fit(*IRIS)
    assert mine.lines == theirs.lines
    assert len(mine.lines) == 20


def test_clones_share_history_and_storage() -> None:
    history = History()
    search = make_search(SVC(), C, history=history, storage=history.storage)
    copy = clone(search)
    assert copy.history is history
    assert copy.storage is history.storage
    assert clone(search.set_params(estimator__C=3.0)).estimator.C == 3.0
    assert search.get_params()["estimator__C"] == 3.0
