"""What the encoder has learned, and how it embeds data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaest._torch import local_seed, one_intra_op_thread
from metaest.meta_features._canonical import Sample
from metaest.meta_features._encoder_describe import Description, surface_blocks
from metaest.meta_features._encoder_metric import learn_weights
from metaest.meta_features._encoder_net import SetNetwork
from metaest.meta_features._encoder_train import draw_pairs, standardize, train_network
from metaest.meta_features._encoder_views import collate
from metaest.meta_features._statistics import robust_scale

_RELATIVE = ("_loss", "_shape")  # groups that are on one scale for all data sets already


@dataclass(frozen=True)
class SurfacePart:
    """A linear map from standardised features to coordinates, learned from response surfaces.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
    projection : ndarray of shape (n_features, n_coordinates)
    offset : ndarray of shape (n_coordinates,)
    """

    center: np.ndarray
    scale: np.ndarray
    projection: np.ndarray
    offset: np.ndarray

    def embed(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return coordinates of n data sets, shape (n, n_coordinates)."""
        raw = np.hstack(list(blocks.values()))
        features = standardize(raw, self.center, self.scale)
        # A matrix product rounds a row differently in company.
        return (features[:, :, None] * self.projection).sum(axis=1) - self.offset


@dataclass(frozen=True)
class EncoderModel:
    """The network, what standardises its inputs, and the part that knows surfaces.

    Parameters
    ----------
    network : SetNetwork
        On the CPU.
    center, scale : ndarray of shape (n_statistics,)
        Of the statistics of views in training.
    identity_size : float
        Mean squared distance of two training data sets, before scaling.
    surface_weight : float
        Share of the surface part in the mean squared distance; 0 without one.
    surface : SurfacePart or None
    """

    network: SetNetwork
    center: np.ndarray
    scale: np.ndarray
    identity_size: float
    surface_weight: float
    surface: SurfacePart | None

    @property
    def n_components(self) -> int:
        """Coordinates of a data set."""
        n_surface = 0 if self.surface is None else len(self.surface.offset)
        return self.network.shortcut.out_features + n_surface

    def embed(self, descriptions: Sequence[Description]) -> np.ndarray:
        """Embed n data sets; shape (n, n_components), float64."""
        identities = embed_identities(self.network, self.center, self.scale, descriptions)
        own = identities * np.sqrt((1 - self.surface_weight) / self.identity_size)
        if self.surface is None:
            return own
        return np.hstack([own, self.surface.embed(surface_blocks(descriptions, identities))])

    def pack(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Split into JSON and tensors."""
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        arrays = {"center": self.center, "scale": self.scale}
        if self.surface is not None:
            arrays |= {f"surface/{k}": v for k, v in vars(self.surface).items()}
        tensors |= {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
        content = {
            "n_identity": self.network.shortcut.out_features,
            "identity_size": self.identity_size,
            "surface_weight": self.surface_weight,
        }
        return content, tensors

    @classmethod
    def unpack(cls, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> EncoderModel:
        """Undo :meth:`pack`."""
        network = SetNetwork(content["n_identity"])
        prefix = "network/"
        network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )
        arrays = {k: v.numpy() for k, v in tensors.items() if not k.startswith(prefix)}
        names = ("center", "scale", "projection", "offset")
        surface = None
        if "surface/center" in arrays:
            surface = SurfacePart(*(arrays[f"surface/{name}"] for name in names))
        return cls(
            network.eval(),
            arrays["center"],
            arrays["scale"],
            content["identity_size"],
            content["surface_weight"],
            surface,
        )


def train_model(
    samples: Sequence[Sample],
    descriptions: Sequence[Description],
    halves: Sequence[Sequence[Description]],
    similarities: Sequence[np.ndarray],
    *,
    n_components: int,
    n_steps: int,
    surface_weight: float,
    seed: int,
    device: torch.device,
    verbose: int = 0,
) -> tuple[EncoderModel, list[float]]:
    """Train the network, then the part that knows surfaces unless its weight is 0.

    `halves` are two lists, of one half and of the other half of each data set.

    Returns
    -------
    model : EncoderModel
    losses : list of float
        Of the network's steps.
    """
    n_surface = max(n_components // 4, 1) if surface_weight else 0
    rng = np.random.default_rng(seed)
    pairs = draw_pairs(samples, rng)
    seen = [view.statistics for of_one in pairs for pair in of_one for view in pair]
    center, scale = robust_scale(np.stack(seen))
    with local_seed(seed, device), one_intra_op_thread():
        network = SetNetwork(n_components - n_surface)
        losses = train_network(
            network,
            pairs,
            center=center,
            scale=scale,
            n_steps=n_steps,
            rng=rng,
            device=device,
            verbose=verbose,
        )
    views = [descriptions, *halves] if n_surface else [descriptions]
    identities = [embed_identities(network, center, scale, view) for view in views]
    surface = None
    if n_surface:
        surface = learn_surface_part(
            [surface_blocks(d, u) for d, u in zip(views, identities, strict=True)],
            similarities,
            n_coordinates=n_surface,
            surface_weight=surface_weight,
            seed=seed,
        )
    size = mean_squared_distance(identities[0])
    return EncoderModel(network, center, scale, size, surface_weight, surface), losses


def embed_identities(
    network: SetNetwork,
    center: np.ndarray,
    scale: np.ndarray,
    descriptions: Sequence[Description],
) -> np.ndarray:
    """Return what the network makes of each data set, one at a time: padding costs nothing."""
    rows = []
    with torch.no_grad(), one_intra_op_thread():
        for description in descriptions:
            view = description.view
            statistics = standardize(view.statistics[None], center, scale)
            batch = collate([view], torch.device("cpu"))
            rows.append(network(batch, torch.from_numpy(statistics).float())[0].numpy())
    return np.array(rows, dtype=np.float64)


def learn_surface_part(
    views: Sequence[Mapping[str, np.ndarray]],
    similarities: Sequence[np.ndarray],
    *,
    n_coordinates: int,
    surface_weight: float,
    seed: int,
) -> SurfacePart:
    """Weight the features by what surfaces say, and keep the main directions.

    `views` are the blocks of the data sets, of their one halves and of their other halves. A
    feature that changes from half to half is noise: it starts with as much less weight.
    """
    blocks = views[0]
    scales = [_scale_of(name, block) for name, block in blocks.items()]
    center, scale = (np.concatenate(parts) for parts in zip(*scales, strict=True))
    features, first, second = (
        standardize(np.hstack(list(view.values())), center, scale) for view in views
    )
    groups = np.repeat(np.arange(len(blocks)), [block.shape[1] for block in blocks.values()])
    start = _reliability(first, second)
    spread = np.bincount(groups, weights=(features * start).var(axis=0))
    of_group = np.bincount(groups, weights=start) / np.bincount(groups)
    balance = np.where(spread > 1e-12, of_group / np.sqrt(np.maximum(spread, 1e-12)), 0.0)
    start = start * balance[groups]
    weights = start * learn_weights(features * start, groups, similarities, seed)
    weighted = features * weights
    _, _, directions = np.linalg.svd(weighted - weighted.mean(axis=0), full_matrices=False)
    kept = np.zeros((features.shape[1], n_coordinates))
    kept[:, : min(len(directions), n_coordinates)] = directions[:n_coordinates].T
    size = mean_squared_distance(weighted @ kept)
    projection = weights[:, None] * kept * np.sqrt(surface_weight / size)
    return SurfacePart(center, scale, projection, features.mean(axis=0) @ projection)


def _reliability(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the share of each feature's variance that is not from half to half."""
    within = ((first - second) ** 2).mean(axis=0) / 2
    total = np.concatenate([first, second]).var(axis=0)
    return np.clip(1 - within / np.maximum(total, 1e-12), 0.05, 1.0)


def mean_squared_distance(points: np.ndarray) -> float:
    """Return the mean over all ordered pairs; at least a little, to divide by."""
    return max(2 * float(points.var(axis=0).sum()), 1e-12)


def _scale_of(name: str, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if name.endswith(_RELATIVE):
        return np.zeros(block.shape[1]), np.ones(block.shape[1])
    if name == "network":  # its directions are of unequal size on purpose
        size = np.sqrt(max(float(block.var(axis=0).mean()), 1e-12))
        return block.mean(axis=0), np.full(block.shape[1], size)
    return robust_scale(block)
