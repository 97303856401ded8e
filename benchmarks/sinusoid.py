"""Claim: meta-training learns sinusoids from 5 or 10 points, which training from scratch cannot.

    python benchmarks/sinusoid.py [maml maml-rates ...] [--shots 5 10] [--validate]

The toy regression of MAML (Finn, Abbeel and Levine, ICML 2017, section 5.1): a task is
y = a sin(x - p) with a in [0.1, 5] and p in [0, pi]; x is in [-5, 5]; the network has two hidden
layers of 40 ReLU. Meta-trained with one inner step; tested after 0, 1 and 10 steps on new tasks,
each with its own points to learn from and 100 others to be scored on. --frequency 0.8 1.2 gives
each task a frequency as well, y = a sin(w x - p), a harder family. All settings were chosen with
--validate, which scores tasks of another seed; --set inner_lr=0.3 and --fraction try others.
Finished rows are appended to benchmarks/output/sinusoid.jsonl.
"""

from __future__ import annotations

import argparse
import functools
import json
import warnings
from pathlib import Path

import numpy as np
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.neural_network import MLPRegressor

from metaest import MetaFewShotRegressor
from metaest.datasets import make_sinusoid_tasks
from metaest.exceptions import EpisodeError
from metaest.learners import (
    ANIL,
    MAML,
    BayesianMAML,
    DeepKernelGP,
    FineTune,
    MetaSGD,
    Reptile,
    RidgeHead,
)
from metaest.model_selection import cross_validate_episodes
from metaest.nets import MLP
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output" / "sinusoid.jsonl"
BACKBONE = functools.partial(MLP, hidden=(40, 40))
N_TEST_TASKS, N_TEST_QUERIES = 1000, 100
#: Seeds of the tasks.
TRAIN, VALIDATE, TEST = 0, 1, 2

#: Name -> learner, highest learning rate and steps of meta-training (25 episodes each, as in the
#: paper).
RECIPES = {
    "maml": (MAML(inner_steps=1, inner_lr=0.05), 0.01, 12_000),
    "maml-rates": (MAML(inner_steps=1, inner_lr=0.05, learn_inner_lr=True), 0.01, 12_000),
    "maml-per-step": (MAML(inner_steps=3, inner_lr=0.05, learn_inner_lr=3), 0.01, 6_000),
    "meta_sgd": (MetaSGD(inner_steps=1, inner_lr=0.05), 0.01, 12_000),
    "bayesian_maml": (BayesianMAML(inner_steps=3, inner_lr=0.1), 0.01, 3_000),
    "anil": (ANIL(inner_steps=5, inner_lr=0.1), 0.01, 6_000),
    "reptile": (Reptile(inner_steps=8, inner_lr=0.02), 0.003, 6_000),
    "ridge": (RidgeHead(), 0.01, 6_000),
    "finetune": (FineTune(l2=1.0), 0.003, 6_000),
    "deep_kernel_gp": (DeepKernelGP(), 0.01, 6_000),
}
#: Parameter that holds the gradient steps of `fit`, and the numbers of them to test.
STEPS = {
    "maml": ("inner_steps", (0, 1, 10)),
    "maml-rates": ("inner_steps", (0, 1, 10)),
    "maml-per-step": ("inner_steps", (0, 1, 10, 3)),
    "meta_sgd": ("inner_steps", (0, 1, 10)),
    "bayesian_maml": ("inner_steps", (0, 1, 10, 3)),
    "anil": ("inner_steps", (0, 1, 10, 5)),
    "reptile": ("adapt_steps", (0, 1, 10, 50)),
}
SCRATCH = ("scratch", "untrained")


def make_tasks(n_tasks: int, n_rows: int, seed: int, frequency: list[float] | None) -> TaskSet:
    if frequency is None:
        return make_sinusoid_tasks(n_tasks, n_rows=n_rows, random_state=seed)
    rng = np.random.default_rng(seed)
    a, p = rng.uniform(0.1, 5, size=n_tasks), rng.uniform(0, np.pi, size=n_tasks)
    w = rng.uniform(*frequency, size=n_tasks)
    x = rng.uniform(-5, 5, size=(n_tasks, n_rows, 1))
    y = a[:, None] * np.sin(w[:, None] * x[..., 0] - p[:, None])
    return TaskSet.from_datasets(zip(x, y, strict=True), kind="regression")


