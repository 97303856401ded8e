"""Make the embedded history: 52 OpenML data sets x 4 models x 50 trials of TPE.

    METAEST_DATA=... python benchmarks/build_history.py            # search; about 1.5 hours, 1 core
    METAEST_DATA=... python benchmarks/build_history.py --pack     # into metaest/tuning/data

Each search is one JSON file under --output; finished and packed ones are skipped, so a run that
was killed goes on where it was (the search it was in starts again). Trials maximise the mean
accuracy of 5 stratified folds; other metrics are recorded beside it. Preprocessing is fitted on
the training rows of each fold, once per search: it has no parameter that is searched.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gzip
import json
import time
import warnings
from pathlib import Path
from typing import Any

import arff
import numpy as np
import optuna
import pandas as pd
import sklearn
from optuna.distributions import distribution_to_json
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC

from metaest.meta_features import fingerprint
from metaest.tuning import default_space, embedded_history
from metaest.tuning._description import describe_data
from metaest.tuning._shipped import write_shipped
from metaest.tuning._sources import find_sources
from metaest.tuning._surrogate import teaching_tasks, train_surrogate

ROOT = Path(__file__).parent
PACKED = ROOT.parent / "metaest" / "tuning" / "data"
METRICS = ("accuracy", "balanced_accuracy", "roc_auc", "neg_log_loss")
N_FOLDS = 5
MAX_ROWS = 1500
MAX_CATEGORIES = 255
FOLD_LIMIT = 15.0  # CPU seconds; a trial whose first fold takes longer has failed

# max_iter bounds single fits of SVC and logistic regression, which may be slow to converge in the
# corners of the spaces.
MODELS = {
    "logistic": LogisticRegression(max_iter=200),
    "svc": SVC(max_iter=200_000, cache_size=500),
    "forest": RandomForestClassifier(n_estimators=50, random_state=0),
    "boosting": HistGradientBoostingClassifier(early_stopping=False, random_state=0),
}
# Rough seconds per search: base, and per 1,000 rows, once and times classes. For the order only.
COST = {"logistic": (2, 1, 1), "svc": (2, 8, 0), "forest": (12, 8, 0.5), "boosting": (5, 5, 10)}


def read_arff(folder: Path, entry: dict) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the columns, nominal ones as categories, and the labels as strings."""
    with gzip.open(folder / f"{entry['data_id']}.arff.gz", "rt", encoding="utf-8") as file:
        content = arff.load(file)
    names = [name for name, _ in content["attributes"]]
    frame = pd.DataFrame(content["data"], columns=names)
    for name, kind in content["attributes"]:
        if isinstance(kind, list):
            frame[name] = pd.Categorical(frame[name], categories=kind)
        else:
            frame[name] = frame[name].astype(float if kind.upper() != "STRING" else "category")
    y = frame.pop(entry["default_target_attribute"]).astype(str).to_numpy(dtype=object)
    return frame.drop(columns=entry["ignore_attribute"], errors="ignore"), y


def row_limit(model: str, n_classes: int) -> int:
    """Boosting grows a tree per class and step: fewer rows where there are many classes."""
    if model != "boosting" or n_classes <= 8:
        return MAX_ROWS
    return 1000 if n_classes < 20 else 600


def draw_rows(X: pd.DataFrame, y: np.ndarray, n_rows: int, seed: int) -> tuple[Any, np.ndarray]:
    """Return at most n_rows, each class by its share, in random order; rare classes may go."""
    if len(y) > n_rows:
        order = np.random.default_rng(seed).permutation(len(y))
        share = np.empty(len(y))  # the row's place within its class, in 0..1
        for label in np.unique(y):
            own = order[y[order] == label]
            share[own] = (np.arange(len(own)) + 0.5) / len(own)
        keep = order[np.argsort(share[order], kind="stable")[:n_rows]]
        keep = np.random.default_rng(seed + 1).permutation(keep)
        X, y = X.iloc[keep].reset_index(drop=True), y[keep]
    X = X.copy()
    for name in X.columns[X.dtypes == "category"]:
        X[name] = X[name].cat.remove_unused_categories()
    return X, y


