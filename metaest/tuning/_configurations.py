"""Configurations as rows of numbers, and back."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from metaest.tuning._conditions import Condition, learn_conditions
from metaest.tuning._scaling import (
    fit_into,
    from_unit,
    is_discrete,
    n_choices,
    to_unit,
    unit_range,
)

Space = Mapping[str, BaseDistribution]

#: Numbers on [0, 1] that are nearer are the same.
SAME = 1e-9


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
            [unit_range(own, narrow[name]) for name, own in space.items()]
        ).reshape(-1, 2)
        self._listed = {
            column: np.array([to_unit(space[name], choice) for choice in own.choices])
            for column, (name, own) in enumerate(narrow.items())
            if isinstance(own, CategoricalDistribution) and not self._sizes[column]
        }
        self._narrow = narrow
        self._grids = {
            name: own
            for size, (name, own) in zip(self._sizes, narrow.items(), strict=True)
            if not size and is_discrete(own)
        }
        self._fixed: dict[int, float] = {}

    def narrowed(self, limits: Space, absent: Collection[str] = ()) -> Configurations:
        """Return the same space, whose new configurations keep to narrower ranges."""
        return Configurations(self.space, self.conditions, limits, absent)

    def fixed_at(self, values: Mapping[str, Any]) -> Configurations:
        """Return the same space, whose new configurations have these values.

        Also those outside of a narrower range. What is unknown, or no value of the space, is left
        out.
        """
        fixed = copy.copy(self)
        known = self.read([values])
        columns = np.flatnonzero(known.active[0] & np.isfinite(known.values[0]))
        fixed._fixed = {int(column): float(known.values[0, column]) for column in columns}
        return fixed

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
                    values[row, column] = to_unit(distribution, own[name])
        active = ~np.isnan(values)
        return Rows(np.where(active, values, self._defaults()), active)

    def write(self, rows: Rows, number: int) -> dict[str, Any]:
        """Return the parameters of a row: all of them, also the inactive ones."""
        params = {
            name: self._value(name, rows.values[number, column])
            for column, name in enumerate(self.names)
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

    def moves(self, rows: Rows) -> np.ndarray:
        """Whether the nearest new configuration has other values: bool, shape (n,)."""
        distances = np.abs(self.bring_inside(rows).values - rows.values) * rows.active
        return (distances > SAME).any(1)

    @property
    def limits(self) -> str:
        """What new configurations keep to, as text."""
        return repr((self._narrow, sorted(self._fixed.items())))

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
        for column, (name, distribution) in enumerate(self.space.items()):
            if is_discrete(distribution) or name in self._grids:
                own = [to_unit(distribution, self._value(name, v)) for v in values[:, column]]
                values[:, column] = own
        for column, listed in self._listed.items():
            nearest = np.abs(values[:, column, None] - listed).argmin(1)
            values[:, column] = listed[nearest]
        for column, value in self._fixed.items():
            values[:, column] = value
        return self.activate(values)

    def _value(self, name: str, number: float) -> Any:
        """Return the value that a number stands for, one that the limits hold."""
        value, limits = from_unit(self.space[name], number), self._narrow[name]
        return value if isinstance(limits, CategoricalDistribution) else fit_into(limits, value)

    def _defaults(self) -> np.ndarray:
        return np.array([0.0 if size else 0.5 for size in self._sizes])
