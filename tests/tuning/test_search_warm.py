"""MetaSearchCV with MetaSampler, its default."""

from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.pruners import HyperbandPruner
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from metaest.tuning import History, MetaSampler, MetaSearchCV, default_space, embedded_history

X, Y = load_iris(return_X_y=True)
SPACE = {"C": FloatDistribution(1e-2, 1e2, log=True)}


def scaled_svc() -> Pipeline:
    return make_pipeline(StandardScaler(), SVC())


def test_a_newcomer_without_space_or_history_starts_warm() -> None:
    search = MetaSearchCV(scaled_svc(), n_trials=4, cv=3, random_state=0).fit(
        *load_wine(return_X_y=True)
    )
    report = search.warm_start_report_
    assert report.source == "embedded"
    assert report.n_source_tasks > 10
    assert 0 < len(report.startup_trials) <= 4
    assert report.best_startup_score > 0.95
    assert isinstance(search.study_.sampler, MetaSampler)


def test_the_same_seed_gives_the_same_search() -> None:
    params = [
        MetaSearchCV(scaled_svc(), n_trials=8, cv=3, random_state=seed)
        .fit(X, Y)
        .cv_results_["params"]
        for seed in (0, 0)
    ]
    assert params[0] == params[1]


def test_a_cold_search_reuses_nothing() -> None:
    search = MetaSearchCV(SVC(), SPACE, history=None, n_trials=4, random_state=0).fit(X, Y)
    assert search.warm_start_report_.source is None
    assert search.warm_start_report_.startup_trials == []


def test_a_resumed_search_does_not_repeat_its_startup(tmp_path: Path) -> None:
    options: dict[str, Any] = {"storage": tmp_path / "study.db", "study_name": "iris", "cv": 3}
    MetaSearchCV(scaled_svc(), n_trials=3, random_state=0, **options).fit(X, Y)
    search = MetaSearchCV(scaled_svc(), n_trials=8, random_state=0, **options).fit(X, Y)
    seen = [tuple(sorted(map(repr, p.items()))) for p in search.cv_results_["params"]]
    assert len(seen) == 8
    assert len(set(seen)) == 8


def test_the_users_own_history_is_used() -> None:
    history = History()
    first = MetaSearchCV(SVC(), SPACE, history=history, n_trials=6, cv=3, random_state=0)
    first.fit(*load_wine(return_X_y=True))
    second = MetaSearchCV(SVC(), SPACE, history=history, n_trials=3, cv=3, random_state=0)
    report = second.fit(X, Y).warm_start_report_
    assert (report.source, report.n_source_tasks, report.n_source_trials) == ("in memory", 1, 6)
    assert len(history) == 2


def test_the_report_counts_the_searches_that_fit_the_space() -> None:
    history = History()
    for number in range(3):
        space = {"depth": FloatDistribution(0, 1)}
        history.add_trials(f"of {number}", [{"depth": 0.1}, {"depth": 0.2}], [1, 0], space=space)

    def fit(space: Any) -> Any:
        search = MetaSearchCV(LinearSVC(), space, history=history, n_trials=1, cv=3, record=False)
        return search.fit(X, Y).warm_start_report_

    cold = fit(lambda trial: {"tol": trial.suggest_float("tol", 1e-4, 1e-2)})
    assert (cold.source, cold.n_source_tasks, cold.n_unused_tasks) == (None, 0, 3)
    assert "cold search, none of 3 past searches fits the space" in repr(cold)
    history.add_trials("good", [{"C": 0.1}, {"C": 1.0}], [0.1, 0.2], space=SPACE)
    warm = fit(SPACE)
    assert (warm.n_source_tasks, warm.n_source_trials, warm.n_unused_tasks) == (1, 2, 3)
    assert "1 past search with 2 trials, from in memory" in repr(warm)


def test_the_report_of_a_search_that_was_finished_before(tmp_path: Path) -> None:
    history = History()
    history.add_trials("good", [{"C": 0.1}, {"C": 1.0}], [0.1, 0.2], space=SPACE)
    options: dict[str, Any] = {"storage": tmp_path / "study.db", "study_name": "s", "cv": 3}
    for _ in range(2):
        search = MetaSearchCV(SVC(), SPACE, history=history, n_trials=1, **options).fit(X, Y)
        assert search.warm_start_report_.n_source_tasks == 1


