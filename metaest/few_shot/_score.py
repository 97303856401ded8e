"""The accuracy of a classifier."""

from __future__ import annotations

import functools
from typing import Any

from sklearn.base import ClassifierMixin

from metaest._checks import plain_labels


class ScoreMixin(ClassifierMixin):
    """scikit-learn's classifier, whose `score` takes all labels that `fit` takes."""

    @functools.wraps(ClassifierMixin.score)  # the same score, also to those who ask which it is
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        # Not super(): fast episodes call it with known predictions in place of the estimator.
        return ClassifierMixin.score(self, X, plain_labels(y), sample_weight)
