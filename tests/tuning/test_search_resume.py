"""MetaSearchCV: resuming after a kill, and refusing to resume another search."""

import copy
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from sklearn.svm import SVC

from metaest.exceptions import HistoryError, InvalidParameterError, SearchWarning
from metaest.tuning import MetaSearchCV, _search_values
from metaest.tuning._search_identity import IDENTITY_KEY, describe_search
from metaest.tuning._search_study import abandon_running
from metaest.tuning._storage import open_storage

X, Y = load_iris(return_X_y=True)
SPACE = {"C": FloatDistribution(1e-2, 1e2, log=True), "kernel": ["linear", "rbf"]}
FILES = ["study.db", "study.journal"]

SCRIPT = """
import sys, time
from optuna.samplers import RandomSampler
from sklearn.datasets import load_iris
from sklearn.svm import SVC
from metaest.tuning import MetaSearchCV
from optuna.distributions import CategoricalDistribution, FloatDistribution

def wait(study, trial):
    print(trial.number, flush=True)

class Slow(SVC):
    def fit(self, X, y, sample_weight=None):
        time.sleep(0.05)
        return super().fit(X, y)

Slow.__module__, Slow.__qualname__ = SVC.__module__, SVC.__qualname__
space = {"C": FloatDistribution(1e-2, 1e2, log=True), "kernel": ["linear", "rbf"]}
MetaSearchCV(
    Slow(), space, history=None, n_trials=1000, cv=3, sampler=RandomSampler(seed=0),
    storage=sys.argv[1], study_name="iris", callbacks=[wait], return_train_score=True,
).fit(*load_iris(return_X_y=True))
"""


def make_search(path: Any, estimator: Any = None, **options: Any) -> MetaSearchCV:
    options = {"space": SPACE, "n_trials": 4, "cv": 3, "return_train_score": True, **options}
    options = {"sampler": RandomSampler(seed=0), "study_name": "iris", "history": None, **options}
    return MetaSearchCV(SVC() if estimator is None else estimator, storage=path, **options)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_a_killed_search_goes_on(file: str, tmp_path: Path) -> None:
    path = str(tmp_path / file)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, path], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    time.sleep(0.08)  # now it is in the middle of a trial
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    killed = optuna.load_study(study_name="iris", storage=open_storage(path)).trials
    n_done = sum(trial.state == TrialState.COMPLETE for trial in killed)
    assert n_done >= 3
    assert [trial.state for trial in killed[n_done:]] == [TrialState.RUNNING]

    search = make_search(path, n_trials=n_done + 2).fit(X, Y)
    after = search.study_.trials
    assert after[:n_done] == killed[:n_done]
    assert [t.state.name for t in after[n_done:]] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert search.n_trials_ == n_done + 2
    values = [trial.value for trial in after if trial.state == TrialState.COMPLETE]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], values)
    assert (search.cv_results_["mean_fit_time"][:n_done] > 0.05).all()
    drawn = [params["C"] for params in search.cv_results_["params"]]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("file", FILES)
