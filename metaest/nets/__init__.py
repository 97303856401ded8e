"""Networks that turn rows or images into features."""

from metaest.nets._backbones import MLP, Conv4, Identity, ResidualMLP, Standardize
from metaest.nets._coordinatewise import CoordinatewiseLSTM
from metaest.nets._spec import BACKBONES, NetSpec, make_embedding

__all__ = [
    "BACKBONES",
    "MLP",
    "Conv4",
    "CoordinatewiseLSTM",
    "Identity",
    "NetSpec",
    "ResidualMLP",
    "Standardize",
    "make_embedding",
]
