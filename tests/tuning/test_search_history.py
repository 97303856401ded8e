"""MetaSearchCV: what it takes from a history, what it records there, and its report."""

import dataclasses
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression, Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metaest.exceptions import HistoryError, SearchWarning
from metaest.meta_features import fingerprint
from metaest.tuning import History, MetaSearchCV, _write, default_space
from metaest.tuning._embedded import MODELS
from metaest.tuning._record import ESTIMATOR_KEY, attributes
from metaest.tuning._search_history import open_source
from metaest.tuning._search_report import make_report
from metaest.tuning._sources import find_sources

X, Y = load_iris(return_X_y=True)
SPACE = {"C": FloatDistribution(1e-2, 1e2, log=True)}


def make_search(history: Any, **options: Any) -> MetaSearchCV:
    options = {"n_trials": 3, "cv": 3, "sampler": RandomSampler(seed=0), **options}
    return MetaSearchCV(SVC(), SPACE, history=history, **options)


def test_a_search_records_itself() -> None:
    history = History()
    search = make_search(history).fit(X, Y)
    (record,) = history.tasks()
    assert record.task == f"search-{fingerprint(X, Y)[:8]}"
    assert record.fingerprint == fingerprint(X, Y)
    assert record.metric == "accuracy"
    assert record.meta_features
    assert record.space == SPACE
    assert [t.params for t in record.trials] == search.cv_results_["params"]
    make_search(history, scoring="f1_macro").fit(X, Y)
    make_search(history, task="mine").fit(X, Y)
    make_search(history, study_name="mine").fit(X, Y)
    make_search(history, record=False).fit(X, Y)
    assert [r.task for r in history.tasks()[1:]] == [f"{record.task}-2", "mine", "mine-2"]
    assert history.tasks()[1].metric == "f1_macro"


def test_clones_record_in_the_same_history() -> None:
    history = History()
    cross_val_score(clone(make_search(history)), X, Y, cv=2)
    assert len(history) == 2
    assert len({record.fingerprint for record in history.tasks()}) == 2


def test_what_cannot_be_recorded_is_a_warning(tmp_path: Path) -> None:
    class Full(History):
        def add_study(self, *args: Any, **options: Any) -> None:
            raise HistoryError("the history is full.")

    with pytest.warns(SearchWarning, match=r"(?s)not recorded.*is full.*add_study") as caught:
        search = make_search(Full()).fit(X, Y)
    assert {warning.filename for warning in caught} == {__file__}
    assert search.score(X, Y) > 0.9
    (tmp_path / "bad.db").write_text("no database")
    with pytest.raises(HistoryError, match=r"bad\.db"):
        make_search(tmp_path / "bad.db").fit(X, Y)


def test_a_name_that_was_taken_in_the_meantime_gets_a_number() -> None:
    class Raced(History):
        def add_study(self, study: Any, *, task: str | None = None, **options: Any) -> None:
            if len(self) == 0:
                self.add_trials(str(task), [{"C": 1.0}], [0.5], space=SPACE)
            super().add_study(study, task=task, **options)

    history = Raced()
    make_search(history, n_trials=1, task="mine").fit(X, Y)
    assert [record.task for record in history.tasks()] == ["mine", "mine-2"]


def test_rows_that_have_no_meta_features_are_recorded_without() -> None:
    history = History()
    make_search(history).fit(csr_matrix(X), Y)
    (record,) = history.tasks()
    assert record.meta_features is None
    assert len(record.trials) == 3


def test_threads_do_not_clash() -> None:
    history = History()
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: make_search(history, n_trials=1).fit(X, Y), range(10)))
    assert len(history) == 10
    assert len({record.task for record in history.tasks()}) == 10


def _record_three(path: str) -> None:
    for _ in range(3):
        make_search(path, n_trials=1).fit(X, Y)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["history.db", "history.journal"])
