"""What the encoder's network sees of a data set: cells as numbers, classes as memberships."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from metaest._table import Column
from metaest.meta_features._canonical import Sample
from metaest.meta_features._statistics import (
    INFORMATION,
    SIMPLE,
    STATISTICAL,
    information,
    simple,
    statistical,
)

N_CHANNELS = 5
MAX_CLASSES = 32
N_BINS = 4
STATISTICS = [*SIMPLE, *STATISTICAL, *INFORMATION]
_VIEW_ROWS = 160
_VIEW_COLUMNS = 24
_MIN_SHARE = 0.5  # of the columns, in a view for training


@dataclass(frozen=True)
class View:
    """One data set, or a part of it, as the network sees it.

    Parameters
    ----------
    cells : ndarray of float32, shape (n_rows, n_columns, N_CHANNELS)
        Rank in -1..1, robust z-score, frequency of the value, gap, category.
    members : ndarray of float32, shape (n_rows, n_classes)
        One-hot classes, or quarters of a continuous target.
    statistics : ndarray of shape (n_statistics,)
        Of the names in STATISTICS.
    is_classification : bool
    """

    cells: np.ndarray
    members: np.ndarray
    statistics: np.ndarray
    is_classification: bool


@dataclass(frozen=True)
class Batch:
    """V views as padded tensors, N rows, M columns and C classes at most.

    Parameters
    ----------
    cells : Tensor of shape (V, N, M, N_CHANNELS)
    members : Tensor of shape (V, N, C)
        All zero in rows and classes that a view does not have.
    columns : Tensor of shape (V, M)
        1 where the view has the column.
    kinds : Tensor of shape (V,)
        1 for classification.
    """

    cells: Tensor
    members: Tensor
    columns: Tensor
    kinds: Tensor


def make_view(sample: Sample) -> View:
    """Describe a sample for the network."""
    with np.errstate(all="ignore"):
        cells = np.stack([_cells(column) for column in sample.columns], axis=1)
        values = simple(sample) | statistical(sample) | information(sample)
    statistics = np.array([values[name] for name in STATISTICS], dtype=np.float64)
    return View(cells, _members(sample), statistics, sample.kind == "classification")


def draw_pair(sample: Sample, rng: np.random.Generator) -> tuple[View, View]:
    """Draw two small views of disjoint halves, for the network's training."""
    first, second = draw_halves(sample, rng, max_rows=_VIEW_ROWS, max_columns=_VIEW_COLUMNS)
    return make_view(first), make_view(second)


def draw_halves(
    sample: Sample,
    rng: np.random.Generator,
    *,
    max_rows: int | None = None,
    max_columns: int | None = None,
) -> tuple[Sample, Sample]:
    """Draw disjoint halves of the rows, each with its own half or more of the columns."""
    order = rng.permutation(len(sample.y))
    half = len(order) // 2
    halves = (order[:half], order[half:]) if half else (order, order)
    first, second = (_part(sample, rows, rng, max_rows, max_columns) for rows in halves)
    return first, second


def collate(views: Sequence[View], device: torch.device) -> Batch:
    """Pad views to one shape."""
    n, m, c = (
        max(v.cells.shape[0] for v in views),
        max(v.cells.shape[1] for v in views),
        max(v.members.shape[1] for v in views),
    )
    cells = np.zeros((len(views), n, m, N_CHANNELS), dtype=np.float32)
    members = np.zeros((len(views), n, c), dtype=np.float32)
    columns = np.zeros((len(views), m), dtype=np.float32)
    for i, view in enumerate(views):
        rows, width, _ = view.cells.shape
        cells[i, :rows, :width] = view.cells
        members[i, :rows, : view.members.shape[1]] = view.members
        columns[i, :width] = 1
    kinds = np.array([v.is_classification for v in views], dtype=np.float32)
    tensors = (torch.from_numpy(a).to(device) for a in (cells, members, columns, kinds))
    return Batch(*tensors)


def _part(
    sample: Sample,
    rows: np.ndarray,
    rng: np.random.Generator,
    max_rows: int | None,
    max_columns: int | None,
) -> Sample:
    """Take part of a sample, and say of its size what is true of that part of the data set."""
    n_columns = len(sample.columns)
    n_kept = rng.integers(int(np.ceil(_MIN_SHARE * n_columns)), n_columns + 1)
    kept = rng.permutation(n_columns)[:n_kept]
    n_rows = max(round(len(rows) / len(sample.y) * sample.n_rows), 1)
    counts = sample.class_counts
    if sample.kind == "classification":
        found = np.bincount(sample.y[rows])
        found = np.sort(found[found > 0])[::-1]
        counts = np.maximum(np.round(found * (n_rows / len(rows))), 1).astype(np.int64)
    shown = rows[:max_rows]
    columns = [sample.columns[j] for j in kept[:max_columns]]
    columns = [c._replace(values=c.values[shown]) for c in columns]
    y = sample.y[shown]
    if sample.kind == "classification":
        y = np.unique(y, return_inverse=True)[1]
    width = max(round(n_kept / n_columns * sample.n_columns), 1)
    return replace(
        sample, n_rows=n_rows, n_columns=width, columns=columns, y=y, class_counts=counts
    )


def _cells(column: Column) -> np.ndarray:
    """Describe one column; shape (n_rows, N_CHANNELS), all finite."""
    cells = np.zeros((len(column.values), N_CHANNELS), dtype=np.float32)
    is_category = column.kind == "categorical"
    gaps = column.values == -1 if is_category else np.isnan(column.values)
    cells[:, 3], cells[:, 4] = gaps, is_category
    values = column.values[~gaps]
    if not len(values):
        return cells
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    frequency = counts[inverse] / len(values)
    # Categories have no order: the order of their frequencies stands in.
    key = frequency if is_category else values
    cells[~gaps, 0] = 2 * (rankdata(key) - 0.5) / len(values) - 1
    cells[~gaps, 1] = _robust_scores(key)
    cells[~gaps, 2] = 1 + np.log(frequency) / 8
    return cells


def _robust_scores(values: np.ndarray) -> np.ndarray:
    """Standardise by median and interquartile range; squeeze the tails into -3..3."""
    size = np.abs(values).max(where=np.isfinite(values), initial=0.0)
    values = np.nan_to_num(values / size if size > 0 else values, posinf=1.0, neginf=-1.0)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349
    if spread <= 1e-12:
        spread = values.std()
    return 3 * np.tanh((values - middle) / (3 * spread)) if spread > 1e-12 else 0 * values


def _members(sample: Sample) -> np.ndarray:
    """Return the one-hot classes; beyond the most frequent ones, all others are one."""
    y = sample.y
    if sample.kind == "regression":
        y = np.minimum((rankdata(y) - 0.5) / len(y) * N_BINS, N_BINS - 1).astype(np.int64)
    counts = np.bincount(y)
    if len(counts) > MAX_CLASSES:
        place = np.argsort(np.argsort(-counts, kind="stable"))
        y = np.minimum(place[y], MAX_CLASSES - 1)
    return (y[:, None] == np.unique(y)).astype(np.float32)
