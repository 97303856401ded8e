"""What a network must fit: input shape, kind of task, backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from metaest._torch import local_seed
from metaest.exceptions import InvalidParameterError, TaskError, did_you_mean
from metaest.nets._backbones import MLP, Conv4, Identity, ResidualMLP, Standardize

#: Means and standard deviations of inputs lie between these, so that their squares do not
#: leave single precision once standardised, nor they themselves before.
_SMALLEST, _LARGEST = 1e-35, 1e37

#: Standardised columns of tables to classify are squashed to lie between minus this and this.
_BOUND = 3.0

#: ``factory(input_shape) -> nn.Module`` from (n, *input_shape) to (n, d).
BackboneFactory = Callable[[tuple[int, ...]], nn.Module]

BACKBONES: dict[str, BackboneFactory] = {
    "conv4": Conv4,
    "mlp": MLP,
    "residual": ResidualMLP,
    "identity": Identity,
}


@dataclass(frozen=True)
class NetSpec:
    """What a learner needs to know to build its network.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one row: (n_features,) or (channels, height, width).
    kind : {"classification", "regression"}, default="classification"
    n_classes : int, default=1
        Classes in all meta-training tasks together: the outputs of a head over all of them.
    backbone : str or callable, default="auto"
        A name in `BACKBONES`, "auto" (Conv4 for images, an identity-started residual network
        for rows to classify, an MLP for rows to regress on) or a factory.
    statistics : pair of Tensors, default=None
        Mean and scale of the inputs, see ``input_statistics``.
    description_size : int, default=None
        Length of a class description; None: the tasks have none.
    description_statistics : pair of Tensors, default=None
        Mean and scale of the descriptions.
    """

    input_shape: tuple[int, ...]
    kind: Literal["classification", "regression"] = "classification"
    n_classes: int = 1
    backbone: str | BackboneFactory = "auto"
    statistics: tuple[Tensor, Tensor] | None = field(default=None, compare=False, repr=False)
    description_size: int | None = None
    description_statistics: tuple[Tensor, Tensor] | None = field(
        default=None, compare=False, repr=False
    )

    def without_statistics(self) -> NetSpec:
        """Return it once they are buffers among the weights of a network."""
        return replace(self, statistics=None, description_statistics=None)

    def describes_like_rows(self) -> bool:
        """Whether a description is as long as a row, so that one embedding can serve both."""
        return self.input_shape == (self.description_size,)


def make_embedding(spec: NetSpec, rng: np.random.Generator) -> tuple[nn.Module, int]:
    """Build the standardised backbone of `spec`.

    Returns
    -------
    embedding : nn.Module
        From ``(n, *input_shape)`` to ``(n, d)``.
    d : int

    Raises
    ------
    InvalidParameterError
        If the backbone is unknown, or its output is not of shape (n, d).
    """
    factory = _resolve(spec)
    with local_seed(rng):
        try:
            backbone = factory(spec.input_shape)
        except TypeError as error:
            raise InvalidParameterError(
                "backbone must be a factory, backbone(input_shape) -> torch.nn.Module; called with "
                f"input_shape={spec.input_shape} it failed: {error}."
            ) from error
        if not isinstance(backbone, nn.Module):
            raise InvalidParameterError(
                "backbone must be a factory, backbone(input_shape) -> torch.nn.Module; "
                f"got {type(backbone).__name__} back."
            )
        embedding = nn.Sequential(_standardize(spec), backbone)
        return embedding, _output_size(embedding, spec)


def input_statistics(
    parts: list[np.ndarray], input_shape: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of rows, per column or image channel (constant ones: 1).

    Parameters
    ----------
    parts : list of ndarrays of shape ``(n_i, *input_shape)``

    Returns
    -------
    mean, scale : Tensor of float64, shape (n_features,) or (channels, 1, 1)

    Raises
    ------
    TaskError
        If there are values that single precision cannot hold.
    """
    axes = (0, *range(2, 1 + len(input_shape)))
    n = sum(part.size // part.shape[1] for part in parts)
    shape = (1, -1, *[1] * (len(input_shape) - 1))
    with np.errstate(over="ignore"):  # told below
        mean = sum(part.sum(axis=axes, dtype=np.float64) for part in parts) / n
        squares = sum(_sum_squares(part, mean.reshape(shape), axes) for part in parts)
        scale = np.sqrt(squares / n)
    if not (np.abs(mean) + scale < _LARGEST).all():
        column = int((np.abs(mean) + scale).argmax())
        raise TaskError(
            f"X has values beyond {_LARGEST:.0e} in column or channel {column}, which single "
            "precision cannot hold. Rescale it, take its logarithm, or clip it."
        )
    scale[scale <= np.maximum(_SMALLEST, 1e-12 * np.abs(mean))] = 1.0  # constant
    return torch.from_numpy(mean.reshape(shape[1:])), torch.from_numpy(scale.reshape(shape[1:]))


def target_statistics(y: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of targets (constant ones: 1).

    Raises
    ------
    TaskError
        If there are values that single precision cannot hold.
    """
    with np.errstate(over="ignore"):
        mean, scale = float(y.mean()), float(y.std())
    if not abs(mean) + scale < _LARGEST:
        raise TaskError(
            f"y has values beyond {_LARGEST:.0e}, which single precision cannot hold. Rescale it, "
            "or learn its logarithm (TransformedTargetRegressor)."
        )
    return mean, scale if scale > max(_SMALLEST, 1e-12 * abs(mean)) else 1.0


def _sum_squares(part: np.ndarray, mean: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Sum of squared deviations, a block of rows at a time to bound memory."""
    blocks = (part[i : i + 4096] for i in range(0, len(part), 4096))
    return sum(np.square(block - mean).sum(axis=axes) for block in blocks)


def _standardize(spec: NetSpec) -> Standardize:
    """Make the first layer; columns of a regression have no bound, so that lines stay lines."""
    if spec.statistics is None:
        return Standardize(spec.input_shape)
    classifies_rows = spec.kind == "classification" and len(spec.input_shape) == 1
    return Standardize(spec.input_shape, *spec.statistics, 1 / _BOUND if classifies_rows else 0.0)


def _resolve(spec: NetSpec) -> BackboneFactory:
    if isinstance(spec.backbone, nn.Module):
        raise InvalidParameterError(
            "backbone must be a factory, backbone(input_shape) -> torch.nn.Module; got the module "
            f"{type(spec.backbone).__name__} itself. Pass a function that makes it."
        )
    if callable(spec.backbone):
        return spec.backbone
    name = spec.backbone
    if name == "auto":
        rows = "residual" if spec.kind == "classification" else "mlp"
        name = "conv4" if len(spec.input_shape) == 3 else rows
    if name not in BACKBONES:
        known = ["auto", *BACKBONES]
        raise InvalidParameterError(
            f"backbone={name!r} is unknown; there are {', '.join(known)}, or a factory "
            f"backbone(input_shape) -> torch.nn.Module.{did_you_mean(name, known)}"
        )
    if name == "conv4" and len(spec.input_shape) != 3:
        raise InvalidParameterError(
            "backbone='conv4' needs images (channels, height, width), got rows of shape "
            f"{spec.input_shape}. Pass input_shape=(channels, height, width) for flat images, "
            "or backbone='auto'."
        )
    return BACKBONES[name]


def _output_size(embedding: nn.Module, spec: NetSpec) -> int:
    was_training = embedding.training
    try:
        with torch.no_grad():
            out = embedding.eval()(torch.zeros(2, *spec.input_shape))
    except RuntimeError as error:
        raise InvalidParameterError(
            f"the backbone cannot take inputs of shape (n, {', '.join(map(str, spec.input_shape))}"
            f"): {error}. Check input_shape, or pass another backbone."
        ) from error
    finally:
        embedding.train(was_training)
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != 2:
        got = tuple(out.shape) if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise InvalidParameterError(
            f"the backbone must return features of shape (n, d), got {got} for 2 rows. End it "
            "with torch.nn.Flatten()."
        )
    return out.shape[1]
