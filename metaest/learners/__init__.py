"""Learners: ways to learn a task from a few rows, meta-trained over many tasks."""

from __future__ import annotations

from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.learners._anil import ANIL
from metaest.learners._anp import ANP
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._bayesian_maml import BayesianMAML
from metaest.learners._cnp import CNP
from metaest.learners._deep_kernel_gp import DeepKernelGP
from metaest.learners._finetune import FineTune
from metaest.learners._gnn import GNN
from metaest.learners._in_context import InContextTransformer
from metaest.learners._learned_optimizer import LearnedOptimizer
from metaest.learners._maml import MAML
from metaest.learners._mann import MANN
from metaest.learners._matching import MatchingNet
from metaest.learners._meta_lstm import MetaLSTM
from metaest.learners._meta_sgd import MetaSGD
from metaest.learners._metanet import MetaNet
from metaest.learners._protonet import ProtoNet
from metaest.learners._relation import RelationNet
from metaest.learners._reptile import Reptile
from metaest.learners._ridge import RidgeHead
from metaest.learners._set_transformer import SetTransformer
from metaest.learners._siamese import Siamese

__all__ = [
    "ANIL",
    "ANP",
    "CNP",
    "GNN",
    "LEARNERS",
    "MAML",
    "MANN",
    "BayesianMAML",
    "DeepKernelGP",
    "FineTune",
    "Gaussian",
    "InContextTransformer",
    "LearnedOptimizer",
    "Learner",
    "LearnerNet",
    "MatchingNet",
    "MetaLSTM",
    "MetaNet",
    "MetaSGD",
    "ProtoNet",
    "RelationNet",
    "Reptile",
    "RidgeHead",
    "SetTransformer",
    "Siamese",
    "State",
    "make_learner",
]

#: Short name -> class.
LEARNERS: dict[str, type[Learner]] = {
    "protonet": ProtoNet,
    "matching": MatchingNet,
    "siamese": Siamese,
    "relation": RelationNet,
    "set_transformer": SetTransformer,
    "gnn": GNN,
    "in_context": InContextTransformer,
    "maml": MAML,
    "meta_sgd": MetaSGD,
    "meta_lstm": MetaLSTM,
    "learned_optimizer": LearnedOptimizer,
    "bayesian_maml": BayesianMAML,
    "anil": ANIL,
    "reptile": Reptile,
    "ridge": RidgeHead,
    "mann": MANN,
    "metanet": MetaNet,
    "finetune": FineTune,
    "deep_kernel_gp": DeepKernelGP,
    "cnp": CNP,
    "anp": ANP,
}


def make_learner(learner: str | Learner, kind: str) -> Learner:
    """Return the learner that a name or an object stands for.

    Parameters
    ----------
    learner : str or Learner
    kind : {"classification", "regression"}
        What it has to learn.

    Raises
    ------
    InvalidParameterError
        If the name is unknown or the learner cannot learn such tasks.
    """
    able = [name for name, cls in LEARNERS.items() if kind in cls.kinds]
    if isinstance(learner, str):
        if learner not in LEARNERS:
            raise InvalidParameterError(
                f"learner={learner!r} is unknown; for {kind} there are {', '.join(able)}, or a "
                f"Learner object.{did_you_mean(learner, able)}"
            )
        learner = LEARNERS[learner]()
    if not isinstance(learner, Learner):
        raise InvalidParameterError(
            f"learner must be a name or a Learner object, got {type(learner).__name__}."
        )
    if kind not in learner.kinds:
        raise InvalidParameterError(
            f"{type(learner).__name__} cannot learn {kind} tasks; for these there are "
            f"{', '.join(able)}."
        )
    return learner
