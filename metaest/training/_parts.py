"""Batches of episodes as a network takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from metaest._torch import module_device
from metaest.episodes import EpisodeBatch
from metaest.learners import LearnerNet
from metaest.learners._execute import chunk_size


def parts_of(
    batch: EpisodeBatch, module: LearnerNet, mean: float, scale: float
) -> Iterator[EpisodeBatch]:
    """Yield so many episodes as fit into memory at a time, on the network's device.

    Parameters
    ----------
    batch : EpisodeBatch
    module : LearnerNet
    mean, scale : float
        Numbers to predict are standardised with these.
    """
    if batch.class_mask is None:
        batch = replace(
            batch,
            support_y=(batch.support_y - mean) / scale,
            query_y=(batch.query_y - mean) / scale,
        )
    rows = batch.support_x.shape[1] + batch.query_x.shape[1]
    for part in batch.chunks(chunk_size(module.embedding, rows)):
        yield part.to(module_device(module))