def make_estimator(name: str, n_shots: int, options: argparse.Namespace) -> BaseEstimator:
    """Return the estimator of a row, meta-trained where it has meta-training."""
    if name == "scratch":
        network = {"hidden_layer_sizes": (40, 40), "solver": "lbfgs", "max_iter": 2000}
        return MLPRegressor(**network, alpha=10.0, random_state=options.seed).set_params(
            **options.set
        )
    learner, meta_lr, n_steps = RECIPES["maml" if name == "untrained" else name]
    own = {k: v for k, v in options.set.items() if k != "meta_lr"}
    regressor = MetaFewShotRegressor(
        clone(learner).set_params(**own),
        backbone=BACKBONE,
        n_shots=n_shots,
        n_queries=10,
        n_episodes=25 * int(n_steps * options.fraction),
        meta_batch_size=25,
        meta_lr=options.set.get("meta_lr", meta_lr),
        validation_fraction=0,
        random_state=options.seed,
        verbose=options.verbose,
    )
    if name == "untrained":
        return regressor
    return regressor.fit_meta(make_tasks(20_000, 40, TRAIN, options.frequency))


def score(regressor: BaseEstimator, tasks: TaskSet, n_shots: int) -> tuple[float, float]:
    """Mean squared error over tasks, each learned from its first rows: mean, half-width."""
    X = np.concatenate([task.X for task in tasks])
    y = np.concatenate([task.y for task in tasks])
    n_rows = len(tasks[0])
    rows = np.arange(len(X)).reshape(len(tasks), n_rows)
    episodes = [(own[:n_shots], own[n_shots:]) for own in rows]
    metric = "neg_mean_squared_error"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FitFailedWarning)  # too many steps of a learned rate
        try:
            result = cross_validate_episodes(
                regressor, X, y, cv=episodes, scoring=metric, error_score=np.nan
            )
        except EpisodeError:  # in every task
            return np.inf, np.inf
    estimate = result.summary()[0]
    if estimate.n_episodes < len(episodes):
        return np.inf, np.inf
    return -estimate.mean, estimate.half_width


def run(name: str, n_shots: int, options: argparse.Namespace) -> None:
    with cpu_time() as timer:
        regressor = make_estimator(name, n_shots, options)
    minutes = timer.minutes
    n_tasks = 200 if options.validate else N_TEST_TASKS
    seed = VALIDATE if options.validate else TEST
    tasks = make_tasks(n_tasks, n_shots + N_TEST_QUERIES, seed, options.frequency)
    parameter, numbers = STEPS.get("maml" if name == "untrained" else name, (None, ("",)))
    errors = {}
    for steps in numbers:
        if parameter is not None:  # no second meta-training: only `fit` reads it
            regressor.set_params(**{f"learner__{parameter}": steps})
        errors[steps] = score(regressor, tasks, n_shots)
    row = {
        "name": name,
        "n_shots": n_shots,
        "mode": "validate" if options.validate else "test",
        "errors": {str(steps): error for steps, error in errors.items()},
        "set": options.set,
        "frequency": options.frequency,
        "fraction": options.fraction,
        "seed": options.seed,
        "cpu_minutes": round(minutes, 2),
        "machine": describe_machine(),
    }
    append_json(OUTPUT, row)
    print_row(row)


def print_row(row: dict) -> None:
    errors = {steps: _format(*error) for steps, error in row["errors"].items()}
    cells = [errors.get(steps, "") for steps in ("0", "1", "10")]
    last = [
        f"{errors[k]}" + (f" ({k} steps)" if k else "") for k in ("3", "5", "50", "") if k in errors
    ]
    print(
        markdown_row(
            row["name"],
            row["n_shots"],
            *cells,
            *(last or [""]),
            f"{row['cpu_minutes']:.1f}",
            *([row["set"]] if row["set"] else []),
        ),
        flush=True,
    )


def _format(mean: float, half_width: float) -> str:
    digits = 3 if mean >= 0.01 else 6
    return f"{mean:.{digits}f} ± {half_width:.{digits}f}" if mean < 100 else "diverges"


def parse_setting(text: str) -> tuple[str, object]:
    name, value = text.split("=")
    return name, json.loads(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [*RECIPES, *SCRATCH]
    parser.add_argument("names", nargs="*", metavar="learner", default=names, help=", ".join(names))
    parser.add_argument("--shots", nargs="+", type=int, default=[5, 10])
    parser.add_argument("--frequency", nargs=2, type=float, metavar=("LOW", "HIGH"))
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--set", nargs="*", type=parse_setting, default=[], metavar="NAME=VALUE")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbose", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(names)}")
    options.set = dict(options.set)
    prepare()
    print(describe_machine())
    print(
        markdown_row(
            "learner", "points", "0 steps", "1 step", "10 steps", "as it is used", "CPU-min"
        )
    )
    for n_shots in options.shots:
        for name in options.names:
            run(name, n_shots, options)


if __name__ == "__main__":
    main()
