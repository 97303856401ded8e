"""Task sets of rows with labels or targets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

import numpy as np

from metaest._checks import Kind, check_groups, check_targets, feature_names_of, find_kind
from metaest._table_codes import read_table
from metaest.exceptions import TaskError
from metaest.tasks._descriptions import name_descriptions
from metaest.tasks._task import Augment, Task


class LabeledMixin:
    """The ways to make a task set of rows with labels or targets."""

    @classmethod
    def from_pool(
        cls,
        X: Any,
        y: Any,
        *,
        kind: Literal["auto"] | Kind = "auto",
        augment: Augment | None = None,
        class_descriptions: Any = None,
    ) -> Self:
        """Make a set from one pool of many classes (or one regression data set).

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
        kind : {"auto", "classification", "regression"}, default="auto"
        augment : callable, default=None
        class_descriptions : mapping or array-like of shape (n_classes, e), default=None
            These three as in :class:`Task` and :class:`TaskSet`.

        Returns
        -------
        TaskSet
            Of one task.

        Raises
        ------
        InvalidParameterError
            If `kind` or `augment` is not allowed.
        TaskError
            If the rows, labels or descriptions cannot be used.
        """
        task = Task(X, y, kind=kind, name="pool", class_descriptions=class_descriptions)
        return cls([task], augment=augment)  # type: ignore[call-arg]

    @classmethod
    def from_groups(
        cls,
        X: Any,
        y: Any,
        groups: Any,
        *,
        kind: Literal["auto"] | Kind = "auto",
        augment: Augment | None = None,
        class_descriptions: Any = None,
    ) -> Self:
        """Make one task of each group of rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
        y, groups : array-like of shape (n_rows,)
        kind, augment, class_descriptions
            As in :meth:`from_pool`.

        Returns
        -------
        TaskSet
            In the order of the sorted groups, which name the tasks.

        Raises
        ------
        InvalidParameterError
            If `kind` or `augment` is not allowed.
        TaskError
            If the rows, labels, groups or descriptions cannot be used, such as a group of one
            class.
        """
        names = feature_names_of(X)
        X, categories = read_table(X, "the table")
        y = check_targets(y, len(X), "the table")
        groups = check_groups(groups, len(X))
        resolved = find_kind(y, kind)
        class_descriptions = name_descriptions(class_descriptions, y, "the table")
        found, codes = np.unique(groups, return_inverse=True)
        ends = np.cumsum(np.bincount(codes))[:-1]
        of_group = np.split(np.argsort(codes, kind="stable"), ends)
        tasks = []
        for group, rows in zip(found, of_group, strict=True):
            own = {"name": str(group), "class_descriptions": class_descriptions}
            tasks.append(Task(X[rows], y[rows], kind=resolved, **own))
            tasks[-1].feature_names, tasks[-1].categories = names, categories
        return cls(tasks, augment=augment)  # type: ignore[call-arg]

    @classmethod
    def from_datasets(
        cls,
        datasets: Iterable[Any],
        *,
        kind: Literal["auto"] | Kind = "auto",
        augment: Augment | None = None,
        class_descriptions: Any = None,
    ) -> Self:
        """Make one task of each ``(X, y)`` pair.

        Parameters
        ----------
        datasets : iterable of (X, y) or Task
        kind, augment, class_descriptions
            As in :meth:`from_pool`. A Task keeps its own kind and descriptions.

        Returns
        -------
        TaskSet
            In the order of the data sets.

        Raises
        ------
        InvalidParameterError
            If `kind` or `augment` is not allowed.
        TaskError
            If there are no data sets, one is no such pair, or one cannot be used.
        """
        tasks: list[Task] = []
        for number, dataset in enumerate(datasets):
            if isinstance(dataset, Task):
                tasks.append(dataset)
                continue
            if not isinstance(dataset, (tuple, list)) or len(dataset) != 2:
                what = type(dataset).__name__
                if isinstance(dataset, (tuple, list)):
                    what = f"a {what} of {len(dataset)}"
                raise TaskError(
                    f"task {number} must be a pair (X, y), got {what}. "
                    "For one pool of classes call fit_meta(X, y) or TaskSet.from_pool(X, y)."
                )
            own = {"name": str(number), "class_descriptions": class_descriptions}
            tasks.append(Task(*dataset, kind=kind, **own))
        return cls(tasks, augment=augment)  # type: ignore[call-arg]
