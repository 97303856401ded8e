"""The learned features of a few-shot estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from metaest._torch import resolve_device
from metaest.few_shot._adapter import Adapter
from metaest.few_shot._checks import check_architecture, check_feature_names
from metaest.few_shot._rows import read_rows
from metaest.few_shot._start import choose_learner


class EmbedMixin:
    """``embed``."""

    def embed(self, X: Any) -> np.ndarray:
        """Features of the backbone, before the learner adapts anything to a task.

        Those of the network that `predict` rests on; before `fit`, of the one that `fit_meta`
        left. Of use for other estimators, for a search of similar rows, and for pictures
        (:class:`~metaest.inspection.EmbeddingDisplay`).

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features) or (n_rows, channels, height, width)
            Gaps in tables, for learners that read them, count as the median of the rows given to
            `fit`; before it, and where these have none, as 0.

        Returns
        -------
        ndarray of float64, shape (n_rows, d)
            A row's features do not depend on the rows it comes with.

        Raises
        ------
        NotFittedError
            If neither `fit_meta` nor `fit` was called.
        ArchitectureMismatchError
            If the rows are not those of the network.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from metaest import MetaFewShotClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> clf = MetaFewShotClassifier(n_episodes=16, n_ways=3, random_state=0).fit_meta(X, y)
        >>> clf.embed(X).shape
        (1797, 64)
        """
        return _embed(self, X)


def _embed(estimator: Any, X: Any) -> np.ndarray:
    start = vars(estimator).get("_adapted_from")
    if start is not None:
        rows = read_rows(estimator, X, tables=estimator.learner_.any_columns)
        medians = vars(estimator).get("_medians")
        learner, backbone = estimator.learner_, start.spec.backbone
    elif estimator._meta is not None:
        reader = clone(estimator)  # is told the columns in the estimator's place
        start, backbone = reader._meta, reader.backbone
        learner = choose_learner(reader)
        rows = read_rows(reader, X, reset=True, tables=learner.any_columns)
        check_feature_names(start, getattr(reader, "feature_names_in_", None))
        medians = None
    else:
        raise NotFittedError(
            f"This {type(estimator).__name__} has no features before fit_meta or fit: call one of "
            "them first."
        )
    check_architecture(start, backbone, rows.shape[1:])
    if learner.any_columns:
        rows = np.where(np.isnan(rows), 0.0 if medians is None else medians, rows)
    return Adapter(start, learner, resolve_device(estimator.device)).embed(rows)
