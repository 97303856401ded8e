"""What trials that run are to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.samplers import PartialFixedSampler
from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Plan:
    """What a trial is to try, and where that is from.

    Attributes
    ----------
    params : dict
        Also those that are not active.
    attributes : dict
        "origin"; from the portfolio, "source"; of a trial that is not free, "fixed".
    moved : dict
        Of the params, those that the trial's own ranges do not hold: it has the nearest value.
    """

    params: dict[str, Any]
    attributes: dict[str, Any] = field(default_factory=dict)
    moved: dict[str, Any] = field(default_factory=dict)


class Plans:
    """The plans of trials that run, of any number of studies."""

    def __init__(self) -> None:
        self._plans: dict[tuple[int, int], tuple[datetime | None, Plan]] = {}

    def get(self, study: optuna.Study, trial: FrozenTrial) -> Plan | None:
        """Return a trial's plan, if it has one."""
        started, plan = self._plans.get(_key(study, trial), (None, None))
        # Where a storage or study is gone, another one's trial may have its number.
        return plan if started == trial.datetime_start else None

    def set(self, study: optuna.Study, trial: FrozenTrial, plan: Plan) -> None:
        """Keep a trial's plan."""
        self._plans[_key(study, trial)] = (trial.datetime_start, plan)

    def forget(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Drop a trial's plan."""
        self._plans.pop(_key(study, trial), None)

    def params_of(
        self, study: optuna.Study, trials: Sequence[FrozenTrial]
    ) -> dict[int, dict[str, Any]]:
        """Return what is planned for those of a study's trials that run, by their id."""
        running = {t._trial_id: _key(study, t) for t in trials if not t.state.is_finished()}
        return {
            number: self._plans[key][1].params
            for number, key in sorted(running.items())
            if key in self._plans
        }


def _key(study: optuna.Study, trial: FrozenTrial) -> tuple[int, int]:
    return id(study._storage), trial._trial_id  # the id is unique in its storage only


def fixed_params(study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
    """Return the parameters of a trial that its sampler does not choose.

    Those that were enqueued, those of a PartialFixedSampler, and what the trial has already.

    Parameters
    ----------
    study : optuna.Study
    trial : optuna.trial.FrozenTrial
        That is to be planned.
    """
    sampler: Any = getattr(study, "sampler", None)
    fixed: dict[str, Any] = {}
    while isinstance(sampler, PartialFixedSampler):
        fixed = {**sampler._fixed_params, **fixed}  # the outer one's hold
        sampler = sampler._base_sampler
    fixed.update(trial.system_attrs.get("fixed_params", {}))
    own = trial.distributions
    fixed.update({name: v for name, v in trial.params.items() if not own[name].single()})
    return fixed
