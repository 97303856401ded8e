"""A data set in a few numbers: what a search keeps of it."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from importlib import resources
from typing import Any

from metaest.exceptions import InvalidParameterError
from metaest.meta_features._encoder import DatasetEncoder
from metaest.meta_features._transformer import MetaFeatures

#: Begins the names of the learned coordinates.
LEARNED = "encoder@"


def describe_data(X: Any, y: Any, meta_features: Any) -> dict[str, float] | None:
    """Return given meta-features, checked, or those of a data set, or None.

    Of a data set: those of :class:`~metaest.meta_features.MetaFeatures` and the coordinates of
    the :class:`~metaest.meta_features.DatasetEncoder` that comes with metaest. Coordinates of
    different encoders cannot be compared, so the encoder is part of their names.

    Raises
    ------
    InvalidParameterError
        If one of X and y is missing, or meta-features are no finite numbers.
    TaskError
        If X and y cannot be used.
    """
    if (X is None) != (y is None):
        raise InvalidParameterError("X and y must be given both, or neither.")
    if X is None or meta_features is not None:
        return _check(meta_features)
    model = MetaFeatures(scale=False)
    values = model.transform([(X, y)])[0].tolist()
    simple = dict(zip(model.get_feature_names_out(), values, strict=True))
    coordinates = DatasetEncoder.pretrained().transform([(X, y)])[0].tolist()
    prefix = LEARNED + _encoder_version()
    return simple | {f"{prefix}_{i}": value for i, value in enumerate(coordinates)}


@lru_cache(maxsize=1)
def _encoder_version() -> str:
    data = resources.files("metaest.meta_features").joinpath("data", "encoder.safetensors")
    return hashlib.sha256(data.read_bytes()).hexdigest()[:8]


def _check(values: Any) -> dict[str, float] | None:
    if values is None:
        return None
    try:
        checked = {str(name): float(value) for name, value in values.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InvalidParameterError(
            "meta_features must be a dict (or Series) of name to number, for example "
            "dict(zip(model.get_feature_names_out(), model.transform([(X, y)])[0])); got "
            f"{type(values).__name__}."
        ) from error
    wrong = [name for name, value in checked.items() if not math.isfinite(value)]
    if wrong:
        raise InvalidParameterError(
            f"meta_features must be finite; {wrong[0]!r} is {checked[wrong[0]]}."
        )
    return checked
