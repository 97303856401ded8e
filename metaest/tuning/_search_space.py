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
from optuna.trial import FixedTrial, FrozenTrial

from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.tuning._search_folds import is_counted
from metaest.tuning._trials import check_choices

_REMEDY = (
    "Give an Optuna distribution, a list of values, or scipy.stats.uniform, loguniform or randint."
)


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
        """
        if self.distributions is not None:
            trial = study.ask(fixed_distributions=self.distributions)
            return trial, self._restore(trial.params)
        trial = study.ask()
        try:
            params = self._call(trial)
            if not isinstance(study._storage, InMemoryStorage):
                check_choices(trial.distributions)
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
            If the callable asks for other parameters now.
        """
        if self.distributions is not None:
            return self._restore(trial.params)
        try:
            return self._call(FixedTrial(trial.params, number=trial.number))
        except (ValueError, optuna.TrialPruned) as error:
            raise InvalidParameterError(
                f"space(trial) does not lead to the parameters of the stored trial {trial.number} "
                f"any more ({error}); resume with the callable that the search began with, or give "
                "another study_name."
            ) from error

    @property
    def signature(self) -> dict[str, str]:
        """Describe the space, to find out whether another is the same."""
        if self.distributions is None:
            return {"callable": getattr(self._define, "__qualname__", type(self._define).__name__)}
        found = {}
        for name, distribution in self.distributions.items():
            described = json.loads(distribution_to_json(distribution))
            if name in self._values and not _is_address(str(self._values[name])):
                described["values"] = str(self._values[name])
            found[name] = json.dumps(described, sort_keys=True)
        return found

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

    def _convert(self, space: Mapping[Any, Any]) -> dict[str, BaseDistribution]:
        if not space:
            raise InvalidParameterError(f"space is empty; there is nothing to search. {_REMEDY}")
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
                found[name], mapped = _from_list(name, values)
                if mapped is not None:
                    self._values[name] = mapped
            else:
                found[name] = _from_scipy(name, values)
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


def _from_list(name: str, values: Any) -> tuple[CategoricalDistribution, list[Any] | None]:
    """Return the choices and, where Optuna cannot store them, the values that they stand for."""
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InvalidParameterError(
            f"space[{name!r}] must have one dimension, got an array of shape {values.shape}."
        )
    if len(values) == 0:
        raise InvalidParameterError(f"space[{name!r}] is empty; give at least one value.")
    real = values.tolist() if isinstance(values, np.ndarray) else list(values)
    plain = [value.item() if isinstance(value, np.generic) else value for value in real]
    # None, True, 1 and 1.0 are equal or special to Optuna; stored by name they stay apart.
    simple = all(type(value) in (bool, int, float, str, type(None)) for value in plain)
    if simple and len(set(plain)) == len(plain) and all(value == value for value in plain):
        return CategoricalDistribution(plain), None
    labels = [repr(value) for value in plain]
    if len(set(labels)) < len(labels) or _is_address("".join(labels)):
        return CategoricalDistribution(list(range(len(real)))), real
    return CategoricalDistribution(labels), real


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


def _is_address(text: str) -> bool:
    return " at 0x" in text


def _from_scipy(name: str, frozen: Any) -> BaseDistribution:
    kind = getattr(getattr(frozen, "dist", None), "name", None)
    if kind in ("uniform", "loguniform", "reciprocal", "randint"):
        low, high = frozen.support()
        if kind == "randint":
            return IntDistribution(int(low), int(high))
        if kind == "uniform":
            return FloatDistribution(float(low), float(high))
        shift = frozen.args[2] if len(frozen.args) > 2 else frozen.kwds.get("loc", 0)
        if shift == 0:
            return FloatDistribution(float(low), float(high), log=True)
        kind = "loguniform with loc"
    what = f"scipy.stats {kind}" if kind else repr(frozen)
    raise InvalidParameterError(f"space[{name!r}] cannot be searched: {what}. {_REMEDY}")
