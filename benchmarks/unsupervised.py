"""Claim: meta-training without labels helps, if less than with them (Omniglot, 5-way 1-shot).

    METAEST_DATA=... python benchmarks/unsupervised.py [umtra cactus ...] [--episodes 400]

Prototypical networks, meta-trained on drawings of 12 background alphabets, tested on characters
of 6 others. "umtra": each drawing is a class, of warped copies. "cactus": k-means clusters of the
pixels (of their first 64 principal components) are the classes. "cactus-umtra": clusters of the
features of the "umtra" network. "labelled": the characters are the classes. "untrained": the same
network without meta-training. "pixels": the nearest of the raw images. Finished rows
are appended to benchmarks/output/unsupervised.jsonl.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from metaest import MetaFewShotClassifier
from metaest.datasets import fetch_omniglot
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output" / "unsupervised.jsonl"
NAMES = ("pixels", "untrained", "umtra", "cactus", "cactus-umtra", "labelled")


def load() -> tuple[np.ndarray, ...]:
    """Return images and labels to meta-train on (labels for "labelled" alone), and to test on."""
    omniglot = fetch_omniglot(subset="background")
    alphabets = np.unique(omniglot.alphabet)
    train, test = (np.isin(omniglot.alphabet, part) for part in (alphabets[:12], alphabets[-6:]))
    X, y = omniglot.images, omniglot.target
    return X[train], y[train], X[test], y[test]


def embed(clf: MetaFewShotClassifier, X: np.ndarray) -> np.ndarray:
    """Return the features of a meta-trained network."""
    state = clf.meta_state_
    embedding = state.module(state.learner, torch.device("cpu")).embedding
    with torch.no_grad():
        parts = [embedding(torch.from_numpy(X[i : i + 500])) for i in range(0, len(X), 500)]
    return torch.cat(parts).numpy()


def make_classifier(n_episodes: int, seed: int) -> MetaFewShotClassifier:
    settings = {"n_ways": 20, "n_shots": 1, "n_queries": 3, "meta_batch_size": 1, "meta_lr": 2e-3}
    return MetaFewShotClassifier(
        "protonet", **settings, n_episodes=n_episodes, validation_fraction=0, random_state=seed
    )


def train(name: str, X: np.ndarray, y: np.ndarray, options: argparse.Namespace):
    """Return the estimator of a row, meta-trained where it has meta-training."""
    if name == "pixels":
        return make_pipeline(FunctionTransformer(_flatten), KNeighborsClassifier(1))
    clf = make_classifier(options.episodes, options.seed)
    if name == "untrained":
        return clf
    if name == "labelled":
        return clf.fit_meta(TaskSet.from_pool(X, y))
    if name == "umtra":
        return clf.fit_meta(TaskSet.from_unlabeled(X, random_state=options.seed))
    if name == "cactus":
        features = PCA(64, random_state=0).fit_transform(_flatten(X))
    else:
        features = embed(train("umtra", X, y, options), X)
    clusters = {"n_clusters": 400, "n_partitions": 5, "min_rows": 4, "random_state": options.seed}
    return clf.fit_meta(TaskSet.from_unlabeled(X, method="cactus", features=features, **clusters))


def _flatten(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1)


def run(name: str, options: argparse.Namespace) -> None:
    X, y, test_X, test_y = load()
    with cpu_time() as timer:
        clf = train(name, X, y, options)
    minutes = timer.minutes
    cv = EpisodicSplit(options.test_episodes, n_ways=5, n_shots=1, n_queries=5, random_state=0)
    accuracy = cross_validate_episodes(clf, test_X, test_y, cv=cv, scoring="accuracy").summary()[0]
    row = {
        "name": name,
        "episodes": options.episodes,
        "seed": options.seed,
        "accuracy": accuracy.format(2),
        "cpu_minutes": round(minutes, 2),
        "machine": describe_machine(),
    }
    append_json(OUTPUT, row)
    print(markdown_row(name, row["accuracy"], f"{minutes:.1f}"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help=", ".join(NAMES))
    parser.add_argument("--episodes", type=int, default=400)
    parser.add_argument("--test-episodes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(NAMES)}")
    prepare()
    print(describe_machine())
    print(markdown_row("meta-trained", "5-way 1-shot", "CPU-min"))
    print(markdown_row("---", "---", "---"))
    for name in options.names:
        run(name, options)


if __name__ == "__main__":
    main()
