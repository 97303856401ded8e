"""One task."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np

from metaest._checks import (
    Kind,
    check_numeric_targets,
    check_rows,
    check_targets,
    feature_names_of,
    find_kind,
)
from metaest.exceptions import TaskError


class Task:
    """One small data set.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_features) or (n_rows, channels, height, width)
        Numeric and finite.
    y : array-like of shape (n_rows,)
        Labels (any sortable type) or target values.
    kind : {"auto", "classification", "regression"}, default="auto"
        "auto" asks :func:`sklearn.utils.multiclass.type_of_target`.
    name : str, default=""
        Used in messages and result tables.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels (classification only).
    codes : ndarray of int, shape (n_rows,)
        Index of each row's label in `classes` (classification only).

    Raises
    ------
    TaskError
        If the task is empty, not finite, has one class, or X and y differ in length.
    InvalidParameterError
        If `kind` is none of the three.

    Examples
    --------
    >>> task = Task([[0.0], [1.0], [2.0]], ["a", "b", "a"])
    >>> task
    Task(3 rows, input_shape=(1,), 2 classes)
    """

    def __init__(
        self, X: Any, y: Any, *, kind: Literal["auto"] | Kind = "auto", name: str = ""
    ) -> None:
        label = f"task {name!r}" if name else "the task"
        self.name = name
        self.feature_names = feature_names_of(X)
        self.X = check_rows(X, label)
        self.y = check_targets(y, len(self.X), label)
        self.kind: Kind = find_kind(self.y, kind)
        if self.kind == "regression":
            self.y = check_numeric_targets(self.y, label)
        elif kind == "classification" and find_kind(self.y) == "regression":
            raise TaskError(
                f"y of {label} has real numbers, no labels. For regression use "
                "MetaFewShotRegressor; to classify, cut the numbers into classes first "
                "(KBinsDiscretizer)."
            )
        elif len(self.classes) < 2:
            raise TaskError(
                f"{label} has one class ({self.classes.tolist()[0]!r}); classification needs at "
                "least 2. Drop the task, or pool its rows with those of other classes "
                "(TaskSet.from_pool)."
            )

    @cached_property
    def classes(self) -> np.ndarray:
        return np.unique(self.y)

    @cached_property
    def codes(self) -> np.ndarray:
        return np.searchsorted(self.classes, self.y)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return tuple(self.X.shape[1:])

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.kind == "classification" else ""
        return f"Task({len(self)} rows, input_shape={self.input_shape}{classes})"

    def _select(self, rows: np.ndarray) -> Task:
        """Return the task of some rows."""
        part = Task(self.X[rows], self.y[rows], kind=self.kind, name=self.name)
        part.feature_names = self.feature_names
        return part
