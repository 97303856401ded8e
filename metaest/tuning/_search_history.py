"""What a search takes from a history, and how it is recorded there."""

from __future__ import annotations

import copy
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from metaest.exceptions import (
    HistoryError,
    InvalidParameterError,
    SearchWarning,
    TaskError,
    did_you_mean,
)
from metaest.tuning._history import History
from metaest.tuning._record import VERSION_KEY, SearchRecord
from metaest.tuning._search_identity import data_name
from metaest.tuning._sources import are_compatible

_ATTEMPTS = 20


@dataclass(frozen=True)
class Source:
    """The past searches that a search starts from.

    Parameters
    ----------
    name : str or None
        Where they are from; None for a cold search.
    records : list of SearchRecord
    own : History or None
        The user's history, to record the search in.
    """

    name: str | None = None
    records: list[SearchRecord] = field(default_factory=list)
    own: History | None = None


def open_source(
    history: Any,
    estimator: Any,
    metric: str,
    space: Mapping[str, BaseDistribution] | None,
    study: optuna.Study,
) -> Source:
    """Return the past searches for a search of `space` (None: not known yet).

    Raises
    ------
    HistoryError
        If the history cannot be read.
    InvalidParameterError
        If it is a misspelt "embedded", which would become a file of that name.
    """
    if history is None:
        return Source()
    if isinstance(history, str) and history == "embedded":
        return _embedded(estimator, metric, None)
    if isinstance(history, str) and _is_misspelt(history):
        raise InvalidParameterError(
            f"history must be 'embedded', a History, a path, a URL or None, got {history!r}. Did "
            "you mean 'embedded'? A file of that name can be given as './" + history + "'."
        )
    own = history if isinstance(history, History) else History(history)
    records = [record for record in own.tasks() if not _is_part(record, study)]
    shipped = _embedded(estimator, metric, own)
    related = [record for record in records if _is_related(record, space)]
    if not related:
        return shipped
    if shipped.records and are_compatible(related[-1].space, shipped.records[0].space):
        return Source(f"{own._name} and embedded", [*records, *shipped.records], own)
    return Source(own._name, records, own)


def _embedded(estimator: Any, metric: str, own: History | None) -> Source:
    from metaest.tuning._embedded import embedded_history

    records = embedded_history(estimator, metric=metric)
    return Source("embedded" if records else None, records, own)


def _is_misspelt(history: str) -> bool:
    return bool(did_you_mean(history.lower(), ["embedded"]))


def _is_related(record: SearchRecord, space: Mapping[str, BaseDistribution] | None) -> bool:
    if space is None:
        return True
    return any(type(space.get(name)) is type(own) for name, own in record.space.items())


def _is_part(record: SearchRecord, study: optuna.Study) -> bool:
    """Whether these are trials of this study; nobody starts two in one microsecond."""
    begun = {trial.datetime_start for trial in study.get_trials(deepcopy=False)}
    starts = [trial.datetime_start for trial in record.trials]
    return bool(starts) and None not in starts and begun.issuperset(starts)


def make_sampler(source: Source, X: Any, y: Any, metric: str, seed: int) -> Any:
    """Return a MetaSampler over the source; of data that cannot be encoded, it knows nothing."""
    from metaest.tuning._sampler import MetaSampler

    data = {} if y is None else {"X": X, "y": y}
    try:
        return MetaSampler(source.records or None, **data, metric=metric, seed=seed)
    except (TaskError, TypeError):
        return MetaSampler(source.records or None, metric=metric, seed=seed)


def choose_sampler(given: Any, has_trials: bool) -> Any:
    """Return a copy of the user's sampler; a resumed search must not draw the same again."""
    sampler = copy.deepcopy(given)
    if has_trials:
        sampler.reseed_rng()
    return sampler


def record_search(
    own: History, study: optuna.Study, X: Any, y: Any, *, metric: str, name: str | None
) -> None:
    """Record a search; where that fails, warn, for the fitted search must not be lost."""
    try:
        _record(own, study, X, y, metric, name)
    except Exception as error:
        warnings.warn(
            f"the search was fitted but not recorded in the history: {error} To try again: "
            "history.add_study(search.study_, X=X, y=y, task=...).",
            SearchWarning,
            stacklevel=3,
        )


def _record(
    own: History, study: optuna.Study, X: Any, y: Any, metric: str, name: str | None
) -> None:
    found = {s.study_name: s for s in own.storage.get_all_studies()}
    same = found.get(study.study_name)
    if same is not None and _is_same(own, same, study):
        if VERSION_KEY not in same.user_attrs:  # else it grows there by itself
            _add(own, study, X, y, metric, study.study_name)
        return
    former = [record.task for record in own.tasks() if _is_part(record, study)]
    _add_under_free_name(own, study, X, y, metric, name)
    for task in former:  # the first part of a search that was resumed
        optuna.delete_study(study_name=task, storage=own.storage)


def _is_same(own: History, frozen: Any, study: optuna.Study) -> bool:
    there = own.storage.get_all_trials(frozen._study_id, deepcopy=False)
    here = study.get_trials(deepcopy=False)
    return [t.datetime_start for t in there] == [t.datetime_start for t in here]


def _add_under_free_name(
    own: History, study: optuna.Study, X: Any, y: Any, metric: str, name: str | None
) -> None:
    base = name or f"search-{data_name(X, y)[:8]}"
    for attempt in range(_ATTEMPTS):
        taken = {s.study_name for s in own.storage.get_all_studies()}
        numbers = (f"{base}-{number}" for number in range(2, len(taken) + 3))
        free = base if base not in taken else next(n for n in numbers if n not in taken)
        if attempt > 2:  # many write at once: chance parts them
            free = f"{base}-{uuid.uuid4().hex[:8]}"
        try:
            return _add(own, study, X, y, metric, free)
        except HistoryError as error:
            if "already has a study named" not in str(error) or attempt == _ATTEMPTS - 1:
                raise
    return None


def _add(own: History, study: optuna.Study, X: Any, y: Any, metric: str, task: str) -> None:
    data = {} if y is None else {"X": X, "y": y}
    try:
        own.add_study(study, **data, metric=metric, task=task)
    except (TaskError, TypeError):  # texts or sparse rows: known by its trials alone
        own.add_study(study, metric=metric, task=task)
