"""Claims: every learner under one interface, with one budget of CPU time, on one thread.

    METAEST_DATA=... python benchmarks/all_learners.py [NAME ...] [--minutes 10] [--report]

Omniglot: meta-trained on the background set, tested on the evaluation set. CLINC150: meta-trained
on five domains, tested on the other five. Sinusoid: mean squared error from five points. Each pair
of a learner and a data set runs in a process of its own (its peak memory is its own), has
--minutes of meta-training, and appends a row to benchmarks/rows/all_learners.jsonl when done: kept
with the code, so that another machine can go on where this one stopped. A run that is cut off goes
on from its checkpoint; pairs that are done are not run again. --report
prints the table. --validate trains and tests on parts of the meta-training sets, to choose
settings.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
from _clinc import load_features
from _common import append_json, describe_machine, prepare, read_lines
from _recipes import (
    BASELINES,
    DATASETS,
    RECIPES,
    UNTURNED,
    make_baseline,
    make_estimator,
    published,
)
from omniglot import load as load_omniglot
from sklearn.base import clone

from metaest.datasets import make_sinusoid_tasks
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output"
ROWS = Path(__file__).parent / "rows" / "all_learners.jsonl"
SHAPES = {
    "omniglot": [(5, 1), (5, 5), (20, 1)],
    "clinc": [(5, 1), (5, 5)],
    "sinusoid": [(None, 5)],
}


def load(name: str, dataset: str, validate: bool):
    """Return the tasks to meta-train on, and the rows and labels (or tasks) to test on."""
    if dataset == "omniglot":
        return load_omniglot(validate, turned=name not in UNTURNED)
    if dataset == "clinc":
        (X, y), test_X, test_y = load_features(OUTPUT, validate)
        return TaskSet.from_pool(X, y), test_X, test_y
    tasks = make_sinusoid_tasks(20_000, n_rows=40, random_state=0)
    test = make_sinusoid_tasks(1000, n_rows=105, random_state=2 if validate else 1)
    return tasks, test, None


def episodes_within(estimator, tasks: TaskSet, minutes: float) -> int:
    """Measure a few steps of meta-training; return the episodes that the budget allows."""
    batch = estimator.meta_batch_size
    probe = clone(estimator).set_params(n_episodes=8 * batch, verbose=0)
    rounds = probe.fit_meta(tasks).meta_state_.history
    per_round = np.median([row["cpu_minutes"] for row in rounds[2:]])
    return max(batch, int(minutes / per_round) * batch)


def meta_train(name: str, dataset: str, tasks: TaskSet, options: argparse.Namespace):
    """Meta-train within the budget, from the checkpoint where there is one."""
    mode = "validate" if options.validate else "test"
    folder = OUTPUT / f"all-{name}-{dataset}-{mode}-{options.minutes}-{options.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    estimator = make_estimator(name, dataset).set_params(random_state=options.seed)
    size = folder / "n_episodes.json"
    if not size.exists():  # a resumed run must ask for as many as the first
        size.write_text(json.dumps(episodes_within(estimator, tasks, options.minutes)))
    estimator.set_params(n_episodes=json.loads(size.read_text()), verbose=1)
    return estimator.fit_meta(tasks, checkpoint=folder / "checkpoint")


def test(estimator, dataset: str, X, y, n_episodes: int) -> dict[str, str]:
    """Score new tasks: mean and 95 % interval by the shape of the episodes."""
    scores = {}
    for n_ways, n_shots in SHAPES[dataset]:
        if n_ways is None:
            errors = [_sinusoid_error(estimator, task, n_shots) for task in X]
            half = 1.96 * np.std(errors) / len(errors) ** 0.5
            scores[f"{n_shots} points"] = f"{np.mean(errors):.4f} ± {half:.4f}"
            continue
        cv = EpisodicSplit(n_episodes, n_ways=n_ways, n_shots=n_shots, n_queries=15, random_state=0)
        result = cross_validate_episodes(estimator, X, y, cv=cv, scoring="accuracy")
        scores[f"{n_ways}-way {n_shots}-shot"] = result.summary()[0].format(1)
    return scores


def _sinusoid_error(estimator, task, n_shots: int) -> float:
    predicted = estimator.fit(task.X[:n_shots], task.y[:n_shots]).predict(task.X[n_shots:])
    return float(np.mean((predicted - task.y[n_shots:]) ** 2))


def milliseconds_to_fit(estimator, dataset: str, X, y) -> float:
    """Median time to learn one new task: five classes of one row, or five points."""
    if dataset == "sinusoid":
        rows, targets = X[0].X[:5], X[0].y[:5]
    else:
        first = [np.flatnonzero(y == label)[0] for label in np.unique(y)[:5]]
        rows, targets = X[first], y[first]
    times = []
    for _ in range(15):
        start = time.perf_counter()
        estimator.fit(rows, targets)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def run(name: str, dataset: str, options: argparse.Namespace) -> None:
    """Measure one pair in this process."""
    prepare()
    warnings.filterwarnings("ignore", module="sklearn")  # of classes with a single row
    tasks, X, y = load(name, dataset, options.validate)
    if name in BASELINES:
        estimator, spent = make_baseline(name, dataset), 0.0
    else:
        estimator = meta_train(name, dataset, tasks, options)
        spent = sum(row["cpu_minutes"] for row in estimator.meta_state_.history)
    row = {
        **_key(name, dataset, options),
        "episodes": options.episodes,
        "scores": test(estimator, dataset, X, y, options.episodes),
        "cpu_minutes": round(spent, 2),
        "n_episodes": getattr(estimator, "n_episodes", 0),
        "fit_ms": round(milliseconds_to_fit(estimator, dataset, X, y), 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "estimator": repr(estimator),
        "machine": describe_machine(),
    }
    append_json(ROWS, row)
    print(name, dataset, row["scores"], flush=True)


def _key(name: str, dataset: str, options: argparse.Namespace) -> dict:
    """Return what makes a measurement the same one."""
    recipe = "" if name in BASELINES else repr(make_estimator(name, dataset))
    recipe += " unturned" if dataset == "omniglot" and name in UNTURNED else ""
    return {
        "learner": name,
        "dataset": dataset,
        "mode": "validate" if options.validate else "test",
        "minutes": 0 if name in BASELINES else options.minutes,
        "seed": options.seed,
        "recipe": zlib.crc32(recipe.encode()),
    }


def report(options: argparse.Namespace) -> None:
    """Print the table of what is done."""
    rows = {}
    for row in read_lines(ROWS):
        wanted = _key(row["learner"], row["dataset"], options)
        if all(row[k] == v for k, v in wanted.items()):
            rows[row["learner"], row["dataset"]] = row
    for dataset, shapes in SHAPES.items():
        columns = [f"{w}-way {s}-shot" if w else f"{s} points" for w, s in shapes]
        print(f"\n| {dataset} | {' | '.join(columns)} | published | CPU-min | fit, ms | MB |")
        print("|" + "---|" * (len(columns) + 5))
        for name in (*BASELINES, *RECIPES):
            if (name, dataset) in rows:
                row = rows[name, dataset]
                cells = [row["scores"].get(c, "-").removesuffix(" episodes)") for c in columns]
                cells += [published(name, dataset), f"{row['cpu_minutes']:.1f}"]
                print(
                    "|",
                    " | ".join([f"`{name}`", *cells, str(row["fit_ms"]), str(row["peak_mb"])]),
                    "|",
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], help=", ".join((*BASELINES, *RECIPES)))
    parser.add_argument("--datasets", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU-minutes of meta-training")
    parser.add_argument("--episodes", type=int, default=300, help="episodes of a test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--here", action="store_true", help="in this process, not one for each")
    options = parser.parse_args()
    known = (*BASELINES, *RECIPES)
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if options.report:
        return report(options)
    done = [
        {k: row[k] for k in _key(row["learner"], row["dataset"], options)}
        for row in read_lines(ROWS)
    ]
    for dataset in options.datasets:
        for name in options.names or known:
            if dataset not in DATASETS[name] or _key(name, dataset, options) in done:
                continue
            if options.here:
                run(name, dataset, options)
                continue
            flags = [f"--{f}={getattr(options, f)}" for f in ("minutes", "episodes", "seed")]
            flags += ["--validate"] if options.validate else []
            command = [sys.executable, __file__, name, "--datasets", dataset, "--here", *flags]
            if subprocess.run(command, check=False).returncode:
                print(f"{name} on {dataset} failed", file=sys.stderr, flush=True)
    return None


if __name__ == "__main__":
    main()
