"""What a search takes from a history, and how it is recorded there."""

from __future__ import annotations

import copy
import functools
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from metaest._warn import warn
from metaest.exceptions import (
    InvalidParameterError,
    SearchWarning,
    TaskError,
    did_you_mean,
)
from metaest.tuning._configurations import Space
from metaest.tuning._embedded import embedded_history
from metaest.tuning._entry import are_same
from metaest.tuning._history import History
from metaest.tuning._observations import known_space
from metaest.tuning._record import PREFIX, VERSION_KEY, SearchRecord
from metaest.tuning._sampler import MetaSampler
from metaest.tuning._search_identity import data_name
from metaest.tuning._sources import are_compatible, find_sources, has_most, why_unusable
from metaest.tuning._spaces import model_name
from metaest.tuning._trials import merge_spaces
from metaest.tuning._write import DuplicateSearchError, extend_record

#: Of a record: the study that it was made of, to find it again when that goes on.
RECORDED_KEY = PREFIX + "recorded_from"
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

    def name_of(self, used: Sequence[SearchRecord]) -> str | None:
        """Return where those of the records that were used are from."""
        kinds = {record.is_shipped for record in used}
        if self.own is None or kinds == {True, False}:
            return self.name if used else None
        return None if not used else "embedded" if True in kinds else self.own._name


def open_source(
    history: Any,
    estimator: Any,
    metric: str,
    space: Mapping[str, BaseDistribution] | None,
    study: optuna.Study,
) -> Source:
    """Return the past searches for a search of `space` (None: what trials ask for decides).

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
    direction = study.direction.name.lower()
    model = model_name(estimator, space or ())
    records = [
        record
        for record in own.tasks()
        if why_unusable(record, direction, metric, model) is None
        and not _are_part(record.trials, study)
    ]
    shipped = _embedded(estimator, metric, own)
    usual = shipped.records[0].space if shipped.records else {}
    related = [record for record in records if space is None or has_most(record.space, space)]
    if not related:
        return shipped
    if usual and (space is None or any(are_compatible(r.space, usual) for r in related)):
        return Source(f"{own._name} and embedded", [*records, *shipped.records], own)
    return Source(own._name, records, own)


def _embedded(estimator: Any, metric: str, own: History | None) -> Source:
    records = embedded_history(estimator, metric=metric)
    return Source("embedded" if records else None, records, own)


def _is_misspelt(history: str) -> bool:
    return bool(did_you_mean(history.lower(), ["embedded"]))


def _are_part(trials: Sequence[FrozenTrial], study: optuna.Study) -> bool:
    """Whether these are trials of this study; nobody starts two in one microsecond."""
    begun = {trial.datetime_start for trial in study.get_trials(deepcopy=False)}
    starts = [trial.datetime_start for trial in trials]
    return bool(starts) and None not in starts and begun.issuperset(starts)


def make_sampler(
    source: Source,
    X: Any,
    y: Any,
    *,
    space: Space | None,
    metric: str,
    defaults: Mapping[str, Any],
    seed: int,
) -> BaseSampler:
    """Return a MetaSampler over the source; of data that cannot be encoded, it knows nothing."""
    make = functools.partial(
        MetaSampler,
        source.records or None,
        space=space,
        metric=metric,
        defaults=defaults,
        seed=seed,
    )
    try:
        return make() if y is None else make(X=X, y=y)
    except (TaskError, TypeError):
        return make()


def choose_sampler(
    given: BaseSampler, has_trials: bool, *, metric: str, estimator: str | None
) -> BaseSampler:
    """Return a copy of the user's sampler; a resumed search must not draw the same again."""
    sampler = copy.deepcopy(given)
    if isinstance(sampler, MetaSampler):
        sampler.complete(metric=metric, estimator=estimator)
    if has_trials:
        sampler.reseed_rng()
    return sampler


def records_of(sampler: Any) -> list[SearchRecord]:
    """Return the past searches of the user's sampler."""
    return sampler.read_records() if isinstance(sampler, MetaSampler) else []


