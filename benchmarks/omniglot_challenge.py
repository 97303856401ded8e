"""Claim: error on Omniglot's 20 official one-shot runs, trained on 5 alphabets, on one thread.

    METAEST_DATA=... python benchmarks/omniglot_challenge.py --split small1 small2 --seeds 0 1 2

The "minimal" split of Lake, Salakhutdinov and Tenenbaum (2019): the alphabets of small1 or small2
are all that is trained on. A matching network on a small residual network; each task is what two
people drew of three alphabets, each alphabet turned or mirrored one of 8 ways. At test every image
is seen in 10 fixed views, the same for all images; a query is predicted without the other queries.
All settings were chosen with --validate: 20-way 1-shot episodes within the background alphabets
that the split leaves out; the official runs were not used for any choice. A run that is cut off
goes on from its checkpoint (which --validate and the test share); finished rows are appended to
benchmarks/output/omniglot_challenge.jsonl.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare
from torch import Tensor, nn

from metaest import MetaFewShotClassifier
from metaest.augment import RandomWarp
from metaest.datasets import fetch_omniglot, fetch_omniglot_oneshot_runs
from metaest.learners import MatchingNet
from metaest.tasks import TaskSet

OUTPUT = Path(__file__).parent / "output"
N_TASKS = 2000
N_GROUPS, GROUP_SIZE = 3, 21  # of a task: alphabets, and at most so many characters of each
N_VIEWS = 10
WARP = {"rotation": 10, "shear": 0.2, "scale": 0.15, "stretch": 0.12, "translation": 0.1}


class Episode(NamedTuple):
    """20 characters drawn once by one person, and once by another."""

    support: np.ndarray  # (20, 1, 28, 28)
    query: np.ndarray  # (20, 1, 28, 28)
    label: np.ndarray  # (20,) position in support of each query's character


# ------------------------------------------------------------------------------------- network


def normalise(n_channels: int) -> nn.Module:
    return nn.BatchNorm2d(n_channels, momentum=0.02)


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            normalise(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            normalise(n_out),
        )
        pool = nn.AvgPool2d(2, ceil_mode=True) if stride > 1 else nn.Identity()
        self.skip = nn.Sequential(pool, nn.Conv2d(n_in, n_out, 1, bias=False), normalise(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.skip(x))


class ResNet(nn.Module):
    """From (n, 1, 28, 28) to (n, 4 * 4 * 128)."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(input_shape[0], 32, 3, 1, 1, bias=False),
            normalise(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            Block(32, 64, 1),
            Block(64, 128, 2),
            Block(128, 128, 1),
            Block(128, 128, 2),
        )
        self.to(memory_format=torch.channels_last)  # twice as fast in bfloat16

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return self.layers(x).float().flatten(1)


# ---------------------------------------------------------------------------------------- data


def load_alphabets(subset: str) -> dict[str, np.ndarray]:
    """Return each alphabet as (n_characters, 20 drawers, 28, 28)."""
    omniglot = fetch_omniglot(subset=subset)
    alphabets = {}
    for name in np.unique(omniglot.alphabet):
        rows = np.flatnonzero(omniglot.alphabet == name)
        rows = rows[np.lexsort((omniglot.drawer[rows], omniglot.character[rows]))]
        alphabets[str(name)] = omniglot.images[rows, 0].reshape(-1, 20, 28, 28)
    return alphabets


def make_tasks(alphabets: list[np.ndarray], seed: int) -> TaskSet:
    """Draw tasks of 63 characters (3 alphabets, turned) and of 2 drawings of each."""
    rng = np.random.default_rng(seed)
    sizes = np.array([len(alphabet) for alphabet in alphabets])
    tasks = []
    for _ in range(N_TASKS):
        groups = []
        for alphabet in rng.choice(len(alphabets), N_GROUPS, p=sizes / sizes.sum()):
            n = min(GROUP_SIZE, sizes[alphabet])
            characters = rng.choice(sizes[alphabet], n, replace=False)
            drawers = rng.choice(20, 2, replace=False)
            drawings = alphabets[alphabet][characters][:, drawers]  # (n, 2, 28, 28)
            drawings = np.rot90(drawings, rng.integers(4), axes=(2, 3))
            groups.append(drawings[..., ::-1] if rng.random() < 0.5 else drawings)
        X = np.concatenate(groups)
        tasks.append((X.reshape(-1, 1, 28, 28), np.repeat(np.arange(len(X)), 2)))
    return TaskSet.from_datasets(tasks, augment=RandomWarp(**WARP))


