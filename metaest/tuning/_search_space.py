"""What a search draws from: the user's space as Optuna distributions, and back to real values."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages import InMemoryStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.tuning._search_folds import PARAMS_KEY, is_counted
from metaest.tuning._search_identity import describe_params
from metaest.tuning._search_values import REMEDY, choices_of, from_scipy, is_address
from metaest.tuning._trials import check_choices


class SearchSpace:
    """A checked space: draws parameters for a trial, and finds those of an old one again.

    Parameters
    ----------
    space : dict of str to distribution or list, or callable
        As in ``MetaSearchCV``.
    known : collection of str
        The parameters that the estimator has.

    Raises
    ------
    InvalidParameterError
        If a name is unknown to the estimator or a value is no distribution.
    """

    def __init__(self, space: Any, known: Collection[str]) -> None:
        self._known = known
        self._values: dict[str, list[Any]] = {}
        self._define: Callable[[Any], Any] | None = None
        self.distributions: dict[str, BaseDistribution] | None = None
        if isinstance(space, Mapping):
            self.distributions = self._convert(space)
        elif callable(space):
            self._define = space
        else:
            raise InvalidParameterError(
                "space must be a dict of parameter name to distribution or list, a callable "
                "trial -> dict of parameters, or None; got "
                f"{type(space).__name__}. For several dicts, write such a callable."
            )

    def ask(self, study: optuna.Study) -> tuple[optuna.Trial, dict[str, Any] | None]:
        """Begin a trial; return it and the parameters to set on the estimator.

        These are None if the callable raised ``optuna.TrialPruned``: nothing is to be fitted.

        Raises
        ------
        HistoryError
            If the study is stored, and choices of the callable are not the same when read back.
        InvalidParameterError
            If the trial was enqueued with a value that its parameter cannot have.
        """
        if self.distributions is not None:
            trial = self._ask_for_all(study, self.distributions)
            return trial, self._restore(trial.params)
        trial = study.ask()
        try:
            params = self._call(trial)
            if not isinstance(study._storage, InMemoryStorage):
                check_choices(trial.distributions)
            trial.set_user_attr(PARAMS_KEY, describe_params(params))
            return trial, params
        except optuna.TrialPruned:
            return trial, None
        except BaseException:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise

    def params_of(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the parameters that a finished trial set on the estimator.

        Raises
        ------
        InvalidParameterError
            If the callable asks for other parameters, or returns others, than it did.
        """
        if self.distributions is not None:
            return self._restore(trial.params)
        try:
            fixed = FixedTrial(trial.params, number=trial.number)
            params = self._call(fixed)
            self._check_unchanged(trial, fixed.distributions, params)
            return params
        except (ValueError, optuna.TrialPruned) as error:
            raise InvalidParameterError(
                f"space(trial) does not lead to the parameters of the stored trial {trial.number} "
                f"any more ({error}); resume with the callable that the search began with, or give "
                "another study_name."
            ) from error

    def keep_places(self, stored: Mapping[str, str]) -> None:
        """Store a list by places, as older versions did, where a study to resume has it so.

        Parameters
        ----------
        stored : mapping of str to str
            The signature in that study.
        """
        for name, values in self._values.items():
            places = CategoricalDistribution(list(range(len(values))))
            if self.distributions is not None and stored.get(name) == self._sign(name, places):
                self.distributions[name] = places

    @property
    def signature(self) -> dict[str, str]:
        """Describe the space, to find out whether another is the same."""
        if self.distributions is None:
            return {"callable": getattr(self._define, "__qualname__", type(self._define).__name__)}
        return {name: self._sign(name, own) for name, own in self.distributions.items()}

    @property
    def n_configurations(self) -> int | None:
        """How many configurations there are; None if without end, or only the callable knows."""
        if self.distributions is None:
            return None
        sizes = [_size(own) for own in self.distributions.values()]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def count_tried(self, study: optuna.Study) -> int:
        """Count the different configurations of a finite space that finished trials had."""
        space = self.distributions or {}
        done = [trial.params for trial in study.get_trials(deepcopy=False) if is_counted(trial)]
        whole = [params for params in done if all(name in params for name in space)]
        keys = {tuple(_index(own, p[name]) for name, own in space.items()) for p in whole}
        return sum(None not in key for key in keys)

    def _sign(self, name: str, distribution: BaseDistribution) -> str:
        described = json.loads(distribution_to_json(distribution))
        if name in self._values and not is_address(str(self._values[name])):
            described["values"] = str(self._values[name])
        return json.dumps(described, sort_keys=True)

    def _check_unchanged(
        self, trial: FrozenTrial, space: Mapping[str, BaseDistribution], params: dict[str, Any]
    ) -> None:
        for name, own in trial.distributions.items():
            if space.get(name, own) != own:
                raise InvalidParameterError(f"{name!r} was drawn from {own}, not {space[name]}")
        then, now = trial.user_attrs.get(PARAMS_KEY), describe_params(params)
        if then is None or then == now:  # older versions did not store it
            return
        # What chance gives differs at each call.
        again = describe_params(self._call(FixedTrial(trial.params, number=trial.number)))
        for name in {**then, **now}:
            if then.get(name) != now.get(name) and now.get(name) == again.get(name):
                was, would_be = then.get(name, "not set"), now.get(name, "not set")
                raise InvalidParameterError(f"{name!r} was {was}, and would be {would_be}")

    def _ask_for_all(self, study: optuna.Study, space: dict[str, BaseDistribution]) -> optuna.Trial:
        try:
            return study.ask(fixed_distributions=space)
        except (TypeError, ValueError) as error:
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            enqueued = running[-1].system_attrs.get("fixed_params", {}) if running else {}
            for name, value in enqueued.items():
                if name in space and not _is_of(space[name], value):
                    raise InvalidParameterError(
                        f"trial {running[-1].number} was enqueued with {name}={value!r}, but "
                        f"expected {_range_of(space[name])}. Enqueue one of these; the next fit "
                        "of the study goes on without this trial."
                    ) from error
            raise

    def _convert(self, space: Mapping[Any, Any]) -> dict[str, BaseDistribution]:
        if not space:
            raise InvalidParameterError(f"space is empty; there is nothing to search. {REMEDY}")
        self._check_names(space)
        found: dict[str, BaseDistribution] = {}
        for name, values in space.items():
            if isinstance(values, CategoricalDistribution):
                values = values.choices
            if isinstance(values, (FloatDistribution, IntDistribution)):
                found[name] = values
            elif isinstance(values, np.ndarray) or (
                isinstance(values, Sequence) and not isinstance(values, str)
            ):
                found[name], mapped = choices_of(name, values)
                if mapped is not None:
                    self._values[name] = mapped
            else:
                found[name] = from_scipy(name, values)
        return found

    def _check_names(self, names: Mapping[Any, Any]) -> None:
        for name in names:
            if name in self._known:
                continue
            parts = str(name).split("__")
            owners = ("__".join(parts[:i]) for i in range(1, len(parts)))
            if isinstance(name, str) and any(owner in names for owner in owners):
                continue  # of an estimator that is itself searched; set_params will tell
            inner = [known for known in self._known if known.endswith(f"__{name}")]
            hint = f" Did you mean {inner[0]!r}?" if inner else did_you_mean(name, self._known)
            raise InvalidParameterError(
                f"space has the parameter {name!r}, which the estimator does not have.{hint} Its "
                f"parameters: {', '.join(sorted(self._known))}."
            )

    def _call(self, trial: Any) -> dict[str, Any]:
        assert self._define is not None
        params = self._define(trial)
        if not isinstance(params, Mapping):
            raise InvalidParameterError(
                "space(trial) must return a dict of the estimator's parameters, got "
                f"{type(params).__name__}."
            )
        self._check_names(params)
        return dict(params)

    def _restore(self, params: Mapping[str, Any]) -> dict[str, Any]:
        assert self.distributions is not None
        found = {}
        for name in self.distributions:
            value = params[name]
            if name in self._values:
                index = self.distributions[name].to_internal_repr(value)
                value = self._values[name][int(index)]
            found[name] = value
        return found


