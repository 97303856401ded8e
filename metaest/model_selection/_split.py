"""A splitter of episodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.model_selection import BaseShuffleSplit

from metaest._checks import Kind, check_groups, check_int, check_targets, find_kind
from metaest._torch import draw_seed
from metaest.episodes import EpisodeShape, IntRange, group_rows
from metaest.exceptions import EpisodeError, TaskError
from metaest.model_selection._checks import check_seed, count_rows

__all__ = ["EpisodicSplit"]


class EpisodicSplit(BaseShuffleSplit):
    """Split into the support and query sets of episodes.

    A scikit-learn splitter: it goes wherever ``cv=`` does, with any estimator. Each split is one
    episode. It draws `n_ways` classes, then `n_shots` rows of each to learn from (support) and
    `n_queries` other rows of each to be scored on (query). Unlike in k-fold, the query rows are
    always of the classes in the support set, and the rows of other classes are left out.

    With `groups` each group is a task: an episode lies within one group, drawn uniformly. For
    regression an episode is `n_shots` + `n_queries` rows of one group, or of all rows.

    Parameters
    ----------
    n_episodes : int, default=600
        Number of splits.
    n_ways : int, (low, high) or None, default=5
        Classes of an episode; with a range, a number is drawn. A group with fewer classes gives all
        of them; without groups too few classes are an error. None: all classes.
    n_shots : int or (low, high), default=1
        Support rows of each class (regression: of the episode). The few-shot estimators
        meta-train with 5 by default; score with as many shots as the estimator will be used
        with, whatever it was meta-trained with.
    n_queries : int or (low, high), default=15
        Query rows of each class (regression: of the episode). With a range, as many are taken
        as the class has left.
    balanced : bool, default=True
        False: each class draws its own number of shots from the range `n_shots`.
    kind : {"auto", "classification", "regression"}, default="auto"
        "auto" asks :func:`sklearn.utils.multiclass.type_of_target`, which takes whole numbers
        for labels: say "regression" where they are targets.
    random_state : int, RandomState instance or None, default=None
        With an int, every call of `split` gives the same episodes, and the first of many
        episodes are those of few.

    See Also
    --------
    TaskSplit : Folds over tasks, to meta-train on some and to draw episodes from the others.
    cross_validate_episodes : Scores with intervals on the episodes of this splitter.

    References
    ----------
    Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from metaest.model_selection import EpisodicSplit
    >>> X = np.arange(12.0).reshape(-1, 1)
    >>> y = np.repeat(["a", "b", "c"], 4)
    >>> cv = EpisodicSplit(n_episodes=2, n_ways=2, n_shots=1, n_queries=2, random_state=2)
    >>> for support, query in cv.split(X, y):
    ...     print(y[support], y[query])
    ['a' 'b'] ['a' 'a' 'b' 'b']
    ['c' 'a'] ['c' 'c' 'a' 'a']
    >>> cross_val_score(KNeighborsClassifier(1), X, y, cv=cv)
    array([1., 1.])
    """

    # Metadata routing: groups reach `split` when the caller gives them, as in GroupKFold.
    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(
        self,
        n_episodes: int = 600,
        *,
        n_ways: IntRange | None = 5,
        n_shots: IntRange = 1,
        n_queries: IntRange = 15,
        balanced: bool = True,
        kind: Literal["auto"] | Kind = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_episodes = n_episodes
        self.n_ways = n_ways
        self.n_shots = n_shots
        self.n_queries = n_queries
        self.balanced = balanced
        self.kind = kind
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Return the episodes, one after another.

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
            Only its length is used; may be None.
        y : array-like of shape (n_rows,)
        groups : array-like of shape (n_rows,), default=None
            The task of each row.

        Returns
        -------
        iterator of (support, query)
            Arrays of row positions.

        Raises
        ------
        EpisodeError
            If a class or group has too few rows, or there are too few classes.
        TaskError
            If `y` or `groups` cannot be used, or a group has one class.
        InvalidParameterError
            If a parameter of the splitter has a value that is not allowed.
        """
        n_episodes = self.get_n_splits()
        shape = EpisodeShape(self.n_ways, self.n_shots, self.n_queries, self.balanced)
        check_seed(self.random_state)
        tasks = self._find_tasks(shape, X, y, groups)
        seed = draw_seed(self.random_state)
        return (_draw(tasks, shape, seed, number) for number in range(n_episodes))

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of episodes.

        Parameters
        ----------
        X, y, groups
            Ignored.
        """
        return check_int(self.n_episodes, "n_episodes")

    def _find_tasks(self, shape: EpisodeShape, X: Any, y: Any, groups: Any) -> list[_Rows]:
        """Return the rows of each task, checked to give such episodes."""
        if y is None:
            raise TaskError("episodes are drawn by y: pass it, split(X, y).")
        y = check_targets(y, count_rows(X, y), "the table")
        kind = find_kind(y, self.kind)
        if groups is None:
            parts = [("the table", np.arange(len(y)))]
        else:
            groups = check_groups(groups, len(y))
            names, codes = np.unique(groups, return_inverse=True)
            of_group = group_rows(codes, len(names))
            parts = [(f"group {name!s}", part) for name, part in zip(names, of_group, strict=True)]
        if kind == "regression":
            for where, rows in parts:
                shape.check_rows(len(rows), where)
            return [_Rows(rows) for _, rows in parts]
        strict = groups is None
        return [self._class_rows(shape, y, rows, where, strict) for where, rows in parts]

    def _class_rows(
        self, shape: EpisodeShape, y: np.ndarray, rows: np.ndarray, where: str, strict: bool
    ) -> _Rows:
        classes, codes = np.unique(y[rows], return_inverse=True)
        if len(classes) < 2:
            is_all = len(rows) == len(y)
            remedy = "Pass more classes" if is_all else "Drop its rows"
            raise TaskError(
                f"{where} has one class ({classes[0]!s}); classification needs at least 2. "
                f"{remedy}, or kind='regression' if y is a number to predict."
            )
        try:
            shape.check(codes, classes, where, strict=strict)
        except EpisodeError as error:
            if self.kind == "auto" and y.dtype.kind == "f":
                raise EpisodeError(
                    f"{error} If y is a number to predict and no label, pass kind='regression'."
                ) from error
            raise
        return _Rows(rows, [rows[part] for part in group_rows(codes, len(classes))])


@dataclass(frozen=True)
class _Rows:
    """Positions of a task's rows, and those of each of its classes (classification)."""

    rows: np.ndarray
    of_class: list[np.ndarray] | None = None


def _draw(
    tasks: list[_Rows], shape: EpisodeShape, seed: int, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the support and query rows of one episode, a function of the seed and its number."""
    rng = np.random.default_rng([seed, number])
    task = tasks[int(rng.integers(len(tasks)))]
    if task.of_class is not None:
        episode = shape.draw(task.of_class, rng)
        return episode.support, episode.query
    episode = shape.draw_rows(len(task.rows), rng)
    return task.rows[episode.support], task.rows[episode.query]
