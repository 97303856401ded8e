"""Reading the trials of many searches at once."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from metaest.tuning._write import table_models

#: Studies that one query asks for: databases bound the parameters of a query.
_CHUNK = 500


def read_trials(storage: BaseStorage, study_ids: Collection[int]) -> dict[int, list[FrozenTrial]]:
    """Return the trials of studies, by study.

    Databases are asked for whole tables: Optuna's own way makes an object of each value, which
    takes twenty times as long. System attributes, which are Optuna's own, are left out there.
    """
    models = table_models() if isinstance(storage, RDBStorage) else None
    if models is None:
        return {i: storage.get_all_trials(i, deepcopy=False) for i in study_ids}
    found: dict[int, list[FrozenTrial]] = {study_id: [] for study_id in study_ids}
    ids = sorted(found)
    for start in range(0, len(ids), _CHUNK):
        _read_tables(storage, models, ids[start : start + _CHUNK], found)
    return found


def _read_tables(
    storage: Any, models: Any, study_ids: list[int], found: dict[int, list[FrozenTrial]]
) -> None:
    trials = models.TrialModel
    wanted = sqlalchemy.select(trials.trial_id).where(trials.study_id.in_(study_ids))
    with storage.engine.connect() as connection:

        def rows(model: Any, *columns: Any) -> Iterator[Any]:
            query = sqlalchemy.select(*columns).where(model.trial_id.in_(wanted))
            return iter(
                connection.execute(query.order_by(sqlalchemy.inspect(model).primary_key[0]))
            )

        params, distributions = _read_params(rows, models.TrialParamModel)
        values = _read_values(rows, models.TrialValueModel)
        steps: dict[int, dict[int, float]] = defaultdict(dict)
        own = models.TrialIntermediateValueModel
        columns = (own.step, own.intermediate_value, own.intermediate_value_type)
        for trial_id, step, value, kind in rows(own, own.trial_id, *columns):
            steps[trial_id][step] = own.stored_repr_to_intermediate_value(value, kind)
        attributes: dict[int, dict[str, Any]] = defaultdict(dict)
        own = models.TrialUserAttributeModel
        for trial_id, key, content in rows(own, own.trial_id, own.key, own.value_json):
            attributes[trial_id][key] = json.loads(content)
        main = [trials.trial_id, trials.study_id, trials.number, trials.state]
        times = [trials._datetime_start_utc, trials._datetime_complete_utc]
        for trial_id, study_id, number, state, start, end in rows(trials, *main, *times):
            found[study_id].append(
                FrozenTrial(
                    number=number,
                    state=state,
                    value=None,
                    values=values.get(trial_id),
                    datetime_start=_local(start),
                    datetime_complete=_local(end),
                    params=params.get(trial_id, {}),
                    distributions=distributions.get(trial_id, {}),
                    user_attrs=attributes.get(trial_id, {}),
                    system_attrs={},
                    intermediate_values=steps.get(trial_id, {}),
                    trial_id=trial_id,
                )
            )


def _read_params(
    rows: Any, model: Any
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, BaseDistribution]]]:
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    columns = (model.trial_id, model.param_name, model.param_value, model.distribution_json)
    for trial_id, name, value, content in rows(model, *columns):
        distribution = _parse(content)
        params[trial_id][name] = distribution.to_external_repr(value)
        distributions[trial_id][name] = distribution
    return params, distributions


def _read_values(rows: Any, model: Any) -> dict[int, list[float]]:
    values: dict[int, dict[int, float]] = defaultdict(dict)
    columns = (model.trial_id, model.objective, model.value, model.value_type)
    for trial_id, objective, value, kind in rows(model, *columns):
        values[trial_id][objective] = model.stored_repr_to_value(value, kind)
    return {trial_id: [own[i] for i in sorted(own)] for trial_id, own in values.items()}


@lru_cache(maxsize=1024)
def _parse(content: str) -> BaseDistribution:
    return json_to_distribution(content)


def _local(time: datetime.datetime | None) -> datetime.datetime | None:
    """Return local time, as Optuna does: its tables have UTC."""
    if time is None:
        return None
    return time.replace(tzinfo=datetime.UTC).astimezone().replace(tzinfo=None)
