"""MetaSearchCV: spaces, scoring, faults, pruning, parallel folds, time, routing."""

import pickle
import threading
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from scipy.stats import loguniform, norm, randint, uniform
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from metaest.exceptions import InvalidParameterError, SearchWarning
from metaest.tuning import History, MetaSearchCV

X, Y = load_iris(return_X_y=True)
C = {"C": FloatDistribution(1e-2, 1e2, log=True)}


def make_search(estimator: Any, space: Any, **options: Any) -> MetaSearchCV:
    sampler = RandomSampler(seed=0)
    options = {"history": None, "n_trials": 4, "cv": 3, "sampler": sampler, **options}
    return MetaSearchCV(estimator, space, **options)


class Picky(ClassifierMixin, BaseEstimator):
    """Fails in `fit` below `low`, scores NaN above `high`, and is interrupted at `stop`."""

    def __init__(
        self, a: float = 0.0, low: float = 0.0, high: float = 2.0, stop: Any = None, extra: Any = 0
    ) -> None:
        self.a = a
        self.low = low
        self.high = high
        self.stop = stop
        self.extra = extra

    def fit(self, X: Any, y: Any) -> "Picky":
        if self.a < self.low:
            raise RuntimeError(f"a={self.a} is too low")
        if self.stop is not None and self.a > self.stop:
            raise KeyboardInterrupt
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0])

    def score(self, X: Any, y: Any) -> float:
        return float("nan") if self.a > self.high else self.a


UNIT = {"a": FloatDistribution(0.0, 1.0)}


def test_scipy_lists_and_optuna_distributions() -> None:
    space = {
        "C": loguniform(1e-2, 1e2),
        "tol": uniform(1e-4, 1e-3),
        "degree": randint(2, 5),
        "kernel": ["linear", "poly"],
        "shrinking": np.array([True, False]),
        "coef0": FloatDistribution(0, 1, step=0.5),
    }
    search = make_search(SVC(), space, n_trials=6).fit(X, Y)
    found = search.best_trial_.distributions
    assert found["C"] == FloatDistribution(1e-2, 1e2, log=True)
    assert found["tol"] == FloatDistribution(1e-4, 1.1e-3)
    assert found["degree"] == IntDistribution(2, 4)
    assert found["kernel"] == CategoricalDistribution(["linear", "poly"])
    assert set(search.cv_results_["param_coef0"]) <= {0.0, 0.5, 1.0}
    assert search.best_estimator_.get_params().items() >= search.best_params_.items()


def test_lists_of_objects_are_searched_and_shown_as_they_are() -> None:
    scalers = [StandardScaler(), None, "passthrough"]
    weights = [(1, 2), [3, 4], {"a": 1}, None, 1, True, 1.0]
    model = Pipeline([("scale", None), ("clf", DecisionTreeClassifier(random_state=0))])
    space = {"scale": scalers, "clf__max_features": [None, "sqrt", 2]}
    search = make_search(model, space, n_trials=12).fit(X, Y)
    assert {id(value) for value in search.cv_results_["param_scale"]} <= {id(s) for s in scalers}
    assert search.best_params_["scale"] in scalers
    seen = [None, "sqrt", 2]
    assert all(value in seen for value in search.cv_results_["param_clf__max_features"])
    odd = make_search(Picky(0.5), {"extra": weights}, n_trials=60).fit(X, Y)
    shown = [params["extra"] for params in odd.cv_results_["params"]]
    assert {repr(value) for value in shown} == {repr(value) for value in weights}


