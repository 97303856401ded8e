"""Claim: the best classifier to hand for a small table without related tasks.

    METAEST_DATA=... python benchmarks/tabular_small.py [--half report] [--sizes 10 50 0.5]

52 OpenML data sets. Choices were made on the half at even positions of the sorted data ids
(--half choice); the other half is for the report. Each seed draws a stratified training set of the
size asked for (at least two classes; 0.5 is half of the rows, at most 1,000) and at most 500 other
rows to test on. Area under the ROC curve, one against one, over the classes in the training set;
log-loss; accuracy. Finished pairs of a data set and a seed are appended to
benchmarks/output/tabular_small.jsonl and not computed again; --report prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from _common import append_json, describe_machine, markdown_row, prepare
from _in_context_data import area
from build_history import read_arff
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from metaest import MetaFewShotClassifier
from metaest.learners import InContextTransformer

OUTPUT = Path(__file__).parent / "output" / "tabular_small.jsonl"
SIZES = (10, 20, 50, 100, 200, 0.5)
MOST_ROWS, MOST_TEST_ROWS = 1000, 500
METRICS = ("auc", "log_loss", "accuracy")


def _numbers():
    return make_column_selector(dtype_include="number")


def _others():
    return make_column_selector(dtype_exclude="number")


def logistic_regression():
    numeric = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
    other = make_pipeline(
        SimpleImputer(strategy="most_frequent", keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = make_column_transformer((numeric, _numbers()), (other, _others()))
    return make_pipeline(columns, LogisticRegression(max_iter=500))


def _trees(forest):
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    numeric = SimpleImputer(strategy="median", keep_empty_features=True)
    columns = make_column_transformer((numeric, _numbers()), (codes, _others()))
    return make_pipeline(columns, forest)


def _catboost():
    from catboost import CatBoostClassifier

    return CatBoostClassifier(
        verbose=False, thread_count=1, random_seed=0, allow_writing_files=False
    )


MODELS = {
    "LogisticRegression": logistic_regression,
    "RandomForest": lambda: _trees(RandomForestClassifier(random_state=0)),
    "ExtraTrees": lambda: _trees(ExtraTreesClassifier(random_state=0)),
    "CatBoost": _catboost,
    "metaest, network alone": lambda: MetaFewShotClassifier(InContextTransformer(companions=0.0)),
    "metaest": MetaFewShotClassifier,
}
#: Means of the probabilities of models.
BLENDS = {"LogisticRegression + ExtraTrees": ("LogisticRegression", "ExtraTrees")}


def load_half(half: str) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """Yield (name, X, y): the data sets at even (choice) or odd positions of the sorted ids."""
    folder = Path(os.environ["METAEST_DATA"]) / "openml"
    entries = {entry["data_id"]: entry for entry in json.loads((folder / "index.json").read_text())}
    for number in sorted(entries)[0 if half == "choice" else 1 :: 2]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame, labels = read_arff(folder, entries[number])
        yield entries[number]["name"], frame, np.unique(labels, return_inverse=True)[1]


def split(y: np.ndarray, size: float, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the positions of training and test rows; None where the size is too large."""
    n_train = min(MOST_ROWS, len(y) // 2) if size == 0.5 else int(size)
    if n_train > len(y) // 2:
        return None
    rng = np.random.default_rng([seed, n_train])
    if n_train >= 2 * len(np.unique(y)) and np.bincount(y).min() >= 2:
        splitter = StratifiedShuffleSplit(1, train_size=n_train, random_state=seed)
        train, test = next(splitter.split(y, y))
    else:
        order = rng.permutation(len(y))
        first = [np.flatnonzero(y[order] == c)[0] for c in rng.permutation(np.unique(y))[:2]]
        rest = np.setdiff1d(np.arange(len(y)), first, assume_unique=True)
        order = order[np.concatenate([first, rest])]
        train, test = order[:n_train], order[n_train:]
    test = test[np.isin(y[test], y[train])]
    return train, rng.permutation(test)[:MOST_TEST_ROWS]


def score(y: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    n_classes = probabilities.shape[1]
    clipped = probabilities.clip(1e-6)
    clipped = clipped / clipped.sum(1, keepdims=True)
    return {
        "auc": float(area(y, probabilities)),
        "log_loss": float(log_loss(y, clipped, labels=np.arange(n_classes))),
        "accuracy": float(accuracy_score(y, probabilities.argmax(1))),
    }


def measure(frame: pd.DataFrame, y: np.ndarray, size: float, seed: int, names: list[str]) -> dict:
    """Fit every model to one training set and score it on the others."""
    parts = split(y, size, seed)
    if parts is None:
        return {}
    train, test = parts
    classes, codes = np.unique(y[train], return_inverse=True)
    expected = np.searchsorted(classes, y[test])
    shares, rows = {}, {}
    for name in names:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            X = _for_catboost(frame) if name == "CatBoost" else frame
            model = MODELS[name]()
            extra = {"cat_features": _categories(frame)} if name == "CatBoost" else {}
            shares[name] = model.fit(X.iloc[train], codes, **extra).predict_proba(X.iloc[test])
        rows[name] = score(expected, shares[name]) | {"seconds": time.perf_counter() - start}
    for name, parts in BLENDS.items():
        if all(part in shares for part in parts):
            rows[name] = score(expected, np.mean([shares[part] for part in parts], axis=0))
    return rows


def _categories(frame: pd.DataFrame) -> list[str]:
    return list(frame.columns[frame.dtypes == "category"])


def _for_catboost(frame: pd.DataFrame) -> pd.DataFrame:
    texts = {
        name: frame[name].astype(object).fillna("missing").astype(str)
        for name in _categories(frame)
    }
    return frame.assign(**texts)


def finished() -> dict[tuple, dict]:
    found: dict[tuple, dict] = {}
    if OUTPUT.exists():
        for line in OUTPUT.open():
            row = json.loads(line)
            key = row["half"], row["data"], row["size"], row["seed"]
            found.setdefault(key, {}).update(row["models"])
    return found


def report(half: str) -> None:
    """Print the mean over data sets of each metric, by model and size."""
    rows = [
        {"data": data, "size": size, "model": model, **scores}
        for (own, data, size, _), models in finished().items()
        if own == half
        for model, scores in models.items()
    ]
    table = pd.DataFrame(rows)
    print(f"{table['data'].nunique()} data sets, {half} half\n")
    for metric in METRICS:
        by_data = table.groupby(["model", "size", "data"])[metric].mean()
        means = by_data.groupby(["model", "size"]).mean().unstack("size")
        print(markdown_row(metric, *("50/50" if s == 0.5 else int(s) for s in SIZES if s in means)))
        print(markdown_row(*["---"] * (1 + means.shape[1])))
        for model in (*MODELS, *BLENDS):
            if model in means.index:
                cells = (f"{means.loc[model, s]:.3f}" for s in SIZES if s in means)
                print(markdown_row(model, *cells))
        print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=["choice", "report"], default="report")
    parser.add_argument("--sizes", type=float, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--report", action="store_true", help="print the table of what is done")
    options = parser.parse_args()
    if options.report:
        return report(options.half)
    prepare()
    print(describe_machine())
    done = finished()
    for seed in range(options.seeds):
        for name, frame, y in load_half(options.half):
            for size in options.sizes:
                key = options.half, name, size, seed
                missing = [model for model in options.models if model not in done.get(key, {})]
                if not missing:
                    continue
                blended = {part for blend in BLENDS.values() for part in blend}
                if blended & set(missing):
                    missing = [m for m in options.models if m in missing or m in blended]
                models = measure(frame, y, size, seed, missing)
                row = {"half": options.half, "data": name, "size": size, "seed": seed}
                append_json(OUTPUT, row | {"models": models})
        print(f"seed {seed} done", flush=True)
    return report(options.half)


if __name__ == "__main__":
    main()
