"""Writing a whole search at once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from metaest.exceptions import HistoryError
from metaest.tuning._record import (
    ESTIMATOR_KEY,
    SPACE_KEY,
    SearchRecord,
    attributes,
    encode_space,
)
from metaest.tuning._storage import batch_of, quiet_optuna

_SCHEMA_VERSION = 12


class DuplicateSearchError(HistoryError):
    """The name of a search is taken."""


def write_record(storage: BaseStorage, record: SearchRecord) -> None:
    """Write a record as a new study.

    Databases take it in one transaction and journal files in a few appends; trial by trial, either
    would take about 10 ms for each. Of a search that was interrupted, nothing is seen.

    Raises
    ------
    DuplicateSearchError
        If there is a study of that name.
    HistoryError
        If a trial's attribute cannot be stored.
    """
    _check_attributes(storage, record.trials)
    try:
        with quiet_optuna():
            models = table_models() if isinstance(storage, RDBStorage) else None
            if models is not None:
                _write_tables(storage, models, record)
            else:
                _write_plainly(storage, record)
    except (optuna.exceptions.DuplicatedStudyError, sqlalchemy.exc.IntegrityError) as error:
        raise duplicate(record.task) from error


def extend_record(
    storage: BaseStorage,
    study_id: int,
    trials: Sequence[FrozenTrial],
    space: Mapping[str, BaseDistribution],
    estimator: str | None = None,
) -> None:
    """Add the trials that a recorded search went on with; what is there stays.

    Older versions wrote no estimator.

    Raises
    ------
    HistoryError
        If a trial's attribute cannot be stored.
    """
    there = {t.datetime_start for t in storage.get_all_trials(study_id, deepcopy=False)}
    new = [trial for trial in trials if trial.datetime_start not in there]
    _check_attributes(storage, new)
    storage.set_study_user_attr(study_id, SPACE_KEY, encode_space(space))
    if ESTIMATOR_KEY not in storage.get_study_user_attrs(study_id):
        storage.set_study_user_attr(study_id, ESTIMATOR_KEY, estimator)
    for trial in new:
        storage.create_new_trial(study_id, template_trial=trial)


def duplicate(task: str) -> DuplicateSearchError:
    """Make the error about a name that is taken."""
    return DuplicateSearchError(
        f"the history already has a study named {task!r}; give another task name, or delete the "
        "old one with optuna.delete_study."
    )


def _check_attributes(storage: BaseStorage, trials: Sequence[FrozenTrial]) -> None:
    """Raise HistoryError for what only memory can hold."""
    if isinstance(storage, InMemoryStorage):
        return
    for trial in trials:
        for key, value in trial.user_attrs.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise HistoryError(
                    f"the user attribute {key!r} of trial {trial.number} cannot be stored: "
                    f"{error}. Set plain numbers, strings, lists and dicts of them, such as "
                    "array.tolist()."
                ) from error


def _write_plainly(storage: BaseStorage, record: SearchRecord) -> None:
    direction = StudyDirection[record.direction.upper()]
    study_id = storage.create_new_study([direction], study_name=record.task)

    def write(trials: Sequence[FrozenTrial]) -> None:
        for trial in trials:
            storage.create_new_trial(study_id, template_trial=trial)

    batch = batch_of(storage) or contextlib.nullcontext
    try:
        write(record.trials[:1])  # the journal looks for the first one that it wrote
        with batch():
            write(record.trials[1:])
            for key, value in attributes(record).items():
                storage.set_study_user_attr(study_id, key, value)
    except BaseException:
        storage.delete_study(study_id)  # it would block the name
        raise
    storage.get_all_trials(study_id, deepcopy=False)  # reads back what was written


def table_models() -> Any:
    """Return Optuna's table models if they are those that this file was written for."""
    try:
        from optuna.storages._rdb import models
    except ImportError:
        return None
    return models if getattr(models, "SCHEMA_VERSION", None) == _SCHEMA_VERSION else None


def _write_tables(storage: Any, models: Any, record: SearchRecord) -> None:
    direction = StudyDirection[record.direction.upper()]
    study = models.StudyModel(
        study_name=record.task,
        directions=[models.StudyDirectionModel(objective=0, direction=direction)],
        user_attributes=[
            models.StudyUserAttributeModel(key=key, value_json=json.dumps(value))
            for key, value in attributes(record).items()
        ],
    )
    with storage.scoped_session() as session:
        try:
            session.add(study)
            session.flush()
            rows = [
                _trial_row(models, study.study_id, number, trial)
                for number, trial in enumerate(record.trials)
            ]
            session.add_all(rows)
            session.flush()
            parts = _parts(
                models, [(r.trial_id, t) for r, t in zip(rows, record.trials, strict=True)]
            )
            for model, values in parts.items():
                if values:  # as plain rows: objects of their own would take three times as long
                    session.execute(sqlalchemy.insert(model), values)
            session.commit()
        except BaseException:
            session.rollback()
            raise


def _trial_row(models: Any, study_id: int, number: int, trial: FrozenTrial) -> Any:
    row = models.TrialModel(study_id=study_id, number=number, state=trial.state)
    row.datetime_start, row.datetime_complete = trial.datetime_start, trial.datetime_complete
    return row


def _parts(models: Any, trials: list[tuple[int, FrozenTrial]]) -> dict[Any, list[dict[str, Any]]]:
    """Return, for each table, the rows that belong to trials."""
    value_of = models.TrialValueModel.value_to_stored_repr
    step_of = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    as_json: dict[int, str] = {}
    return {
        models.TrialParamModel: [
            {
                "trial_id": key,
                "param_name": name,
                "param_value": trial.distributions[name].to_internal_repr(value),
                "distribution_json": _cached_json(trial.distributions[name], as_json),
            }
            for key, trial in trials
            for name, value in trial.params.items()
        ],
        models.TrialValueModel: [
            dict(zip(("value", "value_type"), value_of(v), strict=True), trial_id=key, objective=i)
            for key, trial in trials
            for i, v in enumerate(trial.values or ())
        ],
        models.TrialUserAttributeModel: [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for key, trial in trials
            for name, value in trial.user_attrs.items()
        ],
        models.TrialSystemAttributeModel: [
            {"trial_id": key, "key": name, "value_json": json.dumps(value)}
            for key, trial in trials
            for name, value in trial.system_attrs.items()
        ],
        models.TrialIntermediateValueModel: [
            dict(
                zip(("intermediate_value", "intermediate_value_type"), step_of(v), strict=True),
                trial_id=key,
                step=step,
            )
            for key, trial in trials
            for step, v in trial.intermediate_values.items()
        ],
    }


def _cached_json(distribution: BaseDistribution, as_json: dict[int, str]) -> str:
    key = id(distribution)  # the trials keep it alive
    if key not in as_json:
        as_json[key] = distribution_to_json(distribution)
    return as_json[key]
