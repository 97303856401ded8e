"""MetaSearchCV."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from sklearn.base import clone
from sklearn.utils import indexable

from metaest._sklearn import (
    BaseSearchCV,
    Interval,
    MultimetricScorer,
    check_method_params,
    fit_context,
)
from metaest.exceptions import InvalidParameterError
from metaest.tuning._search_fit import make_folds, run_search
from metaest.tuning._search_identity import check_n_trials
from metaest.tuning._search_results import Row, first_scores, format_results
from metaest.tuning._search_study import copy_in_memory


class MetaSearchCV(BaseSearchCV):
    """Hyperparameter search with cross-validation that starts where earlier searches ended.

    Used like scikit-learn's ``RandomizedSearchCV``; the candidates come one after another from
    an Optuna sampler, by default one that knows past searches on other data sets.

    Parameters
    ----------
    estimator : estimator
    space : dict, callable or None, default=None
        Name to Optuna distribution, ``scipy.stats`` uniform, loguniform or randint, or list of
        any values; or ``space(trial)`` that returns the parameters of an Optuna trial, for
        conditional spaces; where it raises ``optuna.TrialPruned``, nothing is fitted, and the
        trial counts as pruned. None: the shipped space of this kind of estimator.
    history : "embedded", History, path, URL or None, default="embedded"
        Past searches: those that metaest ships; your own, which this search then joins (with the
        shipped ones where these are of a like space, and with them alone while yours are of other
        spaces or models); or None for a cold search.
    n_trials : int or None, default=50
        In total, with those of a resumed study. None: until `timeout`. A finite space without
        `sampler` ends, with a warning, when all its configurations were tried.
    timeout : float or None, default=None
        Seconds after which no trial begins; one is always finished.
    scoring, cv, refit, error_score, return_train_score
        As in ``RandomizedSearchCV``. Of several metrics the one that `refit` names is maximised,
        or the first one if `refit` is no name.
    n_jobs : int or None, default=None
        Workers. Folds run in parallel, with the same result as with one worker; more workers
        than folds (with `pruner`, than one) also run several trials at once, which then do not
        know of each other's scores.
    pruner : optuna.pruners.BasePruner or None, default=None
        Looks at the mean after each fold, and ends trials that are behind.
    sampler : optuna.samplers.BaseSampler or None, default=None
        None: MetaSampler. Each fit uses a copy; its own seed holds.
    storage : path, URL, optuna.storages.BaseStorage or None, default=None
        Where the study lives; None is memory.
    study_name : str or None, default=None
        With `storage`, a study of that name is resumed if it is of the same search, with the same
        folds; what it has finished counts. One process at a time may work on it.
    task : str or None, default=None
        Name in the history, made unique by a number; by default `study_name` or one made of the
        data set's fingerprint. Where `storage` is the history itself, the study keeps its own.
    record : bool, default=True
        Whether the search joins `history`. In memory, only within this process.
    callbacks : list of callable or None, default=None
        Optuna's ``callback(study, trial)``, after each trial; ``study.stop()`` ends the search.
    random_state : int, RandomState instance or None, default=None
        Of the sampler, if `sampler` is None.
    verbose : int, default=0
        1 shows a progress bar, more prints each fit.

    Attributes
    ----------
    study_ : optuna.Study
        Also there after an error in a trial, with what was finished.
    best_trial_ : optuna.trial.FrozenTrial
        Of ``best_index_``, which counts the rows of ``cv_results_``: finished trials in order.
    n_trials_ : int
        Number of those rows.
    warm_start_report_ : WarmStartReport
        What was reused, from where, and what it bought.
    best_estimator_, best_params_, best_score_, best_index_, cv_results_, n_splits_, \
    refit_time_, multimetric_, scorer_, classes_, n_features_in_, feature_names_in_
        As in ``RandomizedSearchCV``. A trial that failed or was pruned has NaN and the last rank;
        one that broke its constraints (Optuna's) ranks behind those that kept them.

    Raises
    ------
    HistoryError
        If `storage` or `history` cannot be used, or the study is of another search.
    InvalidParameterError
        If the space cannot be used.
    ValueError
        If no trial succeeded, or none kept its constraints.

    Notes
    -----
    Ctrl-C ends the search with a :class:`~metaest.exceptions.SearchWarning`, and the best of
    what is finished is refitted. In a nested cross-validation, use ``record=False``: otherwise
    the search in one outer fold learns from those in others, which have seen its test rows.

    A pickled search has its study in memory, so it can be loaded where `storage` cannot be
    reached, if `storage` and `history` are paths or URLs, not objects.

    References
    ----------
    Akiba, T., Sano, S., Yanase, T., Ohta, T., & Koyama, M. (2019). Optuna: a next-generation
    hyperparameter optimization framework. KDD.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import SVC
    >>> from metaest.tuning import MetaSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> space = {"C": FloatDistribution(1e-2, 1e2, log=True), "kernel": ["linear", "rbf"]}
    >>> search = MetaSearchCV(SVC(), space, history=None, n_trials=5, random_state=0).fit(X, y)
    >>> bool(search.best_score_ > 0.9)
    True
    >>> sorted(search.best_params_)
    ['C', 'kernel']
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{n: c for n, c in BaseSearchCV._parameter_constraints.items() if n != "pre_dispatch"},
        "n_trials": [Interval(Integral, 1, None, closed="left"), None],
        "timeout": [Interval(Real, 0, None, closed="left"), None],
        "pruner": [BasePruner, None],
        "sampler": [BaseSampler, None],
        "study_name": [str, None],
        "task": [str, None],
        "record": ["boolean"],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        space: Any = None,
        *,
        history: Any = "embedded",
        n_trials: int | None = 50,
        timeout: float | None = None,
        scoring: Any = None,
        cv: Any = None,
        refit: Any = True,
        error_score: Any = np.nan,
        n_jobs: int | None = None,
        pruner: Any = None,
        sampler: Any = None,
        storage: Any = None,
        study_name: str | None = None,
        task: str | None = None,
        record: bool = True,
        callbacks: Iterable[Callable[[optuna.Study, Any], None]] | None = None,
        random_state: Any = None,
        verbose: int = 0,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.history = history
        self.n_trials = n_trials
        self.timeout = timeout
        self.pruner = pruner
        self.sampler = sampler
        self.storage = storage
        self.study_name = study_name
        self.task = task
        self.record = record
        self.callbacks = callbacks
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Self:
        """Search, and refit the best estimator on all rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_columns)
        y : array-like of shape (n_rows,) or (n_rows, n_outputs), default=None
        **params : dict
            As for ``RandomizedSearchCV.fit``: to the estimator, the splitter and the scorer.

        Returns
        -------
        self
        """
        check_n_trials(self.n_trials, self.timeout)
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        params = check_method_params(X, params=params)
        routed = self._get_routed_params_for_fit(params)
        weight = params.get("sample_weight")
        notes = {
            "estimator": self,
            "X": X,
            "y": y,
            "metadata": None if weight is None else {"sample_weight": weight},
        }
        context = self._init_callback_context(max_subtasks=1 + (self.refit is not False))
        context = context.call_on_fit_task_begin(**notes)
        folds = make_folds(self, X, y, routed, scorers, context)
        folds.context.call_on_fit_task_begin(**notes)
        found = run_search(self, folds, params)
        folds.context.call_on_fit_task_end(**notes)
        found.record()
        self._choose(found.rows, refit_metric, found.n_before)
        self.warm_start_report_ = found.report
        if self.refit:
            step = context.subcontext(task_name="refit-with-best-params")
            self._refit(step, notes, routed.estimator.fit)
        self.scorer_ = scorers._scorers if isinstance(scorers, MultimetricScorer) else scorers
        context.call_on_fit_task_end(**notes)
        return self

    def __sklearn_clone__(self) -> Self:
        # Both are shared: in a copy of what is in memory, the searches of clones would be lost.
        bare = copy.copy(self)
        bare.history = bare.storage = None
        cloned: Self = super(MetaSearchCV, bare).__sklearn_clone__()
        cloned.history, cloned.storage = self.history, self.storage
        return cloned

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "study_" in state:
            state["study_"] = copy_in_memory(state["study_"])
        return state

    def _choose(self, rows: list[Row], refit_metric: str, first_new: int) -> None:
        """Set what does not need a refit."""
        results = format_results(self, rows, first_new)
        scores = first_scores(rows)
        self.multimetric_ = isinstance(scores, dict)
        if callable(self.scoring) and self.multimetric_:
            refit_metric = self.refit
        self.n_trials_ = len(rows)
        self.best_trial_ = self.study_.best_trial
        self.cv_results_ = results
        if not self.refit and self.multimetric_:
            return
        index = self._select_best_index(self.refit, refit_metric, results)
        if rows[index].is_pruned:
            raise InvalidParameterError(
                f"refit(cv_results_) chose trial {rows[index].trial.number}, which was pruned and "
                "has no score; let it leave out NaN, as numpy.nanargmax does."
            )
        self.best_index_ = index
        self.best_trial_ = rows[index].trial
        self.best_params_ = rows[index].params
        if not callable(self.refit):
            self.best_score_ = results[f"mean_test_{refit_metric}"][index]

    def _refit(self, context: Any, notes: dict[str, Any], fit_params: dict[str, Any]) -> None:
        # Parameters may be estimators, so they are cloned, too.
        params = clone(self.best_params_, safe=False)
        self.best_estimator_ = clone(self.estimator).set_params(**params)
        data = (notes["X"],) if notes["y"] is None else (notes["X"], notes["y"])
        with context.propagate_callback_context(self.best_estimator_):
            context.call_on_fit_task_begin(**notes)
            start = time.time()
            self.best_estimator_.fit(*data, **fit_params)
            self.refit_time_ = time.time() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_
        context.call_on_fit_task_end(**notes)
