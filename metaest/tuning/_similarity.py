"""How near the data sets of past searches are to the new one, and whether that matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metaest.tuning._description import LEARNED
from metaest.tuning._portfolio import greedy_portfolio
from metaest.tuning._sources import SourceTask

#: Widths of the kernel that are tried, in medians of the distances; infinity is no weighting.
_WIDTHS = (1.0, 0.5, 0.25)
_MIN_TASKS = 5


def distances_from(
    tasks: Sequence[SourceTask], own: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the distances of T data sets from a new one, and from each other.

    The distance of learned coordinates where all have them; else each meta-feature is replaced
    by its rank among all data sets, and the distance is the mean difference. Tasks without
    meta-features are infinitely far.

    Parameters
    ----------
    tasks : sequence of SourceTask
    own : mapping of str to float
        Meta-features of the new data set.

    Returns
    -------
    to_new : ndarray of shape (T,)
    between : ndarray of shape (T, T)
        None (for both) if the data sets have no meta-feature in common.
    """
    described = [i for i, task in enumerate(tasks) if task.meta_features]
    names = set(own).intersection(*(tasks[i].meta_features or {} for i in described))
    if not described or not names:
        return None
    learned = [name for name in names if name.startswith(LEARNED)]
    used = sorted(learned or names)
    table = np.array(
        [[own[n] for n in used]]
        + [[(tasks[i].meta_features or {})[n] for n in used] for i in described]
    )  # (1 + described, names)
    if learned:
        near = np.sqrt(np.square(table[:, None] - table).sum(2))
    else:
        ranks = _ranks(table)
        near = np.abs(ranks[:, None] - ranks).mean(2)
    to_new = np.full(len(tasks), np.inf)
    between = np.full((len(tasks), len(tasks)), np.inf)
    to_new[described] = near[0, 1:]
    between[np.ix_(described, described)] = near[1:, 1:]
    np.fill_diagonal(between, 0.0)
    return to_new, between


def choose_weights(
    scores: np.ndarray, to_new: np.ndarray, between: np.ndarray, n: int
) -> np.ndarray | None:
    """Return weights of the past searches, or None if weighting did not help among themselves.

    Each past search in turn is taken for the new one: a width of the kernel is used only if
    portfolios with it beat unweighted ones on the searches that were left out.

    Parameters
    ----------
    scores : ndarray of shape (T, M)
        Of M candidates.
    to_new : ndarray of shape (T,)
    between : ndarray of shape (T, T)
    n : int
        Configurations of the portfolio.
    """
    finite = np.isfinite(between) & ~np.eye(len(between), dtype=bool)
    if len(scores) < _MIN_TASKS or not finite.any() or not np.isfinite(to_new).any():
        return None
    unit = float(np.median(between[finite]))
    if unit <= 0:
        return None
    plain = _held_out(scores, None, n)
    best, chosen = 0.0, None
    for width in _WIDTHS:
        gains = _held_out(scores, weigh_by_distance(between, width * unit), n) - plain
        error = gains.std() / len(gains) ** 0.5
        if gains.mean() > max(best, 2 * error):
            best, chosen = gains.mean(), width
    return None if chosen is None else weigh_by_distance(to_new, chosen * unit)


def _held_out(scores: np.ndarray, weights: np.ndarray | None, n: int) -> np.ndarray:
    """Return the mean best-so-far of each task under a portfolio of the others: (T,)."""
    found = []
    for task in range(len(scores)):
        others = np.arange(len(scores)) != task
        own = None if weights is None else weights[task][others]
        chosen = greedy_portfolio(scores[others], n, own)
        found.append(np.maximum.accumulate(scores[task, chosen]).mean())
    return np.array(found)


def weigh_by_distance(distances: np.ndarray, width: float) -> np.ndarray:
    """Return a Gaussian kernel's weights of data sets at these distances."""
    weights = np.exp(-0.5 * (distances / width) ** 2)
    return np.maximum(weights, 1e-3)  # the farthest still say something


def _ranks(table: np.ndarray) -> np.ndarray:
    """Replace each column's values by the share of smaller ones (half of equal ones)."""
    below = (table[:, None] > table[None]).mean(1)
    equal = (table[:, None] == table[None]).mean(1)
    return below + 0.5 * equal
