"""X and y as scikit-learn users pass them, as arrays."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from metaest._checks import as_native_numbers, check_no_missing, plain_labels
from metaest._table_codes import TableCodes, has_categories
from metaest.few_shot._checks import as_rows, explain_bad_values


def is_table(X: Any, input_shape: Any) -> bool:
    """Whether the rows of X are those of a table, and no images."""
    if input_shape is not None and len(input_shape) != 1:
        return False
    shape: tuple[int, ...] = (0,)
    with suppress(ValueError):  # rows of different lengths are refused elsewhere
        shape = np.shape(X)
    return len(shape) < 3


def read_support(estimator: Any, X: Any, y: Any, *, tables: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return X as rows (n, *input_shape) and y; let the estimator remember the columns.

    Parameters
    ----------
    estimator : BaseMetaFewShot
    X, y : array-like
    tables : bool
        Whether the learner takes tables with strings and gaps.
    """
    numeric = estimator._kind == "regression"
    for name in ("categories_", "_dates"):  # of an earlier fit
        estimator.__dict__.pop(name, None)
    codes = TableCodes.learn(X) if tables and has_categories(X) else None
    with explain_bad_values(gaps=tables):
        if np.asarray(y).dtype == object and np.ndim(y) == 1:  # scikit-learn fails to sort them
            check_no_missing(np.asarray(y), "y")
            y = y if numeric else plain_labels(np.asarray(y))
        values = X if codes is None else codes.encode(X)
        finite = "allow-nan" if tables else True
        options = {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": finite}
        values, y = validate_data(estimator, values, y, y_numeric=numeric, **options)
        if codes is not None:  # the names of the columns, which the codes do not have
            validate_data(estimator, X, skip_check_array=True)
            estimator.categories_, estimator._dates = codes.categories, codes.dates
            codes.warn_of_numbers(X)
        values = as_native_numbers(values)
    if not numeric:
        _check_labels(y)
    return as_rows(values, estimator.input_shape), y


def read_rows(estimator: Any, X: Any, *, reset: bool = False, tables: bool = False) -> np.ndarray:
    """Return X as rows (n, *input_shape), with the columns of `fit` unless they are to be reset."""
    if not reset:
        check_is_fitted(estimator)
    categories, dates = vars(estimator).get("categories_"), vars(estimator).get("_dates")
    if categories is None and tables and not reset and has_categories(X):
        # Gaps of other kinds than NaN. In fit the table was plain, or it would have categories.
        categories = [None] * estimator.n_features_in_
        dates = [False] * estimator.n_features_in_
    finite = "allow-nan" if tables else True
    options = {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": finite}
    with explain_bad_values(gaps=tables):
        if categories is None:
            X = validate_data(estimator, X, reset=reset, **options)
        else:
            validate_data(estimator, X, reset=reset, skip_check_array=True)
            X = check_array(TableCodes.of(categories, dates).encode(X), **options)
        X = as_native_numbers(X)
    return as_rows(X, estimator.input_shape)


def categorical_columns(estimator: Any) -> np.ndarray | None:
    """Return where a table has categories, shape (n_features,), or None where that is not known."""
    categories = vars(estimator).get("categories_")
    if categories is None:
        return None
    return np.array([c is not None and c.size > 0 for c in categories])


def column_medians(rows: np.ndarray) -> np.ndarray:
    """Return the median of each column, 0 where it has gaps only. Shape (n_features,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of columns of gaps
        medians = np.nanmedian(rows, axis=0) if len(rows) else np.zeros(rows.shape[1:])
    return np.nan_to_num(medians)


def _check_labels(y: np.ndarray) -> None:
    with warnings.catch_warnings():  # a row of each class is what few-shot learning is for
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        check_classification_targets(y)
