"""A meta-trained state as JSON and tensors, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from metaest.exceptions import InvalidParameterError
from metaest.nets import NetSpec
from metaest.persistence import decode, encode, select
from metaest.training._state import MetaState


def pack_state(state: MetaState, prefix: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Split a meta-trained state into JSON and tensors."""
    spec, names = state.spec, state.feature_names
    content = {
        "learner": encode(state.learner, "learner"),
        "input_shape": list(spec.input_shape),
        "kind": spec.kind,
        "n_classes": spec.n_classes,
        "backbone": encode_backbone(spec.backbone),
        "description_size": spec.description_size,
        "source": state.source,
        "target_mean": state.target_mean,
        "target_scale": state.target_scale,
        "feature_names": None if names is None else encode(list(names), "feature_names"),
        "history": encode(list(state.history), "history"),
        "versions": dict(state.versions),
    }
    return content, {f"{prefix}/{k}": v for k, v in state.weights.items()}


def unpack_state(
    content: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    prefix: str,
    *,
    backbone: Any,
    path: str | os.PathLike[str],
) -> MetaState:
    """Undo :func:`pack_state`; `backbone` stands in for a factory, which is not in the file."""
    names = content["feature_names"]
    spec = NetSpec(
        tuple(content["input_shape"]),
        content["kind"],
        content["n_classes"],
        decode_backbone(content["backbone"], backbone, path),
        description_size=content.get("description_size"),
    )
    return MetaState(
        learner=decode(content["learner"], path),
        spec=spec,
        weights=select(tensors, prefix),
        source=content["source"],
        target_mean=content["target_mean"],
        target_scale=content["target_scale"],
        feature_names=None if names is None else np.asarray(decode(names, path), dtype=object),
        history=decode(content["history"], path),
        versions=content["versions"],
    )


def encode_backbone(backbone: Any) -> Any:
    """Keep a name; of a factory only what it is called."""
    if isinstance(backbone, str):
        return backbone
    return {"factory": getattr(backbone, "__qualname__", repr(backbone))}


def decode_backbone(saved: Any, given: Any, path: str | os.PathLike[str]) -> Any:
    """Return the saved name, or the factory that was given in place of the saved one's name.

    Raises
    ------
    InvalidParameterError
        If a factory is needed and missing.
    """
    if isinstance(saved, str):
        return saved
    if given is None or isinstance(given, str):
        raise InvalidParameterError(
            f"{path} was saved with the backbone factory {saved['factory']}, and code is not in "
            "the file. Pass it: load(path, backbone=factory)."
        )
    return given
