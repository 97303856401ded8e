"""Checked Optuna trials from plain parameters and values, and spaces from studies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from metaest._table import is_missing
from metaest.exceptions import HistoryError, InvalidParameterError, did_you_mean


def check_space(space: Any) -> dict[str, BaseDistribution]:
    """Return the space as a dict of name to Optuna distribution.

    Raises
    ------
    InvalidParameterError
        If it is none.
    """
    if not isinstance(space, Mapping) or not space:
        raise InvalidParameterError(
            "space must be a dict of parameter name to Optuna distribution, such as "
            f"{{'C': FloatDistribution(1e-3, 1e3, log=True)}}; got {space!r}."
        )
    for name, distribution in space.items():
        known = (FloatDistribution, IntDistribution, CategoricalDistribution)
        if not isinstance(distribution, known):
            raise InvalidParameterError(
                f"space[{name!r}] must be an Optuna Float-, Int- or CategoricalDistribution, got "
                f"{distribution!r}."
            )
    return dict(space)


def check_direction(direction: Any) -> None:
    """Raise InvalidParameterError for what is no direction."""
    if direction not in ("maximize", "minimize"):
        raise InvalidParameterError(
            f"direction must be 'maximize' or 'minimize', got {direction!r}."
        )


def check_choices(space: Mapping[str, BaseDistribution]) -> None:
    """Raise HistoryError for choices that are not the same any more when they are read back."""
    for name, own in space.items():
        for choice in own.choices if isinstance(own, CategoricalDistribution) else ():
            if choice is not None and not isinstance(choice, (bool, int, float, str)):
                raise HistoryError(
                    f"parameter {name!r} has the choice {choice!r}, which a storage does not keep "
                    "as it is. Search over labels, such as 'small' and 'large', and look up the "
                    "values in a dict."
                )


def make_trials(
    params: Any, values: Any, space: Mapping[str, BaseDistribution], task: str
) -> list[FrozenTrial]:
    """Make finished trials; one whose value is not finite has failed.

    Raises
    ------
    HistoryError
        If lengths differ, a parameter is unknown, or a value is not in the space.
    """
    rows = _rows(params, space)
    scores = _scores(values, task)
    if len(rows) != len(scores):
        raise HistoryError(
            f"params and values of task {task!r} differ in length: {len(rows)} and {len(scores)}."
        )
    trials = []
    for number, (row, score) in enumerate(zip(rows, scores, strict=True)):
        label = f"trial {number} of task {task!r}"
        checked = {n: _check_value(n, v, space, label) for n, v in row.items()}
        trials.append(
            create_trial(
                state=TrialState.COMPLETE if np.isfinite(score) else TrialState.FAIL,
                value=float(score) if np.isfinite(score) else None,
                params=checked,
                distributions={name: space[name] for name in checked},
            )
        )
    return trials


def merge_spaces(trials: Iterable[FrozenTrial], study: str) -> dict[str, BaseDistribution]:
    """Return the space that holds every trial of a study.

    Raises
    ------
    HistoryError
        If a parameter changed its type, its scale or its choices during the search.
    """
    space: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, own in trial.distributions.items():
            known = space.get(name, own)
            merged = known if known is own else merge_distributions(known, own)
            if merged is None:
                raise HistoryError(
                    f"parameter {name!r} of study {study!r} changed during the search from "
                    f"{known} to {own}; add the parts as searches of their own."
                )
            space[name] = merged
    return space


def widen_space(
    space: Mapping[str, BaseDistribution], trials: Iterable[FrozenTrial]
) -> tuple[dict[str, BaseDistribution], list[FrozenTrial]]:
    """Return a space that holds later trials, too, and the trials that it holds.

    Those with a parameter of another type, scale or choices than before are left out.
    """
    wide, held = dict(space), []
    for trial in trials:
        own = trial.distributions
        merged = {name: merge_distributions(wide.get(name, d), d) for name, d in own.items()}
        if all(d is not None for d in merged.values()):
            wide.update({name: d for name, d in merged.items() if d is not None})
            held.append(trial)
    return wide, held


def split_by_task(rows: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name "openml/TASK_ID" and the rows of each task of a DataFrame, by their ids.

    Raises
    ------
    HistoryError
        If an id is missing or no whole number.
    """
    rows = rows.reset_index(drop=True)
    ids = rows["task_id"]
    whole = [not is_missing(value) and str(value).removesuffix(".0").isdecimal() for value in ids]
    if not all(whole):
        wrong = whole.index(False)
        raise HistoryError(
            f"task_id must hold OpenML's whole numbers, got {ids[wrong]!r} in row {wrong}. Drop "
            "rows without a task, rows.dropna(subset='task_id')."
        )
    for task_id, group in rows.groupby([int(value) for value in ids], sort=True):
        yield f"openml/{task_id}", group


