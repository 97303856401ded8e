"""Episodes: a task split into a support set to learn from and a query set to predict."""

from metaest.episodes._batch import EpisodeBatch, Support, pad_rows
from metaest.episodes._sampler import EpisodeSampler
from metaest.episodes._shape import EpisodeIndices, EpisodeShape, IntRange, group_rows

__all__ = [
    "EpisodeBatch",
    "EpisodeIndices",
    "EpisodeSampler",
    "EpisodeShape",
    "IntRange",
    "Support",
    "group_rows",
    "pad_rows",
]
