"""Few-shot estimators: meta-train once with ``fit_meta``, then ``fit`` each small task."""

from metaest.few_shot._classifier import MetaFewShotClassifier
from metaest.few_shot._regressor import MetaFewShotRegressor

__all__ = ["MetaFewShotClassifier", "MetaFewShotRegressor"]
