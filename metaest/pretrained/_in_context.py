"""The weights of the in-context learner that come with the package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from metaest.exceptions import MetaestError

FILE = Path(__file__).parent / "data" / "in_context.safetensors"


@dataclass(frozen=True)
class PretrainedWeights:
    """Weights, the parameters of the learner that they are for, and where they come from.

    Attributes
    ----------
    parameters : mapping of str to int
        Parameters of :class:`~metaest.learners.InContextTransformer`.
    weights : mapping of name to Tensor
        Weights of the module that the learner builds.
    metadata : mapping of str to str
        ``name``, ``date``, ``training``, ``data``, ``licence``.
    """

    parameters: Mapping[str, int]
    weights: Mapping[str, Tensor] = field(repr=False)
    metadata: Mapping[str, str]


@cache
def load_in_context() -> PretrainedWeights:
    """Return the shipped weights, in single precision; read once per process.

    Raises
    ------
    MetaestError
        If the package was built without them.
    """
    if not FILE.exists():
        raise MetaestError(
            f"the pretrained weights {FILE.name} are not in this installation. Install metaest "
            "from a wheel, or make them by benchmarks/pretrain_in_context.py --checkpoint FOLDER "
            "--export."
        )
    with safe_open(FILE, "pt") as file:
        metadata = dict(file.metadata())
        weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    return PretrainedWeights(json.loads(metadata.pop("parameters")), weights, metadata)


def write_in_context(
    weights: Mapping[str, Tensor],
    parameters: Mapping[str, Any],
    metadata: Mapping[str, str],
    path: Path = FILE,
) -> None:
    """Write the weights of an ``InContextNet`` in half precision.

    Parameters
    ----------
    weights : mapping of name to Tensor
    parameters : mapping of str to int
        Sizes of the network that differ from the learner's defaults.
    metadata : mapping of str to str
        ``name``, ``date`` and ``training``.
    path : Path
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    halves = {f"network.{k}": v.detach().to(torch.float16).contiguous() for k, v in weights.items()}
    facts = {"data": "synthetic tasks (metaest.pretrained.prior)", "licence": "BSD-3-Clause"}
    save_file(halves, path, {**facts, **metadata, "parameters": json.dumps(dict(parameters))})