def validation_episodes(split: str, n_drawers: int = 4, seed: int = 0) -> Iterator[Episode]:
    """Yield 20-way episodes of each background alphabet that is not in the split."""
    rng = np.random.RandomState(seed)
    used = load_alphabets(split)
    for name, alphabet in load_alphabets("background").items():
        if name in used or len(alphabet) < 20:
            continue
        alphabet = alphabet[:, rng.choice(20, n_drawers, replace=False), None]
        for i in range(n_drawers):
            for j in (j for j in range(n_drawers) if j != i):
                characters = rng.choice(len(alphabet), 20, replace=False)
                support, query = alphabet[characters, i], alphabet[characters, j]
                yield Episode(support, query, np.arange(20))


def official_runs() -> Iterator[Episode]:
    runs = fetch_omniglot_oneshot_runs(image_size=28)
    return (Episode(*run) for run in zip(runs.train, runs.test, runs.label, strict=True))


# ---------------------------------------------------------------------------------------- test


def make_views(images: np.ndarray) -> np.ndarray:
    """Return the same 10 affine views of each image: (n, 10, 1, 28, 28).

    As channels of one image, all are warped alike. The first view is not warped, only resampled,
    as the images of meta-training are.
    """
    x = torch.from_numpy(images).transpose(0, 1)  # (1, n, 28, 28)
    generator = torch.Generator().manual_seed(0)
    views = []
    for strength in (1e-6, *[0.8] * (N_VIEWS - 1)):
        settings = {name: strength * value for name, value in WARP.items()}
        views.append(RandomWarp(**settings, elastic=0, thickness=0)(x, generator)[0])
    return torch.stack(views, 1).unsqueeze(2).numpy()


def errors(clf: MetaFewShotClassifier, episode: Episode, n_views: int) -> np.ndarray:
    """Return where the predictions are wrong: bool, shape (20,)."""
    support = make_views(episode.support)[:, :n_views].reshape(-1, 1, 28, 28)
    query = make_views(episode.query)[:, :n_views].reshape(-1, 1, 28, 28)
    clf.fit(support, np.repeat(np.arange(20), n_views))
    probabilities = clf.predict_proba(query).reshape(20, n_views, 20)
    return np.log(probabilities).mean(1).argmax(1) != episode.label


def run(split: str, seed: int, options: argparse.Namespace) -> None:
    mode = "validate" if options.validate else "test"
    clf = MetaFewShotClassifier(
        MatchingNet(temperature=1 / 16, learn_temperature=False),
        backbone=ResNet,
        n_ways=None,
        n_shots=1,
        n_queries=1,
        n_episodes=options.episodes,
        meta_batch_size=1,
        meta_lr=4e-3,
        validation_fraction=0,
        random_state=seed,
        verbose=1,
    )
    folder = OUTPUT / f"challenge-{split}-{options.episodes}-{seed}"
    with cpu_time() as timer:
        tasks = make_tasks(list(load_alphabets(split).values()), seed)
        clf.fit_meta(tasks, checkpoint=folder)
        minutes = timer.minutes
    # The rounds before a resumed one are in the history alone.
    minutes = max(minutes, sum(row["cpu_minutes"] for row in clf.meta_state_.history))
    scores = {}
    for n_views in (1, N_VIEWS):
        episodes = validation_episodes(split) if options.validate else official_runs()
        wrong = np.stack([errors(clf, episode, n_views) for episode in episodes])
        scores[f"error_{n_views}_views"] = round(100 * float(wrong.mean()), 2)
    row = {"split": split, "mode": mode, "seed": seed, "n_episodes": options.episodes}
    row |= {"cpu_minutes": round(minutes, 1), **scores}
    append_json(OUTPUT / "omniglot_challenge.jsonl", row | {"machine": describe_machine()})
    print(markdown_row(*row.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--split", nargs="+", choices=("small1", "small2"), default=["small1"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--episodes", type=int, default=2400)
    options = parser.parse_args()
    prepare()
    print(describe_machine())
    columns = ("split", "mode", "seed", "episodes", "CPU-min", "error %, 1 view", "10 views")
    print(markdown_row(*columns))
    print(markdown_row(*["---"] * len(columns)))
    for split in options.split:
        for seed in options.seeds:
            run(split, seed, options)


if __name__ == "__main__":
    main()
