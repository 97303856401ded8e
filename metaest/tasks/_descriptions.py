"""Descriptions of classes: a vector for each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from metaest._checks import check_no_missing
from metaest.exceptions import TaskError


def check_descriptions(descriptions: Any, classes: np.ndarray, label: str) -> np.ndarray:
    """Return the descriptions of `classes`, in their order.

    Parameters
    ----------
    descriptions : mapping of label to array-like of shape (e,), or array-like (n_classes, e)
        An array is in the order of the sorted classes. A mapping may have labels besides; a
        DataFrame is one of its index to its rows.
    classes : ndarray of shape (n_classes,)
        Sorted.
    label : str
        Names the task in messages.

    Returns
    -------
    ndarray of float64, shape (n_classes, e)

    Raises
    ------
    TaskError
        If a class has none, or they are not numeric, finite vectors of one length.
    """
    is_frame = descriptions is not by_index(descriptions, label)
    descriptions = vectors = by_index(descriptions, label)
    if isinstance(descriptions, Mapping):
        missing = [c for c in classes.tolist() if c not in descriptions]
        if missing:
            remedy = "Add a vector for each, or drop the rows of these classes."
            if is_frame:
                remedy += " The labels are the frame's index (set_index)."
            raise TaskError(
                f"class_descriptions of {label} lack {len(missing)} of its classes: "
                f"{missing[:5]}. {remedy}"
            )
        vectors = [np.asarray(descriptions[c]) for c in classes.tolist()]
        shapes = sorted({v.shape for v in vectors})
        if len(shapes) > 1 or len(shapes[0]) != 1:
            raise TaskError(
                f"class_descriptions of {label} must be vectors of one length, got shapes "
                f"{shapes}. Make them with one vectoriser."
            )
    try:
        table = np.asarray(vectors, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise TaskError(f"class_descriptions of {label} must be numeric: {error}.") from error
    if table.ndim != 2 or len(table) != len(classes) or table.shape[1] == 0:
        raise TaskError(
            f"class_descriptions of {label} must map each label to a vector, or be an array of "
            f"shape ({len(classes)}, length) in the order of the sorted classes; got shape "
            f"{table.shape}."
        )
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        raise TaskError(
            f"the description of class {classes[bad.argmax()]!s} of {label} has missing or "
            "infinite values. Fill them in, or drop the class."
        )
    return table


def name_descriptions(descriptions: Any, y: np.ndarray, label: str) -> Mapping[Any, Any] | None:
    """Return descriptions by label; an array is in the order of the sorted labels of `y`."""
    descriptions = by_index(descriptions, label)
    if descriptions is None or isinstance(descriptions, Mapping):
        return descriptions
    classes = np.unique(y)
    table = check_descriptions(descriptions, classes, label)
    return dict(zip(classes.tolist(), table, strict=True))


def by_index(descriptions: Any, label: str) -> Any:
    """Return a pandas DataFrame as a mapping of its index to its rows, all else as it is.

    Raises
    ------
    TaskError
        If a label occurs twice.
    """
    if not (hasattr(descriptions, "index") and hasattr(descriptions, "to_numpy")):
        return descriptions
    labels = descriptions.index.tolist()
    if len(set(labels)) < len(labels):
        twice = next(name for name in labels if labels.count(name) > 1)
        raise TaskError(
            f"class_descriptions of {label} have {twice!r} twice in their index. Keep one row for "
            "each label."
        )
    return dict(zip(labels, descriptions.to_numpy(), strict=True))


def described_classes(descriptions: Any) -> np.ndarray:
    """Return the sorted labels that a mapping describes.

    Raises
    ------
    TaskError
        If it is no mapping, or its labels cannot be sorted.
    """
    descriptions = by_index(descriptions, "the task")
    if not isinstance(descriptions, Mapping):
        raise TaskError(
            "class_descriptions must be a mapping of label to vector, got "
            f"{type(descriptions).__name__}. For an array in the order of classes pass "
            "dict(zip(classes, array))."
        )
    labels = np.empty(len(descriptions), dtype=object)
    labels[:] = list(descriptions)
    labels = check_no_missing(labels, "class_descriptions")
    return np.unique(labels.tolist() if labels.dtype == object else labels)