def merge_distributions(a: BaseDistribution, b: BaseDistribution) -> BaseDistribution | None:
    """Return the distribution that holds two of one kind, or None."""
    if a == b:
        return a
    if isinstance(a, FloatDistribution) and isinstance(b, FloatDistribution) and a.log == b.log:
        low, high = min(a.low, b.low), max(a.high, b.high)
        return FloatDistribution(low, high, log=a.log)
    if isinstance(a, IntDistribution) and isinstance(b, IntDistribution) and a.log == b.log:
        return IntDistribution(min(a.low, b.low), max(a.high, b.high), log=a.log)
    return None


def _rows(params: Any, space: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    if hasattr(params, "columns") and hasattr(params, "iloc"):
        columns = [str(name) for name in params.columns]
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise HistoryError(
                f"params has the columns {', '.join(twice)} more than once. Leave one of each."
            )
        records = params.astype(object).to_numpy().tolist()
        return [_filled(dict(zip(columns, record, strict=True)), space) for record in records]
    if isinstance(params, Sequence) and all(isinstance(row, Mapping) for row in params):
        return [dict(row) for row in params]
    raise HistoryError(
        "params must be a list of dicts that hold the active parameters only, or a pandas "
        f"DataFrame; got {type(params).__name__}."
    )


def _filled(row: dict[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Return a table's row without its gaps; they are the choice None, or inactive parameters."""
    with_none = {
        name
        for name, own in space.items()
        if isinstance(own, CategoricalDistribution) and None in own.choices
    }
    return {
        name: None if is_missing(value) else value
        for name, value in row.items()
        if name in with_none or not is_missing(value)
    }


def _scores(values: Any, task: str) -> np.ndarray:
    if isinstance(values, Mapping | Set):
        raise HistoryError(
            f"values of task {task!r} must be one number per trial, in their order; got a "
            f"{type(values).__name__}."
        )
    try:
        real = [np.nan if is_missing(v) else v for v in values]
        scores = np.array(real, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise HistoryError(f"values of task {task!r} must be numbers: {error}") from error
    if scores.ndim != 1:
        raise HistoryError(
            f"values of task {task!r} must be one number per trial, got shape {scores.shape}."
        )
    return scores


def _check_value(name: str, value: Any, space: Mapping[str, BaseDistribution], label: str) -> Any:
    if name not in space:
        raise HistoryError(
            f"{label} has the parameter {name!r}, which is not in the space "
            f"({', '.join(space)}).{did_you_mean(name, space)}"
        )
    distribution = space[name]
    value = value.item() if isinstance(value, np.generic) else value
    try:
        internal = distribution.to_internal_repr(value)
        if isinstance(distribution, IntDistribution) and internal != int(internal):
            raise ValueError("not a whole number")
        external = distribution.to_external_repr(internal)
        create_trial(value=0.0, params={name: external}, distributions={name: distribution})
    except (TypeError, ValueError, OverflowError) as error:
        raise HistoryError(
            f"{label} has {name}={value!r}, which is not in {distribution}. Give the space that "
            "was searched, or leave out the trial; of a parameter that was not active, leave out "
            "the name."
        ) from error
    return external
