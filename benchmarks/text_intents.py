"""Claims: new intents are learned from one query each, better after meta-training (CLINC150).

    METAEST_DATA=... python benchmarks/text_intents.py [FEATURES ...] [--learners ...] [--validate]

Meta-trained on five domains, tested on episodes of the other five. Three tables of features: TF-IDF
and SVD; a sentence embedding, turned to its principal axes (a learned scale needs columns that
mean something); both side by side. All are made from all texts, those of the test domains too, but
without intents. Prints each learner's accuracy with one and with five examples, and its paired
differences to its own start (no meta-training), to logistic regression on the same features and to
that on TF-IDF. --validate chooses settings: it trains on three of the five domains and tests on
the other two.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
from _clinc import Texts, load_texts, split, tfidf_features
from _common import cpu_time, describe_machine, markdown_row, prepare
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from metaest import MetaFewShotClassifier
from metaest.learners import FineTune, MatchingNet, ProtoNet, RidgeHead
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.tasks import TaskSet
from metaest.text import SentenceEmbedder

OUTPUT = Path(__file__).parent / "output"
FEATURES = ("tfidf", "embedding", "both")
SHOTS = (1, 5)


def load_table(name: str, texts: Texts) -> np.ndarray:
    """Return rows of unit length."""
    if name == "tfidf":
        return tfidf_features(texts, OUTPUT)
    if name == "embedding":
        turn = make_pipeline(SentenceEmbedder(), PCA(random_state=0), Normalizer())
        return turn.fit_transform(texts.text)
    parts = [load_table(part, texts) for part in ("tfidf", "embedding")]
    return np.hstack(parts) / np.float32(2**0.5)


def baselines() -> dict[str, object]:
    return {
        "LogisticRegression": LogisticRegression(max_iter=500),
        "NearestCentroid": NearestCentroid(),
    }


def learners() -> dict[str, MetaFewShotClassifier]:
    """Return what is meta-trained; each of them starts at the features themselves."""
    shared = {"n_ways": 10, "n_shots": (1, 5), "n_queries": 10, "meta_batch_size": 8}
    residual = MetaFewShotClassifier(
        n_episodes=800, meta_lr=3e-4, standardize=False, random_state=0, **shared
    )
    diagonal = clone(residual).set_params(backbone="identity", meta_lr=1e-2)
    return {
        "protonet, diagonal": diagonal.set_params(
            learner=ProtoNet(metric="diagonal", temperature=0.1)
        ),
        "protonet, cosine": clone(residual).set_params(learner=ProtoNet(metric="cosine")),
        "matching": clone(residual).set_params(learner=MatchingNet()),
        "ridge": clone(residual).set_params(learner=RidgeHead()),
        "finetune": clone(residual).set_params(learner=FineTune(head="cosine")),
    }


def score(estimators: dict, X: np.ndarray, y: np.ndarray, n_episodes: int) -> dict:
    """Return name -> accuracies (shots, episodes), on the same episodes whatever the features."""
    scores = {name: [] for name in estimators}
    for n_shots in SHOTS:
        cv = EpisodicSplit(n_episodes, n_ways=5, n_shots=n_shots, n_queries=15, random_state=0)
        result = cross_validate_episodes(estimators, X, y, cv=cv, scoring="accuracy")
        for name, own in scores.items():
            own.append(result.scores[name]["accuracy"])
    return {name: np.array(own) for name, own in scores.items()}


def estimate(values: np.ndarray, sign: str = "") -> str:
    """Return mean and 95 % interval in per cent."""
    half = 196 * values.std(ddof=1) / len(values) ** 0.5
    return f"{100 * values.mean():{sign}.1f} ± {half:.1f}"


def report(features: str, scores: dict, reference: np.ndarray, minutes: dict) -> None:
    """Print a row of each estimator."""
    own = scores["LogisticRegression"]
    for name in (*baselines(), *minutes):
        found, start = scores[name], scores.get(f"{name} untrained")
        cells = []
        for shot in range(len(SHOTS)):
            cells.append(estimate(found[shot]))
            cells.append("-" if start is None else estimate(found[shot] - start[shot], "+"))
            cells += [estimate(found[shot] - base[shot], "+") for base in (own, reference)]
        print(markdown_row(features, name, *cells, f"{minutes.get(name, 0):.2f}"), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("features", nargs="*", default=FEATURES, help=", ".join(FEATURES))
    parser.add_argument("--episodes", type=int, default=300, help="episodes of a test")
    parser.add_argument("--learners", nargs="+", choices=list(learners()), help="default: all")
    parser.add_argument("--validate", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.features) - set(FEATURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(FEATURES)}")
    prepare()
    # Centroids of one row each have no spread, which scikit-learn divides by in vain.
    warnings.filterwarnings("ignore", message="invalid value", category=RuntimeWarning)
    texts = load_texts()
    train, test = (np.isin(texts.domain, domains) for domains in split(options.validate))
    y = texts.intent[test]
    tfidf = load_table("tfidf", texts)[test]
    logistic = {"reference": LogisticRegression(max_iter=500)}
    reference = score(logistic, tfidf, y, options.episodes)["reference"]
    print(describe_machine())
    columns = [f"{n}-shot{c}" for n in SHOTS for c in ("", " - start", " - LR", " - TF-IDF LR")]
    print(markdown_row("features", "5-way accuracy, %", *columns, "CPU-min"))
    print("|" + "---|" * (len(columns) + 3))
    for features in options.features:
        X = load_table(features, texts)
        tasks = TaskSet.from_pool(X[train], texts.intent[train])
        estimators, minutes = baselines(), {}
        for name in options.learners or learners():
            clf = learners()[name]
            estimators[f"{name} untrained"] = clone(clf)
            with cpu_time() as timer:
                estimators[name] = clf.fit_meta(tasks)
            minutes[name] = timer.minutes
        report(features, score(estimators, X[test], y, options.episodes), reference, minutes)


if __name__ == "__main__":
    main()
