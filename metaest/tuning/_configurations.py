"""Configurations as rows of numbers, and back."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metaest.tuning._conditions import Condition, learn_conditions

Space = Mapping[str, BaseDistribution]


class Rows(NamedTuple):
    """Configurations of one space.

    Attributes
    ----------
    values : ndarray of shape (n, n_params)
        Numbers on [0, 1] of their range (of its logarithm), categories as their index.
    active : ndarray of bool, shape (n, n_params)
        Which parameters a configuration has; the value of another one means nothing.
    """

    values: np.ndarray
    active: np.ndarray

    def take(self, index: Any) -> Rows:
        """Return some of the rows."""
        return Rows(self.values[index], self.active[index])

    def join(self, *others: Rows) -> Rows:
        """Return these rows and those of others."""
        parts = (self, *others)
        return Rows(
            np.concatenate([rows.values for rows in parts]),
            np.concatenate([rows.active for rows in parts]),
        )

    def __len__(self) -> int:
        return len(self.values)


class Configurations:
    """A search space whose configurations are rows of numbers.

    Parameters
    ----------
    space : mapping of str to optuna distribution
    conditions : mapping of str to Condition, default={}
        When a parameter that is not always there is active.
    limits : mapping of str to optuna distribution, default={}
        Narrower ranges of some parameters, that new configurations keep to; of a number, also some
        values (a CategoricalDistribution of numbers).
    absent : collection of str, default=()
        Parameters that new configurations do not have.
    """

    def __init__(
        self,
        space: Space,
        conditions: Mapping[str, Condition] | None = None,
        limits: Space | None = None,
        absent: Collection[str] = (),
    ) -> None:
        self.space = dict(space)
        self.names = list(space)
        self.conditions = dict(conditions or {})
        self._sizes = [n_choices(d) for d in space.values()]  # 0: a number
        self._absent = [name in absent for name in self.names]
        narrow: dict[str, Any] = {
            name: (limits or {}).get(name, own) for name, own in space.items()
        }
        self._limits = np.array(
            [_unit_range(own, narrow[name]) for name, own in space.items()]
        ).reshape(-1, 2)
        self._listed = {
            column: np.array([_to_unit(space[name], choice) for choice in own.choices])
            for column, (name, own) in enumerate(narrow.items())
            if isinstance(own, CategoricalDistribution) and not self._sizes[column]
        }
        self._narrow = narrow

    def narrowed(self, limits: Space, absent: Collection[str] = ()) -> Configurations:
        """Return the same space, whose new configurations keep to narrower ranges."""
        return Configurations(self.space, self.conditions, limits, absent)

    def with_conditions(self, rows: Rows) -> Configurations:
        """Return the same space with the conditions that explain these rows."""
        is_categorical = [size > 0 for size in self._sizes]
        found = learn_conditions(rows.values, rows.active, is_categorical)
        return Configurations(self.space, {self.names[i]: c for i, c in found.items()})

    def read(self, params: Sequence[Mapping[str, Any]]) -> Rows:
        """Return the rows of parameters; what is unknown or outside of the space is left out."""
        values = np.full((len(params), len(self.names)), np.nan)
        for column, (name, distribution) in enumerate(self.space.items()):
            for row, own in enumerate(params):
                if name in own:
                    values[row, column] = _to_unit(distribution, own[name])
        active = ~np.isnan(values)
        return Rows(np.where(active, values, self._defaults()), active)

    def write(self, rows: Rows, number: int) -> dict[str, Any]:
        """Return the parameters of a row: all of them, also the inactive ones."""
        params = {
            name: _from_unit(distribution, rows.values[number, column])
            for column, (name, distribution) in enumerate(self.space.items())
        }
        for column, listed in self._listed.items():  # exactly, not by way of a logarithm
            name, nearest = self.names[column], np.abs(listed - rows.values[number, column])
            params[name] = self._narrow[name].choices[int(nearest.argmin())]
        return params

    def draw(self, n: int, rng: np.random.Generator) -> Rows:
        """Draw uniform configurations."""
        low, high = self._limits.T
        values = low + rng.random((n, len(self.names))) * (high - low)
        for column, size in enumerate(self._sizes):
            if size:
                values[:, column] = rng.integers(size, size=n)
        for column, listed in self._listed.items():
            values[:, column] = rng.choice(listed, size=n)
        return self._finish(values)

    def vary(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """Change about a third of each row's parameters, at least one, by small or larger steps."""
        n, n_params = rows.values.shape
        changed = rng.random((n, n_params)) < max(0.35, 1 / n_params)
        changed[np.arange(n), rng.integers(n_params, size=n)] = True
        step = rng.choice([0.02, 0.05, 0.15], size=(n, 1)) * rng.standard_normal((n, n_params))
        step *= self._limits[:, 1] - self._limits[:, 0]
        values = np.where(changed, rows.values + step, rows.values)
        for column, size in enumerate(self._sizes):
            if size:
                other = changed[:, column] & (rng.random(n) < 0.5)
                drawn = rng.integers(size, size=n)
                values[:, column] = np.where(other, drawn, rows.values[:, column])
        for column, listed in self._listed.items():
            drawn = rng.choice(listed, size=n)
            values[:, column] = np.where(changed[:, column], drawn, rows.values[:, column])
        return self._finish(values)

    def bring_inside(self, rows: Rows, defaults: Mapping[str, Any] | None = None) -> Rows:
        """Return the nearest new configurations; what a row lacks is taken from `defaults`."""
        lacking = self.read([defaults or {}]).values
        return self._finish(np.where(rows.active, rows.values, lacking))

    def encode(self, rows: Rows, *, in_limits: bool = False) -> np.ndarray:
        """Return what surrogates see: (n, d), each column on [-1, 1].

        A number's column, or an indicator for each category; 0 where the parameter is inactive,
        and a column of its own says so where it may be.

        Parameters
        ----------
        rows : Rows
        in_limits : bool, default=False
            Whether -1 and 1 are the limits of new configurations, not the ends of the space.
        """
        columns = []
        values = rows.values
        if in_limits:
            low, high = self._limits.T
            span = np.where((high > low) & (np.array(self._sizes) == 0), high - low, 1.0)
            values = np.where(np.array(self._sizes) == 0, (values - low) / span, values)
        for column, (name, size) in enumerate(zip(self.names, self._sizes, strict=True)):
            active = rows.active[:, column]
            if size:
                codes = values[:, column, None] == np.arange(size)
                columns.append(codes * active[:, None])
            else:
                columns.append(((2 * values[:, column] - 1) * active)[:, None])
            if name in self.conditions:
                columns.append(active[:, None])
        return np.concatenate(columns, axis=1, dtype=np.float64)

    def activate(self, values: np.ndarray) -> Rows:
        """Return rows with the parameters active that the conditions ask for."""
        active = np.tile(~np.array(self._absent, dtype=bool), (len(values), 1))
        for _ in range(len(self.conditions)):  # a parent may have a parent
            before = active.copy()
            for name, condition in self.conditions.items():
                column = self.names.index(name)
                active[:, column] &= condition.holds(values, active)
            if (before == active).all():
                break
        return Rows(values, active)

    def _finish(self, values: np.ndarray) -> Rows:
        """Bring into the limits, round to what the space has, and activate."""
        values = np.clip(values, *self._limits.T)
        for column, distribution in enumerate(self.space.values()):
            if not self._sizes[column] and is_discrete(distribution):
                own = [
                    _to_unit(distribution, _from_unit(distribution, v)) for v in values[:, column]
                ]
                values[:, column] = own
        for column, listed in self._listed.items():
            nearest = np.abs(values[:, column, None] - listed).argmin(1)
            values[:, column] = listed[nearest]
        return self.activate(values)

    def _defaults(self) -> np.ndarray:
        return np.array([0.0 if size else 0.5 for size in self._sizes])


