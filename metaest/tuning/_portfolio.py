"""A short list of configurations that together did well on past searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor

from metaest.tuning._cache import Cache
from metaest.tuning._configurations import Configurations, Rows
from metaest.tuning._posterior import Features, Posterior, Prior
from metaest.tuning._sources import Sources, SourceTask

#: The best configurations of each search that are candidates, and most of all together.
_BEST_OF_EACH, _MOST_CANDIDATES = 2, 400
#: Standard deviations that a configuration's score must be sure of.
_CAUTION = 0.5


@dataclass(frozen=True)
class Candidates:
    """The best configurations of past searches, and what they are worth on each of them.

    Attributes
    ----------
    rows : Rows
        M configurations.
    origins : ndarray of int, shape (M,)
        The search that each is from.
    places : ndarray of int, shape (M,)
        Their places among its trials, from 0, the best.
    scores : ndarray of shape (T, M)
        On each search, from 0 (its worst trial) to 1 (its best); all are estimates, also of what
        was tried there.
    moved : ndarray of bool, shape (M,)
        Which ones lie outside of the new search, and what the scores are of is the nearest inside.
    """

    rows: Rows
    origins: np.ndarray
    places: np.ndarray
    scores: np.ndarray
    moved: np.ndarray


def greedy_portfolio(scores: np.ndarray, n: int, weights: np.ndarray | None = None) -> list[int]:
    """Choose configurations one by one, each the one that most adds to the best of those before.

    Parameters
    ----------
    scores : ndarray of shape (T, M)
        Of M configurations on T tasks.
    n : int
    weights : ndarray of shape (T,), default=None
        Of the tasks.

    Returns
    -------
    list of min(n, M) int

    References
    ----------
    Feurer et al., Auto-Sklearn 2.0: Hands-free AutoML via Meta-Learning, JMLR 2022, section 3.1
    (greedy portfolios).
    """
    weights = np.ones(len(scores)) if weights is None else weights
    best = np.full(len(scores), -1.0)
    chosen: list[int] = []
    for _ in range(min(n, scores.shape[1])):
        gains = weights @ np.maximum(scores, best[:, None])
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, scores[:, chosen[-1]])
    return chosen


_evaluated = Cache[Candidates](16)


def evaluate_candidates(
    sources: Sources, new: Configurations | None = None, *, is_quick: bool = False
) -> Candidates:
    """Estimate what the best configurations of each past search are worth on all the others.

    By the mean of a Gaussian process and a forest of each search: where one is wrong far from
    the trials, the other seldom is. Done once in a process for the same searches.

    Parameters
    ----------
    sources : Sources
    new : Configurations, default=None
        Of the new search, of the same space. What lies outside of its limits is estimated where it
        is moved to; besides, the best that lie inside are candidates.
    is_quick : bool, default=False
        A third of the time, for hardly worse estimates (fewer steps, fewer trees).
    """
    encode = sources.configurations.encode
    key = joblib.hash([(encode(task.rows), task.scores, task.raw) for task in sources.tasks])
    key += "quick" if is_quick else ""
    if new is None or not new.moves(collect_candidates(sources.tasks)[0]).any():
        return _evaluated.get(key, lambda: _evaluate(sources, None, is_quick))
    return _evaluated.get(key + new.limits, lambda: _evaluate(sources, new, is_quick))


def _evaluate(sources: Sources, new: Configurations | None, is_quick: bool) -> Candidates:
    rows, origins, places = collect_candidates(sources.tasks, new)
    moved, inside = np.zeros(len(rows), dtype=bool), rows
    if new is not None:
        moved, inside = new.moves(rows), Rows(new.bring_inside(rows).values, rows.active)
    encoded = sources.configurations.encode(inside)
    scores = [
        _estimate(sources.configurations.encode(task.rows), task, encoded, is_quick)
        for task in sources.tasks
    ]
    return Candidates(rows, origins, places, np.array(scores), moved)


def collect_candidates(
    tasks: Sequence[SourceTask], new: Configurations | None = None
) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Return the best configurations of each search, the number of the search and their places.

    Where some of them lie outside of the new search, also the best that lie inside.
    """
    n_each = max(1, min(_BEST_OF_EACH, _MOST_CANDIDATES // len(tasks)))
    parts, origins, places = [], [], []
    for number, task in enumerate(tasks[:_MOST_CANDIDATES]):
        order = np.argsort(-task.scores, kind="stable")
        best = np.arange(min(n_each, len(order)))
        if new is not None and new.moves(task.rows.take(order[best])).any():
            inside = np.flatnonzero(~new.moves(task.rows.take(order)))[:n_each]
            best = np.array(list(dict.fromkeys([*best, *inside])))
        parts.append(task.rows.take(order[best]))
        origins += [number] * len(best)
        places += best.tolist()
    return parts[0].join(*parts[1:]), np.array(origins), np.array(places)


def _estimate(
    x: np.ndarray, task: SourceTask, candidates: np.ndarray, is_quick: bool
) -> np.ndarray:
    """Return the estimated scores of candidates (m, d) on a search, on [0, 1]."""
    low, high = float(task.raw.min()), float(task.raw.max())
    if not high > low:  # one trial, or all the same: it is good, others are unknown
        return np.where(np.abs(candidates[:, None] - x).max(2).min(1) < 1e-9, 1.0, 0.5)
    y = (task.scores - low) / (high - low)
    raw = torch.from_numpy(x)
    process = Posterior(Features(raw), y, Prior.cold(raw), n_steps=4 if is_quick else 10)
    mean, std = process.predict(Features(torch.from_numpy(candidates)))
    if len(y) >= 10:
        n_trees = 10 if is_quick else 30
        forest = ExtraTreesRegressor(n_trees, min_samples_leaf=2, random_state=0).fit(x, y)
        mean = 0.5 * (mean + forest.predict(candidates))
    return np.clip(mean - _CAUTION * std, 0.0, 1.0)
