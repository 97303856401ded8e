"""RGPE, a rival in the tuning benchmark: a ranking-weighted ensemble of Gaussian processes.

Feurer, Letham and Bakshy, Scalable Meta-Learning for Bayesian Optimization using
Ranking-Weighted Gaussian Process Ensembles, AutoML workshop at ICML 2018 (arXiv 1802.02219).
One process for each past search and one for the running search; each weighs as much as the share
of draws from the posteriors in which it ranks the running search's trials best. As in the paper,
a past search that mostly ranks them worse than the running search's own model does (each trial
left out in turn) is not used. Processes, expected improvement and candidates are those of
metaest's cold search, so that only the transfer differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from metaest.learners._gp import matern
from metaest.tuning._acquisition import log_expected_improvement, propose
from metaest.tuning._observations import observe
from metaest.tuning._posterior import Features, Posterior, Prior
from metaest.tuning._record import SearchRecord
from metaest.tuning._sources import find_sources

#: Draws for the weights; best configurations of each past search that are candidates.
N_DRAWS, N_BEST = 128, 2
_TINY, _JITTER = 1e-8, 1e-6


class _Process:
    """A Gaussian process of one search, with standardised scores."""

    def __init__(self, x: np.ndarray, scores: np.ndarray) -> None:
        self.x, self.y = x, (scores - scores.mean()) / max(float(scores.std()), 1e-12)
        raw = torch.from_numpy(x)
        self._posterior = Posterior(Features(raw), self.y, Prior.cold(raw))
        parameters = self._posterior.parameters.exp().numpy()
        self._lengths, self._noise = parameters[:-1], float(parameters[-1]) + 1e-6
        noise = self._noise * np.eye(len(x))
        self._inverse = np.linalg.inv(self._kernel(x, x) + noise)
        # Far from all trials the variance is the amplitude.
        self._amplitude = float(self.predict(np.full((1, x.shape[1]), 1e6))[1][0] ** 2)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return means and standard deviations, both (m,)."""
        return self._posterior.predict(Features(torch.from_numpy(x)))

    def draw(self, x: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Draw functions at n points, from standard normal numbers (S, n): (S, n)."""
        cross = self._kernel(self.x, x)
        covariance = self._kernel(x, x) - cross.T @ self._inverse @ cross
        root = np.linalg.cholesky(covariance + _JITTER * np.eye(len(x)))
        return self.predict(x)[0] + self._amplitude**0.5 * normal @ root.T

    def draw_left_out(self, normal: np.ndarray) -> np.ndarray:
        """Draw the function at each trial as if that trial was not known: (S, n)."""
        precision = np.diag(self._inverse)
        # With the shift estimated from all trials; Rasmussen and Williams, section 5.4.2.
        residual = self._inverse @ (self.y - self._offset())
        variance = self._amplitude * np.maximum(1 / precision - self._noise, _TINY)
        return self.y - residual / precision + normal * np.sqrt(variance)

    def _offset(self) -> float:
        ones = self._inverse.sum(0)
        return float(ones @ self.y / ones.sum())

    def _kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        scaled = [torch.from_numpy(own / self._lengths) for own in (a, b)]
        return matern(*scaled).numpy()


class RankingSources:
    """The past searches of a space and a process for each; made once for many searches."""

    def __init__(self, records: Sequence[SearchRecord], space: dict[str, BaseDistribution]) -> None:
        sources = find_sources(records, direction="maximize", space=space)
        if sources is None:
            raise ValueError("no past search has this space")
        self.configurations = sources.configurations
        self.processes = [
            _Process(self.configurations.encode(task.rows), task.scores) for task in sources.tasks
        ]
        best = [
            task.rows.take(np.argsort(-task.scores, kind="stable")[:N_BEST])
            for task in sources.tasks
        ]
        self.best = best[0].join(*best[1:])


class RGPESampler(BaseSampler):
    """Optuna sampler; needs some trials before its first one. For scores to be maximised."""

    def __init__(self, sources: RankingSources, seed: int) -> None:
        self._sources = sources
        self._rng = np.random.default_rng(seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._sources.configurations.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        configurations, rng = self._sources.configurations, self._rng
        trials = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        seen = observe(trials, configurations, "maximize")
        known = configurations.encode(seen.rows)
        proposed = propose(configurations, seen.rows, seen.scores, self._sources.best, rng)
        x = configurations.encode(proposed)
        new = np.abs(x[:, None] - known).max(2).min(1) > 1e-9
        proposed, x = proposed.take(new), x[new]
        if not len(x):
            return configurations.write(configurations.draw(1, rng), 0)
        own = _Process(known, seen.scores)
        weights = ranking_weights(self._sources.processes, own, rng)
        mean, variance = np.zeros(len(x)), np.zeros(len(x))
        for process, weight in zip([*self._sources.processes, own], weights, strict=True):
            if weight > 0:
                own_mean, own_std = process.predict(x)
                mean += weight * own_mean
                variance += weight**2 * own_std**2
        merit = log_expected_improvement(mean, np.sqrt(variance), float(own.y.max()))
        return configurations.write(proposed, int(merit.argmax()))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise NotImplementedError("all parameters are sampled together")


def ranking_weights(
    past: Sequence[_Process], own: _Process, rng: np.random.Generator
) -> np.ndarray:
    """Return the weights of the past processes and, last, of the running search's own."""
    n = len(own.y)
    smaller = own.y[:, None] < own.y
    normal = rng.standard_normal((N_DRAWS, n))
    losses = np.empty((len(past) + 1, N_DRAWS))
    for number, process in enumerate(past):
        drawn = process.draw(own.x, normal)
        wrong = (drawn[:, :, None] < drawn[:, None]) != smaller
        losses[number] = wrong.sum((1, 2))
    # A trial left out is compared with the observed scores of the others.
    left_out = own.draw_left_out(normal)
    losses[-1] = ((left_out[:, :, None] < own.y) != smaller).sum((1, 2))
    # Without this, many useless past searches win some draws by chance.
    losses[:-1][np.median(losses[:-1], axis=1) > np.quantile(losses[-1], 0.95)] = np.inf
    best = losses == losses.min(0)
    own_wins = best[-1]  # ties go to the running search, or to one of the past by chance
    tie_breaker = np.where(best[:-1], rng.random(best[:-1].shape), -1.0)
    winners = np.where(own_wins, len(past), tie_breaker.argmax(0))
    return np.bincount(winners, minlength=len(past) + 1) / N_DRAWS
