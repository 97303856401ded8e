"""Values of a distribution as numbers on [0, 1], and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


def n_choices(distribution: BaseDistribution) -> int:
    """Return the number of categories, 0 for numbers."""
    return len(distribution.choices) if isinstance(distribution, CategoricalDistribution) else 0


def is_list_of_numbers(distribution: BaseDistribution) -> bool:
    """Whether all choices are finite numbers."""
    return isinstance(distribution, CategoricalDistribution) and all(
        isinstance(choice, int | float) and not isinstance(choice, bool) and math.isfinite(choice)
        for choice in distribution.choices
    )


def are_reordered(a: BaseDistribution, b: BaseDistribution) -> bool:
    """Whether both have the same choices, in any order; 1, 1.0 and True are different ones."""
    if not isinstance(a, CategoricalDistribution) or not isinstance(b, CategoricalDistribution):
        return False
    return sorted(map(repr, a.choices)) == sorted(map(repr, b.choices))


def has_fewer_choices(a: BaseDistribution, b: BaseDistribution) -> bool:
    """Whether `a` has some of the choices of `b` and no others."""
    if not isinstance(a, CategoricalDistribution) or not isinstance(b, CategoricalDistribution):
        return False
    return {*map(repr, a.choices)} < {*map(repr, b.choices)}


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


def unit_range(wide: BaseDistribution, narrow: Any) -> tuple[float, float]:
    """Return the part of a wide range that a narrow one is; of categories, all."""
    if isinstance(wide, CategoricalDistribution):
        return 0.0, float(len(wide.choices) - 1)
    is_listed = isinstance(narrow, CategoricalDistribution)
    ends = (min(narrow.choices), max(narrow.choices)) if is_listed else (narrow.low, narrow.high)
    low, high = np.clip(np.nan_to_num([to_unit(wide, end) for end in ends], nan=0.5), 0, 1)
    if is_listed:
        return float(low), float(high)
    if isinstance(wide, IntDistribution) and (wide.low, wide.high) == (narrow.low, narrow.high):
        return 0.0, 1.0  # half a step around the ends, for rounding
    return float(low), float(high)


def to_unit(distribution: BaseDistribution, value: Any) -> float:
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


def from_unit(distribution: Any, value: float) -> Any:
    """Return the value that a number on [0, 1] stands for."""
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
