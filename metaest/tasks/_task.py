"""One task."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from metaest._checks import (
    Kind,
    check_numeric_targets,
    check_targets,
    feature_names_of,
    find_kind,
)
from metaest._table_codes import read_table
from metaest.exceptions import InvalidParameterError, TaskError
from metaest.tasks._descriptions import check_descriptions

#: ``augment(x, generator) -> x``: random changes to rows ``x`` of shape (n, ...).
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


def change_rows(augment: Augment, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return rows x of shape (n, ...) as `augment` changes them, in their own precision.

    Raises
    ------
    InvalidParameterError
        If it returns anything but a tensor of their shape.
    """
    changed: Any = augment(x, generator)
    if not isinstance(changed, torch.Tensor) or changed.shape != x.shape:
        shape = tuple(getattr(changed, "shape", ()))
        raise InvalidParameterError(
            f"augment must return a torch.Tensor of the shape of its rows, {tuple(x.shape)}; got "
            f"{type(changed).__name__} of shape {shape}."
        )
    return changed.to(x.dtype)


class Task:
    """One small data set.

    Parameters
    ----------
    X : array-like or DataFrame of shape (n_rows, n_features) or (n_rows, channels, height, width)
        Numbers, and for learners that read them text, categories, dates and gaps.
    y : array-like of shape (n_rows,)
        Labels (any sortable type) or target values.
    kind : {"auto", "classification", "regression"}, default="auto"
        "auto" asks :func:`sklearn.utils.multiclass.type_of_target`.
    name : str, default=""
        Used in messages and result tables.
    class_descriptions : mapping or array-like of shape (n_classes, e), default=None
        A vector for each label (a mapping may have more labels), or an array in the order of the
        sorted labels: attributes of the classes, or their names in numbers. Learners that use
        them can learn a class without examples.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The sorted labels (classification only).
    codes : ndarray of int, shape (n_rows,)
        Index of each row's label in `classes` (classification only).
    X : ndarray of shape (n_rows, ...)
        Numbers; codes for categories, NaN for gaps.
    categories : list of (ndarray of str or None), or None
        Of each column: its categories, in the order of their codes. None: only numbers.
    class_descriptions : ndarray of shape (n_classes, e), or None
        In the order of `classes`.

    Raises
    ------
    TaskError
        If the task is empty, has infinite values or one class, or X and y differ in length; or if
        descriptions are missing, not finite or of several lengths.
    InvalidParameterError
        If `kind` is none of the three.

    Examples
    --------
    >>> task = Task([[0.0], [1.0], [2.0]], ["a", "b", "a"])
    >>> task
    Task(3 rows, input_shape=(1,), 2 classes)
    """

    #: Of each class, the number of the one that it is a changed copy of; None: there are no copies.
    _originals: np.ndarray | None = None

    #: A table that several tasks take their rows from, and each row's number there; None: its own.
    _table: str | None = None
    _row_numbers: np.ndarray | None = None

    #: What of ``TaskSet.from_unlabeled`` tells how many rows a class has.
    _size_parameter: str | None = None

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        kind: Literal["auto"] | Kind = "auto",
        name: str = "",
        class_descriptions: Any = None,
    ) -> None:
        self.name = name
        label = self.label
        self.feature_names = feature_names_of(X)
        self.X, self.categories = read_table(X, label)
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
        self.class_descriptions: np.ndarray | None = None
        if class_descriptions is not None:
            self.class_descriptions = self._check_descriptions(class_descriptions, label)

    @property
    def label(self) -> str:
        """What messages call the task."""
        return f"task {self.name!r}" if self.name else "the task"

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

    @property
    def description_size(self) -> int | None:
        """Length of a class description, or None where there are none."""
        return None if self.class_descriptions is None else self.class_descriptions.shape[1]

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        classes = f", {len(self.classes)} classes" if self.kind == "classification" else ""
        return f"Task({len(self)} rows, input_shape={self.input_shape}{classes})"

    def _select(self, rows: np.ndarray) -> Task:
        """Return the task of some rows."""
        part = Task(self.X[rows], self.y[rows], kind=self.kind, name=self.name)
        part.feature_names, part.categories = self.feature_names, self.categories
        kept = np.unique(self.codes[rows])
        if self.class_descriptions is not None:
            part.class_descriptions = self.class_descriptions[kept]
        if self._originals is not None:
            part._originals = self._originals[kept]
        if self._row_numbers is not None:
            part._table, part._row_numbers = self._table, self._row_numbers[rows]
        part._size_parameter = self._size_parameter
        return part

    def _split_classes(self, held_out: float, rng: np.random.Generator) -> tuple[Task, Task] | None:
        """Hold out a share of the classes, copies with their originals; None: they are too few."""
        if self.kind != "classification":
            return None
        n_classes = len(self.classes)
        families = np.arange(n_classes) if self._originals is None else self._originals
        names, sizes = np.unique(families, return_counts=True)
        least = 2 if sizes.min() == 1 else 1  # families that give two classes
        cut = max(least, round(held_out * len(names)))
        if len(names) - cut < least:
            return None
        is_out = np.isin(families[self.codes], rng.permutation(names)[:cut])
        return self._select(np.flatnonzero(~is_out)), self._select(np.flatnonzero(is_out))

    def _check_descriptions(self, class_descriptions: Any, label: str) -> np.ndarray:
        if self.kind == "regression":
            raise TaskError(f"{label} is a regression, which has no classes to describe.")
        return check_descriptions(class_descriptions, self.classes, label)
