"""Lists of tasks that lie in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from metaest.exceptions import InvalidParameterError
from metaest.openml._files import read_task
from metaest.openml._task import OpenMLTask
from metaest.tasks._task import Task
from metaest.tasks._task_set import TaskSet

#: One-hot columns of a nominal column at most; rarer categories share the last one.
_MAX_CATEGORIES = 20


class OpenMLTaskList(Sequence[OpenMLTask]):
    """Tasks of OpenML, each read from the cache when it is asked for.

    :func:`fetch_tasks` makes them. Indexing reads the files anew, so that going through a suite
    holds one data set in memory at a time; ``list(tasks)`` holds all.

    Parameters
    ----------
    folder : path
        Where the files are.
    task_ids : iterable of int

    Examples
    --------
    >>> from metaest.openml import fetch_tasks
    >>> tasks = fetch_tasks([59, 2382])  # doctest: +SKIP
    >>> tasks.task_ids  # doctest: +SKIP
    (59, 2382)
    >>> tasks.to_task_set()  # doctest: +SKIP
    TaskSet(2 tasks, classification, input_shape=None)
    """

    def __init__(self, folder: Path, task_ids: Iterable[int]) -> None:
        self._folder = folder
        self.task_ids = tuple(task_ids)

    def to_task_set(self, *, encode: Literal["onehot", "ordinal"] | Any = "onehot") -> TaskSet:
        """Make numbers of all columns and meta-training tasks of the data sets.

        Each data set is encoded by itself, from all its rows and without looking at its target.
        Rows without a target are left out.

        Parameters
        ----------
        encode : {"onehot", "ordinal"} or transformer, default="onehot"
            What becomes of columns of categories and strings: a column for each of the 20 most
            frequent values (missing is one), or the rank of the category (missing is -1). Missing
            numbers become the column's median. A scikit-learn transformer, such as
            :class:`skrub.TableVectorizer`, is cloned and fitted to each data set in their place.

        Returns
        -------
        tasks : TaskSet

        Raises
        ------
        InvalidParameterError
            If `encode` is none of these.
        TaskError
            If the tasks mix classification and regression, or one cannot be used.
        """
        if encode not in ("onehot", "ordinal") and not hasattr(encode, "fit_transform"):
            raise InvalidParameterError(
                f"encode must be 'onehot', 'ordinal' or a scikit-learn transformer, got {encode!r}."
            )
        return TaskSet([_encoded(task, encode) for task in self])

    @overload
    def __getitem__(self, index: int) -> OpenMLTask: ...
    @overload
    def __getitem__(self, index: slice) -> OpenMLTaskList: ...
    def __getitem__(self, index: int | slice) -> OpenMLTask | OpenMLTaskList:
        if isinstance(index, slice):
            return OpenMLTaskList(self._folder, self.task_ids[index])
        return read_task(self._folder, self.task_ids[index])

    def __len__(self) -> int:
        return len(self.task_ids)

    def __repr__(self) -> str:
        shown = ", ".join(map(str, self.task_ids[:5])) + ", ..." * (len(self) > 5)
        return f"OpenMLTaskList({len(self)} task{'s' * (len(self) != 1)}: {shown})"


def _encoded(task: OpenMLTask, encode: Any) -> Task:
    known = task.y.notna().to_numpy()
    X, y = task.X[known], task.y[known]
    transformer = _encoder(task, encode) if isinstance(encode, str) else clone(encode)
    rows = transformer.fit_transform(X)
    rows = np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)
    labels = y.astype(str) if task.kind == "classification" else y.astype(np.float64)
    return Task(rows, labels.to_numpy(), kind=task.kind, name=f"{task.name} ({task.task_id})")


def _encoder(task: OpenMLTask, encode: str) -> Any:
    if encode == "onehot":
        encoder = OneHotEncoder(
            max_categories=_MAX_CATEGORIES,
            handle_unknown="infrequent_if_exist",
            sparse_output=False,
        )
    else:
        encoder = OrdinalEncoder(encoded_missing_value=-1)
    is_number = np.array([np.issubdtype(_kind(dtype), np.number) for dtype in task.X.dtypes], bool)
    return make_column_transformer(
        (SimpleImputer(strategy="median", keep_empty_features=True), np.flatnonzero(is_number)),
        (encoder, np.flatnonzero(~is_number)),
        sparse_threshold=0,
    )


def _kind(dtype: Any) -> Any:
    return dtype if isinstance(dtype, np.dtype) else np.object_
