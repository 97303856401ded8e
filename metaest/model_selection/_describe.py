"""What the frame of scores says of each episode, beside the scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaest.model_selection._run import Episode


def describe_episodes(
    episodes: list[Episode], labels: np.ndarray | None, groups: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return what ``EpisodeScores.to_frame`` says of each episode.

    Parameters
    ----------
    episodes : list of (support, query)
    labels : ndarray of shape (n_rows,), or None
        None: regression.
    groups : ndarray of shape (n_rows,), or None
    """
    described = {"episode": np.arange(len(episodes))}
    if groups is not None:
        parts = [np.unique(groups[np.concatenate(episode)]) for episode in episodes]
        described["group"] = _one_dimensional([p[0] if len(p) == 1 else None for p in parts])
    n_support = np.array([len(support) for support, _ in episodes])
    n_query = np.array([len(query) for _, query in episodes])
    ways = np.ones(len(episodes), dtype=int)
    if labels is not None:
        codes = np.unique(labels, return_inverse=True)[1]
        ways = np.array([len(np.unique(codes[support])) for support, _ in episodes])
        described["n_ways"] = ways
    described["n_shots"] = _whole(n_support / ways)
    described["n_queries"] = _whole(n_query / ways)
    return described


def _one_dimensional(values: list[Any]) -> np.ndarray:
    """Return an array of values, which may be tuples."""
    if not any(isinstance(value, tuple) for value in values):
        return np.array(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _whole(values: np.ndarray) -> np.ndarray:
    """Return integers where all values are whole."""
    return values.astype(int) if np.array_equal(values, np.round(values)) else values
