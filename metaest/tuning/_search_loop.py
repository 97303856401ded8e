"""The loop of a search: ask for trials, fit their folds, tell the study."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from joblib import effective_n_jobs
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sklearn.utils.parallel import Parallel
from tqdm.auto import tqdm

from metaest._warn import warn
from metaest.exceptions import HistoryError, SearchWarning
from metaest.tuning._search_folds import (
    FOLDS_KEY,
    Folds,
    Outcome,
    encode,
    has_failed,
    objective_of,
    scores_of,
)
from metaest.tuning._search_space import SearchSpace
from metaest.tuning._search_study import abandon_running, count_finished, no_experimental_warnings


@dataclass
class _Run:
    """A trial on its way."""

    trial: optuna.Trial
    params: dict[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)
    is_pruned: bool = False


class SearchLoop:
    """Runs trials until there are enough, time is up, or somebody stops it.

    Without a pruner, the folds of a trial run in parallel, and several trials at once where
    there are more workers than folds. With one, trials run in parallel, fold by fold.

    Parameters
    ----------
    study : optuna.Study
    space : SearchSpace
    folds : Folds
    objective : callable
        Returns the name of the metric to maximise, or None, from a fold's scores.
    n_trials : int or None
        In total, with those that the study has.
    timeout : float or None
        Seconds.
    n_jobs : int or None
    use_pruner : bool
    callbacks : iterable of callable
    show_progress : bool
    stop_when_all_tried : bool
        Stop, with a warning, when no configuration of a finite space is left.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        space: SearchSpace,
        folds: Folds,
        objective: Callable[[Any], str | None],
        n_trials: int | None,
        timeout: float | None,
        n_jobs: int | None,
        use_pruner: bool,
        callbacks: Iterable[Callable[[optuna.Study, Any], None]],
        show_progress: bool,
        stop_when_all_tried: bool,
    ) -> None:
        self._study = study
        self._space = space
        self._folds = folds
        self._objective = objective
        self._n_trials = n_trials
        self._timeout = timeout
        self._n_jobs = n_jobs
        self._use_pruner = use_pruner
        self._callbacks = list(callbacks)
        self._show_progress = show_progress
        self._n_different = space.n_configurations if stop_when_all_tried else None
        self._stopped = False
        #: Parameters of the trials of this loop, by number, as they were set on the estimator.
        self.params: dict[int, dict[str, Any]] = {}

    def run(self) -> None:
        """Run; on Ctrl-C, keep what is finished and warn.

        Raises
        ------
        KeyboardInterrupt
            If nothing was finished.
        """
        n_done = count_finished(self._study)
        bar = tqdm(total=self._n_trials, initial=n_done, disable=not self._show_progress)
        # Optuna's own `stop` works only within its own `optimize`.
        vars(self._study)["stop"] = self._stop
        try:
            with bar, Parallel(n_jobs=self._n_jobs) as parallel:
                self._run(parallel, bar, n_done)
        except KeyboardInterrupt:
            states = (TrialState.COMPLETE,)
            n_complete = len(self._study.get_trials(deepcopy=False, states=states))
            if n_complete == 0:
                raise
            warn(
                f"the search was interrupted; it goes on with the {n_complete} complete trials.",
                SearchWarning,
            )
        finally:
            del vars(self._study)["stop"]

    def _stop(self) -> None:
        self._stopped = True

    def _run(self, parallel: Any, bar: Any, n_done: int) -> None:
        start = time.perf_counter()
        while not self._stopped and (self._n_trials is None or n_done < self._n_trials):
            is_late = self._timeout is not None and time.perf_counter() - start >= self._timeout
            if is_late and n_done > 0:
                break
            n_batch = int(min(self._batch_size(), self._n_left(n_done)))
            if n_batch == 0:
                break
            self._run_batch(parallel, n_batch)
            n_done += n_batch
            bar.update(n_batch)

    def _n_left(self, n_done: int) -> float:
        """Return how many trials are to come; 0, with a warning, if all would be repetitions."""
        most = math.inf if self._n_trials is None else self._n_trials
        if self._n_different is None or self._n_different >= most:
            return most - n_done
        left = self._n_different - self._space.count_tried(self._study)
        if left <= 0:
            asked = "until the timeout" if self._n_trials is None else f"of n_trials={most}"
            warn(
                f"the search ends after {n_done} trials, {asked}: the space has "
                f"{self._n_different} configurations, and all were tried.",
                SearchWarning,
            )
        return max(0, min(left, most - n_done))

    def _batch_size(self) -> int:
        n_workers = int(effective_n_jobs(self._n_jobs))
        return n_workers if self._use_pruner else max(1, n_workers // len(self._folds.splits))

    def _run_batch(self, parallel: Any, n_batch: int) -> None:
        runs: list[_Run] = []
        try:
            for _ in range(n_batch):
                with no_experimental_warnings():
                    trial, params = self._space.ask(self._study)
                runs.append(_Run(trial, params or {}, is_pruned=params is None))
                self.params[trial.number] = params or {}
            self._fit(parallel, runs)
            for run in runs:
                self._tell(run)
        except UpdateFinishedTrialError as error:
            raise HistoryError(
                f"another search gave up a trial of study {self._study.study_name!r} that this one "
                "was at: only one at a time may search in a study. Fit again when the other has "
                "ended, which goes on from its trials, or give another study_name."
            ) from error
        except BaseException:
            abandon_running(self._study)
            raise
        for run in runs:
            for callback in self._callbacks:
                callback(self._study, self._study._storage.get_trial(run.trial._trial_id))

    def _fit(self, parallel: Any, runs: list[_Run]) -> None:
        n_splits = len(self._folds.splits)
        n_trials = self._n_trials or 0
        everything = range(n_splits)
        for folds in [[fold] for fold in everything] if self._use_pruner else [everything]:
            live = [run for run in runs if not run.is_pruned]
            jobs = [(run.trial.number, run.params, fold) for run in live for fold in folds]
            found = iter(self._folds.run(parallel, jobs, n_trials))
            for run in live:
                run.outcomes += [next(found) for _ in folds]
                if self._use_pruner:
                    self._report(run, is_last=len(run.outcomes) == n_splits)

    def _report(self, run: _Run, is_last: bool) -> None:
        value = self._value(run.outcomes)
        run.trial.report(value, step=len(run.outcomes) - 1)
        # A fold that failed says nothing about the next one; pruners would take NaN for bad.
        if not is_last and np.isfinite(value):
            run.is_pruned = run.trial.should_prune()

    def _value(self, outcomes: list[Outcome]) -> float:
        return objective_of(outcomes, self._objective(scores_of(outcomes)))

    def _tell(self, run: _Run) -> None:
        value = self._value(run.outcomes) if run.outcomes else math.nan
        run.trial.set_user_attr(FOLDS_KEY, encode(run.outcomes))
        with no_experimental_warnings():
            if run.is_pruned:
                self._study.tell(run.trial, state=TrialState.PRUNED)
            elif has_failed(run.outcomes) or not np.isfinite(value):
                self._study.tell(run.trial, state=TrialState.FAIL)
            else:
                self._study.tell(run.trial, value)
