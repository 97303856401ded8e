"""The dataset encoder: numbers on data sets held out of its training, and the shipped weights.

    METAEST_DATA=... python benchmarks/encoder.py           # the numbers; about 6 minutes, 1 core
    METAEST_DATA=... python benchmarks/encoder.py --ship    # trains on all, writes the weights

1. Can distances tell two samples of one data set (disjoint halves of the rows, a random half or
   more of the columns) from samples of two data sets? Area under the curve.
2. Do distances predict how similarly configurations rank on two data sets? Spearman's correlation
   of minus the distance and the similarity, which is itself Spearman's correlation of the scores of
   the same random configurations. Scores: YAHPO's rbv2_rpart (20 of the data sets; needs
   onnxruntime), and a surrogate (extremely randomised trees) fitted to each search that
   benchmarks/build_history.py has finished. Those are searches of 50 trials: their surrogates are
   rough, and so are the similarities.
3. Is a first trial better that weighs the other data sets by distance? Regret on those surfaces.

52 data sets in 4 folds, --repeats times; nothing of a held-out data set, surfaces included, is seen
in training; penalties are chosen by holding out data sets inside the training. "both": pairs of
two held-out data sets. "one": a held-out and a training data set, as a history is used. Intervals
are 95 % bootstrap intervals over data sets.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import cpu_time, describe_machine, markdown_row, prepare
from _encoder_first_trial import FirstTrials
from _encoder_pairs import N_BOOTSTRAPS, Pairs
from _encoder_surfaces import read_surfaces
from build_history import read_arff
from sklearn.metrics import roc_auc_score

from metaest.meta_features import DatasetEncoder, MetaFeatures
from metaest.meta_features import _encoder as shipped_beside
from metaest.meta_features._canonical import read_samples
from metaest.meta_features._encoder_describe import describe, surface_blocks
from metaest.meta_features._encoder_metric import learn_weights, rank_similarity
from metaest.meta_features._encoder_model import (
    SurfacePart,
    embed_identities,
    learn_surface_part,
    train_model,
)

ROOT = Path(__file__).parent
SHIPPED = Path(shipped_beside.__file__).parent / "data"
N_FOLDS = 4
TEN = [
    *("log_n_rows", "log_n_columns", "log_dimensionality", "log_n_classes", "class_entropy"),
    *("class_min", "class_max", "numeric_share", "missing_share", "binary_share"),
]


# ----------------------------------------------------------------------------------------- numbers


def halves(X: Any, y: np.ndarray, rng: np.random.Generator) -> list[tuple[Any, np.ndarray]]:
    """Draw two samples: disjoint halves of the rows, each with half or more of the columns."""
    order = rng.permutation(len(y))
    samples = []
    for rows in (order[: len(y) // 2], order[len(y) // 2 :]):
        n_kept = rng.integers(-(-X.shape[1] // 2), X.shape[1] + 1)
        columns = rng.permutation(X.shape[1])[:n_kept]
        samples.append((X.iloc[rows, columns], y[rows]))
    return samples


def separate(first: np.ndarray, second: np.ndarray) -> float:
    """Area under the curve of minus the distance; a row of each is a sample of one data set."""
    distances = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return float(roc_auc_score(np.eye(len(first)).ravel(), -distances.ravel()))


def bootstrap_auc(folds: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Resample the data sets of each fold; a pair of a data set with its own copy is left out."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(N_BOOTSTRAPS):
        of_folds = []
        for first, second in folds:
            drawn = np.unique(rng.integers(len(first), size=len(first)))
            of_folds.append(separate(first[drawn], second[drawn]))
        values.append(np.mean(of_folds))
    return np.quantile(values, [0.025, 0.975])


class Study:
    """All data sets, described once, and the splits."""

    def __init__(self, folder: Path, history: Path) -> None:
        entries = json.loads((folder / "openml" / "index.json").read_text())
        self.ids = [entry["data_id"] for entry in entries]
        self.datasets = [read_arff(folder / "openml", entry) for entry in entries]
        self.surfaces = read_surfaces(folder, history, self.ids)
        self.similarities = {k: rank_similarity(v) for k, v in self.surfaces.items()}

    def describe(self) -> None:
        start = time.process_time()
        self.samples = list(read_samples(self.datasets, "classification"))
        self.described = [describe(sample, with_learners=True) for sample in self.samples]
        self.plain = MetaFeatures(scale=False).transform(self.datasets)
        rng = np.random.default_rng(1)
        drawn = [halves(X, y, rng) for X, y in self.datasets]
        self.halves = [
            [describe(s, with_learners=True) for s in read_samples(pair, "classification")]
            for pair in zip(*drawn, strict=True)
        ]
        self.plain_halves = [
            MetaFeatures(scale=False).transform(pair) for pair in zip(*drawn, strict=True)
        ]
        print(f"described in {(time.process_time() - start) / 60:.1f} CPU-minutes", flush=True)

    def embed(self, rest: np.ndarray, seed: int, n_steps: int) -> dict[str, list[np.ndarray]]:
        """Train on `rest`; return by method: all data sets, first halves, second halves."""
        views = [self.described, *self.halves]
        raw = [self.plain, *self.plain_halves]
        inner = [s[np.ix_(rest, rest)] for s in self.similarities.values()]
        chosen = [self.described[i] for i in rest]
        found = {}
        names = MetaFeatures().get_feature_names_out().tolist()
        low, middle, high = np.quantile(self.plain[rest], [0.25, 0.5, 0.75], axis=0)
        scale = np.where(high - low > 1e-12, (high - low) / 1.349, 1.0)
        scaled = [np.clip((values - middle) / scale, -10, 10) for values in raw]
        found["ten simple meta-features"] = [v[:, [names.index(n) for n in TEN]] for v in scaled]
        found["51 MetaFeatures"] = scaled
        narrow = [np.clip(v, -3, 3) for v in scaled]
        weights = learn_weights(narrow[0][rest], np.arange(narrow[0].shape[1]), inner, seed)
        found["51 MetaFeatures, learned weights"] = [v * weights for v in narrow]
        model, _ = train_model(
            [self.samples[i] for i in rest],
            chosen,
            [[half[i] for i in rest] for half in self.halves],
            inner,
            n_components=32,
            n_steps=n_steps,
            surface_weight=DatasetEncoder().surface_weight,
            seed=seed,
            device=torch.device("cpu"),
        )
        whole = [model.embed(v) for v in views]
        found["encoder: network only"] = [v[:, :24] for v in whole]
        found["encoder: surface part only"] = [v[:, 24:] for v in whole]
        found["encoder: surface part, equal weights"] = self._equal(model, rest, seed)
        found["encoder"] = whole
        return found

    def _equal(self, model: Any, rest: np.ndarray, seed: int) -> list[np.ndarray]:
        """Embed by the same features with nothing learnt from surfaces."""
        described = (self.described, *self.halves)
        identities = [
            embed_identities(model.network, model.center, model.scale, v) for v in described
        ]
        blocks = [surface_blocks(v, u) for v, u in zip(described, identities, strict=True)]
        part: SurfacePart = learn_surface_part(
            [{name: values[rest] for name, values in view.items()} for view in blocks],
            [],
            n_coordinates=8,
            surface_weight=1.0,
            seed=seed,
        )
        return [part.embed(view) for view in blocks]


def evaluate(study: Study, n_repeats: int, n_steps: int) -> dict[str, Any]:
    areas: dict[str, list] = {}
    pairs: dict[tuple[str, str, str], Pairs] = {}
    first_trials = FirstTrials()
    n = len(study.ids)
    for repeat in range(n_repeats):
        order = np.random.default_rng(repeat).permutation(n)
        for fold, out in enumerate(np.array_split(order, N_FOLDS)):
            rest = np.setdiff1d(order, out)
            start = time.process_time()
            is_out = np.isin(np.arange(n), out)
            masks = {
                "both": np.triu(is_out[:, None] & is_out, 1),
                "one": is_out[:, None] & ~is_out,
            }
            for method, (whole, first, second) in study.embed(rest, repeat, n_steps).items():
                areas.setdefault(method, []).append((first[out], second[out]))
                distances = np.linalg.norm(whole[:, None] - whole[None], axis=-1)
                distances /= distances[np.ix_(rest, rest)].mean()
                for name, similarity in study.similarities.items():
                    for kind, mask in masks.items():
                        key = method, name, kind
                        pairs.setdefault(key, Pairs()).add(distances, similarity, mask)
                    scores = study.surfaces[name]
                    first_trials.add(method, name, scores, distances, rest, out)
            took = time.process_time() - start
            print(f"split {repeat + 1}.{fold + 1}: CPU {took:.0f} s", flush=True)
    return {"areas": areas, "pairs": pairs, "first_trials": first_trials}


def report(study: Study, found: dict[str, Any]) -> dict[str, Any]:
    """Print both tables; return the encoder's own numbers."""
    kept: dict[str, Any] = {}
    print("\n" + markdown_row("method", "AUC", "95 % interval"))
    print(markdown_row("---", "---", "---"))
    for method, folds in found["areas"].items():
        value = float(np.mean([separate(*fold) for fold in folds]))
        low, high = bootstrap_auc(folds)
        print(markdown_row(method, f"{value:.4f}", f"{low:.4f} to {high:.4f}"))
        if method == "encoder":
            kept["auc"] = [round(float(v), 4) for v in (value, low, high)]
    for kind in ("both", "one"):
        print(f"\nrank correlation, {kind} of the pair held out\n")
        print(markdown_row("method", *study.similarities, "mean"))
        print(markdown_row("---", *("---" for _ in study.similarities), "---"))
        for method in found["areas"]:
            values = {
                name: found["pairs"][method, name, kind].correlation()
                for name in study.similarities
            }
            cells = [f"{v:.2f} ({low:.2f} to {high:.2f})" for v, (low, high) in values.values()]
            mean = np.mean([v for v, _ in values.values()])
            print(markdown_row(method, *cells, f"{mean:.2f}"))
            if method == "encoder":
                kept[f"rank_correlation_{kind}"] = {
                    name: [round(float(x), 3) for x in (v, low, high)]
                    for name, (v, (low, high)) in values.items()
                }
    found["first_trials"].print(list(found["areas"]), list(study.surfaces))
    return kept


