"""Classes to meta-train on where there are no labels."""

from __future__ import annotations

from typing import Any, Literal, Self

import joblib
import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans

from metaest._checks import check_int, check_rows, feature_names_of
from metaest._torch import as_float_tensor
from metaest.augment import RandomCorruption, RandomWarp
from metaest.exceptions import InvalidParameterError, TaskError
from metaest.tasks._task import Augment, Task, change_rows

#: Rows of a cluster on average, and most clusters, where their number is not given.
_ROWS_PER_CLUSTER, _MOST_CLUSTERS = 40, 500


class UnlabeledMixin:
    """The way to make a task set of rows without labels."""

    @classmethod
    def from_unlabeled(
        cls,
        X: Any,
        *,
        method: Literal["umtra", "cactus"] = "umtra",
        augment: Literal["auto"] | Augment | None = "auto",
        n_copies: int = 4,
        features: Any = None,
        n_clusters: int | None = None,
        n_partitions: int = 10,
        min_rows: int = 20,
        random_state: int = 0,
    ) -> Self:
        """Make tasks of rows without labels (unsupervised meta-learning).

        Parameters
        ----------
        X : array-like of shape (n_rows, ...)
        method : {"umtra", "cactus"}, default="umtra"
            "umtra": each row is a class, of the row and augmented copies of it. "cactus": k-means
            clusters are the classes, and several partitions of the rows several tasks;
            :meth:`TaskSet.split` holds out the rows of some clusters in all of them.
        augment : "auto", callable or None, default="auto"
            As in :class:`TaskSet`; it also makes the copies of "umtra". "auto" is, for "umtra",
            :class:`~metaest.augment.RandomWarp` for images and
            :class:`~metaest.augment.RandomCorruption` for rows, and None for "cactus".
        n_copies : int, default=4
            Rows of a class of "umtra", the row itself included: at least ``n_shots + n_queries``
            of the episodes.
        features : array-like of shape (n_rows, ...), default=None
            What "cactus" clusters, such as an embedding of the rows; None: `X`.
        n_clusters : int, default=None
            Clusters of a partition of "cactus". None: one per 40 rows, at most 500.
        n_partitions : int, default=10
            The first clusters the features as they are; each other one scales them at random.
        min_rows : int, default=20
            Smaller clusters are left out; at least ``n_shots + n_queries`` of the episodes.
        random_state : int, default=0

        Returns
        -------
        TaskSet

        Raises
        ------
        InvalidParameterError
            If a parameter is out of its range.
        TaskError
            If the rows are unusable, or too few for the clusters.

        References
        ----------
        Khodadadeh, Boloni and Shah, Unsupervised Meta-Learning for Few-Shot Image Classification,
        NeurIPS 2019 (UMTRA; there only the query rows are augmented).
        Hsu, Levine and Finn, Unsupervised Learning via Meta-Learning, ICLR 2019 (CACTUs).

        Examples
        --------
        >>> import numpy as np
        >>> from metaest.tasks import TaskSet
        >>> X = np.random.default_rng(0).normal(size=(30, 5))
        >>> TaskSet.from_unlabeled(X)
        TaskSet(1 task, classification, input_shape=(5,))
        """
        if method not in ("umtra", "cactus"):
            raise InvalidParameterError(f"method must be 'umtra' or 'cactus', got {method!r}.")
        names = feature_names_of(X)
        X = check_rows(X, "the table")
        if len(X) < 2:
            raise TaskError("classes cannot be made of one row; pass many rows.")
        random_state = check_int(random_state, "random_state", low=0)
        change = resolve_augment(augment, method, X)
        if change is not None and method == "umtra":
            tasks = [make_augmented_classes(X, change, n_copies, random_state)]
        else:
            shape = (n_clusters, n_partitions, min_rows)
            tasks = make_clustered_tasks(X, _flat(X, features), *shape, random_state)
        for task in tasks:
            task.feature_names = names
        return cls(tasks, augment=change)  # type: ignore[call-arg]


