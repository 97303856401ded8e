"""One task of OpenML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from metaest._checks import Kind
from metaest.exceptions import InvalidParameterError

if TYPE_CHECKING:
    import pandas as pd

#: Train rows and test rows.
Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class OpenMLTask:
    """One task of OpenML: a data set, what to predict, and how to split it.

    :func:`fetch_tasks` makes them.

    Attributes
    ----------
    task_id, data_id : int
        Its id and its data set's id at OpenML.
    name : str
        Name of the data set.
    kind : {"classification", "regression"}
    target_name : str
        Name of the column to predict.
    metric : str or None
        The measure that the task asks for, by OpenML's name.
    X : DataFrame of shape (n_rows, n_features)
        Numbers, categories, strings and missing values, as they are at OpenML; without the target,
        row ids and the columns that OpenML says to ignore. Categories are strings.
    y : Series of shape (n_rows,)
        Labels (categories) or numbers.
    categorical : ndarray of bool, shape (n_features,)
        Which columns of `X` are nominal at OpenML.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> from sklearn.model_selection import cross_val_score
    >>> from metaest.openml import fetch_tasks
    >>> task = fetch_tasks([59])[0]  # doctest: +SKIP
    >>> task  # doctest: +SKIP
    OpenMLTask(59, 'iris', classification, 150 rows, 4 columns, 10 splits)
    >>> cross_val_score(DummyClassifier(), task.X, task.y, cv=task.splits)  # doctest: +SKIP
    """

    task_id: int
    data_id: int
    name: str
    kind: Kind
    target_name: str
    metric: str | None
    X: pd.DataFrame = field(repr=False)
    y: pd.Series = field(repr=False)
    categorical: np.ndarray = field(repr=False)
    _splits: dict[tuple[int, int, int], Split] = field(repr=False)

    @property
    def splits(self) -> list[Split]:
        """OpenML's own (train, test) row numbers, by repeat, fold and sample: fit for ``cv=``."""
        return list(self._splits.values())

    @property
    def split_shape(self) -> tuple[int, int, int]:
        """Number of repeats, folds and samples."""
        repeats, folds, samples = (len(set(numbers)) for numbers in zip(*self._splits, strict=True))
        return repeats, folds, samples

    def split(self, repeat: int = 0, fold: int = 0, sample: int = 0) -> Split:
        """Return the train rows and the test rows of one split.

        Parameters
        ----------
        repeat, fold, sample : int, default=0
            All counted from 0. Only learning-curve tasks have more than one sample.

        Returns
        -------
        train, test : ndarray of int
            Row numbers.

        Raises
        ------
        InvalidParameterError
            If the task has no such split.
        """
        found = self._splits.get((repeat, fold, sample))
        if found is None:
            repeats, folds, samples = self.split_shape
            raise InvalidParameterError(
                f"task {self.task_id} ({self.name}) has no split repeat={repeat!r}, fold={fold!r}, "
                f"sample={sample!r}; it has {repeats} repeat(s), {folds} fold(s) and {samples} "
                "sample(s), counted from 0."
            )
        return found

    def __repr__(self) -> str:
        rows, columns = self.X.shape
        return (
            f"OpenMLTask({self.task_id}, {self.name!r}, {self.kind}, {rows} rows, {columns} "
            f"columns, {len(self._splits)} splits)"
        )