def test_results_are_read_back_wholly(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    first = make_search(path, scoring=["accuracy", "f1_macro"], refit="f1_macro").fit(X, Y)
    again = make_search(path, scoring=["accuracy", "f1_macro"], refit="f1_macro").fit(X, Y)
    assert again.n_trials_ == 4
    assert list(first.cv_results_) == list(again.cv_results_)
    for key, column in first.cv_results_.items():
        if key == "params":
            assert column == again.cv_results_[key]
        else:
            np.testing.assert_array_equal(column, again.cv_results_[key])
    assert again.best_params_ == first.best_params_
    more = make_search(path, scoring=["accuracy", "f1_macro"], refit="f1_macro", n_trials=6)
    more.fit(X, Y)
    assert more.cv_results_["params"][:4] == first.cv_results_["params"]
    assert more.n_trials_ == 6


@pytest.mark.parametrize("scoring", [None, ["accuracy", "f1_macro"]], ids=["one", "several"])
@pytest.mark.parametrize("first", [True, False])
def test_sessions_may_differ_in_the_train_scores(first: bool, scoring: Any, tmp_path: Path) -> None:
    name = "accuracy" if scoring else "score"
    options: dict[str, Any] = {"scoring": scoring, "refit": name if scoring else True}
    for n_trials, wanted in ((2, first), (4, not first), (5, True)):
        options |= {"n_trials": n_trials, "return_train_score": wanted}
        search = make_search(tmp_path / "study.db", **options).fit(X, Y)
        assert search.n_trials_ == n_trials
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()
        assert any("train" in column for column in search.cv_results_) == wanted
    measured = [first] * 2 + [not first] * 2 + [True]
    for column in (f"mean_train_{name}", f"split2_train_{name}"):
        assert np.isfinite(search.cv_results_[column]).tolist() == measured


def test_objects_conditions_and_failures_are_read_back(tmp_path: Path) -> None:
    def space(trial: Any) -> dict[str, Any]:
        kernel = trial.suggest_categorical("kernel", ["linear", "wrong", "poly"])
        weights = [None, {0: 2.0}][trial.suggest_int("weighted", 0, 1)]
        params = {"kernel": kernel, "class_weight": weights}
        if kernel == "poly":
            params["degree"] = trial.suggest_int("degree", 2, 3)
        return params

    path = tmp_path / "study.db"
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        first = make_search(path, space=space, n_trials=16).fit(X, Y)
    with pytest.warns(UserWarning, match="non-finite"):  # the fits failed in the session before
        again = make_search(path, space=space, n_trials=16).fit(X, Y)
    assert again.cv_results_["params"] == first.cv_results_["params"]
    assert any(params["class_weight"] == {0: 2.0} for params in again.cv_results_["params"])
    np.testing.assert_array_equal(
        again.cv_results_["split1_test_score"], first.cv_results_["split1_test_score"]
    )
    np.testing.assert_array_equal(
        np.ma.getmaskarray(again.cv_results_["param_degree"]),
        np.ma.getmaskarray(first.cv_results_["param_degree"]),
    )

    def changed(trial: Any) -> dict[str, Any]:
        return {"kernel": trial.suggest_categorical("kern", ["linear", "poly"])}

    changed.__qualname__ = space.__qualname__
    with pytest.raises(InvalidParameterError, match="does not lead to the parameters"):
        make_search(path, space=changed, n_trials=16).fit(X, Y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": X + 1}, "another data set"),
        ({"Y": Y[::-1]}, "another data set"),
        ({"space": {"C": SPACE["C"]}}, "another space.*kernel"),
        ({"space": {**SPACE, "C": FloatDistribution(1e-2, 10, log=True)}}, "another space.*100"),
        ({"cv": 4}, "another cv"),
        ({"cv": KFold(3)}, "another cv"),
        ({"scoring": "f1_macro"}, "another scoring"),
        ({"estimator": LogisticRegression(), "space": {"C": SPACE["C"]}}, "another (space|estim)"),
        ({"estimator": SVC(gamma=0.1)}, "another estimator.*gamma"),
        ({"weight": np.arange(150) % 2 + 1}, "another fit parameters"),
    ],
)
def test_another_search_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    make_search(path).fit(X, Y)
    change = dict(change)
    data = change.pop("X", X), change.pop("Y", Y)
    weight = {"sample_weight": change.pop("weight")} if "weight" in change else {}
    with pytest.raises(HistoryError, match=f"(?s)study 'iris' cannot be resumed.*{message}"):
        make_search(path, **change).fit(*data, **weight)
    search = make_search(path, SVC(random_state=3, verbose=False), n_trials=5, n_jobs=1)
    assert search.fit(X.tolist(), list(Y)).n_trials_ == 5


