"""Sets of tasks to meta-train on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np

from metaest._checks import Kind, check_int, is_real
from metaest.exceptions import InvalidParameterError, TaskError
from metaest.tasks._labeled import LabeledMixin
from metaest.tasks._shared_rows import divide_tables
from metaest.tasks._task import Augment, Task
from metaest.tasks._unlabeled import UnlabeledMixin


class TaskSet(LabeledMixin, UnlabeledMixin, Sequence[Task]):
    """Tasks to meta-train on.

    Build one with :meth:`from_pool`, :meth:`from_groups`, :meth:`from_datasets` or
    :meth:`from_unlabeled`. A *pool* is one task of many classes: each episode draws some of them.

    Parameters
    ----------
    tasks : iterable of Task
        All of one kind.
    augment : callable, default=None
        ``augment(x, generator) -> x`` changes float rows ``x`` of shape (n, ...) of an episode at
        random while meta-training; ``generator`` is a :class:`torch.Generator`.

    Raises
    ------
    InvalidParameterError
        If `augment` is no function.
    TaskError
        If there are no tasks, or they mix classification and regression, or differ in the length
        of their class descriptions.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> TaskSet.from_groups(X, [0, 1, 0, 1, 0, 1], groups=[1, 1, 1, 2, 2, 2])
    TaskSet(2 tasks, classification, input_shape=(2,))
    """

    def __init__(self, tasks: Iterable[Task], *, augment: Augment | None = None) -> None:
        self._tasks = list(tasks)
        self.augment = augment
        if augment is not None and not callable(augment):
            raise InvalidParameterError(
                f"augment must be a function augment(x, generator) -> x, got {augment!r}."
            )
        if not self._tasks:
            raise TaskError("the task set is empty; pass at least one task.")
        for task in self._tasks:
            if not isinstance(task, Task):
                raise TaskError(
                    f"a TaskSet holds Task objects, got {type(task).__name__}. "
                    "For (X, y) pairs use TaskSet.from_datasets."
                )
        kinds = {task.kind for task in self._tasks}
        if len(kinds) > 1:
            raise TaskError(
                "the tasks mix classification and regression; pass kind= to say which is meant, "
                "or make one TaskSet of each."
            )
        sizes = {task.description_size for task in self._tasks}
        if len(sizes) > 1:
            raise TaskError(
                "class_descriptions must be of one length in all tasks, and in all tasks or none; "
                f"got lengths {sorted(sizes, key=str)}."
            )

    @property
    def kind(self) -> Kind:
        """Either "classification" or "regression"."""
        return self._tasks[0].kind

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of one row, or None where the tasks differ."""
        shapes = {task.input_shape for task in self._tasks}
        return shapes.pop() if len(shapes) == 1 else None

    @property
    def description_size(self) -> int | None:
        """Length of a class description, or None where there are none."""
        return self._tasks[0].description_size

    def check_input_shape(self) -> tuple[int, ...]:
        """Return the shape of a row in all tasks.

        Raises
        ------
        TaskError
            If the tasks differ in it.
        """
        if self.input_shape is None:
            shapes = sorted({task.input_shape for task in self._tasks})
            raise TaskError(
                f"the tasks differ in their columns: rows of shapes {shapes}. Give all tasks the "
                "same columns, in the same order, or use learner='in_context', which reads any."
            )
        return self.input_shape

    @property
    def feature_names(self) -> np.ndarray | None:
        """Column names, where all tasks came as DataFrames with the same ones."""
        first = self._tasks[0].feature_names
        for task in self._tasks[1:]:
            if first is None or task.feature_names is None:
                return None
            if not np.array_equal(first, task.feature_names):
                return None
        return first

    @cached_property
    def class_offsets(self) -> np.ndarray:
        """Number of classes in the tasks before each one: makes class ids unique in the set."""
        sizes = [len(t.classes) if t.kind == "classification" else 1 for t in self._tasks]
        return np.concatenate([[0], np.cumsum(sizes)])

    def split(
        self, held_out: float = 0.2, *, random_state: int = 0
    ) -> tuple[TaskSet, TaskSet | None]:
        """Hold out some tasks, or some classes of a pool, each with its rotations.

        Of tasks that cluster the same rows (:meth:`from_unlabeled`), the held-out ones get some
        rows, those of whole classes, and the others the rest; classes of too few rows are dropped.

        Parameters
        ----------
        held_out : float, default=0.2
            Share of the tasks (or classes) to hold out; at least one task or two classes.
        random_state : int, default=0

        Returns
        -------
        kept : TaskSet
        held_out : TaskSet or None
            Without `augment`. None where there are too few tasks or classes to hold any out.

        Raises
        ------
        InvalidParameterError
            If `held_out` or `random_state` is out of its range.
        """
        if not is_real(held_out) or not 0 < held_out < 1:
            raise InvalidParameterError(f"held_out must be between 0 and 1, got {held_out!r}.")
        rng = np.random.default_rng(check_int(random_state, "random_state", low=0))
        if len(self) > 1:
            order = rng.permutation(len(self))
            cut = min(max(1, round(held_out * len(self))), len(self) - 1)
            kept, out = np.sort(order[cut:]), np.sort(order[:cut])
            sides = self._subset(kept), TaskSet([self._tasks[i] for i in out])
            if not self._shares_rows:
                return sides
            kept_tasks, held_out_tasks = divide_tables(*sides, held_out, rng)
            if not held_out_tasks:
                return self, None
            return TaskSet(kept_tasks, augment=self.augment), TaskSet(held_out_tasks)
        parts = self._tasks[0]._split_classes(held_out, rng)
        if parts is None:
            return self, None
        return TaskSet([parts[0]], augment=self.augment), TaskSet([parts[1]])

    def with_rotations(self) -> TaskSet:
        """Add each image class turned by 90, 180 and 270 degrees as a class of its own.

        The usual way to make four times the classes of Omniglot (Santoro et al. 2016). A class
        and its rotations stay together in :meth:`split`.

        Returns
        -------
        TaskSet

        Raises
        ------
        TaskError
            If the tasks are not classes of square images without descriptions.
        """
        shape = self.input_shape
        is_images = shape is not None and len(shape) == 3 and shape[1] == shape[2]
        if self.kind != "classification" or not is_images or self.description_size is not None:
            raise TaskError(
                "with_rotations needs classification tasks of square images (channels, size, "
                f"size) without descriptions; got {self.kind} with input_shape={shape} and "
                f"description_size={self.description_size}."
            )
        turned = []
        for task in self._tasks:
            n_classes = len(task.classes)
            X = np.concatenate([np.rot90(task.X, k, axes=(2, 3)) for k in range(4)])
            y = np.concatenate([task.codes + k * n_classes for k in range(4)])
            part = Task(X, y, kind="classification", name=task.name)
            originals = np.arange(n_classes) if task._originals is None else task._originals
            part._originals = np.tile(originals, 4)
            if task._row_numbers is not None:
                part._table, part._row_numbers = task._table, np.tile(task._row_numbers, 4)
            part._size_parameter = task._size_parameter
            turned.append(part)
        return TaskSet(turned, augment=self.augment)

    def fingerprint(self) -> str:
        """Return a hash of all rows and targets: tells whether a checkpoint belongs to them."""
        digest = hashlib.blake2b(digest_size=16)
        for task in self._tasks:
            targets = task.codes if task.kind == "classification" else task.y
            described = [] if task.class_descriptions is None else [task.class_descriptions]
            for array in (task.X, targets, *described):
                digest.update(str((array.shape, array.dtype)).encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def _shares_rows(self) -> bool:
        """Whether tasks may be of the rows of one table."""
        return any(task._table is not None for task in self._tasks)

    def _subset(self, indices: Sequence[int] | np.ndarray) -> TaskSet:
        return TaskSet([self._tasks[i] for i in indices], augment=self.augment)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> TaskSet: ...
    def __getitem__(self, index: int | slice) -> Task | TaskSet:
        if isinstance(index, slice):
            return self._subset(range(len(self))[index])
        return self._tasks[index]

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def __repr__(self) -> str:
        tasks = f"{len(self)} task{'s' if len(self) > 1 else ''}"
        return f"TaskSet({tasks}, {self.kind}, input_shape={self.input_shape})"
