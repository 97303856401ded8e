"""Expected improvement, and where to look for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import erfcx, log_ndtr

from metaest.tuning._configurations import Configurations, Rows

_N_RANDOM, _N_VARIED, _N_BEST = 256, 256, 4
#: Rounds of a climb, the best that each begins with, and variations of each of them.
_N_ROUNDS, _N_TOP, _N_EACH = 2, 8, 16


def log_expected_improvement(mean: np.ndarray, std: np.ndarray, best: float) -> np.ndarray:
    r"""Logarithm of :math:`E[\max(f - f^*, 0)]`, exact also where it underflows.

    Parameters
    ----------
    mean, std : ndarray of shape (m,)
    best : float
        The best score so far.

    References
    ----------
    Ament et al., Unexpected Improvements to Expected Improvement for Bayesian Optimization,
    NeurIPS 2023, equation 9.
    """
    z = (mean - best) / std
    log_density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # density + z * cdf, as density * (1 + z * Mills' ratio)
        mills = np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2))
        near = log_density + np.log1p(z * mills)
        usual = np.log(np.exp(log_density) + z * np.exp(log_ndtr(z)))
    far = log_density - 2 * np.log(np.maximum(-z, 1.0))  # the limit
    return np.log(std) + np.where(z > -1, usual, np.where(z > -1e3, near, far))


def propose(
    configurations: Configurations,
    known: Rows,
    scores: np.ndarray,
    others: Rows | None,
    rng: np.random.Generator,
) -> Rows:
    """Return configurations that are worth a look.

    Random ones, variations of the best trials, and others such as those of past searches.

    Parameters
    ----------
    configurations : Configurations
    known : Rows
        Of the search's trials.
    scores : ndarray of shape (n,)
    others : Rows or None
    rng : numpy.random.Generator
    """
    found = configurations.draw(_N_RANDOM, rng)
    if len(known):
        best = np.argsort(-scores, kind="stable")[:_N_BEST]
        found = found.join(configurations.vary(known.take(rng.choice(best, _N_VARIED)), rng))
    return found if others is None else found.join(others)


def climb(
    configurations: Configurations,
    rows: Rows,
    merit: Callable[[Rows], np.ndarray],
    rng: np.random.Generator,
) -> tuple[Rows, float]:
    """Vary the best of some configurations twice; return the best one and its merit.

    Parameters
    ----------
    configurations : Configurations
    rows : Rows
        To begin with.
    merit : callable
        Takes n rows, returns what each is worth (n,); minus infinity: it is not allowed.
    rng : numpy.random.Generator

    Returns
    -------
    best : Rows of length 1
    worth : float
    """
    worth = merit(rows)
    for _ in range(_N_ROUNDS):
        top = np.argsort(-worth, kind="stable")[:_N_TOP]
        varied = configurations.vary(rows.take(np.repeat(top, _N_EACH)), rng)
        rows, worth = rows.join(varied), np.concatenate([worth, merit(varied)])
    number = int(worth.argmax())
    return rows.take([number]), float(worth[number])