def two_scores(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    return {"gain": float(estimator.score(X, y)), "cost": 0.5}


SEVERAL = ["accuracy", "neg_log_loss"]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            {"scoring": SEVERAL, "refit": "accuracy"},
            {"scoring": SEVERAL, "refit": "neg_log_loss"},
            "refit metric. There: accuracy; here: neg_log_loss",
        ),
        (
            {"scoring": two_scores, "refit": "gain"},
            {"scoring": two_scores, "refit": "cost"},
            "refit metric. There: gain; here: cost",
        ),
        (
            {"scoring": lambda e, X, y: 0.5},
            {"scoring": lambda e, X, y: 0.25},
            "scoring code",
        ),
        (
            {"scoring": {"a": make_scorer(lambda y, z: 0.5)}, "refit": "a"},
            {"scoring": {"a": make_scorer(lambda y, z: 0.25)}, "refit": "a"},
            "scoring code. There: {'a': ",
        ),
        (
            {"scoring": make_scorer(fbeta_score, beta=1, average="macro")},
            {"scoring": make_scorer(fbeta_score, beta=2, average="macro")},
            "scoring.*beta=1.*beta=2",
        ),
    ],
    ids=["refit", "refit of a callable", "lambda", "lambda in a dict", "beta"],
)
def test_scores_that_cannot_be_compared_are_refused(
    one: dict[str, Any], other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path, space = tmp_path / "study.db", {"C": SPACE["C"]}
    model = LogisticRegression(max_iter=1000)
    options: dict[str, Any] = {"space": space, "return_train_score": False}
    make_search(path, model, n_trials=2, **options, **one).fit(X, Y)
    assert make_search(path, model, n_trials=3, **options, **one).fit(X, Y).n_trials_ == 3
    with pytest.raises(HistoryError, match=f"(?s)with another {message}"):
        make_search(path, model, **options, **other).fit(X, Y)


@pytest.mark.parametrize(
    "cv", [KFold(3, shuffle=True), ShuffleSplit(3)], ids=lambda cv: type(cv).__name__
)
def test_other_folds_are_refused(cv: Any, tmp_path: Path) -> None:
    search = make_search(tmp_path / "study.db", n_trials=2, cv=cv)
    with pytest.warns(SearchWarning, match="shuffles without a random_state, so study 'iris'"):
        search.fit(X, Y)
    with pytest.raises(HistoryError, match=r"(?s)another folds.*If cv shuffles, give it a random"):
        search.fit(X, Y)
    make_search(tmp_path / "study.db", n_trials=2, cv=cv, study_name=None).fit(X, Y)


@pytest.mark.parametrize("seed", [0, np.random.RandomState(0)], ids=["int", "RandomState"])
def test_a_splitter_with_a_seed_is_the_same_again(seed: Any, tmp_path: Path) -> None:
    for n_trials in (2, 3):
        cv = KFold(3, shuffle=True, random_state=copy.deepcopy(seed))
        search = make_search(tmp_path / "study.db", n_trials=n_trials, cv=cv).fit(X, Y)
        assert search.n_trials_ == n_trials


def test_a_study_of_an_older_version_goes_on(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    make_search(storage, n_trials=2).fit(X, Y)
    study = optuna.load_study(study_name="iris", storage=storage)
    whole = study.user_attrs[IDENTITY_KEY]
    new = {"refit metric", "scoring code", "estimator code", "folds"}
    study.set_user_attr(IDENTITY_KEY, {k: v for k, v in whole.items() if k not in new})
    assert make_search(storage, n_trials=3).fit(X, Y).n_trials_ == 3
    again = optuna.load_study(study_name="iris", storage=storage)
    assert again.user_attrs[IDENTITY_KEY] == whole  # from now on, they are compared


def pipeline(columns: Any, kind: Any = StandardScaler) -> Any:
    return make_pipeline(make_column_transformer((kind(), columns)), SVC())


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (pipeline([2, 3]), pipeline([1]), r"\(2, 3\).*\(1\)"),
        (pipeline([2]), pipeline([2], MinMaxScaler), "MinMaxScaler"),
        (pipeline(slice(2)), pipeline(slice(3)), "slice"),
        (SVC(class_weight={0: 1, 2: 1}), SVC(class_weight={0: 1, 2: 1000}), "{0: 1, 2: 1000}"),
        (SVC(cache_size=np.int64(100)), SVC(cache_size=np.int64(200)), "100.*200"),
        (GaussianNB(priors=np.ones(3) / 3), GaussianNB(priors=[0.2, 0.3, 0.5]), "priors"),
    ],
    ids=["columns", "step", "slice", "dict", "numpy", "array"],
)
def test_another_estimator_is_refused_whatever_differs(
    one: Any, other: Any, message: str, tmp_path: Path
) -> None:
    name = {"GaussianNB": "var_smoothing", "SVC": "C"}.get(type(one).__name__, "svc__C")
    options: dict[str, Any] = {"space": {name: [0.1, 1.0]}, "n_trials": 2}
    make_search(tmp_path / "study.db", one, **options).fit(X, Y)
    make_search(tmp_path / "study.db", clone(one), **options).fit(X, Y)
    with pytest.raises(HistoryError, match=f"(?s)with another estimator.*{message}"):
        make_search(tmp_path / "study.db", other, **options).fit(X, Y)


def looking_up(table: dict[str, float]) -> Any:
    return lambda trial: {"C": table[trial.suggest_categorical("size", ["weak", "strong"])]}