def resolve_augment(
    augment: Literal["auto"] | Augment | None, method: str, X: np.ndarray
) -> Augment | None:
    """Return the random changes that "auto" stands for: none for clusters."""
    if augment == "auto":
        if method != "umtra":
            return None
        if X.ndim != 4:
            return RandomCorruption()
        in_unit_range = X.min() >= 0 and X.max() <= 1  # what a change of thickness needs
        return RandomWarp() if in_unit_range else RandomWarp(thickness=0.0)
    if augment is None and method == "umtra":
        raise InvalidParameterError(
            "method='umtra' makes classes of a row and its augmented copies, so augment must be a "
            'function augment(x, generator) -> x or "auto"; got None.'
        )
    if augment is not None and not callable(augment):
        raise InvalidParameterError(
            f'augment must be a function augment(x, generator) -> x or "auto", got {augment!r}.'
        )
    return augment


def make_augmented_classes(
    X: np.ndarray, augment: Augment, n_copies: int, random_state: int
) -> Task:
    """Make a class of each row: the row and augmented copies of it (UMTRA).

    The copies are made once, so that held-out classes have them, too, where nothing augments.
    """
    n_copies = check_int(n_copies, "n_copies", low=2)
    # Images are in the precision that episodes have; a column may need more to tell its values.
    is_fine = X.ndim == 2 and np.result_type(X, np.float32) == np.float64
    rows = as_float_tensor(X, dtype=torch.float64 if is_fine else torch.float32)
    generator = torch.Generator().manual_seed(random_state)
    copies = [rows, *(change_rows(augment, rows, generator) for _ in range(n_copies - 1))]
    y = np.tile(np.arange(len(X)), n_copies)
    task = Task(torch.cat(copies).numpy(), y, kind="classification", name="rows as classes")
    task._size_parameter = "n_copies"
    return task


def make_clustered_tasks(
    X: np.ndarray,
    features: np.ndarray,
    n_clusters: int | None,
    n_partitions: int,
    min_rows: int,
    random_state: int,
) -> list[Task]:
    """Make a task of each partition of the rows into clusters (CACTUs).

    The first clusters the features as they are, each other one scales their axes at random.
    """
    check_int(n_partitions, "n_partitions")
    check_int(min_rows, "min_rows")
    if n_clusters is None:
        n_clusters = min(_MOST_CLUSTERS, max(2, len(X) // _ROWS_PER_CLUSTER))
    n_clusters = check_int(n_clusters, "n_clusters", low=2)
    n_distinct = len(np.unique(features, axis=0))
    if n_clusters > n_distinct:
        raise TaskError(
            f"n_clusters={n_clusters} are more than the {n_distinct} distinct rows to cluster. "
            "Lower n_clusters."
        )
    rng = np.random.default_rng(random_state)
    tasks, table = [], joblib.hash(X)
    for number in range(n_partitions):
        scale = rng.uniform(size=features.shape[1]) if number else np.ones(features.shape[1])
        seed = int(rng.integers(2**31))
        kmeans = MiniBatchKMeans(n_clusters, batch_size=4096, n_init=1, random_state=seed)
        y = kmeans.fit_predict(features * scale)
        kept = np.bincount(y, minlength=n_clusters)[y] >= min_rows
        if len(np.unique(y[kept])) >= 2:
            task = Task(X[kept], y[kept], kind="classification", name=f"partition {number}")
            task._table, task._row_numbers = table, np.flatnonzero(kept)
            task._size_parameter = "min_rows"
            tasks.append(task)
    if not tasks:
        raise TaskError(
            f"no partition of {len(X)} rows into n_clusters={n_clusters} has two clusters of "
            f"min_rows={min_rows}. Lower n_clusters or min_rows, or pass more rows."
        )
    return tasks


def _flat(X: np.ndarray, features: Any) -> np.ndarray:
    """Return the features to cluster: (n_rows, d)."""
    features = X if features is None else check_rows(features, "the features")
    if len(features) != len(X):
        raise TaskError(
            f"X and features differ in length: {len(X)} rows, {len(features)} rows of features."
        )
    return np.asarray(features, dtype=np.float64).reshape(len(X), -1)
