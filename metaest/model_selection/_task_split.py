"""Folds over tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import BaseCrossValidator

from metaest._checks import check_groups, check_int, check_targets, find_kind
from metaest._torch import draw_seed
from metaest.exceptions import EpisodeError, TaskError
from metaest.model_selection._checks import check_seed, count_rows

__all__ = ["TaskSplit"]


class TaskSplit(BaseCrossValidator):
    """K folds over tasks: no task is on both sides.

    A task is a group, or a class of `y` where no groups are given. Each task is in the test set
    of one fold, and folds have as many tasks as each other, give or take one. Meta-train on the
    training rows and run episodes on the test rows: the score is then one on *new* tasks.

    Parameters
    ----------
    n_splits : int, default=5
        At least 2.
    random_state : int, RandomState instance or None, default=None
        Seeds which tasks share a fold. With an int, every call of `split` gives the same folds.

    See Also
    --------
    EpisodicSplit : Episodes within the rows of one side.

    Examples
    --------
    >>> import numpy as np
    >>> from metaest.model_selection import TaskSplit
    >>> X, y = np.zeros((12, 1)), np.repeat(list("abcdef"), 2)
    >>> for train, test in TaskSplit(3, random_state=0).split(X, y):
    ...     print(np.unique(y[train]), np.unique(y[test]))
    ['a' 'b' 'e' 'f'] ['c' 'd']
    ['a' 'b' 'c' 'd'] ['e' 'f']
    ['c' 'd' 'e' 'f'] ['a' 'b']
    """

    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_splits = n_splits
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the folds, one after another.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Only its length is used; may be None.
        y : array-like of shape (n_rows,), default=None
            Labels: the tasks, where there are no groups.
        groups : array-like of shape (n_rows,), default=None
            The task of each row.

        Returns
        -------
        iterator of (train, test)
            Arrays of row positions.

        Raises
        ------
        EpisodeError
            If there are too few tasks for the folds.
        TaskError
            If the tasks cannot be told from `y` and `groups`.
        InvalidParameterError
            If a parameter of the splitter has a value that is not allowed.
        """
        n_splits = self.get_n_splits()
        check_seed(self.random_state)
        tasks = self._check_tasks(n_splits, X, y, groups)
        n_tasks = int(tasks.max()) + 1
        order = np.random.default_rng(draw_seed(self.random_state)).permutation(n_tasks)
        held_out = (np.isin(tasks, fold) for fold in np.array_split(order, n_splits))
        return ((np.flatnonzero(~test), np.flatnonzero(test)) for test in held_out)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups
            Ignored.
        """
        return check_int(self.n_splits, "n_splits", low=2)

    def _check_tasks(self, n_splits: int, X: Any, y: Any, groups: Any) -> np.ndarray:
        """Return the number of each row's task, shape (n_rows,)."""
        if groups is not None:
            n_rows = count_rows(X, y, groups)
            names, tasks = np.unique(check_groups(groups, n_rows), return_inverse=True)
            if len(names) < n_splits:
                raise EpisodeError(
                    f"n_splits={n_splits} asks for as many groups, but there are {len(names)}. "
                    f"Pass n_splits={max(2, len(names))} or less."
                )
            return tasks
        if y is None:
            raise TaskError("tasks are groups or the classes of y: pass one, split(X, y).")
        y = check_targets(y, count_rows(X, y), "the table")
        if find_kind(y) == "regression":
            raise TaskError(
                "y is continuous, so there are no classes to be tasks: pass groups, one entry "
                "per row that names its task."
            )
        names, tasks = np.unique(y, return_inverse=True)
        if len(names) < 2 * n_splits:
            raise EpisodeError(
                f"n_splits={n_splits} of {len(names)} classes leaves a fold with one class, of "
                f"which no episode can be drawn. Pass n_splits={len(names) // 2} or less (at "
                "least 2 folds of 2 classes), or groups."
            )
        return tasks
