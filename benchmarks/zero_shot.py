"""Claims: intents that were never seen are told apart by their names alone (CLINC150).

    METAEST_DATA=... python benchmarks/zero_shot.py [--validate]

Meta-trained on five domains, tested on 300 five-way episodes of the other five. A class is
described by its name ("pay_bill"), through the same TF-IDF and SVD as the queries. Prints accuracy
with no example, with one example, and with one example and the name. --validate chooses settings:
it trains on three of the five domains and tests on the other two.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from _clinc import load_texts, make_features, split
from _common import cpu_time, describe_machine, markdown_row, prepare
from sklearn.base import clone

from metaest import MetaFewShotClassifier
from metaest.learners import ProtoNet
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output"
N_QUERIES = 15


def load_features() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the queries' features and those of the intents' names; kept in a file."""
    path = OUTPUT / "clinc-names.npz"
    texts = load_texts()
    names = np.unique(texts.intent)
    if not path.exists():
        features = make_features()
        X = features.fit_transform(texts.text)
        described = features.transform([name.replace("_", " ") for name in names])
        OUTPUT.mkdir(parents=True, exist_ok=True)
        np.savez(path, X=X.astype(np.float32), names=described.astype(np.float32))
    with np.load(path) as saved:
        return saved["X"], dict(zip(names.tolist(), saved["names"], strict=True))


def accuracies(clf, X, y, names, n_episodes: int) -> list[np.ndarray]:
    """Accuracy of each episode: by names, by one example, by both."""
    rng = np.random.default_rng(0)
    scores = [[], [], []]
    for _ in range(n_episodes):
        classes = rng.choice(np.unique(y), 5, replace=False)
        rows = [rng.choice(np.flatnonzero(y == c), 1 + N_QUERIES, replace=False) for c in classes]
        support, query = np.array(rows)[:, 0], np.array(rows)[:, 1:].ravel()
        described = {c: names[c] for c in classes.tolist()}
        fits = (
            lambda d=described: clf.fit(class_descriptions=d),
            lambda s=support: clf.fit(X[s], y[s]),
            lambda s=support, d=described: clf.fit(X[s], y[s], class_descriptions=d),
        )
        for own, fit in zip(scores, fits, strict=True):
            own.append(fit().score(X[query], y[query]))
    return [np.array(own) for own in scores]


def classifiers() -> dict[str, tuple[MetaFewShotClassifier, bool]]:
    """Return what is compared, and whether it is meta-trained."""
    cosine = MetaFewShotClassifier(ProtoNet(metric="cosine"), standardize=False, random_state=0)
    cosine.set_params(n_ways=10, n_shots=(0, 1), n_episodes=1600, meta_lr=3e-3)
    diagonal = clone(cosine).set_params(backbone="identity", meta_lr=1e-2)
    diagonal.set_params(learner=ProtoNet(metric="diagonal", temperature=0.1))
    return {
        "untrained, cosine": (clone(cosine), False),
        "residual, cosine": (cosine, True),
        "identity, diagonal": (diagonal, True),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=300, help="episodes of a test")
    parser.add_argument("--validate", action="store_true")
    options = parser.parse_args()
    prepare()
    texts = load_texts()
    X, names = load_features()
    train, test = (np.isin(texts.domain, domains) for domains in split(options.validate))
    tasks = TaskSet.from_pool(X[train], texts.intent[train], class_descriptions=names)
    print(describe_machine())
    print(markdown_row("5-way accuracy, %", "name", "1 example", "both", "CPU-min"))
    print("|---|---|---|---|---|")
    for label, (clf, meta_trains) in classifiers().items():
        with cpu_time() as timer:
            if meta_trains:
                clf.fit_meta(tasks)
        minutes = timer.minutes
        found = accuracies(clf, X[test], texts.intent[test], names, options.episodes)
        cells = [f"{100 * a.mean():.1f} ± {196 * a.std() / len(a) ** 0.5:.1f}" for a in found]
        print(markdown_row(label, *cells, f"{minutes:.2f}"), flush=True)


if __name__ == "__main__":
    main()
