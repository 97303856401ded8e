"""Batches from the prior, and the tasks on which pretraining is watched."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from build_history import read_arff
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

from metaest.pretrained.prior import sample_tasks

N_SLOTS = 10


class Tables(NamedTuple):
    """B tables; the first `n_support` rows are labelled."""

    x: Tensor  # (B, N, F), NaN where missing or padded
    y: Tensor  # (B, N), class slots
    class_mask: Tensor  # (B, N_SLOTS)
    n_support: int


def draw_tables(
    rng: np.random.Generator, n_tasks: int, n_support: int, n_query: int, n_columns: int
) -> Tables:
    """Draw tasks from the prior, classes in random slots."""
    tasks = sample_tasks(n_tasks, n_support + n_query, n_columns, rng=rng, n_support=n_support)
    padded = torch.arange(tasks.x.shape[2]) >= tasks.n_columns.unsqueeze(1)  # (B, F)
    x = tasks.x.masked_fill(padded.unsqueeze(1), torch.nan)
    class_mask = torch.arange(N_SLOTS) < tasks.n_classes.unsqueeze(1)
    keys = torch.from_numpy(rng.random((n_tasks, N_SLOTS))).masked_fill(~class_mask, 2.0)
    slot = keys.argsort(1).argsort(1)  # of each class, among the first n_classes
    return Tables(x, slot.gather(1, tasks.y), class_mask, n_support)


class Batches(torch.utils.data.IterableDataset):
    """Endless batches that grow with the number of steps; step t depends on the seed and t only.

    Parameters
    ----------
    seed : int
    start : int
        The first step.
    rows : int
        About how many rows a batch has.
    growth : float
        Steps until tables have their full size.
    largest : (int, int)
        Most labelled rows and columns at full size.
    """

    def __init__(
        self, seed: int, start: int, rows: int, growth: float, largest: tuple[int, int]
    ) -> None:
        self.seed, self.start, self.rows = seed, start, rows
        self.growth, self.largest = growth, largest

    def __iter__(self) -> Iterator[Tables]:
        worker = torch.utils.data.get_worker_info()
        first, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if worker is not None:
            torch.set_num_threads(1)
        step = self.start + first
        while True:
            yield self.batch(step)
            step += stride

    def batch(self, step: int) -> Tables:
        rng = np.random.default_rng([self.seed, step])
        grown = min(1.0, step / self.growth)
        most_rows = 64 * (self.largest[0] / 64) ** grown
        most_columns = 12 * (self.largest[1] / 12) ** grown
        n_support = int(np.exp(rng.uniform(np.log(8), np.log(most_rows + 1))))
        n_columns = int(most_columns * np.exp(rng.uniform(-1, 0)))
        n_query = min(64, max(32, n_support))
        n_tasks = max(8, min(64, self.rows // (n_support + n_query)))
        return draw_tables(rng, n_tasks, n_support, n_query, n_columns)


def synthetic_tables(n_support: int = 50, n_batches: int = 8) -> list[Tables]:
    """Give the fixed synthetic validation tasks."""
    rng = np.random.default_rng(20_000)
    return [draw_tables(rng, 32, n_support, 50, 12) for _ in range(n_batches)]


def choice_entries() -> list[dict]:
    """Data sets that choices may be made on: every second one by data id."""
    folder = Path(os.environ["METAEST_DATA"]) / "openml"
    entries = {entry["data_id"]: entry for entry in json.loads((folder / "index.json").read_text())}
    return [entries[number] for number in sorted(entries)[::2]]


def real_splits(n_train: int, n_seeds: int = 2, n_test: int = 150) -> Iterator[tuple]:
    """Yield (name, train X, train y, test X, test y): codes for categories, NaN where missing.

    Of the 10 most frequent classes; stratified as far as it goes.
    """
    folder = Path(os.environ["METAEST_DATA"]) / "openml"
    for entry in choice_entries():
        X, y = _numbers(folder, entry)
        for seed in range(n_seeds):
            rng = np.random.default_rng([entry["data_id"], n_train, seed])
            order = rng.permutation(len(y))
            share = np.empty(len(y))
            for code in np.unique(y):
                own = order[y[order] == code]
                share[own] = (np.arange(len(own)) + rng.random()) / len(own)
            order = order[np.argsort(share[order], kind="stable")]
            n = min(n_train, len(y) // 2)
            train, test = order[:n], rng.permutation(order[n:])[:n_test]
            test = test[np.isin(y[test], y[train])]
            codes = np.unique(y[train], return_inverse=True)[1]
            if codes.max() > 0 and len(np.unique(y[test])) > 1:
                test_codes = np.searchsorted(np.unique(y[train]), y[test])
                yield entry["name"], X[train], codes, X[test], test_codes


_CACHE: dict[int, tuple[np.ndarray, np.ndarray]] = {}


def _numbers(folder: Path, entry: dict) -> tuple[np.ndarray, np.ndarray]:
    if entry["data_id"] not in _CACHE:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frame, labels = read_arff(folder, entry)
        for name in frame.columns[frame.dtypes == "category"]:
            frame[name] = frame[name].cat.codes.astype(float).replace(-1, np.nan)
        y = np.unique(labels, return_inverse=True)[1]
        common = np.argsort(-np.bincount(y), kind="stable")[:N_SLOTS]
        keep = np.isin(y, common)
        X = frame.to_numpy(dtype=float)[keep]
        _CACHE[entry["data_id"]] = X, np.unique(y[keep], return_inverse=True)[1]
    return _CACHE[entry["data_id"]]


def area(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean one-versus-one area over the classes that `y` has."""
    present = np.unique(y)
    if len(present) < 2:
        return np.nan
    p = probabilities[:, present] + 1e-12
    p = p / p.sum(1, keepdims=True)
    if len(present) == 2:
        return roc_auc_score(y == present[1], p[:, 1])
    return roc_auc_score(np.searchsorted(present, y), p, multi_class="ovo")


