"""Meta-training: many episodes, one set of weights."""

from metaest.training._state import MetaState, seeded_state
from metaest.training._train import meta_train

__all__ = ["MetaState", "meta_train", "seeded_state"]