def parameter_names(estimator: Any) -> list[str]:
    """Return the names that ``set_params`` takes."""
    if not hasattr(estimator, "get_params") or inspect.isclass(estimator):
        raise InvalidParameterError(
            f"estimator must be a scikit-learn estimator object, got {estimator!r}."
        )
    return sorted(estimator.get_params(deep=True))


def plain_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters of an estimator, and what they are now, that may be searched."""
    now = estimator.get_params(deep=True)
    return {k: v for k, v in now.items() if v is None or isinstance(v, str | int | float)}


def _size(distribution: BaseDistribution) -> int | None:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if distribution.single():
        return 1
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _index(distribution: BaseDistribution, value: Any) -> int | None:
    """Return the place of a value among those of a finite distribution, or None if it has none."""
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    place = (value - distribution.low) / (distribution.step or 1)
    size = _size(distribution)
    # Steps of floats are not exact; and what a user enqueued may lie outside.
    inside = size is not None and abs(place - round(place)) < 1e-6 and 0 <= round(place) < size
    return round(place) if inside else None


def _is_of(distribution: BaseDistribution, value: Any) -> bool:
    try:
        distribution.to_internal_repr(value)
    except (TypeError, ValueError):
        return False
    return True


def _range_of(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"a choice of {', '.join(map(repr, distribution.choices))}"
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return f"a number from {distribution.low:g} to {distribution.high:g}"
