"""WarmStartReport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from metaest.tuning._record import PREFIX, SearchRecord, is_feasible
from metaest.tuning._search_folds import FOLDS_KEY, PARAMS_KEY
from metaest.tuning._words import count

ORIGIN_KEY = PREFIX + "origin"
#: Where start-up trials are from: straight out of past searches.
_STARTUP = ("portfolio",)


@dataclass(frozen=True)
class WarmStartReport:
    """What a search reused, from where, and what it bought; only from trials that were run.

    Scores are those that the search maximised; None stands for what was not run.

    Parameters
    ----------
    source : str or None
        "embedded", the name of the user's history, or None for a cold search.
    n_source_tasks, n_source_trials : int
        Past searches that fit the space, and their trials with a value.
    n_trials : int
    origins : dict of str to int
        How many trials came from where: "portfolio", "surrogate", "cold", ...
    startup_trials : list of dict
        Number, parameters, score and what the sampler says about the source of each trial that
        came straight from past searches.
    best_startup_score, best_score : float or None
    best_trial_number : int or None
        In the study, from 0.
    default_score : float or None
        Of the estimator's own parameters, if a trial had them.
    median_score, other_median_score : float or None
        Over all trials with a value, and over those that were no start-up trials.
    n_unused_tasks : int
        Past searches in the source that do not fit the space.

    Examples
    --------
    >>> from metaest.tuning import WarmStartReport
    >>> WarmStartReport(n_trials=3, best_score=0.9, best_trial_number=1)
    WarmStartReport: cold search, nothing was reused
      3 trials, best score 0.9 in trial 1
    """

    source: str | None = None
    n_source_tasks: int = 0
    n_source_trials: int = 0
    n_trials: int = 0
    origins: dict[str, int] = field(default_factory=dict)
    startup_trials: list[dict[str, Any]] = field(default_factory=list)
    best_startup_score: float | None = None
    best_score: float | None = None
    best_trial_number: int | None = None
    default_score: float | None = None
    median_score: float | None = None
    other_median_score: float | None = None
    n_unused_tasks: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)

    def __repr__(self) -> str:
        head = "cold search, nothing was reused"
        if self.n_unused_tasks:
            unused = count(self.n_unused_tasks, "past search", "past searches")
            head = f"cold search, none of {unused} fits the space"
        if self.source is not None:
            searches = count(self.n_source_tasks, "past search", "past searches")
            head = f"{searches} with {count(self.n_source_trials, 'trial')}, from {self.source}"
        lines = [f"WarmStartReport: {head}", f"  {count(self.n_trials, 'trial')}"]
        if self.best_score is not None:
            lines[-1] += f", best score {self.best_score:.6g} in trial {self.best_trial_number}"
        if self.origins:
            parts = ", ".join(f"{count} {name}" for name, count in self.origins.items())
            lines.append(f"  origins: {parts}")
        if self.best_startup_score is not None:
            lines.append(
                f"  best of {count(len(self.startup_trials), 'start-up trial')}: "
                f"{self.best_startup_score:.6g}{self._compared()}"
            )
        return "\n".join(lines)

    def _compared(self) -> str:
        others = {
            "the estimator's own parameters": self.default_score,
            "median of the other trials": self.other_median_score,
        }
        parts = [f"{name}: {score:.6g}" for name, score in others.items() if score is not None]
        return f" ({', '.join(parts)})" if parts else ""


def make_report(
    source: str | None,
    records: Sequence[SearchRecord],
    trials: Sequence[tuple[FrozenTrial, Mapping[str, Any]]],
    own_params: Mapping[str, Any],
    n_unused: int = 0,
) -> WarmStartReport:
    """Make the report of a search from its trials and the parameters of each."""
    startup = [pair for pair in trials if _origin(pair[0]) in _STARTUP]
    others = [trial for trial, _ in trials if _origin(trial) not in _STARTUP]
    scored = [trial for trial, _ in trials if _has_score(trial)]
    best = max(scored, key=_value, default=None)
    origins: dict[str, int] = {}
    for trial, _ in trials:
        name = _origin(trial)
        if name is not None:
            origins[name] = origins.get(name, 0) + 1
    default = [trial for trial, params in trials if _are_own(params, own_params)]
    return WarmStartReport(
        source=source,
        n_source_tasks=len(records),
        n_source_trials=sum(len(record.complete_trials) for record in records),
        n_trials=len(trials),
        origins=origins,
        startup_trials=[_describe(trial, params) for trial, params in startup],
        best_startup_score=max(_values([trial for trial, _ in startup]), default=None),
        best_score=None if best is None else best.value,
        best_trial_number=None if best is None else best.number,
        default_score=max(_values(default), default=None),
        median_score=_median(_values(scored)),
        other_median_score=_median(_values(others)),
        n_unused_tasks=n_unused,
    )


def _origin(trial: FrozenTrial) -> str | None:
    origin = trial.user_attrs.get(ORIGIN_KEY)
    return None if origin is None else str(origin)


def _describe(trial: FrozenTrial, params: Mapping[str, Any]) -> dict[str, Any]:
    notes = {
        key.removeprefix(PREFIX): value
        for key, value in trial.user_attrs.items()
        if key.startswith(PREFIX) and key not in (FOLDS_KEY, PARAMS_KEY)
    }
    score = trial.value if trial.state == TrialState.COMPLETE else None
    return {**notes, "number": trial.number, "params": dict(params), "score": score}


def _are_own(params: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    return all(name in own and _is_equal(value, own[name]) for name, value in params.items())


def _is_equal(a: Any, b: Any) -> bool:
    simple = (bool, int, float, str, type(None))
    return a is b or (isinstance(a, simple) and isinstance(b, simple) and a == b)


def _values(trials: Sequence[FrozenTrial]) -> list[float]:
    return [_value(trial) for trial in trials if _has_score(trial)]


def _has_score(trial: FrozenTrial) -> bool:
    return bool(trial.state == TrialState.COMPLETE) and is_feasible(trial)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # it is complete
    return float(trial.value)


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None
