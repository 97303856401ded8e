"""Claim: ``cross_validate_episodes`` is at least 5x faster than the loop, with equal scores.

    python benchmarks/episodes_speed.py [--repeats 5]

600 episodes of 5 ways, 1 shot and 15 queries per class on scikit-learn's digits, a meta-trained
ProtoNet, one process and one thread. Loop and call alternate, so that other load on the machine
meets both; the ratio is the median of those of the rounds.
"""

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from metaest import MetaFewShotClassifier
from metaest.model_selection import EpisodicSplit, cross_validate_episodes


def loop(clf, X, y, cv):
    return np.array([clone(clf).fit(X[s], y[s]).score(X[q], y[q]) for s, q in cv.split(X, y)])


def call(clf, X, y, cv):
    return cross_validate_episodes(clf, X, y, cv=cv).scores["MetaFewShotClassifier"]["accuracy"]


def timed(function, *args):
    wall, cpu = time.perf_counter(), time.process_time()
    scores = function(*args)
    return scores, time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    seen = y < 5
    clf = MetaFewShotClassifier("protonet", n_shots=1, n_episodes=320, random_state=0)
    clf.fit_meta(X[seen], y[seen])
    X, y = X[~seen], y[~seen]
    cv = EpisodicSplit(600, n_ways=5, n_shots=1, n_queries=15, random_state=0)
    for function in (loop, call):  # warm up
        function(clf, X, y, EpisodicSplit(20, random_state=0))
    ratios, cpu_ratios, differences = [], [], []
    print(
        f"{'':8}{'loop s':>10}{'call s':>10}{'ratio':>8}{'CPU ratio':>11}{'max |difference|':>18}"
    )
    for round_ in range(1, repeats + 1):
        slow, slow_wall, slow_cpu = timed(loop, clf, X, y, cv)
        fast, fast_wall, fast_cpu = timed(call, clf, X, y, cv)
        ratios.append(slow_wall / fast_wall)
        cpu_ratios.append(slow_cpu / fast_cpu)
        differences.append(np.abs(slow - fast).max())
        print(
            f"round {round_:<2}{slow_wall:10.2f}{fast_wall:10.2f}{ratios[-1]:8.1f}"
            f"{cpu_ratios[-1]:11.1f}{differences[-1]:18.1e}"
        )
    print(
        f"median ratio {statistics.median(ratios):.1f} "
        f"(CPU time {statistics.median(cpu_ratios):.1f}); "
        f"largest difference of a score {max(differences):.1e}; "
        f"mean accuracy {100 * fast.mean():.1f} %"
    )


if __name__ == "__main__":
    main()
