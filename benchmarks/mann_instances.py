"""Claim: a memory-augmented network learns a class from its first row, and more from the next.

    METAEST_DATA=... python benchmarks/mann_instances.py [--episodes 2500] [--validate]

Accuracy at the 1st, 2nd, ... row of a class within a sequence of 5 Omniglot classes with 10 rows
each, every prediction made before its label is shown: table 1 of Santoro et al., ICML 2016.
Meta-trained on the background set, tested on the evaluation set (--validate: on 5 background
alphabets that are left out of meta-training).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare
from omniglot import load

from metaest.episodes import EpisodeSampler
from metaest.learners import MANN
from metaest.tasks import TaskSet
from metaest.training import MetaState, meta_train

OUTPUT = Path(__file__).parent / "output" / "mann_instances.jsonl"
INSTANCES = (1, 2, 3, 4, 5, 10)
#: Per cent, of the paper's LSTM with memory, labels as one-hot numbers.
PAPER = (36.4, 82.8, 91.0, 92.6, 94.9, 98.1)
SHAPE = {"n_ways": 5, "n_shots": 1, "n_queries": 9}


def accuracies(learner: MANN, meta: MetaState, tasks: TaskSet, n_episodes: int) -> list[float]:
    """Per cent right at each row of a class, over episodes of held-out classes."""
    module = meta.module(learner, torch.device("cpu"), torch.float32)
    sampler = EpisodeSampler(tasks, **SHAPE, random_state=1)
    hits, instances = [], []
    for start in range(0, n_episodes, 20):
        with torch.no_grad():
            batch = sampler.batch(range(start, min(start + 20, n_episodes)))
            found = learner.predict_sequence(module, batch)
        hits.append((found.logits.argmax(-1) == found.y)[found.mask])
        instances.append(found.instance[found.mask])
    hit, instance = torch.cat(hits).double(), torch.cat(instances)
    return [100 * float(hit[instance == number].mean()) for number in INSTANCES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2500)
    parser.add_argument("--test-episodes", type=int, default=200)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prepare()
    print(describe_machine())
    tasks, X, y = load(options.validate)
    learner = MANN()
    with cpu_time() as timer:
        meta = meta_train(
            learner,
            tasks,
            **SHAPE,
            n_episodes=options.episodes,
            meta_batch_size=2,
            meta_lr=2e-3,
            random_state=options.seed,
        )
    minutes = timer.minutes
    scores = accuracies(learner, meta, TaskSet.from_pool(X, y), options.test_episodes)
    row = {
        "episodes": options.episodes,
        "mode": "validate" if options.validate else "test",
        "seed": options.seed,
        "accuracy": dict(zip(map(str, INSTANCES), scores, strict=True)),
        "cpu_minutes": round(minutes, 2),
        "machine": describe_machine(),
    }
    append_json(OUTPUT, row)
    print(markdown_row("instance", *INSTANCES, "CPU-min"))
    print(markdown_row("paper", *PAPER, ""))
    print(markdown_row("metaest", *(f"{score:.1f}" for score in scores), f"{minutes:.1f}"))


if __name__ == "__main__":
    main()
