"""Meta-features: a data set as a short vector, so that similar data sets can be found."""

from metaest.meta_features._encoder import DatasetEncoder
from metaest.meta_features._fingerprint import fingerprint
from metaest.meta_features._transformer import FEATURES, MetaFeatures

__all__ = ["FEATURES", "DatasetEncoder", "MetaFeatures", "fingerprint"]
