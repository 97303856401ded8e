"""Learners: ways to learn a task from a few rows, meta-trained over many tasks."""

from __future__ import annotations

from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.learners._anil import ANIL
from metaest.learners._base import Gaussian, Learner, LearnerNet, State
from metaest.learners._deep_kernel_gp import DeepKernelGP
from metaest.learners._finetune import FineTune
from metaest.learners._maml import MAML
from metaest.learners._matching import MatchingNet
from metaest.learners._protonet import ProtoNet
from metaest.learners._reptile import Reptile
from metaest.learners._ridge import RidgeHead

__all__ = [
    "ANIL",
    "LEARNERS",
    "MAML",
    "DeepKernelGP",
    "FineTune",
    "Gaussian",
    "Learner",
    "LearnerNet",
    "MatchingNet",
    "ProtoNet",
    "Reptile",
    "RidgeHead",
    "State",
    "make_learner",
]

#: Short name -> class.
LEARNERS: dict[str, type[Learner]] = {
    "protonet": ProtoNet,
    "matching": MatchingNet,
    "maml": MAML,
    "anil": ANIL,
    "reptile": Reptile,
    "ridge": RidgeHead,
    "finetune": FineTune,
    "deep_kernel_gp": DeepKernelGP,
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
