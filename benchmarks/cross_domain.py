"""Claims: what was learned from Omniglot's characters helps with digits of another source.

    METAEST_DATA=... python benchmarks/cross_domain.py [--episodes-meta 3000]

A prototypical network is meta-trained on Omniglot's background set (turned in four directions) and
tested on five-way episodes of scikit-learn's digits: 8 x 8 grey pixels of other writers, scaled up
to 28 x 28, ink 1 on paper 0 as in Omniglot. Nothing is chosen on the digits. The baselines see the
same pixels. From some domains of texts to others: benchmarks/text_intents.py.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from _common import cpu_time, describe_machine, markdown_row, prepare
from omniglot import load as load_omniglot
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from metaest import MetaFewShotClassifier
from metaest.model_selection import EpisodicSplit, cross_validate_episodes


def load_large_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return digits of shape (n, 784) in [0, 1] with ink 1, and their labels."""
    X, y = load_digits(return_X_y=True)
    images = zoom(X.reshape(-1, 8, 8) / 16, (1, 3.5, 3.5), order=1, grid_mode=True, mode="nearest")
    return images.reshape(len(X), 784).astype(np.float32), y


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes-meta", type=int, default=3000, help="of meta-training")
    parser.add_argument("--episodes", type=int, default=300, help="episodes of a test")
    options = parser.parse_args()
    prepare()
    # Centroids of one row each have no spread, which scikit-learn divides by in vain.
    warnings.filterwarnings("ignore", message="invalid value", category=RuntimeWarning)
    warnings.filterwarnings("ignore", message=r"self\.within_class_std_dev_", category=UserWarning)
    tasks, *_ = load_omniglot(validate=False)
    clf = MetaFewShotClassifier(
        "protonet",
        n_ways=20,
        n_shots=1,
        n_queries=5,
        n_episodes=options.episodes_meta,
        meta_batch_size=1,
        meta_lr=3e-3,
        input_shape=(1, 28, 28),
        validation_fraction=0,
        random_state=0,
    )
    with cpu_time() as timer:
        clf.fit_meta(tasks)
    print(describe_machine())
    print(f"{options.episodes_meta} episodes of meta-training: {timer.minutes:.1f} CPU-minutes")
    print(markdown_row("5-way accuracy on digits, %", "1-shot", "5-shot"))
    print("|---|---|---|")
    estimators = {
        "LogisticRegression": LogisticRegression(max_iter=500),
        "NearestCentroid": NearestCentroid(),
        "protonet from Omniglot": clf,
    }
    X, y = load_large_digits()
    cells = {name: [] for name in (*estimators, "protonet - LogisticRegression")}
    for n_shots in (1, 5):
        cv = EpisodicSplit(
            options.episodes, n_ways=5, n_shots=n_shots, n_queries=15, random_state=0
        )
        result = cross_validate_episodes(estimators, X, y, cv=cv, scoring="accuracy")
        for row in result.summary():
            cells[row.estimator].append(row.format(1))
        difference = result.compare("LogisticRegression")[-1]
        cells["protonet - LogisticRegression"].append(difference.format(1, "+"))
    for name, own in cells.items():
        print(markdown_row(name, *own))


if __name__ == "__main__":
    main()
