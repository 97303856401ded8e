"""Claim: on real training runs, 10 warm trials reach what cold TPE reaches in 50.

    METAEST_DATA=... python benchmarks/real_tuning.py [--models svc forest] [--max-sets 10]
    METAEST_DATA=... python benchmarks/real_tuning.py --report            # tables of what is done

No surrogate: each trial is five fits on the folds of build_history.py. One data set at a time is
taken out of the embedded history; MetaSampler starts from the searches on all the others, knows the
meta-features of the data set, and runs 10 trials. The rival is the search that was taken out: cold
TPE on the same folds, 50 trials. Accuracies are compared as they are packed, to six digits.

The learned coordinates of data sets take no part: the shipped encoder was trained on all 52 data
sets and on their response surfaces, so it has seen the one that is taken out. The surrogate is
meta-trained anew for each data set, without it.

Each search is a line of rows/real_tuning.jsonl; a rerun does what is missing. After a change of
metaest or of the embedded history, use another --output.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _common import append_json, describe_machine, markdown_row, prepare, read_lines
from build_history import MODELS, cost, load, make_folds, run_trial, short
from optuna.trial import TrialState

from metaest.meta_features import fingerprint
from metaest.tuning import MetaSampler, SearchRecord, default_space, embedded_history
from metaest.tuning._description import LEARNED

OUTPUT = Path(__file__).parent / "rows" / "real_tuning.jsonl"
N_TRIALS, N_RIVAL = 10, 50
CHECKPOINTS = (1, 3, 5, 10)


def take_out(
    records: Sequence[SearchRecord], name: str, mark: str
) -> tuple[SearchRecord, list[SearchRecord]]:
    """Return a data set's own record, and those of other data sets, by name and by contents."""
    own = [record for record in records if record.task == name]
    if not own:
        raise LookupError(f"{name} is not in the embedded history")
    others = [r for r in records if r.task != name and r.fingerprint != mark]
    return own[0], others


def simple(record: SearchRecord) -> dict[str, float]:
    """Return the meta-features that nothing was trained for."""
    return {n: v for n, v in (record.meta_features or {}).items() if not n.startswith(LEARNED)}


def scores_of(record: SearchRecord) -> list[float | None]:
    return [trial.value for trial in record.trials][:N_RIVAL]


