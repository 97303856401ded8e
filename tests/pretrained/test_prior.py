"""The prior of synthetic tasks: shapes, seeds, classes, gaps, something to learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import StandardScaler

from metaest.exceptions import InvalidParameterError
from metaest.pretrained import prior
from metaest.pretrained._families import FAMILIES, Family
from metaest.pretrained.prior import TaskBatch, sample_tasks

N_TASKS, N_ROWS, N_SUPPORT, MAX_COLUMNS = 300, 120, 40, 20


@pytest.fixture(scope="module")
def tasks() -> TaskBatch:
    return sample_tasks(
        N_TASKS, N_ROWS, MAX_COLUMNS, rng=np.random.default_rng(0), n_support=N_SUPPORT
    )


def test_shapes_and_types(tasks: TaskBatch) -> None:
    assert tasks.x.shape == (N_TASKS, N_ROWS, MAX_COLUMNS)
    assert tasks.x.dtype == torch.float32
    assert tasks.y.shape == (N_TASKS, N_ROWS)
    assert tasks.categorical.shape == (N_TASKS, MAX_COLUMNS)
    assert tasks.categorical.dtype == torch.bool
    for whole in (tasks.y, tasks.n_columns, tasks.n_classes):
        assert whole.dtype == torch.int64
    assert tasks.n_columns.shape == tasks.n_classes.shape == (N_TASKS,)


def test_the_generator_fixes_the_result(tasks: TaskBatch) -> None:
    again, other = (
        sample_tasks(
            N_TASKS, N_ROWS, MAX_COLUMNS, rng=np.random.default_rng(seed), n_support=N_SUPPORT
        )
        for seed in (0, 1)
    )
    for first, second in zip(tasks, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert not torch.equal(tasks.y, other.y)


def test_columns_beyond_a_tasks_own_are_zero(tasks: TaskBatch) -> None:
    beyond = torch.arange(MAX_COLUMNS) >= tasks.n_columns[:, None]  # (B, F)
    assert (tasks.x.transpose(1, 2)[beyond] == 0).all()
    assert not tasks.categorical[beyond].any()


def test_no_infinite_and_no_huge_values(tasks: TaskBatch) -> None:
    known = tasks.x[~tasks.x.isnan()]
    assert known.abs().max() < 1e9


def test_categorical_columns_hold_codes(tasks: TaskBatch) -> None:
    codes = tasks.x.transpose(1, 2)[tasks.categorical]  # (M, N)
    codes = codes[~codes.isnan()]
    assert torch.equal(codes, codes.round())
    assert codes.min() == 0
    assert 5 < codes.max() < 20
    assert 0.1 < tasks.categorical.sum() / tasks.n_columns.sum() < 0.5


def test_each_class_is_among_the_support_rows(tasks: TaskBatch) -> None:
    for y, n_classes in zip(tasks.y, tasks.n_classes, strict=True):
        assert torch.equal(y[:N_SUPPORT].unique(), torch.arange(int(n_classes)))
        assert torch.equal(y.unique(), torch.arange(int(n_classes)))


@pytest.mark.parametrize("n_support", [2, 3, 5])
def test_few_support_rows_limit_the_classes(n_support: int) -> None:
    tasks = sample_tasks(100, 30, 5, rng=np.random.default_rng(0), n_support=n_support)
    assert tasks.n_classes.min() == 2
    assert tasks.n_classes.max() == n_support
    for y, n_classes in zip(tasks.y, tasks.n_classes, strict=True):
        assert len(y[:n_support].unique()) == n_classes


def test_two_to_ten_classes_of_unlike_sizes(tasks: TaskBatch) -> None:
    counts = torch.bincount(tasks.n_classes, minlength=11)
    assert (counts[2:] > 0).all()
    assert 0.3 < counts[2] / N_TASKS < 0.6
    two = tasks.y[tasks.n_classes == 2]
    smaller = torch.minimum(two.float().mean(1), 1 - two.float().mean(1))
    assert smaller.quantile(0.1) < 0.2
    assert smaller.quantile(0.9) > 0.4
    limited = sample_tasks(50, 40, 5, rng=np.random.default_rng(0), n_classes_max=3)
    assert set(limited.n_classes.tolist()) == {2, 3}


def test_numbers_of_columns_spread_over_the_range(tasks: TaskBatch) -> None:
    assert tasks.n_columns.min() == 2
    assert tasks.n_columns.max() == MAX_COLUMNS
    few, middle, many = (
        ((low <= tasks.n_columns) & (tasks.n_columns < high)).float().mean()
        for low, high in ((2, 5), (5, 11), (11, 21))
    )
    assert min(few, middle, many) > 0.15


def test_some_tasks_miss_some_values(tasks: TaskBatch) -> None:
    own = torch.arange(MAX_COLUMNS) < tasks.n_columns[:, None]
    missing = tasks.x.isnan()
    assert 0.1 < missing.any(dim=(1, 2)).float().mean() < 0.4
    assert 0.01 < missing.transpose(1, 2)[own].float().mean() < 0.15


def test_support_rows_are_exchangeable_with_the_others(tasks: TaskBatch) -> None:
    """But for the rows that show each class, support and query rows have one distribution."""
    two = tasks.y[tasks.n_classes == 2].float()
    gap = two[:, :N_SUPPORT].mean(1) - two[:, N_SUPPORT:].mean(1)
    assert gap.mean().abs() < 0.02


@pytest.fixture(scope="module")
def accuracies() -> np.ndarray:
    """(tasks, 3): of ExtraTrees, of a linear model and of the largest class."""
    n_tasks, n_support = 60, 80
    tasks = sample_tasks(n_tasks, 160, 12, rng=np.random.default_rng(2), n_support=n_support)
    rows = []
    for x, y, width in zip(tasks.x, tasks.y, tasks.n_columns, strict=True):
        z = StandardScaler().fit_transform(np.nan_to_num(x[:, :width].double().numpy()))
        known, asked = y[:n_support].numpy(), y[n_support:].numpy()
        models = ExtraTreesClassifier(20, random_state=0), LogisticRegression()
        guesses = [model.fit(z[:n_support], known).predict(z[n_support:]) for model in models]
        guesses.append(np.full(len(asked), np.bincount(known).argmax()))
        rows.append([accuracy_score(asked, guess) for guess in guesses])
    return np.array(rows)


def test_most_tasks_can_be_learned(accuracies: np.ndarray) -> None:
    trees, _, largest = accuracies.T
    assert np.mean(trees > largest) > 0.75
    assert np.mean(trees - largest) > 0.15


def test_difficulty_varies(accuracies: np.ndarray) -> None:
    trees = accuracies[:, 0]
    assert np.quantile(trees, 0.1) < 0.55
    assert np.quantile(trees, 0.9) > 0.9


def test_not_all_tasks_are_linear(accuracies: np.ndarray) -> None:
    trees, linear, _ = accuracies.T
    assert np.mean(trees > linear + 0.05) > 0.1
    assert np.mean(linear > trees + 0.05) > 0.1


@pytest.mark.parametrize("family", [family for family, _ in FAMILIES], ids=lambda f: f.__name__)
def test_each_family_draws_tasks(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "FAMILIES", ((family, 1.0),))
    for shape in [(1, 4, 2), (30, 50, 40), (3, 300, 6)]:
        tasks = sample_tasks(*shape, rng=np.random.default_rng(0))
        assert tasks.x.shape == shape
        assert not tasks.x.isinf().any()
        assert (tasks.n_classes >= 2).all()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("n_tasks", 0, "an int >= 1"),
        ("n_tasks", 4.5, "an int >= 1"),
        ("n_rows", 3, "an int >= 4"),
        ("n_rows", "20", "an int >= 4"),
        ("n_columns_max", 1, "an int >= 2"),
        ("n_classes_max", 11, "between 2 and 10"),
        ("n_support", 99, "between 2 and 20"),
        ("n_support", 2.5, "an int >= 2"),
    ],
)
def test_wrong_sizes_are_refused(name: str, value: Any, expected: str) -> None:
    sizes = {"n_tasks": 2, "n_rows": 20, "n_columns_max": 4, "n_classes_max": 5, "n_support": 10}
    with pytest.raises(InvalidParameterError, match=f"^{name} must be {expected}, got {value!r}"):
        sample_tasks(**{**sizes, name: value}, rng=np.random.default_rng(0))
