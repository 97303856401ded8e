"""Checks of rows, targets and ranges; every message says what came and the remedy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target

from metaest.exceptions import InvalidParameterError, TaskError

Kind = Literal["classification", "regression"]


def kind_of(y: np.ndarray) -> Kind:
    return "regression" if type_of_target(y).startswith("continuous") else "classification"


def feature_names_of(X: Any) -> np.ndarray | None:
    columns = getattr(X, "columns", None)
    return None if columns is None else np.asarray(columns, dtype=object)


def check_rows(X: Any, label: str) -> np.ndarray:
    try:
        return check_array(X, dtype="numeric", allow_nd=True, ensure_min_samples=1, input_name="X")
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise TaskError(
            f"X of {label} cannot be used: {reason} "
            "Rows must be numeric and finite: encode strings and impute gaps first, for example "
            "with skrub's TableVectorizer or a ColumnTransformer and SimpleImputer."
        ) from error


def check_targets(y: Any, n_rows: int, label: str) -> np.ndarray:
    try:
        if isinstance(y, (list, tuple)) and np.asarray(y).dtype.kind == "U":
            y = np.asarray(y, dtype=object)  # or numpy makes text of gaps and numbers, too
        y = column_or_1d(y)
    except ValueError as error:
        raise TaskError(f"y of {label} must be one-dimensional: {error}") from error
    if len(y) != n_rows:
        raise TaskError(f"X and y of {label} differ in length: {n_rows} rows, {len(y)} targets.")
    return check_no_missing(y, f"y of {label}")


def check_no_missing(values: np.ndarray, label: str) -> np.ndarray:
    """Check labels, groups or targets for missing values and for types that do not sort."""
    if values.dtype != object:
        missing = values != values  # only NaN and NaT differ from themselves
    else:  # pandas' NA differs from nothing
        missing = np.array([v is None or type(v).__name__ == "NAType" or v != v for v in values])
    if missing.any():
        raise TaskError(
            f"{label} has {missing.sum()} missing values (first at row "
            f"{int(missing.argmax())}); drop those rows."
        )
    if values.dtype != object:
        return values
    if all(isinstance(value, str) for value in values):
        return values.astype(str)
    try:
        np.unique(values)
    except TypeError as error:
        types = sorted({type(value).__name__ for value in values})
        raise TaskError(
            f"{label} mixes values of the types {', '.join(types)}, which cannot be sorted; make "
            "them one type, for example with astype(str)."
        ) from error
    return values


def check_numeric_targets(y: np.ndarray, label: str) -> np.ndarray:
    try:
        y = np.asarray(y, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(f"y of {label} must be numeric for regression: {error}") from error
    if not np.isfinite(y).all():
        raise TaskError(f"y of {label} has infinite values; drop or clip those rows.")
    return y


def check_int_range(value: Any, name: str, low: int = 1) -> tuple[int, int]:
    """Return ``(low, high)`` of an int or a pair of ints.

    Raises
    ------
    InvalidParameterError
        If `value` is neither, is below `low` or is not ascending.
    """
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    is_int = [isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in pair]
    if len(pair) != 2 or not all(is_int) or not low <= pair[0] <= pair[1]:
        raise InvalidParameterError(
            f"{name} must be an int >= {low} or an ascending pair of them, got {value!r}."
        )
    return int(pair[0]), int(pair[1])
