"""Claims: few-shot accuracy on Omniglot within a budget of CPU time, on one thread.

    METAEST_DATA=... python benchmarks/omniglot.py [protonet proto-maml maml] [--validate]

Meta-trained on the background set (turned in four directions: 3856 classes), tested on episodes
of the 659 evaluation classes. All settings were chosen with --validate: trained on 25 background
alphabets, tested on the other 5; the evaluation classes were not used for any choice.
--fraction scales the number of episodes of meta-training, for shorter runs. A run that is cut off
goes on from its checkpoint when it is called again; finished rows are appended to
benchmarks/output/omniglot.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare

from metaest import MetaFewShotClassifier
from metaest.datasets import fetch_omniglot
from metaest.learners import MAML, ProtoNet
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output"

#: Name -> learner and settings of meta-training.
RECIPES = {
    "protonet": (
        ProtoNet(),
        {"n_ways": 60, "n_queries": 5, "n_episodes": 9000, "meta_batch_size": 1, "meta_lr": 4e-3},
    ),
    "maml": (
        MAML(inner_steps=3, inner_lr=0.01, learn_inner_lr=True),
        {"n_ways": 20, "n_queries": 5, "n_episodes": 3500, "meta_batch_size": 1, "meta_lr": 3e-3},
    ),
    "maml-1-step": (  # from a zero head one step moves the head alone: this is ANIL
        MAML(inner_steps=1, head_lr=0.4),
        {"n_ways": 20, "n_queries": 5, "n_episodes": 3500, "meta_batch_size": 1, "meta_lr": 3e-3},
    ),
    "proto-maml": (
        MAML(inner_steps=1, inner_lr=0.005, head="prototype"),
        {"n_ways": 20, "n_queries": 5, "n_episodes": 2975, "meta_batch_size": 1, "meta_lr": 3e-3},
    ),
}


def load(validate: bool, turned: bool = True) -> tuple[TaskSet, np.ndarray, np.ndarray]:
    """Return the tasks to meta-train on, and the images and labels to test on."""
    omniglot = fetch_omniglot(subset="background")
    X, y = omniglot.images, omniglot.target
    if not validate:
        test = fetch_omniglot(subset="evaluation")
        tasks = TaskSet.from_pool(X, y)
        return tasks.with_rotations() if turned else tasks, test.images, test.target
    alphabets = np.random.default_rng(12345).permutation(np.unique(omniglot.alphabet))[:5]
    held_out = np.isin(omniglot.alphabet, alphabets)
    tasks = TaskSet.from_pool(X[~held_out], y[~held_out])
    return tasks.with_rotations() if turned else tasks, X[held_out], y[held_out]


def run(name: str, tasks: TaskSet, X: np.ndarray, y: np.ndarray, options: argparse.Namespace):
    learner, settings = RECIPES[name]
    n_episodes = int(settings["n_episodes"] * options.fraction)
    settings = settings | {"n_shots": 1, "n_episodes": n_episodes, "validation_fraction": 0}
    clf = MetaFewShotClassifier(learner, **settings, random_state=options.seed, verbose=1)
    mode = "validate" if options.validate else "test"
    folder = OUTPUT / f"omniglot-{name}-{mode}-{options.fraction}-{options.seed}"
    with cpu_time() as timer:
        clf.fit_meta(tasks, checkpoint=folder)
    minutes = sum(row.get("cpu_minutes", 0) for row in clf.meta_state_.history)
    scores = {}
    for n_ways in (5, 20):
        cv = EpisodicSplit(1000, n_ways=n_ways, n_shots=1, n_queries=15, random_state=0)
        result = cross_validate_episodes(clf, X, y, cv=cv, scoring="accuracy")
        scores[f"{n_ways}-way"] = result.summary()[0].format(2)
        print(markdown_row(name, mode, f"{n_ways}-way 1-shot", scores[f"{n_ways}-way"]), flush=True)
    append_json(
        OUTPUT / "omniglot.jsonl",
        {
            "learner": repr(learner),
            "mode": mode,
            **settings,
            "seed": options.seed,
            "cpu_minutes": round(minutes or timer.minutes, 1),
            **scores,
            "machine": describe_machine(),
        },
    )
    print(markdown_row(name, mode, f"{minutes or timer.minutes:.1f} CPU-min", *scores.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ["protonet", "proto-maml"]
    parser.add_argument("names", nargs="*", default=default, help=", ".join(RECIPES))
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--fraction", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.names) - set(RECIPES):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    prepare()
    print(describe_machine())
    tasks, X, y = load(options.validate)
    for name in options.names:
        run(name, tasks, X, y, options)


if __name__ == "__main__":
    main()