def test_a_conditional_space_masks_what_was_not_active() -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        kernel = trial.suggest_categorical("kernel", ["linear", "poly"])
        params = {"kernel": kernel, "C": 10 ** trial.suggest_float("log_C", -1, 1)}
        if kernel == "poly":
            params["degree"] = trial.suggest_int("degree", 2, 4)
        return params

    search = make_search(SVC(), space, n_trials=8).fit(X, Y)
    mask = np.ma.getmaskarray(search.cv_results_["param_degree"])
    linear = search.cv_results_["param_kernel"] == "linear"
    np.testing.assert_array_equal(mask, linear.astype(bool))
    assert 0 < mask.sum() < 8
    assert "param_log_C" not in search.cv_results_


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"gama": [1.0]}, "parameter 'gama', which the estimator does not have. Did you mean 'gam"),
        ({"C": norm()}, "scipy.stats norm"),
        ({"C": loguniform(1, 10, loc=3)}, "loguniform with loc"),
        ({"C": 1.0}, r"space\['C'\] cannot be searched"),
        ({"C": "linear"}, r"space\['C'\] cannot be searched"),
        ({"C": []}, "is empty"),
        ({"C": np.ones((2, 2))}, "one dimension"),
        ({}, "space is empty"),
        ([{"C": [1.0]}], "write such a callable"),
        (lambda trial: {"cc": trial.suggest_float("C", 0, 1)}, "parameter 'cc'"),
        (lambda trial: None, "must return a dict"),
    ],
)
def test_a_wrong_space_is_refused_before_anything_is_fitted(space: Any, message: str) -> None:
    class Untouched(SVC):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            raise AssertionError("fit was called")

    with pytest.raises(InvalidParameterError, match=message):
        make_search(Untouched(), space).fit(X, Y)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="Did you mean 'embedded'"):
        make_search(SVC(), C, history="embeded").fit(X, Y)
    with pytest.raises(InvalidParameterError, match="n_trials and timeout"):
        make_search(SVC(), C, n_trials=None).fit(X, Y)
    with pytest.raises(ValueError, match="n_trials"):
        make_search(SVC(), C, n_trials=0).fit(X, Y)
    with pytest.raises(ValueError, match="sampler"):
        make_search(SVC(), C, sampler="tpe").fit(X, Y)
    with pytest.raises(InvalidParameterError, match="space is None"):
        make_search(KMeans(), None).fit(X)


def test_several_metrics() -> None:
    both = ["accuracy", "f1_macro"]
    search = make_search(SVC(), C, scoring=both, refit="f1_macro").fit(X, Y)
    values = [trial.value for trial in search.study_.trials]
    np.testing.assert_allclose(values, search.cv_results_["mean_test_f1_macro"])
    chosen = make_search(SVC(), C, scoring=both, refit=lambda results: 2).fit(X, Y)
    assert chosen.best_index_ == chosen.best_trial_.number == 2
    assert not hasattr(chosen, "best_score_")
    assert chosen.cv_results_["params"][2]["C"] == chosen.best_estimator_.C
    bare = make_search(SVC(), C, scoring=both, refit=False).fit(X, Y)
    assert not hasattr(bare, "best_params_")
    assert not hasattr(bare, "best_estimator_")
    assert bare.best_trial_.value == max(t.value for t in bare.study_.trials)
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        make_search(SVC(), C, scoring=both).fit(X, Y)


def test_a_callable_that_returns_several_scores() -> None:
    def score(model: Any, X: Any, y: Any) -> dict[str, float]:
        found = model.predict(X)
        return {"acc": accuracy_score(y, found), "f1": f1_score(y, found, average="macro")}

    search = make_search(SVC(), C, scoring=score, refit="f1").fit(X, Y)
    assert search.multimetric_
    assert search.best_score_ == search.cv_results_["mean_test_f1"].max()
    assert search.best_trial_.value == pytest.approx(search.best_score_)
    with pytest.raises(ValueError, match="refit must be set to a scorer key"):
        make_search(SVC(), C, scoring=score).fit(X, Y)
    space = {"a": [0.1, 0.9]}
    partly = make_search(Picky(low=0.5), space, scoring=score, refit="acc", n_trials=8)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        partly.fit(X, Y)
    failed = partly.cv_results_["param_a"] == 0.1
    assert np.isnan(partly.cv_results_["mean_test_f1"][failed]).all()