def used_records(study: optuna.Study, offered: Sequence[SearchRecord]) -> list[SearchRecord]:
    """Return the past searches, of those that the study's MetaSampler was offered, that it used."""
    sampler = study.sampler
    if not isinstance(sampler, MetaSampler):
        return []
    sources = sampler._planner._sources
    if sources is None:  # none fits, or all trials are of former sessions
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.distributions]
        sources = find_sources(
            offered,
            direction=study.direction.name.lower(),
            metric=sampler._metric,
            known=known_space(trials, sampler._space),
            estimator=sampler._estimator,
        )
    names = {task.name for task in sources.tasks} if sources else set()
    for trial in study.get_trials(deepcopy=False):  # also while less of the space was known
        names.add(trial.user_attrs.get(PREFIX + "source", {}).get("task"))
    return [record for record in offered if record.task in names]


def record_search(
    own: History,
    study: optuna.Study,
    X: Any,
    y: Any,
    *,
    metric: str,
    estimator: str | None,
    name: str | None,
) -> None:
    """Record a search; where that fails, warn, for the fitted search must not be lost."""
    known = {"metric": metric, "estimator": estimator}
    try:
        _record(own, study, X, y, known, name)
    except Exception as error:
        warn(
            f"the search was fitted but not recorded in the history: {error} To try again: "
            "history.add_study(search.study_, X=X, y=y, task=..., estimator=search.estimator).",
            SearchWarning,
        )


def _record(
    own: History, study: optuna.Study, X: Any, y: Any, known: dict[str, Any], name: str | None
) -> None:
    former = _find_former(own, study)
    if former is None:
        return _add_under_free_name(own, study, X, y, known, name)
    if VERSION_KEY not in former.user_attrs:
        if name not in (None, study.study_name):
            warn(
                f"task={name!r} is not used: storage and history are the same, so the study itself "
                f"joins the history, under its own name, {study.study_name!r}. Give "
                f"study_name={name!r} instead.",
                SearchWarning,
            )
        return _add(own, study, X, y, known, study.study_name)
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    space = merge_spaces(trials, study.study_name)
    return extend_record(own.storage, former._study_id, trials, space, known["estimator"])


def _find_former(own: History, study: optuna.Study) -> Any:
    """Return what the history's storage has of a search: the study itself, or an older record."""
    here = study.get_trials(deepcopy=False)
    for found in own.storage.get_all_studies():
        is_itself = found.study_name == study.study_name
        is_record = found.user_attrs.get(RECORDED_KEY) == study.study_name
        if is_itself or is_record:
            there = own.storage.get_all_trials(found._study_id, deepcopy=False)
            if (is_itself and are_same(here, there)) or (is_record and _are_part(there, study)):
                return found
    return None


def _add_under_free_name(
    own: History, study: optuna.Study, X: Any, y: Any, known: dict[str, Any], name: str | None
) -> None:
    base = name or f"search-{data_name(X, y)[:8]}"
    for attempt in range(_ATTEMPTS):
        taken = {s.study_name for s in own.storage.get_all_studies()}
        numbers = (f"{base}-{number}" for number in range(2, len(taken) + 3))
        free = base if base not in taken else next(n for n in numbers if n not in taken)
        if attempt > 2:  # many write at once: chance parts them
            free = f"{base}-{uuid.uuid4().hex[:8]}"
        try:
            _add(own, study, X, y, known, free)
            break
        except DuplicateSearchError:
            if attempt == _ATTEMPTS - 1:
                raise
    study_id = own.storage.get_study_id_from_name(free)
    own.storage.set_study_user_attr(study_id, RECORDED_KEY, study.study_name)


def _add(
    own: History, study: optuna.Study, X: Any, y: Any, known: dict[str, Any], task: str
) -> None:
    data = {} if y is None else {"X": X, "y": y}
    try:
        own.add_study(study, **data, **known, task=task)
    except (TaskError, TypeError):  # texts or sparse rows: known by its trials alone
        own.add_study(study, **known, task=task)
