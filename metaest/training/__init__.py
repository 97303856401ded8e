"""Meta-training: many episodes, one set of weights."""

from metaest.training._distill import Distillation
from metaest.training._lstm_optimizer import LSTMOptimizer
from metaest.training._state import MetaState, seeded_state
from metaest.training._train import meta_train
from metaest.training._train_optimizer import train_optimizer

__all__ = [
    "Distillation",
    "LSTMOptimizer",
    "MetaState",
    "meta_train",
    "seeded_state",
    "train_optimizer",
]