@pytest.mark.parametrize("rows", [csr_matrix(X), X.tolist()], ids=["sparse", "lists"])
def test_data_of_other_kinds(rows: Any) -> None:
    search = MetaSearchCV(SVC(), SPACE, n_trials=3, cv=3, random_state=0).fit(rows, Y)
    assert search.n_trials_ == 3


def test_no_targets_regression_and_several_targets() -> None:
    space = {"n_clusters": [2, 3]}
    MetaSearchCV(KMeans(n_init=1), space, n_trials=2, cv=2, random_state=0).fit(X)
    table, target = load_diabetes(return_X_y=True)
    both = np.column_stack([target, -target])
    for y in (target, both):
        search = MetaSearchCV(Ridge(), n_trials=3, cv=3, random_state=0, history=History())
        assert np.isfinite(search.fit(table, y).best_score_)
        assert len(search.history) == 1


def test_nested() -> None:
    search = MetaSearchCV(SVC(), n_trials=10, random_state=0)
    assert cross_val_score(search, X, Y, cv=3).mean() > 0.95


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_hyperband() -> None:
    pruner = HyperbandPruner(max_resource=3)
    options: dict[str, Any] = {"n_trials": 4, "cv": 3, "random_state": 0}
    search = MetaSearchCV(SVC(), pruner=pruner, **options).fit(X, Y)
    assert search.warm_start_report_.origins["portfolio"] > 0


def test_the_report_knows_the_history_of_a_given_sampler() -> None:
    history = History()
    MetaSearchCV(SVC(), SPACE, history=history, n_trials=6, cv=3, random_state=0).fit(X, Y)
    options: dict[str, Any] = {"history": None, "n_trials": 2, "cv": 3}
    for past, source, head in (
        (history, "the given MetaSampler", "1 past search with 6 trials, from the given"),
        (None, None, "cold search, nothing was reused"),
    ):
        sampler = MetaSampler(past, X=X, y=Y, seed=0)
        search = MetaSearchCV(SVC(), SPACE, sampler=sampler, **options).fit(X, Y)
        assert search.warm_start_report_.source == source
        assert head in repr(search.warm_start_report_)


class MySVC(SVC):
    """A subclass of a model that there are shipped searches of."""


def first_of(sampler: Any, estimator: Any = None, **options: Any) -> tuple[str, Any]:
    """Return where the first trial is from, and what it is."""
    estimator = SVC() if estimator is None else estimator
    options = {"history": None, "n_trials": 1, "cv": 3, **options}
    search = MetaSearchCV(estimator, SPACE, sampler=sampler, **options).fit(X, Y)
    (trial,) = search.study_.trials
    return trial.user_attrs["metaest:origin"], trial.params["C"]


def test_a_given_sampler_learns_from_the_same_metric_and_model_only() -> None:
    history, grid = History(), [{"C": c} for c in (0.01, 1.0, 100.0)]
    for number in range(3):
        for best, known in (
            (0, {"metric": "neg_time", "estimator": "SVC"}),
            (2, {"metric": "f1_macro", "estimator": "LinearSVC"}),
        ):
            values = [1.0 if place == best else 0.1 * place for place in range(3)]
            history.add_trials(f"{best} {number}", grid, values, space=SPACE, **known)
    sampler = MetaSampler(history, seed=0)
    assert first_of(sampler)[0] == "random"
    assert first_of(sampler, scoring="f1_macro")[0] == "random"
    # What the user says holds, and the user's sampler stays as it was.
    assert first_of(MetaSampler(history, metric="neg_time", seed=0)) == (
        "portfolio",
        pytest.approx(0.01),
    )
    given = MetaSampler(history, metric="f1_macro", estimator="LinearSVC", seed=0)
    assert first_of(given) == ("portfolio", pytest.approx(100.0))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.ask(SPACE)
    assert study.trials[0].user_attrs["metaest:origin"] == "portfolio"
    history.add_trials("mine", grid, [0.1, 0.9, 0.5], space=SPACE, metric="accuracy")
    assert first_of(MetaSampler(history, seed=0)) == ("portfolio", pytest.approx(1.0))


def test_shipped_searches_serve_subclasses_where_they_are_given() -> None:
    sampler = MetaSampler(embedded_history(SVC()), seed=0)
    for estimator in (SVC(), MySVC()):
        search = MetaSearchCV(
            estimator, default_space(SVC()), sampler=sampler, history=None, n_trials=1, cv=3
        )
        assert search.fit(X, Y).warm_start_report_.origins == {"portfolio": 1}
