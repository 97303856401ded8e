"""``cv_results_`` from the trials of a study."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import rankdata

from metaest._sklearn import warn_or_raise_about_fit_failures
from metaest.tuning._record import is_feasible
from metaest.tuning._search_folds import Outcome, decode, scores_of
from metaest.tuning._search_space import SearchSpace


@dataclass(frozen=True)
class Row:
    """A finished trial and what its folds gave."""

    trial: FrozenTrial
    params: dict[str, Any]
    outcomes: list[Outcome]

    @property
    def is_pruned(self) -> bool:
        """Whether folds were left out."""
        return bool(self.trial.state == TrialState.PRUNED)

    @property
    def can_be_chosen(self) -> bool:
        """Whether it has a score and kept its constraints."""
        return bool(self.trial.state == TrialState.COMPLETE) and is_feasible(self.trial)


def read_rows(
    study: optuna.Study, space: SearchSpace, known: Mapping[int, dict[str, Any]]
) -> list[Row]:
    """Return a row for each finished trial, in order; `known` are parameters by trial number."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        outcomes = decode(trial)
        if outcomes is not None:
            number = trial.number
            if number in known:
                params = known[number]
            else:  # without outcomes, the callable pruned it and gave none
                params = space.params_of(trial) if outcomes else {}
            rows.append(Row(trial, params, outcomes))
    return rows


def first_scores(rows: list[Row]) -> Any:
    """Return the scores of a fold: a dict if there are several metrics."""
    return scores_of([outcome for row in rows for outcome in row.outcomes])


def format_results(search: Any, rows: list[Row], first_new: int) -> dict[str, Any]:
    """Return ``cv_results_`` as scikit-learn's searches make it.

    Pruned trials have NaN for the folds that were left out, and for their means; their times are
    over the folds that ran. Trials that broke Optuna's constraints rank behind all others.

    Parameters
    ----------
    search : MetaSearchCV
    rows : list of Row
    first_new : int
        Number of rows of former sessions, which had their warnings then.

    Raises
    ------
    ValueError
        If all fits failed, or no trial has a score and kept its constraints.
    """
    _check_failures(search, rows, first_new)
    n_splits = search.n_splits_
    flat = [dict(outcome) for row in rows for outcome in row.outcomes]
    has_nan = _any_other_nan(flat)
    has_gaps = _fill_in(flat, search.error_score, search.return_train_score)
    gap = _gap(flat[0])
    padded, start = [], 0
    for row in rows:
        n_run = len(row.outcomes)
        padded += flat[start : start + n_run] + [dict(gap) for _ in range(n_splits - n_run)]
        start += n_run
    has_gaps = has_gaps or len(padded) > len(flat)
    with warnings.catch_warnings():
        if has_gaps and not has_nan:
            warnings.filterwarnings("ignore", "One or more of the", UserWarning)
        results = search._format_results([row.params for row in rows], n_splits, padded)
    for index, row in enumerate(rows):
        if row.is_pruned and row.outcomes:
            for name in ("fit_time", "score_time"):
                times = [outcome[name] for outcome in row.outcomes]
                results[f"mean_{name}"][index] = np.mean(times)
                results[f"std_{name}"][index] = np.std(times)
    _rank_last(results, np.array([not is_feasible(row.trial) for row in rows]))
    return dict(results)


def _rank_last(results: dict[str, Any], is_behind: np.ndarray) -> None:
    for name in [name for name in results if name.startswith("rank_")] if is_behind.any() else ():
        order = results[name] + is_behind * len(is_behind)
        results[name] = rankdata(order, method="min").astype(results[name].dtype)


def _check_failures(search: Any, rows: list[Row], first_new: int) -> None:
    if not rows:
        raise ValueError("No trial was finished, so there is nothing to choose from.")
    everything = [outcome for row in rows for outcome in row.outcomes]
    fresh = [outcome for row in rows[first_new:] for outcome in row.outcomes]
    if everything and all(outcome["fit_error"] is not None for outcome in everything):
        warn_or_raise_about_fit_failures(everything, search.error_score)
    # Some succeeded; if none of this session did, one of a former session stands for them.
    good = [outcome for outcome in everything if outcome["fit_error"] is None]
    failed = any(outcome["fit_error"] is not None for outcome in fresh)
    if failed and all(outcome["fit_error"] is not None for outcome in fresh):
        fresh = [*fresh, good[0]]
    if failed:
        warn_or_raise_about_fit_failures(fresh, search.error_score)
    if not any(row.can_be_chosen for row in rows):
        raise ValueError(_no_score(rows))


def _no_score(rows: list[Row]) -> str:
    errors = [o["fit_error"] for row in rows for o in row.outcomes if o["fit_error"] is not None]
    cause = f" The last error:\n{errors[-1]}" if errors else ""
    if not any(row.outcomes for row in rows):
        return (
            f"space(trial) raised optuna.TrialPruned in all {len(rows)} trials, so none has a "
            "score; let it return parameters more often, or give more n_trials."
        )
    if any(row.trial.state == TrialState.COMPLETE for row in rows):
        return (
            f"None of the {len(rows)} trials that has a score kept its constraints; "
            "widen them or the space, or give more n_trials. All trials are in study_."
        )
    if all(row.is_pruned for row in rows):
        return "All the trials were pruned, so none has a score; use a milder pruner." + cause
    return (
        f"None of the {len(rows)} trials has a finite score. Either scoring gives NaN or fails, or "
        "in each trial some fold could not be fitted; error_score='raise' shows the error." + cause
    )


def _fill_in(flat: list[Outcome], error_score: Any, with_train: bool) -> bool:
    """Give all outcomes the same form; return whether any has no train scores that are wanted.

    Where scoring(...) returns a dict, a fold that failed has only a number so far. Sessions of
    one study may differ in return_train_score.
    """
    for name in ("test_scores", "train_scores"):
        several = [outcome[name] for outcome in flat if isinstance(outcome.get(name), dict)]
        for outcome in flat:
            if several and name in outcome and not isinstance(outcome[name], dict):
                outcome[name] = dict.fromkeys(several[0], error_score)
    not_measured = [outcome for outcome in flat if "train_scores" not in outcome]
    for outcome in not_measured if with_train else ():
        outcome["train_scores"] = _empty(outcome["test_scores"])
    for outcome in () if with_train else flat:
        outcome.pop("train_scores", None)
    return with_train and bool(not_measured)


def _gap(model: Outcome) -> Outcome:
    """Return the outcome of a fold that was left out, in the form of one that ran."""
    return {name: _empty(value) for name, value in model.items()} | {"fit_error": None}


def _empty(value: Any) -> Any:
    return dict.fromkeys(value, np.nan) if isinstance(value, dict) else np.nan


def _any_other_nan(flat: list[Outcome]) -> bool:
    for outcome in flat:
        for name in ("test_scores", "train_scores"):
            scores = outcome.get(name, 0.0)
            values = list(scores.values()) if isinstance(scores, dict) else [scores]
            if not np.isfinite(values).all():
                return True
    return False