def drawn(low: float, high: float, **others: Any) -> Any:
    return lambda trial: {"C": trial.suggest_float("C", low, high), **others}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (
            looking_up({"weak": 0.1, "strong": 1.0}),
            looking_up({"weak": 1.0, "strong": 0.1}),
            "'C' was (0.1, and would be 1.0|1.0, and would be 0.1)",
        ),
        (
            drawn(0.1, 1.0, kernel="linear"),
            drawn(0.1, 1.0, kernel="rbf"),
            "'kernel' was 'linear', and would be 'rbf'",
        ),
        (drawn(0.1, 1.0), drawn(0.1, 1.0, kernel="rbf"), "'kernel' was not set"),
        (drawn(0.1, 1.0), drawn(0.1, 2.0), "'C' was drawn from Float.*high=1.0.*high=2.0"),
        (
            drawn(0.1, 1.0, kernel=lambda a, b: a @ b.T),
            drawn(0.1, 1.0, kernel=lambda a, b: 2 * a @ b.T),
            "'kernel' was .*<lambda> ",
        ),
    ],
    ids=["table", "constant", "more", "range", "lambda"],
)
def test_another_callable_is_refused_before_anything_is_fitted(
    one: Any, other: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.db"
    make_search(path, space=one, n_trials=2).fit(X, Y)
    search = make_search(path, space=other, n_trials=3)
    with pytest.raises(InvalidParameterError, match=f"(?s)stored trial 0 any more .{message}"):
        search.fit(X, Y)
    assert len(search.study_.trials) == 2
    assert make_search(path, space=one, n_trials=3).fit(X, Y).n_trials_ == 3


def keep(rows: Any) -> Any:
    return rows


def zero(rows: Any) -> Any:
    return rows * 0


def transformed(function: Any) -> Any:
    return make_pipeline(FunctionTransformer(function), SVC())


FUNCTION = "functiontransformer__func"


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"space": {FUNCTION: [keep, zero]}}, {"space": {FUNCTION: [zero, keep]}}, "space.*zero"),
        (
            {"space": {FUNCTION: [keep, lambda x: x * 0]}},
            {"space": {FUNCTION: [keep, lambda x: x * 2]}},
            "space.*<lambda>",
        ),
        (
            {"estimator": transformed(lambda x: x)},
            {"estimator": transformed(lambda x: x * 0)},
            "estimator code.*func",
        ),
        (
            {"estimator": transformed(partial(lambda x, k: x * k, k=1))},
            {"estimator": transformed(partial(lambda x, k: x * k, k=0))},
            "estimator code.*func",
        ),
    ],
    ids=["list", "lambda in a list", "lambda", "partial"],
)
def test_other_functions_are_refused(
    one: dict[str, Any], other: dict[str, Any], message: str, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"estimator": transformed(None), "space": {"svc__C": [0.1, 1.0]}}
    for _ in range(2):
        make_search(tmp_path / "study.db", n_trials=1, **{**common, **one}).fit(X, Y)
    with pytest.raises(HistoryError, match=f"(?s)with another {message}"):
        make_search(tmp_path / "study.db", n_trials=2, **{**common, **other}).fit(X, Y)