def n_choices(distribution: BaseDistribution) -> int:
    """Return the number of categories, 0 for numbers."""
    return len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0


def is_list_of_numbers(distribution: BaseDistribution) -> bool:
    """Whether all choices are finite numbers."""
    return isinstance(distribution, CategoricalDistribution) and all(
        isinstance(choice, int | float) and not isinstance(choice, bool) and math.isfinite(choice)
        for choice in distribution.choices
    )


def is_discrete(distribution: BaseDistribution) -> bool:
    """Whether a distribution of numbers has steps."""
    return isinstance(distribution, IntDistribution) or (
        isinstance(distribution, FloatDistribution) and distribution.step is not None
    )


def _range(distribution: Any) -> tuple[float, float]:
    """Return the range that a number is scaled from; whole numbers have half a step around."""
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):
        low, high = low - 0.5 * distribution.step, high + 0.5 * distribution.step
        low = max(low, 0.5) if distribution.log else low
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _unit_range(wide: BaseDistribution, narrow: Any) -> tuple[float, float]:
    """Return the part of a wide range that a narrow one is; of categories, all."""
    if isinstance(wide, CategoricalDistribution):
        return 0.0, float(len(wide.choices) - 1)
    is_listed = isinstance(narrow, CategoricalDistribution)
    ends = (min(narrow.choices), max(narrow.choices)) if is_listed else (narrow.low, narrow.high)
    low, high = np.clip(np.nan_to_num([_to_unit(wide, end) for end in ends], nan=0.5), 0, 1)
    if is_listed:
        return float(low), float(high)
    if isinstance(wide, IntDistribution) and (wide.low, wide.high) == (narrow.low, narrow.high):
        return 0.0, 1.0  # half a step around the ends, for rounding
    return float(low), float(high)


def _to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Scale a value; NaN if it is none of this distribution's (but numbers may be outside)."""
    if isinstance(distribution, CategoricalDistribution):
        try:
            return float(distribution.to_internal_repr(value))
        except ValueError:
            return math.nan
    low, high = _range(distribution)
    try:
        number = math.log(value) if distribution.log else float(value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return math.nan
    return 0.5 if high <= low else (number - low) / (high - low)


def _from_unit(distribution: Any, value: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(value)]
    low, high = _range(distribution)
    number = low + min(1.0, max(0.0, value)) * (high - low)
    return fit_into(distribution, math.exp(number) if distribution.log else number)


def fit_into(distribution: Any, number: float) -> float | int:
    """Return the value of a distribution of numbers that is nearest."""
    number = min(distribution.high, max(distribution.low, number))
    if is_discrete(distribution):
        step = distribution.step
        number = distribution.low + round((number - distribution.low) / step) * step
        number = number - step if number > distribution.high + 1e-9 * step else number
    if isinstance(distribution, IntDistribution):
        return int(number)
    return min(float(distribution.high), float(number))