@torch.no_grad()
def score_synthetic(net: torch.nn.Module, tables: list[Tables], device: str) -> dict[str, float]:
    """Mean area and log-loss over synthetic tasks."""
    areas, losses = [], []
    for table in tables:
        p = predict_tables(net, table, device)
        y = table.y[:, table.n_support :].numpy()
        areas += [area(y[b], p[b]) for b in range(len(p))]
        losses += [-np.log(np.take_along_axis(p, y[..., None], 2).clip(1e-9)).mean()]
    return {"auc": float(np.nanmean(areas)), "log_loss": float(np.mean(losses))}


@torch.no_grad()
def score_real(net: torch.nn.Module, n_train: int, device: str, n_seeds: int) -> dict[str, float]:
    """Mean area and log-loss over the data sets for choices."""
    areas: dict[str, list[float]] = {}
    losses = []
    for name, X, y, test_X, test_y in real_splits(n_train, n_seeds):
        n_classes = int(y.max()) + 1
        x = torch.from_numpy(np.concatenate([X, test_X])).float().unsqueeze(0)
        labels = torch.from_numpy(np.concatenate([y, test_y])).unsqueeze(0)
        class_mask = (torch.arange(N_SLOTS) < n_classes).unsqueeze(0)
        p = predict_tables(net, Tables(x, labels, class_mask, len(y)), device)[0]
        areas.setdefault(name, []).append(area(test_y, p))
        losses.append(log_loss(test_y, p[:, :n_classes], labels=range(n_classes)))
    means = [np.nanmean(values) for values in areas.values()]
    return {"auc": float(np.mean(means)), "log_loss": float(np.mean(losses))}


def predict_tables(net: torch.nn.Module, table: Tables, device: str) -> np.ndarray:
    """Return the probabilities of the query rows: (B, Q, N_SLOTS)."""
    x, y, n = table.x.to(device), table.y.to(device), table.n_support
    mask = torch.ones(y[:, :n].shape, dtype=torch.bool, device=device)
    state = net.read(x[:, :n], y[:, None, :n], mask, table.class_mask.to(device).unsqueeze(1))
    return net(state, x[:, n:]).squeeze(1).double().softmax(-1).cpu().numpy()
