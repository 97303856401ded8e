"""The labels of a picture's rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaest._checks import check_targets, find_kind
from metaest.exceptions import TaskError


def check_labels(
    X_support: Any, y_support: Any, X_query: Any, y_query: Any
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the classes of the support rows and, where they are known, of the query rows.

    Raises
    ------
    TaskError
        If there are no query rows, or the labels cannot be used, are numbers to predict, or are
        text here and numbers there.
    """
    if not np.shape(X_query)[0]:
        raise TaskError("X_query has no rows. Pass at least one row to place in the picture.")
    labels = _classes(y_support, X_support, "the support set")
    if y_query is None:
        return labels, None
    truth = _classes(y_query, X_query, "the query set")
    if _is_text(truth) != _is_text(labels):
        raise TaskError(
            f"y_support and y_query name the classes in two ways: {labels.tolist()[0]!r} and "
            f"{truth.tolist()[0]!r}. Give both as text, or both as numbers."
        )
    return labels, truth


def _classes(y: Any, X: Any, label: str) -> np.ndarray:
    """Return the classes of some rows as an array."""
    y = check_targets(y, np.shape(X)[0], label)
    if find_kind(y) == "regression":
        raise TaskError(
            f"y of {label} holds numbers to predict, not classes, of which EmbeddingDisplay draws "
            "the prototypes. Pass labels, such as bins of y (KBinsDiscretizer)."
        )
    return y


def _is_text(y: np.ndarray) -> bool:
    return isinstance(y.tolist()[0], str)
