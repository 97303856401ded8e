"""First training: two samples of one data set are close, two data sets are apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from metaest.meta_features._canonical import Sample
from metaest.meta_features._encoder_net import SetNetwork
from metaest.meta_features._encoder_views import View, collate, draw_pair

N_PAIRS = 12  # views drawn of each data set, once: drawing them costs more than a step
BATCH_SIZE = 16
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-2
TEMPERATURE = 0.2  # of cosines
CLIP = 3.0  # of standardised features


def draw_pairs(
    samples: Sequence[Sample], rng: np.random.Generator
) -> list[list[tuple[View, View]]]:
    return [[draw_pair(sample, rng) for _ in range(N_PAIRS)] for sample in samples]


def standardize(values: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip((values - center) / scale, -CLIP, CLIP)


def train_network(
    network: SetNetwork,
    pairs: list[list[tuple[View, View]]],
    *,
    center: np.ndarray,
    scale: np.ndarray,
    n_steps: int,
    rng: np.random.Generator,
    device: torch.device,
    verbose: int,
) -> list[float]:
    """Train in place; return the loss of each step."""
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=2 * LEARNING_RATE, total_steps=max(n_steps, 1)
    )
    losses = []
    for _ in tqdm(range(n_steps), desc="encoder", disable=not verbose):
        chosen = rng.permutation(len(pairs))[:BATCH_SIZE]
        drawn = [pairs[i][rng.integers(len(pairs[i]))] for i in chosen]
        views = [first for first, _ in drawn] + [second for _, second in drawn]
        raw = np.stack([view.statistics for view in views])
        statistics = torch.from_numpy(standardize(raw, center, scale)).float().to(device)
        loss = contrast(network(collate(views, device), statistics))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.to("cpu").eval()
    return losses


def contrast(embedded: Tensor) -> Tensor:
    """Pull the samples of one data set together, push all pairs of two data sets apart.

    One sum over all pairs of two data sets, not one for each anchor: distances shall mean the same
    everywhere. On a sphere the pairs end about equally far apart, and that is wanted: this part of
    the distance then says "not the same", and leaves the finer order to the surfaces.

    Parameters
    ----------
    embedded : Tensor of shape (2 D, d)
        Unit vectors: first views of D data sets, then second views.
    """
    n_sets = len(embedded) // 2
    cosines = embedded @ embedded.T / TEMPERATURE
    owner = torch.arange(2 * n_sets, device=embedded.device) % n_sets
    same = cosines.diagonal(n_sets)
    other = cosines[owner[:, None] < owner]
    return other.logsumexp(dim=0) - np.log(len(other)) - same.mean()