def test_processes_do_not_clash(file: str, tmp_path: Path) -> None:
    path = str(tmp_path / file)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_record_three, args=(path,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(History(path)) == 6


@pytest.mark.parametrize("same_storage", [True, False])
def test_a_resumed_search_is_recorded_once(same_storage: bool, tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    storage = history.storage if same_storage else tmp_path / "study.db"
    options = {"storage": storage, "study_name": "iris"}
    make_search(history, **options).fit(X, Y)
    assert [len(r.trials) for r in history.tasks()] == [3]
    make_search(history, n_trials=5, **options).fit(X, Y)
    assert [len(r.trials) for r in history.tasks()] == [5]


def test_the_sampler_gets_related_searches_of_the_user_or_the_shipped_ones() -> None:
    study = optuna.create_study(direction="maximize")
    assert open_source(None, SVC(), "accuracy", SPACE, study).records == []
    shipped = open_source("embedded", SVC(), "accuracy", SPACE, study)
    assert shipped.name == "embedded"
    assert len(shipped.records) > 10
    history = History()
    history.add_trials("other", [{"depth": 0.1}], [1.0], space={"depth": FloatDistribution(0, 1)})
    unrelated = open_source(history, SVC(), "accuracy", SPACE, study)
    assert unrelated.name == "embedded"
    assert unrelated.own is history
    history.add_trials("mine", [{"C": 0.1}], [1.0], space=SPACE)
    own = open_source(history, SVC(), "accuracy", SPACE, study)
    assert [record.task for record in own.records] == ["other", "mine"]  # over C alone
    assert own.name == "in memory"
    same = default_space(SVC())
    params = {name: d.choices[0] if hasattr(d, "choices") else d.low for name, d in same.items()}
    history.add_trials("mine too", [params], [1.0], space=same)
    both = open_source(history, SVC(), "accuracy", same, study)
    assert both.records[3:] == shipped.records
    assert both.name == "in memory and embedded"
    assert open_source("embedded", SVC(), "no metric", None, study).records == []


def test_the_report_is_about_what_was_run() -> None:
    search = make_search(None).fit(X, Y)
    report = search.warm_start_report_
    assert report.source is None
    assert report.best_score == search.study_.best_value
    assert report.best_trial_number == search.study_.best_trial.number
    assert report.n_trials == 3
    assert "cold search" in repr(report)
    study = optuna.create_study(direction="maximize")
    for value, origin in [(0.7, "portfolio"), (0.9, "portfolio"), (0.8, "surrogate"), (0.95, None)]:
        trial = study.ask()
        if origin is not None:
            trial.set_user_attr("metaest:origin", origin)
        trial.set_user_attr("metaest:source_task", "wine")
        study.tell(trial, value)
    params = [{"C": 2.0}, {"C": 3.0}, {"C": 1.0}, {"C": 4.0}]
    history = History()
    history.add_trials("wine", [{"C": 0.1}, {"C": 1.0}], [1.0, 0.5], space=SPACE)
    pairs = list(zip(study.trials, params, strict=True))
    warm = make_report("mine.db", history.tasks(), pairs, SVC().get_params())
    assert (warm.n_source_tasks, warm.n_source_trials) == (1, 2)
    assert warm.origins == {"portfolio": 2, "surrogate": 1}
    assert [t["score"] for t in warm.startup_trials] == [0.7, 0.9]
    assert warm.startup_trials[1]["params"] == {"C": 3.0}
    assert warm.startup_trials[1]["source_task"] == "wine"
    assert warm.best_startup_score == 0.9
    assert warm.default_score == 0.8
    assert warm.other_median_score == pytest.approx(np.median([0.8, 0.95]))
    assert (warm.best_score, warm.best_trial_number) == (0.95, 3)
    for part in (
        "1 past search with 2 trials",
        "mine.db",
        "best of 2 start-up trials: 0.9",
        "2 portfolio",
    ):
        assert part in repr(warm)
    assert warm.to_dict()["best_startup_score"] == 0.9


def test_what_the_user_recorded_of_a_search_stays(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    options = {"storage": tmp_path / "study.db", "study_name": "iris"}
    study = make_search(None, **options).fit(X, Y).study_
    history.add_study(study, task="by hand", meta_features={"mine": 1.0}, metric="accuracy")
    for n_trials in (4, 5):
        make_search(history, n_trials=n_trials, **options).fit(X, Y)
    by_hand, own = history.tasks()
    assert (by_hand.task, by_hand.meta_features) == ("by hand", {"mine": 1.0})
    assert (own.task, len(by_hand.trials), len(own.trials)) == ("iris", 3, 5)


@pytest.mark.parametrize("file", [None, "history.db", "history.journal"])
def test_a_resumed_search_keeps_its_name(file: str | None, tmp_path: Path) -> None:
    history = History(None if file is None else tmp_path / file)
    options: dict[str, Any] = {"storage": tmp_path / "study.db", "study_name": "s", "task": "wine"}
    for n_trials in (3, 5, 7):
        search = make_search(history, n_trials=n_trials, **options).fit(X, Y)
        (record,) = history.tasks()
        assert (record.task, record.space) == ("wine", SPACE)
        assert [t.params for t in record.trials] == search.cv_results_["params"]
        assert [t.value for t in record.trials] == [t.value for t in search.study_.trials]


def test_in_its_own_storage_a_study_keeps_its_name(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    options: dict[str, Any] = {"storage": history.storage, "study_name": "iris"}
    with pytest.warns(SearchWarning, match="task='mine' is not used.*study_name='mine' instead"):
        make_search(history, n_trials=1, task="mine", **options).fit(X, Y)
    assert [record.task for record in history.tasks()] == ["iris"]


def test_lists_that_optuna_cannot_store_are_no_numbers_to_later_searches() -> None:
    history = History()
    space = {"C": [0.001, 0.001, 0.01, 1000.0]}
    options: dict[str, Any] = {"history": history, "cv": 3, "random_state": 0}
    MetaSearchCV(SVC(), space, n_trials=4, **options).fit(X, Y)
    assert set(history.to_frame()["params_C"]) == {"0.001", "0.001 (2)", "0.01", "1000.0"}
    later = MetaSearchCV(SVC(), SPACE, n_trials=1, **options).fit(X, Y)
    assert later.warm_start_report_.source == "embedded"
    assert MetaSearchCV(SVC(), space, n_trials=1, **options).fit(X, Y).best_params_ == {"C": 1000}


@pytest.mark.parametrize("same_storage", [True, False])
def test_the_recorded_space_grows_with_the_search(same_storage: bool, tmp_path: Path) -> None:
    def space(trial: Any) -> dict[str, Any]:
        params = {"C": trial.suggest_float("C", 1e-2, 1e2, log=True)}
        if trial.number > 1:
            params["gamma"] = trial.suggest_float("gamma", 1e-3, 1e1, log=True)
        return params

    history = History(tmp_path / "history.db")
    storage = history.storage if same_storage else tmp_path / "study.db"
    options: dict[str, Any] = {"storage": storage, "study_name": "s", "history": history, "cv": 3}
    for n_trials, names in ((2, ["C"]), (4, ["C", "gamma"])):
        MetaSearchCV(SVC(), space, n_trials=n_trials, random_state=0, **options).fit(X, Y)
        (record,) = history.tasks()
        assert sorted(record.space) == names
        assert len(record.trials) == n_trials


def test_a_search_of_something_else_leaves_the_shipped_ones() -> None:
    study = optuna.create_study(direction="maximize")
    history = History()
    history.add_trials(
        "forest",
        [{"max_features": 0.5, "depth": 3}],
        [1.0],
        space={
            "max_features": default_space(HistGradientBoostingClassifier())["max_features"],
            "depth": IntDistribution(1, 9),
        },
    )
    for estimator in (HistGradientBoostingClassifier(), SVC()):
        source = open_source(history, estimator, "accuracy", default_space(estimator), study)
        assert source.name == "embedded"
        shipped = source.records
        source = open_source(history, estimator, "accuracy", None, study)  # a callable's
        assert source.records == [*history.tasks(), *shipped]  # trials will tell which fit
    assert open_source(history, KMeans(), "score", None, study).records == history.tasks()
    part = {"C": default_space(SVC())["C"]}
    history.add_trials("narrow", [{"C": 1.0}], [1.0], space=part)
    assert open_source(history, SVC(), "accuracy", part, study).name == "in memory"
    wide = default_space(SVC())
    params = {name: d.choices[0] if hasattr(d, "choices") else d.low for name, d in wide.items()}
    history.add_trials("wide", [params], [1.0], space=wide)
    history.add_trials("late", [{"C": 1.0}], [1.0], space=part)
    both = open_source(history, SVC(), "accuracy", None, study)
    assert both.name == "in memory and embedded"


def test_a_callable_learns_from_the_users_searches_of_a_shipped_model() -> None:
    def space(trial: optuna.Trial) -> dict[str, Any]:
        params = {"C": trial.suggest_float("C", 0.01, 100, log=True)}
        params["kernel"] = trial.suggest_categorical("kernel", ["rbf", "linear"])
        if params["kernel"] == "rbf":
            params["gamma"] = 10 ** trial.suggest_float("log_gamma", -4, 1)
        return params

    history = History()
    options: dict[str, Any] = {"history": history, "cv": 3, "random_state": 0}
    cold = MetaSearchCV(SVC(), space, n_trials=6, **options).fit(X[:, :2], Y).warm_start_report_
    # While only C is known, the shipped searches fit; the report does not hide what was used.
    assert (cold.source, cold.n_source_tasks, cold.origins["portfolio"]) == ("embedded", 1, 1)
    warm = MetaSearchCV(SVC(), space, n_trials=2, **options).fit(X, Y).warm_start_report_
    assert warm.origins == {"portfolio": 2}
    assert (warm.source, warm.n_source_tasks) == ("in memory", 1)
    assert warm.startup_trials[0]["source"]["task"] == history.tasks()[0].task


@pytest.mark.parametrize(
    ("values", "options"),
    [
        ([0.9, 0.5], {"metric": "f1_macro"}),
        ([0.9, 0.5], {"direction": "minimize"}),
        ([0.9, 0.9], {}),
        ([np.inf, np.inf], {}),
    ],
    ids=["metric", "direction", "constant", "infinite"],
)
def test_a_search_of_no_use_leaves_the_shipped_ones(
    values: list[float], options: dict[str, Any]
) -> None:
    study = optuna.create_study(direction=options.get("direction", "maximize"))
    for value in values:
        study.tell(study.ask(SPACE), value)
    history = History()
    history.add_study(study, metric=options.get("metric"))
    new = optuna.create_study(direction="maximize")
    source = open_source(history, SVC(), "accuracy", SPACE, new)
    assert source.name == "embedded"
    assert source.records == open_source("embedded", SVC(), "accuracy", SPACE, new).records
    assert source.own is history
    # Those that are of use are alone in the count.
    history.add_trials("good", [{"C": 0.1}, {"C": 1.0}], [0.1, 0.2], space=SPACE)
    source = open_source(history, SVC(), "accuracy", SPACE, new)
    assert [record.task for record in source.records] == ["good"]


class MySVC(SVC):
    """May mean something else by a parameter."""


def test_a_search_records_its_model() -> None:
    history = History()
    make_search(history).fit(X, Y)
    scaled, prefixed = make_pipeline(StandardScaler(), SVC()), {"svc__C": SPACE["C"]}
    both = {"svc": [SVC(), LogisticRegression()], "svc__C": SPACE["C"]}
    options: dict[str, Any] = {"n_trials": 1, "cv": 3, "sampler": RandomSampler(seed=0)}
    MetaSearchCV(scaled, prefixed, history=history, **options).fit(X, Y)
    MetaSearchCV(scaled, both, history=history, **options).fit(X, Y)
    MetaSearchCV(scaled, lambda _: {"svc": MySVC()}, history=history, **options).fit(X, Y)
    assert [record.estimator for record in history.tasks()] == ["SVC", "SVC", None, None]


def test_a_resumed_search_tells_its_older_record_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path / "history.db")
    options = {"storage": tmp_path / "study.db", "study_name": "iris"}
    with monkeypatch.context() as patch:
        patch.setattr(
            _write,
            "attributes",
            lambda record: {k: v for k, v in attributes(record).items() if k != ESTIMATOR_KEY},
        )
        make_search(history, **options).fit(X, Y)
    assert [record.estimator for record in history.tasks()] == [None]
    make_search(history, n_trials=4, **options).fit(X, Y)
    assert [(r.estimator, len(r.trials)) for r in history.tasks()] == [("SVC", 4)]


def test_searches_of_another_model_are_not_used() -> None:
    study = optuna.create_study(direction="maximize")
    history = History()
    for model in ("Ridge", "Lasso", None):
        history.add_trials(
            str(model), [{"alpha": 0.1}], [1.0], space={"alpha": SPACE["C"]}, estimator=model
        )
    for estimator, expected in (
        (Lasso(), ["Lasso", "None"]),
        (Ridge(), ["Ridge", "None"]),
        (ElasticNet(), ["None"]),
    ):
        source = open_source(history, estimator, "r2", {"alpha": SPACE["C"]}, study)
        assert [record.task for record in source.records] == expected
    chosen = Pipeline([("model", Ridge())])
    space = {"model__alpha": SPACE["C"], "model": CategoricalDistribution(["Ridge", "Lasso"])}
    history = History()
    params = {"model__alpha": 1.0, "model": "Ridge"}
    history.add_trials("either", [params], [1.0], space=space, estimator="SVR")
    assert len(open_source(history, chosen, "r2", space, study).records) == 1  # of any model


@pytest.mark.parametrize("make", MODELS.values(), ids=lambda make: make.__name__)
def test_every_shipped_model_has_its_searches(make: type) -> None:
    study = optuna.create_study(direction="maximize")
    own = History()
    for estimator in (make(), make_pipeline(StandardScaler(), make())):
        space = default_space(estimator)
        for history in ("embedded", own):
            source = open_source(history, estimator, "accuracy", space, study)
            assert source.name == "embedded"
            assert len(source.records) > 10


def test_own_searches_that_lack_what_is_asked_for_leave_the_shipped_ones() -> None:
    both = {"C": FloatDistribution(0.1, 10, log=True), "gamma": FloatDistribution(0.1, 10)}
    kinds = {"shipped": both, "own": {"C": both["C"], "degree": IntDistribution(1, 5)}}
    records = []
    for kind, space in kinds.items():
        history = History()
        params = [dict.fromkeys(space, value) for value in (1, 2, 3)]
        history.add_trials(kind, params, [0.1, 0.2, 0.3], space=space)
        records += [dataclasses.replace(r, is_shipped=kind == "shipped") for r in history.tasks()]
    for known, name in (({"C": both["C"]}, "own"), (both, "shipped")):
        found = find_sources(records, direction="maximize", known=known)
        assert found is not None
        assert [task.name for task in found.tasks] == [name]