def test_a_callable_that_fails_for_some_trials_loses_nothing() -> None:
    def score(model: Any, X: Any, y: Any) -> dict[str, float]:
        if model.a < 0.5:
            raise RuntimeError("cannot score")
        return {"first": 1.0, "second": model.a}

    search = make_search(Picky(), UNIT, scoring=score, refit="second", n_trials=10)
    with (
        pytest.warns(UserWarning, match="Scoring failed"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(X, Y)
    low = np.array(search.cv_results_["param_a"], dtype=float) < 0.5
    assert np.isnan(search.cv_results_["mean_test_first"][low]).all()
    assert search.best_score_ == pytest.approx(search.best_params_["a"])


def test_failed_trials_are_nan_and_last() -> None:
    search = make_search(Picky(low=0.5), UNIT, n_trials=10)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, Y)
    low = np.array(search.cv_results_["param_a"], dtype=float) < 0.5
    assert 0 < low.sum() < 10
    states = [trial.state.name for trial in search.study_.trials]
    np.testing.assert_array_equal(low, [state == "FAIL" for state in states])
    assert np.isnan(search.cv_results_["mean_test_score"][low]).all()
    assert (search.cv_results_["rank_test_score"][low] == 10 - low.sum() + 1).all()
    zero = make_search(Picky(low=0.5), UNIT, n_trials=10, error_score=0.0)
    with pytest.warns(FitFailedWarning):
        zero.fit(X, Y)
    assert (zero.cv_results_["mean_test_score"][low] == 0).all()


def test_errors_of_the_estimator() -> None:
    with pytest.raises(RuntimeError, match="too low"):
        make_search(Picky(low=2.0), UNIT, error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match=r"(?s)All the 12 fits failed.*is too low"):
        make_search(Picky(low=2.0), UNIT).fit(X, Y)
    with pytest.raises(ValueError, match="None of the 4 trials has a finite score"):
        make_search(Picky(high=-1.0), UNIT).fit(X, Y)
    search = make_search(Picky(high=0.6), UNIT, n_trials=10)
    with pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, Y)
    assert search.best_score_ <= 0.6


def test_pruned_trials_have_gaps_and_are_never_best() -> None:
    class Second(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: Any) -> bool:
            return trial.number % 2 == 1 and trial.last_step == 1

    search = make_search(SVC(), C, cv=4, n_trials=6, pruner=Second(), return_train_score=True)
    search.fit(X, Y)
    odd = np.arange(6) % 2 == 1
    states = [trial.state.name for trial in search.study_.trials]
    assert states == ["COMPLETE", "PRUNED"] * 3
    results = search.cv_results_
    for fold in range(4):
        for kind in ("test", "train"):
            gaps = np.isnan(results[f"split{fold}_{kind}_score"])
            np.testing.assert_array_equal(gaps, odd & (fold > 1))
    assert np.isnan(results["mean_test_score"][odd]).all()
    assert (results["rank_test_score"][odd] == 4).all()
    assert np.isfinite(results["mean_fit_time"]).all()
    assert not odd[search.best_index_]
    means = np.cumsum([results[f"split{k}_test_score"][0] for k in range(4)]) / np.arange(1, 5)
    np.testing.assert_allclose(list(search.study_.trials[0].intermediate_values.values()), means)
    with pytest.raises(InvalidParameterError, match="was pruned"):
        search.set_params(refit=lambda results: 1).fit(X, Y)


def test_median_pruner_spares_folds() -> None:
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    search = make_search(Picky(), UNIT, cv=5, n_trials=20, pruner=pruner).fit(X, Y)
    folds = sum(len(trial.intermediate_values) for trial in search.study_.trials)
    assert folds < 80
    assert search.best_score_ == max(np.array(search.cv_results_["param_a"], dtype=float))


