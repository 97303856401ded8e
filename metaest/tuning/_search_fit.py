"""The parts of ``MetaSearchCV.fit``, put together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from joblib import effective_n_jobs
from optuna.samplers import BaseSampler
from optuna.trial import TrialState
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils import check_random_state

from metaest._sklearn import MultimetricScorer
from metaest.exceptions import InvalidParameterError
from metaest.tuning._search_folds import Folds
from metaest.tuning._search_history import (
    Source,
    choose_sampler,
    make_sampler,
    open_source,
    record_search,
    records_of,
    used_records,
)
from metaest.tuning._search_identity import describe_search, metric_name, warn_about_chance
from metaest.tuning._search_loop import SearchLoop
from metaest.tuning._search_report import WarmStartReport, make_report
from metaest.tuning._search_results import Row, read_rows
from metaest.tuning._search_space import SearchSpace, parameter_names, plain_parameters
from metaest.tuning._search_study import (
    make_seed,
    no_experimental_warnings,
    open_study,
)
from metaest.tuning._spaces import default_space, model_name


@dataclass(frozen=True)
class FoundTrials:
    """What a search found.

    Parameters
    ----------
    search : MetaSearchCV
    folds : Folds
    study : optuna.Study
    rows : list of Row
    source : Source
    metric : str
        What the trials' values are.
    n_before : int
        Trials of former sessions.
    """

    search: Any
    folds: Folds
    study: optuna.Study
    rows: list[Row]
    source: Source
    metric: str
    n_before: int

    @property
    def report(self) -> WarmStartReport:
        """The report about what was reused."""
        is_given = self.search.sampler is not None
        offered = records_of(self.study.sampler) if is_given else self.source.records
        used = used_records(self.study, offered)
        given = "the given MetaSampler" if used else None
        return make_report(
            given if is_given else self.source.name_of(used),
            used,
            [(row.trial, row.params) for row in self.rows],
            self.search.estimator.get_params(deep=True),
            n_unused=len(offered) - len(used),
        )

    def record(self) -> None:
        """Record the search in the user's history, if there is one."""
        search, own = self.search, self.source.own
        has_score = any(row.trial.state == TrialState.COMPLETE for row in self.rows)
        if search.record and own is not None and has_score:
            names = {name for row in self.rows for name in row.params}
            record_search(
                own,
                self.study,
                self.folds.X,
                self.folds.y,
                metric=self.metric,
                estimator=model_name(search.estimator, names),
                name=search.task or search.study_name,
            )


def make_folds(search: Any, X: Any, y: Any, routed: Any, scorers: Any, context: Any) -> Folds:
    """Split the data once, the same for all trials; set ``n_splits_``.

    Raises
    ------
    ValueError
        If cv does not split as often as it says.
    """
    cv = check_cv(search.cv, y, classifier=is_classifier(search.estimator))
    search._checked_cv_orig = cv
    search.n_splits_ = cv.get_n_splits(X, y, **routed.splitter.split)
    splits = list(cv.split(X, y, **routed.splitter.split))
    if len(splits) != search.n_splits_ or not splits:
        raise ValueError(
            "cv must split as often as it says, and at least once: get_n_splits says "
            f"{search.n_splits_}, split gives {len(splits)} splits."
        )
    step = context.subcontext(
        task_name="search",
        max_subtasks=None if search.n_trials is None else search.n_trials * len(splits),
        sequential_subtasks=False,
    )
    options = {
        "scorer": scorers,
        "fit_params": routed.estimator.fit,
        "score_params": routed.scorer.score,
        "return_train_score": search.return_train_score,
        "return_times": True,
        "error_score": search.error_score,
        "verbose": search.verbose,
    }
    caller = search
    if effective_n_jobs(search.n_jobs) > 1:
        # It goes to every worker, where a database or a lock has no business.
        caller = copy.copy(search)
        for name in ("history", "storage", "sampler", "pruner", "callbacks", "space"):
            setattr(caller, name, None)
        vars(caller).pop("study_", None)  # of a former fit
    return Folds(clone(search.estimator), X, y, splits, options, caller, step)


