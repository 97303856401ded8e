"""What the transformers of data sets share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sklearn.base import TransformerMixin


class DatasetTransformer(TransformerMixin):
    """A transformer whose rows are data sets, which may come one by one."""

    def fit_transform(
        self, datasets: Iterable[tuple[Any, Any]], y: Any = None, **fit_params: Any
    ) -> Any:
        """Fit, and transform the same data sets; they are iterated over once.

        Parameters
        ----------
        datasets : iterable of (X, y)
            As for `fit`.
        y : object, default=None
            The second parameter of `fit`.
        **fit_params : dict
            Other parameters of `fit`.

        Returns
        -------
        ndarray of shape (n_datasets, n_features)
            As of `transform`.
        """
        return super().fit_transform(list(datasets), y, **fit_params)
