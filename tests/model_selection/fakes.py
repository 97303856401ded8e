"""Small estimators for the tests of episodic validation."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class NearestMean(ClassifierMixin, BaseEstimator):
    """Softmax over squared distances to the class means."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.means_ = np.stack([np.asarray(X)[np.asarray(y) == c].mean(0) for c in self.classes_])
        return self

    def predict_proba(self, X):
        logits = -np.square(np.asarray(X)[:, None] - self.means_).sum(-1)
        odds = np.exp(logits - logits.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


class FastNearestMean(NearestMean):
    """The same with ``predict_episodes``; any other way in is counted."""

    calls = 0
    fits = 0

    def fit(self, X, y):
        type(self).fits += 1
        return super().fit(X, y)

    def predict_episodes(self, X, y, episodes):
        type(self).calls += 1
        X, y = np.asarray(X), np.asarray(y)
        models = [NearestMean().fit(X[s], y[s]) for s, _ in episodes]
        return [
            (m.classes_, m.predict_proba(X[q])) for m, (_, q) in zip(models, episodes, strict=True)
        ]


class FastMean(RegressorMixin, BaseEstimator):
    """Predicts the mean of the support targets plus the first column."""

    def fit(self, X, y):
        self.mean_ = np.mean(y)
        return self

    def predict(self, X):
        return self.mean_ + np.asarray(X)[:, 0]

    def predict_episodes(self, X, y, episodes):
        return [np.mean(y[s]) + X[q, 0] for s, q in episodes]


class Fails(ClassifierMixin, BaseEstimator):
    """Cannot learn class 0 (or nothing at all)."""

    def __init__(self, always=False):
        self.always = always

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        if self.always or 0 in self.classes_:
            raise RuntimeError("no class 0, please")
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])