def search(entry: dict, model: str, folder: Path, n_trials: int, seed: int) -> dict[str, Any]:
    """Run the warm search of one data set and model."""
    X, y = load(folder, entry, model)
    name = f"openml-{entry['data_id']}-{entry['name']}"
    records = embedded_history(MODELS[model], metric="accuracy")
    own, others = take_out(records, name, fingerprint(X, y))
    classes, codes = np.unique(y, return_inverse=True)
    folds = make_folds(X, codes, model, entry["data_id"])
    space = default_space(MODELS[model])
    sampler = MetaSampler(others, meta_features=simple(own), metric="accuracy", seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    seconds = []
    for _ in range(n_trials):
        start = time.process_time()
        asked = study.ask(space)
        seconds.append(time.process_time() - start)
        value = run_trial(model, asked.params, folds, len(classes))["accuracy"]
        study.tell(asked, value, state=None if value is not None else TrialState.FAIL)
    return {
        "task": name,
        "model": model,
        "seed": seed,
        "n_sources": len(others),
        "values": [short(trial.value) for trial in study.trials],
        "origins": [trial.user_attrs.get("metaest:origin") for trial in study.trials],
        "weighted": bool(study.trials[0].user_attrs.get("metaest:source", {}).get("weighted")),
        "learning": round(sum(seconds) - len(seconds) * float(np.median(seconds)), 2),
        "tpe": scores_of(own),
    }


def best_after(values: Sequence[float | None], n: int) -> float:
    """Best of the first n trials; a failed one has no value."""
    return max((v for v in values[:n] if v is not None), default=-np.inf)


def print_table(rows: Sequence[dict], n_trials: int) -> None:
    """Compare accuracy after some warm trials with that of cold TPE after 50, in points."""
    heads = ["model", "trials", "data sets", "median difference", "mean difference ± error"]
    heads += ["at least TPE@50", "TPE itself: median difference", "TPE itself: at least TPE@50"]
    print(f"\nAccuracy (points) after some trials, less that of cold TPE after {N_RIVAL}:\n")
    print(markdown_row(*heads))
    print(markdown_row(*["---"] * len(heads)))
    for model in MODELS:
        own = [r for r in rows if r["model"] == model and len(r["values"]) >= n_trials]
        for n in (n for n in CHECKPOINTS if n <= n_trials and own):
            goals = [best_after(row["tpe"], N_RIVAL) for row in own]
            pairs = [
                [(best_after(row[name], n), goal) for row, goal in zip(own, goals, strict=True)]
                for name in ("values", "tpe")
            ]
            warm, cold = (_difference(pair) for pair in pairs)
            error = warm.std(ddof=1) / len(warm) ** 0.5 if len(warm) > 1 else np.nan
            print(
                markdown_row(
                    model,
                    n,
                    len({row["task"] for row in own}),
                    f"{np.median(warm):+.2f}",
                    f"{warm.mean():+.2f} ± {error:.2f}",
                    f"{100 * np.mean(warm >= 0):.0f} %",
                    f"{np.median(cold):+.2f}",
                    f"{100 * np.mean(cold >= 0):.0f} %",
                )
            )


def _difference(pairs: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return differences in points; a search without any finished trial counts as 0 accuracy."""
    found = np.maximum(np.array(pairs), 0.0)
    return 100 * (found[:, 0] - found[:, 1])


def run(jobs: Sequence[tuple[dict, str]], folder: Path, path: Path, args: Any) -> None:
    done = {
        (row["task"], row["model"])
        for row in read_rows(path, args.seed)
        if len(row["values"]) >= args.trials
    }
    for number, (entry, model) in enumerate(jobs, 1):
        name = f"openml-{entry['data_id']}-{entry['name']}"
        label = f"{number}/{len(jobs)} {model} {name}:"
        if (name, model) in done:
            continue
        start = time.process_time()
        try:
            row = search(entry, model, folder, args.trials, args.seed)
        except LookupError as error:
            print(label, "left out,", error, flush=True)
            continue
        append_json(path, row)
        ours, rival = best_after(row["values"], args.trials), best_after(row["tpe"], N_RIVAL)
        took = f"CPU {time.process_time() - start:.1f} s, of it {row['learning']:.1f} s learning"
        print(label, f"{ours:.4f}, TPE@{N_RIVAL} {rival:.4f}, {took}", flush=True)


def read_rows(path: Path, seed: int) -> list[dict]:
    """Read what is done; of the same search, the longest."""
    found: dict[tuple, dict] = {}
    for row in read_lines(path):
        key = row["task"], row["model"]
        if row["seed"] == seed and len(row["values"]) >= len(found.get(key, row)["values"]):
            found[key] = row
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(MODELS)
    parser.add_argument("--models", nargs="+", choices=names, default=["svc", "forest"])
    parser.add_argument("--data-ids", type=int, nargs="+", help="only these (default: all)")
    parser.add_argument("--max-sets", type=int, help="the cheapest of each model")
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--report", action="store_true", help="only the table of what is done")
    args = parser.parse_args()
    prepare()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")  # as when the history was made: no convergence, rare classes
    print(describe_machine(), flush=True)
    if not args.report:
        folder = Path(os.environ["METAEST_DATA"]) / "openml"
        entries = json.loads((folder / "index.json").read_text())
        entries = [e for e in entries if args.data_ids is None or e["data_id"] in args.data_ids]
        jobs = []
        for model in args.models:
            cheap = sorted(entries, key=lambda entry: cost(entry, model))[: args.max_sets]
            jobs += [(cost(entry, model), entry, model) for entry in cheap]
        ordered = [(e, m) for _, e, m in sorted(jobs, key=lambda job: job[0])]
        run(ordered, folder, args.output, args)
    print_table(read_rows(args.output, args.seed), args.trials)


if __name__ == "__main__":
    main()