def load(folder: Path, entry: dict, model: str) -> tuple[pd.DataFrame, np.ndarray]:
    X, y = read_arff(folder, entry)
    return draw_rows(X, y, row_limit(model, len(np.unique(y))), entry["data_id"])


def make_preprocessor(model: str) -> Any:
    """Return the steps before the model; boosting takes categories and gaps as they are."""
    if model == "boosting":
        return FunctionTransformer()
    is_category = make_column_selector(dtype_include="category")
    is_number = make_column_selector(dtype_exclude="category")
    number = SimpleImputer(strategy="median", keep_empty_features=True)
    if model == "forest":
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        category = make_pipeline(encoder, SimpleImputer(strategy="constant", fill_value=-2))
        return make_column_transformer((category, is_category), (number, is_number))
    # A gap is a category of its own.
    onehot = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist")
    dense = make_column_transformer(
        (onehot, is_category), (number, is_number), sparse_threshold=0.0
    )
    return make_pipeline(dense, StandardScaler())


def is_binnable(column: pd.Series, rows: np.ndarray) -> bool:
    """Boosting refuses columns without any value, and those with more categories than bins."""
    if column.dtype == "category" and len(column.cat.categories) > MAX_CATEGORIES:
        return False
    return bool(column.iloc[rows].notna().any())


def make_folds(X: pd.DataFrame, codes: np.ndarray, model: str, seed: int) -> list[tuple]:
    splitter = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    folds = []
    for train, test in splitter.split(X, codes):
        steps = make_preprocessor(model)
        known = [n for n in X if model != "boosting" or is_binnable(X[n], train)]
        there, asked = X[known].iloc[train], X[known].iloc[test]
        folds.append(
            (steps.fit_transform(there), codes[train], steps.transform(asked), codes[test])
        )
    return folds


def measure(estimator: Any, X: Any, y: np.ndarray, n_classes: int) -> dict[str, float | None]:
    """Return the metrics on test rows; AUC: one class against the rest, weighted by frequency."""
    proba = hasattr(estimator, "predict_proba")  # SVC's would cost five more fits, so it has none
    raw = estimator.predict_proba(X) if proba else estimator.decision_function(X)
    if raw.ndim == 1:
        raw = np.column_stack([-raw, raw])
    # As predict does, without computing the probabilities twice.
    predicted = estimator.classes_[raw.argmax(axis=1)] if proba else estimator.predict(X)
    scores = np.full((len(y), n_classes), 0.0 if proba else -np.inf)
    scores[:, estimator.classes_] = raw  # a class may be missing in training
    scores = np.maximum(scores, np.min(raw) - 1)
    there, sizes = np.unique(y, return_counts=True)
    # Mann-Whitney's statistic: all classes at once, roc_auc_score takes ten times as long.
    ranks = np.where(y[:, None] == there, rankdata(scores[:, there], axis=0), 0).sum(axis=0)
    areas = (ranks - sizes * (sizes + 1) / 2) / np.maximum(sizes * (len(y) - sizes), 1)
    chosen = np.clip(scores[np.arange(len(y)), y], np.finfo(float).eps, None)
    return {
        "accuracy": float(np.mean(predicted == y)),
        "balanced_accuracy": float(np.mean([np.mean(predicted[y == c] == c) for c in there])),
        "roc_auc": float(np.average(areas, weights=sizes)) if len(areas) > 1 else None,
        "neg_log_loss": float(np.mean(np.log(chosen))) if proba else None,
    }


