"""Fitting and scoring the folds of trials, and how their scores are kept in a trial."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from sklearn.base import clone
from sklearn.utils.parallel import delayed

from metaest._sklearn import fit_and_score
from metaest.tuning._record import ABANDONED_KEY, PREFIX

FOLDS_KEY = PREFIX + "folds"
#: What a callable space gave for a trial, described.
PARAMS_KEY = PREFIX + "params"
#: Letters of a fit's traceback that are kept; its end says what happened.
_MAX_ERROR = 4000

Outcome = dict[str, Any]


@dataclass(frozen=True)
class Folds:
    """The data of a search, ready to fit and score one fold of one trial.

    Parameters
    ----------
    estimator : estimator
        Cloned for each fit.
    X, y : data
        As ``fit`` got them.
    splits : list of (train, test)
        Row positions of each fold; the same for every trial.
    options : dict
        What scikit-learn's ``_fit_and_score`` takes: scorer, fit_params, error_score, ...
    caller : estimator
        The search, for scikit-learn's callbacks.
    context : object
        Its callback context.
    """

    estimator: Any
    X: Any
    y: Any
    splits: list[tuple[Any, Any]]
    options: Mapping[str, Any]
    caller: Any
    context: Any

    def run(
        self, parallel: Any, jobs: Iterable[tuple[int, dict[str, Any], int]], n_trials: int
    ) -> list[Outcome]:
        """Fit and score; `jobs` are (trial number, parameters, fold)."""
        n_splits = len(self.splits)
        calls = []
        for number, params, fold in jobs:
            train, test = self.splits[fold]
            # Contexts are made here: in the workers the estimator may be half pickled.
            context = self.context.subcontext(
                task_name="candidate-split-evaluation", task_id=number * n_splits + fold
            )
            calls.append(
                delayed(fit_and_score)(
                    clone(self.estimator),
                    self.X,
                    self.y,
                    train=train,
                    test=test,
                    parameters=params,
                    split_progress=(fold, n_splits),
                    candidate_progress=(number, n_trials),
                    caller=self.caller,
                    callback_ctx=context,
                    **self.options,
                )
            )
        return list(parallel(calls))


def objective_of(outcomes: list[Outcome], key: str | None) -> float:
    """Return the mean of the fold scores; `key` names one of several metrics."""
    return float(np.mean([_pick(outcome["test_scores"], key) for outcome in outcomes]))


def scores_of(outcomes: list[Outcome]) -> Any:
    """Return the scores of one fold: of several metrics a dict, though a failed fold has none."""
    found = [outcome["test_scores"] for outcome in outcomes]
    return next((scores for scores in found if isinstance(scores, dict)), found[0])


def has_failed(outcomes: list[Outcome]) -> bool:
    """Whether no fold could be fitted."""
    return all(outcome["fit_error"] is not None for outcome in outcomes)


def _pick(scores: Any, key: str | None) -> float:
    if not isinstance(scores, dict):
        return float(scores)  # a fold that failed has one number for all metrics
    return float(scores[next(iter(scores)) if key is None else key])


def encode(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return the outcomes as plain JSON, for a user attribute of the trial."""
    return [
        {
            name: value[-_MAX_ERROR:] if isinstance(value, str) else _each(value, _to_json)
            for name, value in outcome.items()
        }
        for outcome in outcomes
    ]


def is_counted(trial: FrozenTrial) -> bool:
    """Whether a trial is finished and has its folds, be it none of them."""
    known = trial.user_attrs
    return trial.state.is_finished() and FOLDS_KEY in known and ABANDONED_KEY not in known


def decode(trial: FrozenTrial) -> list[Outcome] | None:
    """Return the outcomes of a trial, or None if it has none of ours."""
    if not is_counted(trial):
        return None
    stored = trial.user_attrs[FOLDS_KEY]
    return [
        {n: value if n == "fit_error" else _each(value, _from_json) for n, value in fold.items()}
        for fold in stored
    ]


def _each(value: Any, function: Any) -> Any:
    if isinstance(value, dict):
        return {name: function(score) for name, score in value.items()}
    return function(value)


def _to_json(value: Any) -> Any:
    """Write what JSON has no number for as text, so that every reader of the storage can go on."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return number if math.isfinite(number) else repr(number)


def _from_json(value: Any) -> float:
    return float(value)