def run_search(search: Any, folds: Folds, params: dict[str, Any]) -> FoundTrials:
    """Open the study, run the trials that are still to run, and read all that are finished."""
    space = SearchSpace(_space_of(search), parameter_names(search.estimator))
    objective = _known_objective(search, folds.options["scorer"])
    study = _open(search, folds, space, params, objective)
    search.study_ = study  # it is not lost where the search ends with an error
    former = {row.trial.number: row.params for row in read_rows(study, space, {})}
    n_before = len(former)
    metric = metric_name(search.scoring, objective, search.estimator)
    source = open_source(search.history, search.estimator, metric, space.distributions, study)
    study.sampler = _sampler_for(search, folds, source, space, metric, n_before)
    loop = SearchLoop(
        study,
        space=space,
        folds=folds,
        objective=lambda scores: objective_key(search, scores),
        n_trials=search.n_trials,
        timeout=search.timeout,
        n_jobs=search.n_jobs,
        use_pruner=search.pruner is not None,
        callbacks=search.callbacks or (),
        show_progress=search.verbose > 0,
        # The user's own sampler may have reasons to repeat a configuration.
        stop_when_all_tried=search.sampler is None,
    )
    try:
        loop.run()
    except Exception as error:
        error.add_note(
            "What was finished is in search.study_; History.add_study(search.study_, X=X, y=y) "
            "adds it to a history."
        )
        raise
    rows = read_rows(study, space, {**former, **loop.params})
    return FoundTrials(search, folds, study, rows, source, metric, n_before)


def _sampler_for(
    search: Any, folds: Folds, source: Source, space: SearchSpace, metric: str, n_before: int
) -> BaseSampler:
    """Return a copy of the user's sampler, or a MetaSampler over the source."""
    with no_experimental_warnings():
        if search.sampler is not None:
            model = model_name(search.estimator, space.distributions or ())
            return choose_sampler(search.sampler, n_before > 0, metric=metric, estimator=model)
        return make_sampler(
            source,
            folds.X,
            folds.y,
            space=space.distributions,
            metric=metric,
            defaults=plain_parameters(search.estimator),
            seed=make_seed(check_random_state(search.random_state), n_before),
        )


def objective_key(search: Any, scores: Any) -> str | None:
    """Return the name of the metric to maximise, or None where there is only one."""
    if not isinstance(scores, dict):
        return None
    if callable(search.scoring):  # only now is it known that it returns several
        search._check_refit_for_multimetric(scores)
    return search.refit if isinstance(search.refit, str) else next(iter(scores))


def _known_objective(search: Any, scorer: Any) -> str | None:
    """Return the name of the metric to maximise, as far as it is known before the first fit."""
    if callable(search.scoring):
        return search.refit if isinstance(search.refit, str) else None
    return objective_key(search, scorer._scorers if isinstance(scorer, MultimetricScorer) else 0.0)


def _open(
    search: Any, folds: Folds, space: SearchSpace, params: dict[str, Any], objective: str | None
) -> optuna.Study:
    identify = None
    if search.storage is not None:
        described = describe_search(
            search.estimator,
            folds.X,
            folds.y,
            cv=search._checked_cv_orig,
            splits=folds.splits,
            scoring=search.scoring,
            space=space.signature,
            params=params,
            objective=objective,
        )

        def identify(stored: Mapping[str, Any]) -> Mapping[str, Any]:
            space.keep_places(stored.get("space", {}))
            return {**described, "space": space.signature}

    name = None if search.storage is None else search.study_name
    study = open_study(search.storage, name, search.pruner, identify)
    if name is not None:
        warn_about_chance(search._checked_cv_orig, name)
    return study


def _space_of(search: Any) -> Any:
    if search.space is not None:
        return search.space
    try:
        return default_space(search.estimator)
    except InvalidParameterError as error:
        raise InvalidParameterError(f"space is None, and there is no other: {error}") from error
