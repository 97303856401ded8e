"""Response surfaces of the data sets: scores of the same random configurations on each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from build_history import MODELS
from sklearn.ensemble import ExtraTreesRegressor

RPART_IDS = (3, 6, 11, 15, 23, 24, 28, 29, 31, 32, 37, 38, 42, 44, 46, 50, 54, 60, 307, 6332)
N_CONFIGURATIONS = 300
MIN_DATA_SETS = 12


def rpart_surfaces(folder: Path, ids: list[int]) -> np.ndarray:
    """Accuracy of random configurations by YAHPO's surrogate; NaN for data sets it lacks."""
    import onnxruntime

    source = folder / "yahpo" / "rbv2_rpart"
    codes = json.loads((source / "encoding.json").read_text())
    space = json.loads((source / "config_space.json").read_text())["hyperparameters"]
    ranges = {h["name"]: (h["lower"], h["upper"]) for h in space if "lower" in h}
    rng = np.random.default_rng(0)
    n = N_CONFIGURATIONS
    columns = [np.exp(rng.uniform(*np.log(ranges["cp"]), n))]
    columns += [
        rng.integers(ranges[k][0], ranges[k][1] + 1, n)
        for k in ("maxdepth", "minbucket", "minsplit")
    ]
    columns += [np.ones(n), np.full(n, 10)]  # trainsize, repl
    numbers = np.stack(columns, axis=1).astype(np.float32)
    imputers = [v for k, v in codes["num.impute.selected.cpo"].items() if k != "#na#"]
    imputer = rng.choice(imputers, n)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(source / "model.onnx"), options)
    scores = np.full((len(ids), n), np.nan)
    for row, data_id in enumerate(ids):
        if data_id in RPART_IDS:
            task = np.full(n, codes["task_id"][str(data_id)])
            inputs = {
                "x_cat": np.stack([task, imputer], axis=1).astype(np.int32),
                "x_cont": numbers,
            }
            scores[row] = session.run(None, inputs)[0][:, 0]
    return scores


def search_surfaces(history: Path, model: str, ids: list[int]) -> np.ndarray:
    """Predict random configurations by a surrogate of each finished search; NaN for others."""
    scores = np.full((len(ids), N_CONFIGURATIONS), np.nan)
    for row, data_id in enumerate(ids):
        path = history / f"{model}-{data_id}.json"
        if not path.exists():
            continue
        search = json.loads(path.read_text())
        trials = [t for t in search["trials"] if t["accuracy"] is not None]
        values = np.array([t["accuracy"] for t in trials])
        if len(values) < 20 or np.ptp(values) < 1e-9:
            continue
        space = {name: d["attributes"] for name, d in search["space"].items()}
        drawn = draw_configurations(space)
        surrogate = ExtraTreesRegressor(200, min_samples_leaf=2, random_state=0)
        surrogate.fit(unit_cube([t["params"] for t in trials], space), values)
        scores[row] = surrogate.predict(unit_cube(drawn, space))
    return scores


def draw_configurations(space: dict[str, dict]) -> list[dict]:
    """The same ones at every call."""
    rng = np.random.default_rng(0)
    drawn: list[dict] = []
    for _ in range(N_CONFIGURATIONS):
        one: dict[str, Any] = {}
        for name, d in space.items():
            if "choices" in d:
                one[name] = d["choices"][rng.integers(len(d["choices"]))]
            elif d["log"]:
                one[name] = float(np.exp(rng.uniform(np.log(d["low"]), np.log(d["high"]))))
            else:
                one[name] = float(rng.uniform(d["low"], d["high"]))
        drawn.append(one)
    return drawn


def unit_cube(configurations: list[dict], space: dict[str, dict]) -> np.ndarray:
    columns = []
    for name, d in space.items():
        values = [c[name] for c in configurations]
        if "choices" in d:
            columns += [[float(v == choice) for v in values] for choice in d["choices"]]
            continue
        squeeze = np.log if d["log"] else np.asarray
        low, high = squeeze(d["low"]), squeeze(d["high"])
        columns.append((squeeze(np.array(values, dtype=float)) - low) / (high - low))
    return np.array(columns, dtype=float).T


def read_surfaces(folder: Path, history: Path, ids: list[int]) -> dict[str, np.ndarray]:
    """Return the surfaces of each kind of model that enough data sets have."""
    found = {"rpart": rpart_surfaces(folder, ids)}
    found |= {model: search_surfaces(history, model, ids) for model in MODELS}
    known = {k: int(np.isfinite(v).all(axis=1).sum()) for k, v in found.items()}
    print("surfaces, data sets:", ", ".join(f"{k} {v}" for k, v in known.items()), flush=True)
    return {k: v for k, v in found.items() if known[k] >= MIN_DATA_SETS}