def run_trial(model: str, params: dict, folds: list[tuple], n_classes: int) -> dict:
    """Return one trial as it is recorded."""
    found, seconds, failure = [], 0.0, None
    for number, (X_train, y_train, X_test, y_test) in enumerate(folds):
        estimator = clone(MODELS[model]).set_params(**params)
        start = time.process_time()
        try:
            estimator.fit(X_train, y_train)
            seconds += time.process_time() - start
            found.append(measure(estimator, X_test, y_test, n_classes))
        except Exception as error:
            failure = f"fold {number}: {type(error).__name__}: {error}"[:300]
            break
        if number == 0 and seconds > FOLD_LIMIT:
            failure = f"fold 0 took {seconds:.1f} s, the limit is {FOLD_LIMIT} s"
            break
    trial = {"params": params, "fit_time": seconds, "failure": failure}
    trial["folds"] = [fold["accuracy"] for fold in found]
    for metric in METRICS:
        values = [fold[metric] for fold in found]
        there = failure is None and None not in values
        trial[metric] = float(np.mean(values)) if there else None
    return trial


def search(entry: dict, model: str, folder: Path, n_trials: int) -> dict:
    X, y = load(folder, entry, model)
    classes, codes = np.unique(y, return_inverse=True)
    folds = make_folds(X, codes, model, entry["data_id"])
    space = default_space(MODELS[model])
    sampler = optuna.samplers.TPESampler(
        seed=entry["data_id"] * len(MODELS) + list(MODELS).index(model)
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials = []
    for _ in range(n_trials):
        asked = study.ask(space)
        trials.append(run_trial(model, asked.params, folds, len(classes)))
        value = trials[-1]["accuracy"]
        state = None if value is not None else optuna.trial.TrialState.FAIL
        study.tell(asked, value, state=state)
    return {
        "task": f"openml-{entry['data_id']}-{entry['name']}",
        "data_id": entry["data_id"],
        "model": model,
        "estimator": repr(MODELS[model]),
        "versions": {"scikit-learn": sklearn.__version__, "optuna": optuna.__version__},
        "n_rows": len(y),
        "n_classes": len(classes),
        "space": {name: json.loads(distribution_to_json(d)) for name, d in space.items()},
        "trials": trials,
    }


def write_json(path: Path, content: Any, **options: Any) -> None:
    """Write at once: a killed run leaves no half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, allow_nan=False, **options) + "\n")
    os.replace(temporary, path)


def cost(entry: dict, model: str) -> float:
    base, by_rows, by_classes = COST[model]
    n_rows = min(entry["n_instances"], row_limit(model, entry["n_classes"])) / 1000
    n_classes = 1 if entry["n_classes"] == 2 else entry["n_classes"]
    return base + n_rows * (by_rows + by_classes * n_classes)


def read_packed(packed: Path, model: str) -> dict:
    """Return what an earlier run has packed, so that it need not be searched again."""
    path = packed / f"{model}.json"
    return json.loads(path.read_text()) if path.exists() else {"searches": []}


def run(
    folder: Path,
    entries: list[dict],
    models: list[str],
    output: Path,
    packed: Path,
    n_trials: int,
) -> None:
    done = {(m, s["data_id"]) for m in models for s in read_packed(packed, m)["searches"]}
    jobs = sorted(((cost(e, m), e, m) for e in entries for m in models), key=lambda job: job[0])
    for number, (_, entry, model) in enumerate(jobs, 1):
        path = output / f"{model}-{entry['data_id']}.json"
        label = f"{number}/{len(jobs)} {model} {entry['data_id']} {entry['name']}:"
        if path.exists() or (model, entry["data_id"]) in done:
            print(label, "there already", flush=True)
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        result = search(entry, model, folder, n_trials)
        write_json(path, result)
        values = [t["accuracy"] for t in result["trials"] if t["accuracy"] is not None]
        best, failed = max(values, default=float("nan")), n_trials - len(values)
        took = f"{time.perf_counter() - wall:.1f} s, CPU {time.process_time() - cpu:.1f} s"
        rows = f"{result['n_rows']} rows"
        print(label, f"{rows}, best {best:.4f}, {failed} failed, {took}", flush=True)


def pack(folder: Path, entries: list[dict], models: list[str], output: Path, packed: Path) -> None:
    """Write what is finished of each model into one file of columns."""
    described: dict[tuple[int, int], dict] = {}  # models see the same rows, but for boosting
    for model in models:
        before = read_packed(packed, model)
        earlier = {search["data_id"]: search for search in before["searches"]}
        searches, head = [], {}
        for entry in entries:
            path = output / f"{model}-{entry['data_id']}.json"
            if path.exists():
                found = json.loads(path.read_text())
                search, origin = pack_search(found), found
            elif entry["data_id"] in earlier:
                search, origin = earlier[entry["data_id"]], before
            else:
                continue
            key = entry["data_id"], search["n_rows"]
            if key not in described:
                described[key], names = describe(*load(folder, entry, model))
            searches.append(search | described[key])
            now = {name: origin[name] for name in ("model", "estimator", "space", "versions")}
            if head and now != head:
                raise SystemExit(f"{path} has another space, estimator or version; search it again")
            head = now
        if searches:
            content = {"format": 1} | head
            content["meta_feature_names"] = names
            content["searches"] = searches
            write_json(packed / f"{model}.json", content, separators=(",", ":"))
        print(f"{model}: packed {len(searches)} of {len(entries)} searches", flush=True)


def describe(X: pd.DataFrame, y: np.ndarray) -> tuple[dict, list[str]]:
    found = describe_data(X, y, None) or {}
    values = [short(v) for v in found.values()]
    return {"meta_features": values, "fingerprint": fingerprint(X, y)}, list(found)


def ship_surrogates(packed: Path) -> None:
    """Meta-train the surrogates of the packed history, as MetaSampler would, and write them."""
    target = packed / "surrogates.safetensors"
    target.unlink(missing_ok=True)  # or what is shipped now would be found and written again
    states = {}
    for name, estimator in MODELS.items():
        records = embedded_history(estimator)
        sources = find_sources(records, direction="maximize", metric="accuracy")
        if sources is None:
            continue
        encode = sources.configurations.encode
        tasks = [(encode(task.rows), task.scores) for task in sources.tasks]
        states[teaching_tasks(tasks).fingerprint()] = train_surrogate(tasks).state
        print(f"{name}: surrogate of {len(tasks)} searches", flush=True)
    write_shipped(states, target)


def pack_search(found: dict) -> dict:
    trials = found["trials"]
    return {
        "task": found["task"],
        "data_id": found["data_id"],
        "n_rows": found["n_rows"],
        "params": {n: [short(t["params"][n]) for t in trials] for n in found["space"]},
        "values": {metric: [short(t[metric]) for t in trials] for metric in METRICS},
        "fit_times": [short(t["fit_time"], 3) for t in trials],
    }


def short(value: Any, digits: int = 6) -> Any:
    """Round floats; 6 digits keep every value inside its space, whose bounds have fewer."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "history")
    parser.add_argument("--data-ids", type=int, nargs="+", help="only these (default: all)")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--n-trials", type=int, default=50)
    parser.add_argument("--pack", action="store_true", help="pack what is finished, search nothing")
    parser.add_argument("--packed", type=Path, default=PACKED, help="folder of the packed files")
    args = parser.parse_args()
    folder = Path(os.environ["METAEST_DATA"]) / "openml"
    entries = json.loads((folder / "index.json").read_text())
    entries = [e for e in entries if args.data_ids is None or e["data_id"] in args.data_ids]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")  # no convergence, classes with fewer rows than folds
    if args.pack:
        pack(folder, entries, args.models, args.output, args.packed)
        if args.packed == PACKED:
            ship_surrogates(args.packed)
    else:
        run(folder, entries, args.models, args.output, args.packed, args.n_trials)


if __name__ == "__main__":
    main()
