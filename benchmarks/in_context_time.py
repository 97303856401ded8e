"""Claims: with 8 passes and companions, 100 + 100 rows of 10 columns take 0.3 s, 1,000 + 1,000 of 20 take 10 s.

    python benchmarks/in_context_time.py [--repeats 9]

Fit and predict; the least of the repeats, of wall-clock and of CPU time, on one thread and on as
many as there are cores. The large table is timed a third as often.
"""  # noqa: E501

from __future__ import annotations

import argparse
import os
import pickle
import time

import numpy as np
import torch
from _common import describe_machine

from metaest import MetaFewShotClassifier
from metaest.learners import InContextTransformer

SIZES = ((100, 10), (1000, 20))  # rows to learn from (and as many to predict), columns


def make_table(n_rows: int, n_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes by a column and the product of two others, with noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, n_columns))
    return X, (X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * rng.normal(size=n_rows) > 0).astype(int)


def measure(n_rows: int, n_columns: int, repeats: int) -> tuple[float, float, float]:
    """Least seconds of wall-clock and of CPU time, and megabytes of what was learned."""
    X, y = make_table(2 * n_rows, n_columns)
    clf = MetaFewShotClassifier(InContextTransformer(n_estimators=8), random_state=0)
    times = []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        clf.fit(X[:n_rows], y[:n_rows]).predict_proba(X[n_rows:])
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, cpu = np.min(times, axis=0)
    return wall, cpu, len(pickle.dumps(clf.state_)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print(describe_machine())
    print("\n| rows | columns | threads | wall, s | CPU, s | state, MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for n_threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(n_threads)
        for n_rows, n_columns in SIZES:
            repeats = max(1, options.repeats // (3 if n_rows > 500 else 1))
            wall, cpu, size = measure(n_rows, n_columns, repeats)
            cells = f"{n_rows} + {n_rows}", n_columns, n_threads
            print(f"| {' | '.join(map(str, cells))} | {wall:.3f} | {cpu:.3f} | {size:.1f} |")


if __name__ == "__main__":
    main()
