"""Networks that turn rows or images into features."""

from metaest.nets._backbones import MLP, Conv4, ResidualMLP, Standardize
from metaest.nets._spec import BACKBONES, NetSpec, make_embedding

__all__ = [
    "BACKBONES",
    "MLP",
    "Conv4",
    "NetSpec",
    "ResidualMLP",
    "Standardize",
    "make_embedding",
]
