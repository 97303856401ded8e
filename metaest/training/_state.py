"""What meta-training leaves behind."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metaest import __version__
from metaest._torch import state_to_cpu, usual_torch
from metaest.exceptions import ArchitectureMismatchError
from metaest.learners import Learner, LearnerNet
from metaest.nets import NetSpec

#: Networks that a state keeps built: one per device, thread and setting of the learner.
MAX_MODULES = 8


@dataclass(frozen=True, eq=False)
class MetaState:
    """What was learned from past tasks: one frozen value, shared by reference.

    Attributes
    ----------
    learner : Learner
        With its parameters at meta-training.
    spec : NetSpec
        The network: input shape, kind of task, number of base classes, backbone.
    weights : mapping of name to Tensor
        On the CPU. Never changed in place.
    source : {"fit_meta", "pretrained", "seeded"}
        Whether the weights were meta-trained, came with the package, or are seeded random ones.
    target_mean, target_scale : float
        Statistics of the meta-training targets (0 and 1 for classification, and for learners that
        standardise each task's targets themselves).
    feature_names : ndarray of str or None
        Columns of the meta-training tables, where they were DataFrames.
    history : sequence of dict
        One entry per validation round.
    versions : mapping of str to str
        Versions of metaest and torch that made it; of pretrained weights their name, date,
        training data and licence.
    """

    learner: Learner
    spec: NetSpec
    weights: Mapping[str, Tensor] = field(repr=False)
    source: Literal["fit_meta", "pretrained", "seeded"]
    target_mean: float = 0.0
    target_scale: float = 1.0
    feature_names: np.ndarray | None = field(default=None, repr=False)
    history: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    versions: Mapping[str, str] = field(default_factory=dict, repr=False)
    _modules: dict[tuple[Any, ...], LearnerNet] = field(
        default_factory=dict, init=False, repr=False
    )

    @usual_torch()
    def module(
        self, learner: Learner, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> LearnerNet:
        """Return the network with these weights in evaluation mode, built once per device.

        And once per thread: ``functional_call`` swaps a module's parameters while it runs.

        Parameters
        ----------
        learner : Learner
            May differ from the meta-trained one in what its network does not depend on.
        device : torch.device
        dtype : torch.dtype, default=torch.float32

        Raises
        ------
        ArchitectureMismatchError
            If the learner's network has other weights than these.
        """
        made_of = repr((type(learner), sorted(learner.get_params().items())))
        key = (made_of, str(device), dtype, threading.get_ident())
        module = self._modules.get(key)
        if module is None:
            module = self._build(learner, dtype).to(device)
            for old in list(self._modules)[: 1 - MAX_MODULES]:
                self._modules.pop(old, None)
            self._modules[key] = module
        return module

    def _build(self, learner: Learner, dtype: torch.dtype) -> LearnerNet:
        # Of that precision before it is given the weights: statistics may have that of double.
        module = learner.build(self.spec, np.random.default_rng(0)).to(dtype)
        load_weights(module, learner, self)
        return module.eval()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_modules": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def load_weights(module: LearnerNet, learner: Learner, state: MetaState) -> None:
    """Give a learner's network the weights of a state.

    Raises
    ------
    ArchitectureMismatchError
        If the network has other weights than these.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    present = {name: tuple(value.shape) for name, value in state.weights.items()}
    if type(learner) is not type(state.learner) or wanted != present:
        raise ArchitectureMismatchError(
            f"the weights were meta-trained with {state.learner!r}, but learner is now "
            f"{learner!r}, whose network differs: {_describe_difference(wanted, present)} "
            f"(backbone={state.spec.backbone!r}). Set it back, or, where another version of "
            "metaest made the weights, call fit_meta again."
        )
    module.load_state_dict(dict(state.weights))


def _describe_difference(wanted: Mapping[str, Any], present: Mapping[str, Any]) -> str:
    """Name weights that one network has and the other has not, or not in that shape."""
    if missing := sorted(wanted.keys() - present.keys()):
        return f"the weights lack {', '.join(missing[:3])}"
    if extra := sorted(present.keys() - wanted.keys()):
        return f"it has no {', '.join(extra[:3])}"
    changed = next((name for name in wanted if wanted[name] != present[name]), None)
    if changed is None:
        return "it is another learner's"
    return f"{changed} has shape {wanted[changed]}, the weights' {present[changed]}"


@usual_torch()
def seeded_state(
    learner: Learner, spec: NetSpec, random_state: int, **statistics: Any
) -> MetaState:
    """Return the untrained state of a seed.

    Parameters
    ----------
    learner : Learner
    spec : NetSpec
    random_state : int
    **statistics
        ``target_mean``, ``target_scale`` and ``feature_names`` of :class:`MetaState`.
    """
    module = learner.build(spec, np.random.default_rng(random_state))
    weights = state_to_cpu(module.state_dict())
    return MetaState(
        learner=learner,
        spec=spec.without_statistics(),
        weights=weights,
        source="seeded",
        versions=library_versions(),
        **statistics,
    )


def library_versions() -> dict[str, str]:
    """Return the versions that a state depends on."""
    return {"metaest": __version__, "torch": str(torch.__version__)}