@pytest.mark.parametrize("backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)])
def test_parallel_folds_give_the_same_result(backend: str) -> None:
    space = {"max_depth": IntDistribution(1, 5), "max_features": FloatDistribution(0.2, 1.0)}
    model = RandomForestClassifier(3, random_state=0)
    options = {"sampler": TPESampler(seed=0, n_startup_trials=3), "n_trials": 8}
    alone = make_search(model, space, **options).fit(X, Y)
    lock = threading.Lock()  # what cannot be pickled stays here

    def count(study: optuna.Study, trial: Any) -> None:
        with lock:
            assert trial.state.is_finished()

    with joblib.parallel_config(backend):
        together = make_search(model, space, n_jobs=2, callbacks=[count], **options).fit(X, Y)
    assert alone.cv_results_["params"] == together.cv_results_["params"]
    for name in ("mean_test_score", "std_test_score", "split0_test_score"):
        np.testing.assert_array_equal(alone.cv_results_[name], together.cv_results_[name])


@pytest.mark.parametrize("pruner", [None, optuna.pruners.NopPruner()], ids=["plain", "pruner"])
def test_more_workers_than_folds_run_trials_at_once(pruner: Any) -> None:
    running: list[int] = []

    class Watching(RandomSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            states = (optuna.trial.TrialState.RUNNING,)
            running.append(len(study.get_trials(deepcopy=False, states=states)))
            return {}

    sampler = Watching(seed=0)
    with joblib.parallel_config("threading"):
        search = make_search(SVC(), C, n_trials=5, n_jobs=6, pruner=pruner, cv=2, sampler=sampler)
        search.fit(X, Y)
    assert search.n_trials_ == 5
    assert max(running) == (3 if pruner is None else 5)
    plain = make_search(SVC(), C, n_trials=5, cv=2).fit(X, Y)
    for key in ("mean_test_score", "param_C"):
        np.testing.assert_array_equal(search.cv_results_[key], plain.cv_results_[key])


def test_time_is_up_after_at_least_one_trial() -> None:
    assert make_search(SVC(), C, timeout=0).fit(X, Y).n_trials_ == 1
    start = time.perf_counter()
    search = make_search(SVC(), C, n_trials=None, timeout=0.3).fit(X, Y)
    assert search.n_trials_ > 1
    spent = time.perf_counter() - start
    assert spent >= 0.3
    assert spent < 5


def test_callbacks_see_trials_and_stop_the_search() -> None:
    seen = []

    def callback(study: optuna.Study, trial: Any) -> None:
        seen.append((trial.number, trial.state.name))
        if len(seen) == 2:
            study.stop()

    search = make_search(SVC(), C, n_trials=9, callbacks=[callback]).fit(X, Y)
    assert seen == [(0, "COMPLETE"), (1, "COMPLETE")]
    assert search.n_trials_ == 2
    with pytest.raises(RuntimeError, match="inside an objective"):
        search.study_.stop()


def test_an_error_of_a_callback_or_of_refit_loses_no_trial() -> None:
    def callback(study: optuna.Study, trial: Any) -> None:
        if trial.number == 2:
            raise RuntimeError("disk is full")

    history = History()
    search = make_search(SVC(), C, callbacks=[callback], history=history)
    with pytest.raises(RuntimeError, match="disk is full") as caught:
        search.fit(X, Y)
    assert "in search.study_; History.add_study(" in caught.value.__notes__[0]
    history.add_study(search.study_, X=X, y=Y, task="rescued")
    assert [len(record.trials) for record in history.tasks()] == [3]
    with pytest.raises(IndexError):
        make_search(SVC(), C, refit=lambda results: 99, history=history).fit(X, Y)
    assert [len(record.trials) for record in history.tasks()] == [3, 4]


def test_a_search_without_a_score_is_not_recorded(recwarn: pytest.WarningsRecorder) -> None:
    history = History()
    with pytest.raises(ValueError, match="All the 12 fits failed"):
        make_search(Picky(low=2.0), UNIT, history=history).fit(X, Y)
    assert len(history) == 0
    assert not [w for w in recwarn if issubclass(w.category, SearchWarning)]


def test_ctrl_c_keeps_what_is_finished() -> None:
    first = RandomSampler(seed=0)
    with pytest.warns(SearchWarning, match="interrupted") as caught:
        search = make_search(Picky(stop=0.6), UNIT, n_trials=30, sampler=first).fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    assert 0 < search.n_trials_ < 30
    assert search.study_.trials[-1].state.name == "FAIL"
    assert len(search.study_.trials) == search.n_trials_ + 1
    assert search.best_score_ <= 0.6
    with pytest.raises(KeyboardInterrupt):
        make_search(Picky(stop=-1.0), UNIT).fit(X, Y)


def test_fit_parameters_and_groups_reach_their_places() -> None:
    groups = np.repeat(np.arange(50), 3)
    order = np.random.default_rng(0).permutation(150)
    weight = np.random.default_rng(1).random(150)
    common = {"cv": GroupKFold(3), "n_trials": 2}
    data = {"groups": groups, "sample_weight": weight}
    search = make_search(SVC(), C, **common).fit(X[order], Y[order], **data)
    plain = make_search(SVC(), C, **common).fit(X[order], Y[order], groups=groups)
    changed = search.cv_results_["mean_test_score"] != plain.cv_results_["mean_test_score"]
    assert changed.any()
    with config_context(enable_metadata_routing=True):
        model = SVC().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        routed = make_search(model, C, **common).fit(X[order], Y[order], **data)
        unweighted = (
            SVC().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        )
        other = make_search(unweighted, C, **common).fit(X[order], Y[order], **data)
    np.testing.assert_allclose(
        routed.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"]
    )
    assert (other.cv_results_["mean_test_score"] != routed.cv_results_["mean_test_score"]).any()
    with pytest.raises(ValueError, match="'groups' parameter"):
        make_search(SVC(), C, **common).fit(X, Y)


def test_tables_with_strings_through_a_pipeline_and_string_labels() -> None:
    table = pd.DataFrame(X, columns=list("abcd"))
    table["colour"] = np.where(X[:, 0] > 5.8, "red", "blue")
    labels = np.array(["setosa", "versicolor", "virginica"])[Y]
    encode = make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression(max_iter=1000))
    space = {"logisticregression__C": FloatDistribution(0.1, 10, log=True)}
    search = make_search(model, space, n_trials=3).fit(table, labels)
    assert list(search.classes_) == ["setosa", "versicolor", "virginica"]
    assert list(search.feature_names_in_) == [*"abcd", "colour"]
    assert search.score(table, labels) > 0.9
    assert search.predict_proba(table).shape == (150, 3)
    outer = make_pipeline(StandardScaler(), make_search(KNeighborsClassifier(), {"p": [1, 2]}))
    assert outer.fit(X, labels).score(X, labels) > 0.9


def test_no_targets() -> None:
    space = {"n_clusters": IntDistribution(2, 5)}
    search = make_search(KMeans(n_init=1, random_state=0), space).fit(X)
    assert search.best_params_["n_clusters"] == max(search.cv_results_["param_n_clusters"])
    assert search.transform(X).shape == (150, search.best_params_["n_clusters"])


def test_the_same_seed_gives_the_same_search_and_fitted_searches_pickle() -> None:
    search = make_search(SVC(), C)
    first = search.fit(X, Y).cv_results_["params"]
    assert search.fit(X, Y).cv_results_["params"] == first
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert again.best_trial_ == search.best_trial_
    assert [t.value for t in again.study_.trials] == [t.value for t in search.study_.trials]


def test_a_search_in_a_file_pickles(tmp_path: Path) -> None:
    search = make_search(SVC(), C, storage=tmp_path / "study.db", study_name="iris").fit(X, Y)
    again = pickle.loads(pickle.dumps(search))
    assert again.study_.best_value == search.study_.best_value
    assert again.fit(X, Y).n_trials_ == 4


def test_progress_bar(capsys: pytest.CaptureFixture) -> None:
    make_search(SVC(), C, verbose=1).fit(X, Y)
    captured = capsys.readouterr()
    assert "4/4" in captured.err
    assert captured.out == ""
    make_search(SVC(), C).fit(X, Y)
    assert capsys.readouterr() == ("", "")