@pytest.mark.parametrize(
    "space", [{"svc__C": [0.1, 0.1, 1.0]}, {FUNCTION: [keep, zero]}], ids=["twice", "functions"]
)
def test_a_study_of_an_older_version_keeps_its_places(
    space: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "study.db", transformed(None)
    with monkeypatch.context() as patch:
        patch.setattr(_search_values, "_labels", lambda values: list(range(len(values))))
        old = make_search(path, model, space=space, n_trials=2).fit(X, Y)
    new = make_search(path, model, space=space, n_trials=4).fit(X, Y)
    assert new.cv_results_["params"][:2] == old.cv_results_["params"]
    for trial, params in zip(new.study_.trials, new.cv_results_["params"], strict=True):
        assert {name: space[name][place] for name, place in trial.params.items()} == params


def test_parameters_that_say_nothing_of_the_search() -> None:
    def describe(estimator: Any) -> Any:
        options: dict[str, Any] = {"cv": 3, "splits": [], "scoring": None, "params": {}}
        return describe_search(estimator, X, Y, space={}, **options)["estimator"]

    same = [pipeline(columns).set_params(svc__verbose=v) for columns, v in (([1], 0), ((1,), 1))]
    assert describe(same[0]) == describe(same[1])
    function = describe(FunctionTransformer(partial(lambda x: x)))
    assert function["func"] == "functools.partial"  # what has no name cannot be compared


def test_studies_of_others_are_refused(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    study = optuna.create_study(storage=storage, study_name="theirs", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("C", 0, 1), n_trials=1)
    with pytest.raises(HistoryError, match="no MetaSearchCV made"):
        make_search(storage, study_name="theirs").fit(X, Y)
    optuna.create_study(storage=storage, study_name="down")
    with pytest.raises(HistoryError, match="does not maximise"):
        make_search(storage, study_name="down").fit(X, Y)
    with pytest.raises(HistoryError, match="does not exist"):
        make_search(tmp_path / "no" / "study.db").fit(X, Y)


def test_trials_that_were_queued_are_run(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    study = optuna.create_study(storage=storage, study_name="iris", direction="maximize")
    study.enqueue_trial({"C": 3.0, "kernel": "rbf"})
    search = make_search(storage).fit(X, Y)
    assert search.cv_results_["params"][0] == {"C": 3.0, "kernel": "rbf"}
    assert search.n_trials_ == 4


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"class_weight": "twice"}, "class_weight='twice', but expected a choice of '{0: 1.0}', "),
        ({"C": "much"}, "C='much', but expected a number from 0.01 to 100. Enqueue one of these"),
    ],
)
def test_what_was_queued_and_cannot_be_run_is_a_clear_error(
    value: Any, message: str, tmp_path: Path
) -> None:
    space = {"C": SPACE["C"], "class_weight": [{0: 1.0}, {0: 2.0}]}
    storage = open_storage(tmp_path / "study.db")
    study = optuna.create_study(storage=storage, study_name="iris", direction="maximize")
    study.enqueue_trial(value)
    with pytest.raises(
        InvalidParameterError, match=re.escape(f"trial 0 was enqueued with {message}")
    ):
        make_search(storage, space=space).fit(X, Y)
    assert make_search(storage, space=space, n_trials=2).fit(X, Y).n_trials_ == 2


def test_without_a_name_every_fit_is_a_new_study(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "study.db")
    search = make_search(storage, study_name=None)
    names = {search.fit(X, Y).study_.study_name for _ in range(2)}
    assert len(names) == 2
    assert {study.study_name for study in storage.get_all_studies()} == names


@pytest.mark.filterwarnings("ignore:Choices for a categorical:UserWarning")
@pytest.mark.parametrize("file", FILES)
def test_choices_that_are_objects(file: str, tmp_path: Path) -> None:
    choices: Any = [{0: 1.0}, None, {0: 2.0}]
    space = {"class_weight": CategoricalDistribution(choices)}
    for n_trials in (2, 4):
        search = make_search(tmp_path / file, space=space, n_trials=n_trials).fit(X, Y)
        assert all(params["class_weight"] in choices for params in search.cv_results_["params"])

    def from_trial(trial: Any) -> dict[str, Any]:
        return {"class_weight": dict(trial.suggest_categorical("weights", [((0, 1.0),), ()]))}

    make_search(None, space=from_trial).fit(X, Y)
    with pytest.raises(HistoryError, match=r"'weights' has the choice \(\(0, 1.0\),\)"):
        make_search(tmp_path / file, space=from_trial, study_name="other").fit(X, Y)


@pytest.mark.parametrize("file", FILES)
def test_a_fitted_search_is_loaded_where_its_study_is_not(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    search = make_search(folder / file).fit(X, Y)
    shallow, deep = copy.copy(search), copy.deepcopy(search)
    assert shallow.study_ is search.study_
    assert deep.study_.best_params == search.study_.best_params
    values = list(search.cv_results_["mean_test_score"])
    content = pickle.dumps(search)
    shutil.rmtree(folder)
    for _ in range(2):
        loaded = pickle.loads(content)
        np.testing.assert_array_equal(loaded.predict(X), search.predict(X))
        assert [trial.value for trial in loaded.study_.trials] == values
        assert loaded.study_.study_name == "iris"
        assert isinstance(loaded.study_.sampler, RandomSampler)
        content = pickle.dumps(loaded)
    assert clone(search).storage == search.storage  # asks nobody


class Intruder(SVC):
    """While it is fitted, another process begins to search in the same study."""

    storage = ""

    def fit(self, X: Any, y: Any) -> "Intruder":
        study = optuna.load_study(study_name="shared", storage=open_storage(self.storage))
        abandon_running(study)
        return super().fit(X, y)


def test_two_searches_in_one_study_are_a_clear_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Intruder, "storage", str(tmp_path / "study.db"))
    search = MetaSearchCV(
        Intruder(), SPACE, n_trials=3, cv=3, storage=Intruder.storage, study_name="shared"
    )
    with pytest.raises(HistoryError, match=r"'shared'.*only one at a time.*another study_name"):
        search.fit(X, Y)
