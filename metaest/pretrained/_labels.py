"""From scores to labels: cuts, intervals or the largest score, with noise."""

from __future__ import annotations

import numpy as np

from metaest.pretrained._draws import (
    Booleans,
    Floats,
    Integers,
    chance,
    log_uniform,
    normal,
    standardize,
)


def label(rng: np.random.Generator, scores: Floats, n_classes: Integers, given: bool) -> Integers:
    """Label rows.

    Parameters
    ----------
    rng : numpy.random.Generator
    scores : ndarray of shape (B, K, N)
    n_classes : ndarray of shape (B,)
        At most K; that many labels at most are drawn.
    given : bool
        Whether the largest score is the label already.

    Returns
    -------
    labels : ndarray of shape (B, N)
    """
    n_tasks, n_scores, n_rows = scores.shape
    exists = np.arange(n_scores) < n_classes[:, None]  # (B, K)
    if given:
        labels = scores.argmax(1)
    else:
        scores = standardize(scores)
        labels = np.where(
            chance(rng, 0.5, (n_tasks, 1)),
            _largest(rng, scores, exists),
            _cut(rng, scores[:, 0], exists),
        )
    rate = chance(rng, 0.25, (n_tasks, 1)) * rng.uniform(0.0, 0.12, (n_tasks, 1))
    other = np.take_along_axis(labels, rng.integers(n_rows, size=labels.shape), axis=1)
    return np.where(chance(rng, rate, labels.shape), other, labels)


def most_told(
    rng: np.random.Generator, columns: Floats, scores: Floats, own: Booleans, n_scores: int
) -> Floats:
    """Choose scores that correlate with the columns: tables are collected to tell of something.

    Parameters
    ----------
    rng : numpy.random.Generator
    columns : ndarray of shape (B, F, N)
    scores : ndarray of shape (B, M, N)
    own : ndarray of shape (B, F)
    n_scores : int
        K.

    Returns
    -------
    scores : ndarray of shape (B, K, N)
    """
    cross = standardize(scores) @ standardize(columns).transpose(0, 2, 1)  # (B, M, F)
    told = (np.abs(cross) * own[:, None]).mean(-1) / scores.shape[-1] + 1e-6
    care = rng.uniform(0.0, 6.0, (len(own), 1))  # 0: any scores
    keys = care * np.log(told) + np.log(rng.random(told.shape) + 1e-12)
    return np.take_along_axis(scores, (-keys).argsort(1)[:, :n_scores, None], axis=1)


def _largest(rng: np.random.Generator, scores: Floats, exists: Booleans) -> Integers:
    """Draw from the softmax of the scores, sharp or blunt, with classes of unlike sizes."""
    n_tasks = len(scores)
    sharp = log_uniform(rng, 2.5, 50.0, (n_tasks, 1, 1))
    bias = rng.uniform(0.0, 1.0, (n_tasks, 1, 1)) * normal(rng, *exists.shape, 1)
    noise = -np.log(rng.standard_exponential(scores.shape, dtype=np.float32) + 1e-12)
    logits = np.where(exists[..., None], sharp * (scores + bias) + noise, -np.inf)
    return np.asarray(logits.argmax(1))


def _cut(rng: np.random.Generator, score: Floats, exists: Booleans) -> Integers:
    """Cut one noisy score; at times an interval belongs to any class, not the next."""
    n_tasks, n_rows = score.shape
    score = score + log_uniform(rng, 0.03, 0.7, (n_tasks, 1)) * normal(rng, *score.shape)
    n_parts = exists.sum(1)
    scattered = chance(rng, 0.08, (n_tasks,))
    most = 2 * exists.shape[1] + 1
    n_parts = np.where(scattered, 2 * n_parts + rng.integers(2, size=n_tasks), n_parts)
    shape = log_uniform(rng, 1.0, 20.0, (n_tasks, 1))  # small: classes of unlike sizes
    shares = rng.standard_gamma(np.broadcast_to(shape, (n_tasks, most))) + 0.05 * shape
    shares[np.arange(most) >= n_parts[:, None]] = 0.0
    edges = shares.cumsum(1) / shares.sum(1, keepdims=True)
    ranks = (score.argsort(1).argsort(1) + 0.5) / n_rows
    parts = np.zeros(score.shape, dtype=np.int64)
    for part in range(int(n_parts.max()) - 1):
        parts += ranks > edges[:, part, None]
    return np.asarray(parts % exists.sum(1)[:, None])


def tidy(rng: np.random.Generator, labels: Integers, n_support: int) -> tuple[Integers, Integers]:
    """Order the rows and number the classes.

    Each class gets a row among the first `n_support`, where there is room for it. In half of the
    tasks the support rows are stratified, in the others they are drawn at random.

    Parameters
    ----------
    rng : numpy.random.Generator
    labels : ndarray of shape (B, N)
        Two classes at least in each task.
    n_support : int

    Returns
    -------
    order : ndarray of shape (B, N)
        Positions of the rows.
    labels : ndarray of shape (B, N)
        Labels of the ordered rows; classes are numbered at random, without gaps.
    """
    n_tasks, n_rows = labels.shape
    task = np.arange(n_tasks)[:, None]
    members = labels[..., None] == np.arange(labels.max() + 1)  # (B, N, K)
    counts = members.sum(1)
    earlier = np.take_along_axis(members.cumsum(1), labels[..., None], axis=2)[..., 0] - 1
    draw = rng.random(labels.shape)
    even = (earlier + draw) / np.take_along_axis(counts, labels, axis=1)
    keys = np.where(chance(rng, 0.5, (n_tasks, 1)), even, draw)
    keys[earlier == 0] -= 1.0
    order = keys.argsort(1)
    # Within the support rows, and within the others, the order tells nothing.
    shuffled = rng.random(labels.shape) + (np.arange(n_rows) >= n_support)
    order = order[task, shuffled.argsort(1)]
    names = np.where(counts > 0, rng.random(counts.shape), 2.0).argsort(1).argsort(1)
    return order, names[task, labels[task, order]]