# -------------------------------------------------------------------------------------------- ship


def ship(study: Study, numbers: dict[str, Any], n_steps: int) -> None:
    with cpu_time() as timer:
        encoder = DatasetEncoder(n_steps=n_steps, kind="auto", random_state=0, device="cpu").fit(
            study.datasets, list(study.surfaces.values())
        )
        minutes = timer.minutes
    encoder.set_params(device="auto")
    SHIPPED.mkdir(exist_ok=True)
    encoder.save(SHIPPED / "encoder.safetensors")
    card = {
        "command": "METAEST_DATA=... python benchmarks/encoder.py --ship",
        "trained_on": "52 classification data sets of OpenML",
        "data_ids": study.ids,
        "surfaces": {k: int(np.isfinite(v).all(axis=1).sum()) for k, v in study.surfaces.items()},
        "cpu_minutes": round(minutes, 1),
        "machine": describe_machine(),
        "held_out": numbers,
    }
    (SHIPPED / "encoder.json").write_text(json.dumps(card, indent=1) + "\n")
    size = sum(p.stat().st_size for p in SHIPPED.glob("encoder.*")) / 1000
    print(f"shipped: {minutes:.1f} CPU-minutes, {size:.0f} kB, {card['surfaces']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--history", type=Path, default=ROOT / "output" / "history")
    parser.add_argument("--repeats", type=int, default=2, help="4-fold splits; 0: no evaluation")
    parser.add_argument("--n-steps", type=int, default=DatasetEncoder().n_steps)
    parser.add_argument("--ship", action="store_true", help="train on all and write the weights")
    args = parser.parse_args()
    prepare()
    warnings.simplefilter("ignore")  # constant surfaces, classes of one row
    study = Study(Path(os.environ["METAEST_DATA"]), args.history)
    numbers: dict[str, Any] = {}
    if args.repeats:
        study.describe()
        numbers = report(study, evaluate(study, args.repeats, args.n_steps))
    if args.ship:
        ship(study, numbers, args.n_steps)
    print(describe_machine())


if __name__ == "__main__":
    main()
