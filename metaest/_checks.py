"""Checks of rows, targets and ranges; every message says what came and the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real
from typing import Any, Literal

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target

from metaest._table import is_missing
from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError

Kind = Literal["classification", "regression"]

#: The remedy for tasks, which no pipeline prepares on their way to ``fit_meta``.
PREPARE = (
    "Rows must be numeric and finite: encode strings and impute gaps first, for example with "
    "skrub's TableVectorizer or a ColumnTransformer and SimpleImputer."
)
_ONE_OF_EACH = "Keep one column of each name: X.loc[:, ~X.columns.duplicated()]."
_CLIP = (
    "Clip or drop them, or make them NaN, which learner='in_context' reads; or impute gaps first."
)


def find_kind(y: np.ndarray, kind: str = "auto") -> Kind:
    """Return the kind of task that `kind` names, or that `y` looks like if it is "auto".

    Raises
    ------
    InvalidParameterError
        If `kind` is none of the three.
    """
    if kind == "auto":
        return "regression" if type_of_target(y) == "continuous" else "classification"
    if kind not in ("classification", "regression"):
        raise InvalidParameterError(
            f"kind must be 'auto', 'classification' or 'regression', got {kind!r}."
        )
    return kind  # type: ignore[return-value]


def feature_names_of(X: Any) -> np.ndarray | None:
    columns = getattr(X, "columns", None)
    return None if columns is None else np.asarray(columns, dtype=object)


def check_rows(X: Any, label: str, *, gaps: bool = False) -> np.ndarray:
    """Return X as an array of numbers, with NaN for gaps if they are allowed.

    Raises
    ------
    TaskError
    """
    finite = "allow-nan" if gaps else True
    options = {"allow_nd": True, "ensure_min_samples": 1, "ensure_all_finite": finite}
    try:
        X = check_array(X, dtype="numeric", input_name="X", **options)
        return as_native_numbers(X)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(":.")
        remedy = PREPARE if remedy_for(str(error)) else "Rows must be a numeric table or images."
        if "unique column names" in reason:
            reason, remedy = "two of its columns have the same name", _ONE_OF_EACH
        if gaps and "infinity" in reason:
            remedy = _CLIP
        raise TaskError(f"X of {label} cannot be used: {reason}. {remedy}") from error


def as_native_numbers(X: np.ndarray) -> np.ndarray:
    """Return X as numbers that torch takes too: of this machine's byte order, 64 bits at most.

    Raises
    ------
    ValueError
        If strings are left, such as those of a pandas category, which scikit-learn lets pass.
    """
    plain = X.dtype.kind in "biuf" and X.dtype.isnative and X.dtype.itemsize <= 8
    return X if plain else X.astype(np.float64)


def remedy_for(message: str, *, gaps: bool = False) -> str:
    """Return what to do about an error of scikit-learn's or numpy's checks, or "".

    Parameters
    ----------
    message : str
    gaps : bool, default=False
        Whether missing values can be read.
    """
    if "Input y" in message:
        return "Drop the rows whose target is missing or infinite."
    if "infinity" in message and gaps:
        return "Clip or drop those values, or replace them by NaN, which this learner reads."
    if "infinity" in message:
        return "Clip or drop those values, or replace them by NaN and put an imputer first."
    if "NaN" in message or "NAType" in message:
        return "Put an imputer first: make_pipeline(SimpleImputer(), estimator)."
    if "could not convert string" in message and gaps:
        return "Pass a DataFrame, of pandas or polars: this learner reads text and categories."
    if "could not convert string" in message or "bytes/strings" in message:
        return (
            "Encode strings and categories first, in a pipeline: for example "
            "make_column_transformer((OneHotEncoder(), columns), remainder='passthrough')."
        )
    if "unique column names" in message:
        return _ONE_OF_EACH
    if "DateTime64" in message:
        return "Turn dates into numbers first, for example with skrub's TableVectorizer."
    return ""


def check_targets(y: Any, n_rows: int, label: str) -> np.ndarray:
    try:
        y = column_or_1d(_as_given(y))
    except ValueError as error:
        raise TaskError(f"y of {label} must be one-dimensional: {error}") from error
    if len(y) != n_rows:
        raise TaskError(f"X and y of {label} differ in length: {n_rows} rows, {len(y)} targets.")
    y = check_no_missing(y, f"y of {label}")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise TaskError(f"y of {label} has infinite values; drop or clip those rows.")
    return y


def check_groups(groups: Any, n_rows: int) -> np.ndarray:
    """Return the groups as an array of shape (n_rows,).

    Raises
    ------
    TaskError
        If they are not one-dimensional, not one per row, or some are missing.
    """
    shape = np.shape(groups)
    if len(shape) != 1 and shape[1:] != (1,):
        raise TaskError(f"groups must be one-dimensional, one entry per row; got shape {shape}.")
    groups = column_or_1d(_as_given(groups))
    if len(groups) != n_rows:
        raise TaskError(
            f"groups must have one entry per row: expected {n_rows}, got {len(groups)}."
        )
    return check_no_missing(groups, "groups")


def _as_given(values: Any) -> Any:
    """Return a list with text as objects, or numpy makes text of gaps and numbers, too."""
    if isinstance(values, (list, tuple)) and np.asarray(values).dtype.kind == "U":
        return np.asarray(values, dtype=object)
    return values


def plain_labels(y: Any) -> Any:
    """Return labels that came as objects by their own type, if they share one; else as they are."""
    values = np.asarray(y)
    if values.dtype != object or values.ndim != 1:
        return y
    simple = (bool, int, float, np.generic)
    kinds = {np.dtype(type(v)).kind if isinstance(v, simple) else "O" for v in values}
    return np.array(values.tolist()) if kinds in ({"b"}, {"i"}, {"u"}, {"f"}) else y


def check_no_missing(values: np.ndarray, label: str) -> np.ndarray:
    """Check labels, groups or targets for missing values and for types that do not sort."""
    if values.dtype != object:
        missing = values != values  # only NaN and NaT differ from themselves
    else:
        missing = np.array([is_missing(value) for value in values], dtype=bool)
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
    except (TypeError, ValueError) as error:  # ValueError: of arrays
        types = sorted({type(value).__name__ for value in values})
        what = "has values of the type" if len(types) == 1 else "mixes values of the types"
        raise TaskError(
            f"{label} {what} {', '.join(types)}, which cannot be sorted; make them numbers or "
            "text, for example with astype(str)."
        ) from error
    return values


def check_numeric_targets(y: np.ndarray, label: str) -> np.ndarray:
    try:
        y = np.asarray(y, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(
            f"y of {label} must be numeric for regression: {error}. To predict labels use "
            "MetaFewShotClassifier."
        ) from error
    if not np.isfinite(y).all():
        raise TaskError(f"y of {label} has infinite values; drop or clip those rows.")
    return y


def check_episodes(
    episodes: Iterable[Any], n_rows: int, *, to_predict: bool = False
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the row positions (support, query) of each episode, as arrays of int.

    Parameters
    ----------
    episodes : iterable of (support, query)
        Positions, or masks of shape (n_rows,).
    n_rows : int
        Of the table.
    to_predict : bool, default=False
        Whether there must be query rows.

    Raises
    ------
    EpisodeError
        If an episode is no such pair, names rows that are not there, or has no support rows (no
        query rows, where these are to be predicted).
    """
    checked = []
    for number, episode in enumerate(episodes):
        try:
            support, query = (_positions(part, n_rows) for part in episode)
        except (TypeError, ValueError, IndexError) as error:
            raise EpisodeError(
                f"episode {number} must be a pair (support, query) of row positions in a table of "
                f"{n_rows} rows, as EpisodicSplit yields them: {error}."
            ) from error
        if len(support) == 0:
            raise EpisodeError(f"episode {number} has no support rows to learn from.")
        if to_predict and len(query) == 0:
            raise EpisodeError(f"episode {number} has no query rows to predict. Leave it out.")
        checked.append((support, query))
    return checked


def _positions(rows: Any, n_rows: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.ndim != 1:
        raise ValueError(f"got positions of shape {rows.shape}")
    return np.arange(n_rows)[rows if rows.size else rows.astype(int)]


def is_int(value: Any) -> bool:
    """Whether a value is a whole number of Python's or numpy's, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a real number of Python's or numpy's, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_int(value: Any, name: str, *, low: int = 1) -> int:
    """Return an int.

    Raises
    ------
    InvalidParameterError
        If `value` is not an int, or is below `low`.
    """
    if not is_int(value) or value < low:
        raise InvalidParameterError(f"{name} must be an int >= {low}, got {value!r}.")
    return int(value)


def check_int_range(value: Any, name: str, low: int = 1) -> tuple[int, int]:
    """Return ``(low, high)`` of an int or a pair of ints.

    Raises
    ------
    InvalidParameterError
        If `value` is neither, is below `low` or is not ascending.
    """
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(map(is_int, pair)) or not low <= pair[0] <= pair[1]:
        raise InvalidParameterError(
            f"{name} must be an int >= {low} or an ascending pair of them, got {value!r}."
        )
    return int(pair[0]), int(pair[1])
