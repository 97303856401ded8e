"""One past search, and how it is written into an Optuna study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState

from metaest.exceptions import HistoryError
from metaest.tuning._trials import widen_space

PREFIX = "metaest:"
FORMAT_VERSION = 1
VERSION_KEY = PREFIX + "version"
SPACE_KEY = PREFIX + "space"
ESTIMATOR_KEY = PREFIX + "estimator"
#: Of a trial: it was interrupted, and failed for no other reason.
ABANDONED_KEY = PREFIX + "abandoned"
#: Where Optuna keeps by how much a trial broke its constraints; one with a name behind a colon.
_CONSTRAINTS = "constraints"
#: Optuna keeps infinity, and the largest float, which users return for "does not work", as values.
LARGEST = 1e100


@dataclass(frozen=True)
class SearchRecord:
    """One past search.

    Parameters
    ----------
    task : str
        What was searched on, and the name of the Optuna study.
    space : dict of str to optuna distribution
        What was searched.
    direction : {"maximize", "minimize"}
    metric : str or None, default=None
        What the values are, where that is known.
    meta_features : dict of str to float, or None, default=None
        Of the data set.
    fingerprint : str or None, default=None
        Of the data set's contents.
    trials : tuple of optuna.trial.FrozenTrial, default=()
        Finished trials (complete, pruned, failed), in order.
    estimator : str or None, default=None
        Name of the class that was tuned, where that is known; of a pipeline, its last step's.
    is_shipped : bool, default=False
        Whether it comes with metaest; where either could be used, one's own searches are.
    """

    task: str
    space: Mapping[str, BaseDistribution]
    direction: str
    metric: str | None = None
    meta_features: Mapping[str, float] | None = None
    fingerprint: str | None = None
    trials: tuple[FrozenTrial, ...] = field(default=(), repr=False)
    estimator: str | None = None
    is_shipped: bool = field(default=False, repr=False)

    @property
    def complete_trials(self) -> list[FrozenTrial]:
        """The trials that have a value; an infinite or immense one marks a failed trial.

        One that broke a constraint of its study has none.
        """
        return [trial for trial in self.trials if _has_value(trial)]

    @property
    def is_constant(self) -> bool:
        """Whether all values are the same, so that they rank nothing."""
        return len({trial.value for trial in self.complete_trials}) < 2


def _has_value(trial: FrozenTrial) -> bool:
    if trial.state != TrialState.COMPLETE or trial.value is None:
        return False
    return abs(trial.value) <= LARGEST and is_feasible(trial)


def is_feasible(trial: FrozenTrial) -> bool:
    """Tell whether a trial kept the constraints of its study, if it has any."""
    known = trial.system_attrs
    excesses = [*(known.get(_CONSTRAINTS) or ())]
    excesses += [own for name, own in known.items() if name.startswith(f"{_CONSTRAINTS}:")]
    return all(excess <= 0 for excess in excesses)


def attributes(record: SearchRecord) -> dict[str, Any]:
    """Return the user attributes of a record's study; the version, which marks it, comes last."""
    return {
        PREFIX + "task": record.task,
        SPACE_KEY: encode_space(record.space),
        PREFIX + "metric": record.metric,
        PREFIX + "meta_features": None
        if record.meta_features is None
        else dict(record.meta_features),
        PREFIX + "fingerprint": record.fingerprint,
        ESTIMATOR_KEY: record.estimator,
        VERSION_KEY: FORMAT_VERSION,
    }


def encode_space(space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Return a space as plain JSON."""
    return {name: json.loads(distribution_to_json(own)) for name, own in space.items()}


def read_record(
    study_name: str, direction: str, attrs: Mapping[str, Any], trials: list[FrozenTrial]
) -> SearchRecord:
    """Read a record from a study with our attributes.

    Raises
    ------
    HistoryError
        If a newer metaest wrote it, or an attribute is damaged.
    """
    version = attrs[VERSION_KEY]
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise HistoryError(
            f"study {study_name!r} was written in format {version!r} by a newer metaest; this one "
            f"reads up to {FORMAT_VERSION}. Upgrade with: pip install -U metaest"
        )
    finished = [trial for trial in trials if trial.state.is_finished()]
    try:
        marked = {n: json_to_distribution(json.dumps(d)) for n, d in attrs[SPACE_KEY].items()}
        space, held = widen_space(marked, finished)  # a study may have gone on in another space
        return SearchRecord(
            task=attrs[PREFIX + "task"],
            space=space,
            direction=direction,
            metric=attrs.get(PREFIX + "metric"),
            meta_features=attrs.get(PREFIX + "meta_features"),
            fingerprint=attrs.get(PREFIX + "fingerprint"),
            trials=tuple(held),
            estimator=attrs.get(ESTIMATOR_KEY),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HistoryError(
            f"study {study_name!r} has damaged metaest attributes ({error!r}); delete it with "
            "optuna.delete_study and add the search again."
        ) from error
