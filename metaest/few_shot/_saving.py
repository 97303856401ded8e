"""What of a few-shot estimator goes into a file, and back."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from metaest.exceptions import ArchitectureMismatchError, FileFormatError, InvalidParameterError
from metaest.persistence import decode, encode, encode_parameters, read_file, select, write_file
from metaest.training._pack import decode_backbone, encode_backbone, pack_state, unpack_state

_KIND = "few_shot"


class SaveMixin:
    """``save`` and ``load``."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, meta-trained weights and, if fitted, the learned task to one file.

        The file is in the safetensors format with JSON in its header: no pickle, and nothing
        that loading would run. It is replaced as a whole or not at all. What JSON cannot hold
        is left out with a warning: `callbacks` and a ``RandomState`` object.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        InvalidParameterError
            If a parameter or a label cannot be written.
        OSError
            If the folder does not exist, or the file cannot be written.

        Warns
        -----
        UserWarning
            If a parameter is left out.
        """
        _save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        backbone: Any = None,
        device: str | torch.device | None = None,
    ) -> Self:
        """Read what :meth:`save` wrote; predictions are the same as before.

        Parameters
        ----------
        path : path-like
        backbone : callable, default=None
            The factory that was the parameter `backbone`: code is not in the file.
        device : str or torch.device, default=None
            Replaces the parameter `device`, for another machine.

        Returns
        -------
        MetaFewShotClassifier or MetaFewShotRegressor

        Raises
        ------
        InvalidParameterError
            If `backbone` is needed and missing, not needed, or makes another network.
        FileFormatError
            If the file is corrupt, truncated, or holds something else.
        NewerVersionError
            If a newer metaest wrote it.
        OSError
            If there is no file, or it cannot be read.
        """
        return _load(cls, path, backbone=backbone, device=device)


def _save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write an estimator to a file."""
    parameters = estimator.get_params(deep=False)
    backbone = encode_backbone(parameters.pop("backbone"))
    content: dict[str, Any] = {
        "what": _KIND,
        "kind": estimator._kind,
        "parameters": encode_parameters(parameters) | {"backbone": backbone},
        "meta": None,
        "fitted": None,
    }
    tensors: dict[str, Tensor] = {}
    if estimator._meta is not None:
        content["meta"], weights = pack_state(estimator._meta, "meta")
        tensors |= weights
    if hasattr(estimator, "state_"):
        start = estimator._adapted_from
        tensors |= {f"state/{k}": v for k, v in estimator.state_.items()}
        content["fitted"] = {
            "learner": encode(estimator.learner_, "learner"),
            "n_features_in": getattr(estimator, "n_features_in_", None),
            "feature_names_in": _encode_array(getattr(estimator, "feature_names_in_", None)),
            "classes": _encode_array(getattr(estimator, "classes_", None)),
            "categories": _encode_categories(vars(estimator).get("categories_")),
            "dates": vars(estimator).get("_dates"),
            "medians": _encode_medians(vars(estimator).get("_medians")),
            "adapted_from": None,  # the meta-trained state
        }
        if start is not estimator._meta:
            content["fitted"]["adapted_from"], weights = pack_state(start, "adapted_from")
            tensors |= weights
    write_file(path, content, tensors)


def _load(
    cls: Any,
    path: str | os.PathLike[str],
    *,
    backbone: Any,
    device: str | torch.device | None,
) -> Any:
    """Make an estimator of class `cls` from a file."""
    content, tensors = read_file(path)
    if content.get("what") != _KIND or content["kind"] != cls._kind:
        holds = f"a {content.get('kind', '')} estimator" if "kind" in content else "something else"
        raise FileFormatError(
            f"{path} holds {holds}, {cls.__name__} is for {cls._kind}. Load it with the class "
            "that saved it."
        )
    parameters = {k: decode(v, path) for k, v in content["parameters"].items() if k != "backbone"}
    if device is not None:
        parameters["device"] = device
    chosen = decode_backbone(content["parameters"]["backbone"], backbone, path)
    estimator = cls(**parameters, backbone=chosen)
    where = {"backbone": backbone, "path": path}
    if content["meta"] is not None:
        estimator._meta = unpack_state(content["meta"], tensors, "meta", **where)
    if content["fitted"] is not None:
        _restore_fit(estimator, content["fitted"], tensors, where)
    if backbone is not None:
        _check_backbone(estimator, backbone, path)
    return estimator


def _check_backbone(estimator: Any, backbone: Any, path: str | os.PathLike[str]) -> None:
    """Raise if `backbone` was not asked for, or makes another network than the saved one."""
    state = vars(estimator).get("_adapted_from", estimator._meta)
    used = [estimator.backbone] + ([] if state is None else [state.spec.backbone])
    if all(isinstance(name, str) for name in used):
        raise InvalidParameterError(
            f"{path} was saved with backbone={used[-1]!r}; load it without backbone=."
        )
    try:
        if state is not None:
            state.module(state.learner, torch.device("cpu"))
    except ArchitectureMismatchError as error:
        raise InvalidParameterError(
            f"backbone={backbone!r} makes another network than the one in {path}: {error}"
        ) from error


def _restore_fit(
    estimator: Any, fitted: dict[str, Any], tensors: dict[str, Tensor], where: dict[str, Any]
) -> None:
    estimator.state_ = select(tensors, "state")
    estimator.learner_ = decode(fitted["learner"], where["path"])
    if fitted["n_features_in"] is not None:  # unknown of images that only descriptions stand for
        estimator.n_features_in_ = fitted["n_features_in"]
    for name in ("feature_names_in", "classes"):
        if fitted[name] is not None:
            setattr(estimator, f"{name}_", _decode_array(fitted[name]))
    if fitted["categories"] is not None:
        arrays = (None if c is None else np.array(c, dtype=str) for c in fitted["categories"])
        estimator.categories_, estimator._dates = list(arrays), fitted.get("dates")
    medians = fitted.get("medians")  # files of older versions have neither
    estimator._medians = None if medians is None else np.array(medians, dtype=np.float64)
    estimator._adapted_from = estimator._meta
    if fitted["adapted_from"] is not None:
        saved = fitted["adapted_from"]
        estimator._adapted_from = unpack_state(saved, tensors, "adapted_from", **where)


def _encode_array(array: np.ndarray | None) -> dict[str, Any] | None:
    """Write labels or names; objects only where JSON gives the same ones back."""
    if array is None:
        return None
    values = array.tolist()
    if not all(isinstance(value, (bool, int, float, str)) for value in values):
        kinds = sorted({type(value).__name__ for value in values})
        raise InvalidParameterError(
            f"labels of type {', '.join(kinds)} cannot be saved: they must be strings, numbers "
            "or booleans. Encode them first (LabelEncoder), or pickle the estimator."
        )
    return {"dtype": array.dtype.str, "values": values}


def _encode_categories(categories: list[np.ndarray | None] | None) -> list[Any] | None:
    if categories is None:
        return None
    return [None if column is None else column.tolist() for column in categories]


def _encode_medians(medians: np.ndarray | None) -> list[float] | None:
    return None if medians is None else medians.tolist()


def _decode_array(saved: dict[str, Any]) -> np.ndarray:
    return np.asarray(saved["values"], dtype=np.dtype(saved["dtype"]))
