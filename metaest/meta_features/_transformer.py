"""MetaFeatures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metaest.meta_features._base import DatasetTransformer
from metaest.meta_features._canonical import Sample, read_samples
from metaest.meta_features._landmarks import LANDMARKS, landmarks
from metaest.meta_features._statistics import (
    INFORMATION,
    SIMPLE,
    STATISTICAL,
    information,
    robust_scale,
    simple,
    statistical,
)

FEATURES = SIMPLE | STATISTICAL | INFORMATION | LANDMARKS


class MetaFeatures(DatasetTransformer, BaseEstimator):
    """Describe each data set by 51 numbers: size, distributions, information, landmarks.

    Every number is finite for every data set with a row and a column: a feature that does not
    exist (the kurtosis of a table without numbers) is 0, and an indicator (`is_classification`,
    `has_numbers`, `has_information`, `landmarked`) tells that from a true 0.

    Beyond the size, which is that of the whole data set, features are of at most 2,000 rows and
    100 columns, landmarks of 500 rows. They are drawn and ordered by hashes of their contents: the
    result does not depend on the order of rows or columns or on the names of classes. One pass
    over the table chooses them; time and memory beyond it are bounded.

    Parameters
    ----------
    scale : bool, default=True
        Standardise by the median and the interquartile range of the data sets given to `fit` and
        clip at ±10, so that Euclidean distances mean something. With False nothing is learned,
        and `transform` needs no `fit`.
    kind : {"auto", "classification", "regression"}, default="auto"
        What the targets are. "auto" asks :func:`sklearn.utils.multiclass.type_of_target`, to which
        whole numbers are classes.

    Attributes
    ----------
    center_, scale_ : ndarray of shape (n_features,)
        Of each feature over the data sets given to `fit`; only with ``scale=True``.

    Notes
    -----
    pymfe computes more features, but takes no DataFrame, lets one missing value make most of
    them NaN and runs out of memory at 20,000 rows (pymfe#112). What would be left to take
    from it is shorter than what would have to stand around it, so it is no dependency.

    :data:`metaest.meta_features.FEATURES` says for each name what it is and where it comes from.

    References
    ----------
    Rivolli et al., Meta-features for meta-learning, Knowledge-Based Systems 2022.

    Reif et al., Automatic classifier selection for non-experts, Pattern Analysis and Applications
    2014.

    Pfahringer, Bensusan and Giraud-Carrier, Meta-learning by landmarking various learning
    algorithms, ICML 2000.

    Examples
    --------
    >>> from sklearn.datasets import load_iris, load_wine
    >>> from metaest.meta_features import MetaFeatures
    >>> datasets = [load_iris(return_X_y=True), load_wine(return_X_y=True)]
    >>> raw = MetaFeatures(scale=False).transform(datasets)
    >>> raw.shape
    (2, 51)
    >>> names = MetaFeatures().get_feature_names_out().tolist()
    >>> round(float(raw[0, names.index("class_max")]), 3)
    0.333
    """

    def __init__(
        self, *, scale: bool = True, kind: Literal["auto", "classification", "regression"] = "auto"
    ) -> None:
        self.scale = scale
        self.kind = kind

    def fit(self, datasets: Iterable[tuple[Any, Any]], y: None = None) -> MetaFeatures:
        """Learn the centre and the scale of each feature.

        Parameters
        ----------
        datasets : iterable of (X, y)
            X of shape (n_rows, n_columns), an array or a DataFrame with numbers, strings,
            categories, dates, missing and infinite values; y of shape (n_rows,). Of an array, a
            single axis is one column, and all axes after the first are columns (images).
        y : None
            Ignored.

        Returns
        -------
        MetaFeatures
            Itself.

        Raises
        ------
        TaskError
            If there is no data set, or one cannot be used (empty, sparse, complex, y missing in
            places or of another length); the message names it.
        InvalidParameterError
            If `kind` is unknown.
        """
        raw = self._describe_all(datasets)
        if self.scale:
            self.center_, self.scale_ = robust_scale(raw)
        return self

    def transform(self, datasets: Iterable[tuple[Any, Any]]) -> Any:
        """Describe data sets.

        Parameters
        ----------
        datasets : iterable of (X, y)
            As for :meth:`fit`.

        Returns
        -------
        ndarray of shape (n_datasets, 51)
            float64, finite; a DataFrame after ``set_output(transform="pandas")``.

        Raises
        ------
        NotFittedError
            If ``scale=True`` and there was no `fit`.
        TaskError, InvalidParameterError
            As for :meth:`fit`.
        """
        if not self.scale:
            return self._describe_all(datasets)
        check_is_fitted(self, "center_")
        return np.clip((self._describe_all(datasets) - self.center_) / self.scale_, -10, 10)

    def get_feature_names_out(self, input_features: None = None) -> np.ndarray:
        """Return the 51 names, known before `fit`; shape (51,)."""
        return np.array(list(FEATURES), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return not self.scale or hasattr(self, "center_")

    def _describe_all(self, datasets: Iterable[tuple[Any, Any]]) -> np.ndarray:
        return np.array([_describe(sample) for sample in read_samples(datasets, self.kind)])


def _describe(sample: Sample) -> list[float]:
    values = simple(sample) | statistical(sample) | information(sample) | landmarks(sample)
    return [values[name] for name in FEATURES]
