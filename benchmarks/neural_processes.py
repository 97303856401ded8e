"""Claim: neural processes that learned from draws of a Gaussian process predict nearly like it.

    python benchmarks/neural_processes.py [cnp anp cnp-residual anp-residual] [--fraction 0.1]

A task is a draw of a Gaussian process with an RBF kernel of length scale 0.4 and variance 1, on
[-2, 2], with noise of standard deviation 0.1; 3 to 50 points are known (Kim et al., Attentive
Neural Processes, ICLR 2019, section 4.1, in one kernel). "cnp" and "anp" are the papers', the
others add to a ridge regression on the learned features. Tested on new draws, beside the exact
posterior (scikit-learn's, with the true kernel: nothing can be better) and the prior, which is
what can be said without a known point: mean log-likelihood of a target, and the share of targets
inside the central 50, 80 and 95 % intervals, with 95 % confidence intervals over the draws.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from metaest import MetaFewShotRegressor
from metaest.learners import ANP, CNP
from metaest.nets import MLP
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output" / "neural_processes.jsonl"
KERNEL = RBF(0.4) + WhiteKernel(0.1**2)
N_SHOTS, N_QUERIES = (3, 50), 50
#: Seeds of the draws.
TRAIN, TEST = 0, 1
LEVELS = (0.5, 0.8, 0.95)

#: Name -> learner and steps of meta-training, of 16 draws each.
RECIPES = {
    "cnp": (CNP(residual=False), 5_000),
    "anp": (ANP(residual=False), 4_000),
    "cnp-residual": (CNP(), 5_000),
    "anp-residual": (ANP(), 4_000),
}

#: (X, y, X_query) -> mean and standard deviation of the queries' targets.
Predictor = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def draw_tasks(n_tasks: int, n_rows: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    tasks = []
    for _ in range(n_tasks):
        x = rng.uniform(-2, 2, size=(n_rows, 1))
        factor = np.linalg.cholesky(KERNEL(x))
        tasks.append((x, factor @ rng.normal(size=n_rows)))
    return tasks


def train(name: str, options: argparse.Namespace) -> MetaFewShotRegressor:
    learner, n_steps = RECIPES[name]
    regressor = MetaFewShotRegressor(
        learner,
        backbone=functools.partial(MLP, hidden=(128, 128)),
        n_shots=N_SHOTS,
        n_queries=N_QUERIES,
        n_episodes=16 * int(n_steps * options.fraction),
        meta_batch_size=16,
        meta_lr=options.lr,
        validation_fraction=0,
        random_state=options.seed,
        verbose=options.verbose,
    )
    return regressor.fit_meta(TaskSet.from_datasets(draw_tasks(5000, 100, TRAIN)))


def exact(X: np.ndarray, y: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    posterior = GaussianProcessRegressor(KERNEL, optimizer=None).fit(X, y)
    return posterior.predict(query, return_std=True)


def prior(X: np.ndarray, y: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(len(query)), np.sqrt(KERNEL.diag(query))


def learned(regressor: MetaFewShotRegressor) -> Predictor:
    return lambda X, y, query: regressor.fit(X, y).predict(query, return_std=True)


def score(predictor: Predictor, n_tasks: int) -> np.ndarray:
    """Log-likelihood, squared error and coverages of each draw: (n_tasks, 2 + levels)."""
    rng = np.random.default_rng(TEST)
    rows = []
    for X, y in draw_tasks(n_tasks, N_SHOTS[1] + N_QUERIES, TEST):
        n = rng.integers(N_SHOTS[0], N_SHOTS[1] + 1)
        target = y[N_SHOTS[1] :]
        mean, std = predictor(X[:n], y[:n], X[N_SHOTS[1] :])
        inside = np.abs(target - mean) <= norm.ppf(0.5 + np.array(LEVELS)[:, None] / 2) * std
        likelihood = norm.logpdf(target, mean, std).mean()
        rows.append([likelihood, np.square(target - mean).mean(), *inside.mean(1)])
    return np.array(rows)


def report(name: str, scores: np.ndarray, minutes: float, options: argparse.Namespace) -> None:
    means = scores.mean(0)
    halves = 1.96 * scores.std(0, ddof=1) / len(scores) ** 0.5
    cells = [f"{m:.3f} ± {h:.3f}" for m, h in zip(means[:2], halves[:2], strict=True)]
    cells += [f"{100 * m:.1f} ± {100 * h:.1f}" for m, h in zip(means[2:], halves[2:], strict=True)]
    print(markdown_row(name, *cells, f"{minutes:.1f}"), flush=True)
    row = {"name": name, "means": means.tolist(), "half_widths": halves.tolist()}
    row |= {"fraction": options.fraction, "seed": options.seed, "lr": options.lr}
    append_json(OUTPUT, row | {"cpu_minutes": round(minutes, 2), "machine": describe_machine()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["cnp", "anp"], help=", ".join(RECIPES))
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    prepare()
    print(describe_machine())
    print(markdown_row("", "log-likelihood", "squared error", "50 %", "80 %", "95 %", "CPU-min"))
    print(markdown_row(*["---"] * 7))
    report("exact posterior", score(exact, options.tasks), 0.0, options)
    report("prior", score(prior, options.tasks), 0.0, options)
    for name in options.names:
        with cpu_time() as timer:
            regressor = train(name, options)
        minutes = timer.minutes
        report(name, score(learned(regressor), options.tasks), minutes, options)


if __name__ == "__main__":
    main()
