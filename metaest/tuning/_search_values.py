"""What a user gives for a parameter, as an Optuna distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metaest.exceptions import InvalidParameterError
from metaest.tuning._search_identity import describe_value

REMEDY = (
    "Give an Optuna distribution, a list of values, or scipy.stats.uniform, loguniform or randint."
)
_PLAIN = (bool, int, float, str, type(None))


def choices_of(name: str, values: Any) -> tuple[CategoricalDistribution, list[Any] | None]:
    """Return the choices and, where Optuna cannot store them, the values that they stand for.

    Such a choice is a label that says what the value is, and no number: a later search over
    numbers, or over other objects, must not take it for one of its own.

    Raises
    ------
    InvalidParameterError
        If the list is empty, or an array has several dimensions.
    """
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InvalidParameterError(
            f"space[{name!r}] must have one dimension, got an array of shape {values.shape}."
        )
    if len(values) == 0:
        raise InvalidParameterError(f"space[{name!r}] is empty; give at least one value.")
    real = values.tolist() if isinstance(values, np.ndarray) else list(values)
    plain = [value.item() if isinstance(value, np.generic) else value for value in real]
    # None, True, 1 and 1.0 are equal or special to Optuna; stored by name they stay apart.
    simple = all(type(value) in _PLAIN for value in plain)
    if simple and len(set(plain)) == len(plain) and all(value == value for value in plain):
        return CategoricalDistribution(plain), None
    return CategoricalDistribution(_labels(plain)), real


def from_scipy(name: str, frozen: Any) -> BaseDistribution:
    """Return the distribution that stands for one of scipy.stats.

    Raises
    ------
    InvalidParameterError
        If there is none.
    """
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
    raise InvalidParameterError(f"space[{name!r}] cannot be searched: {what}. {REMEDY}")


def is_address(text: str) -> bool:
    """Whether a text is of an object that is called by its place in memory."""
    return " at 0x" in text


def _labels(values: Sequence[Any]) -> list[str]:
    """Return different labels; values that nothing tells apart are numbered."""
    labels = [repr(value) for value in values]
    often = Counter(labels)
    for place, value in enumerate(values):
        label = labels[place]
        if is_address(label) or (often[label] > 1 and type(value) not in _PLAIN):
            labels[place] = describe_value(value)
    seen: Counter[str] = Counter()
    for place, label in enumerate(labels):
        seen[label] += 1
        if seen[label] > 1:
            labels[place] = f"{label} ({seen[label]})"
    return labels
