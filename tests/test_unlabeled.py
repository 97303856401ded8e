"""Tasks of rows without labels."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

from metaest import MetaFewShotClassifier
from metaest.augment import RandomCorruption, RandomWarp
from metaest.episodes import EpisodeSampler
from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError
from metaest.few_shot._checks import hold_out
from metaest.model_selection import EpisodicSplit, cross_validate_episodes
from metaest.tasks import Task, TaskSet

ROWS = np.random.default_rng(0).normal(size=(60, 6))


def make_correlated(n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make classes that each show in 6 columns alike, beside 12 columns of noise."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 20)
    hidden = rng.normal(size=(n_classes, 2))[y] + rng.normal(scale=0.1, size=(len(y), 2))
    loadings = np.random.default_rng(0).normal(size=(2, 12))
    signal = hidden @ loadings + rng.normal(scale=0.3, size=(len(y), 12))
    return np.c_[signal, rng.normal(scale=1.5, size=(len(y), 12))], y


def accuracy(clf: MetaFewShotClassifier) -> float:
    X, y = make_correlated(30, seed=9)
    cv = EpisodicSplit(200, n_ways=5, n_shots=1, n_queries=5, random_state=0)
    return cross_validate_episodes(clf, X, y, cv=cv, scoring="accuracy").summary()[0].mean


@pytest.mark.parametrize("method", ["umtra", "cactus"])
def test_learns_without_labels(method: str) -> None:
    X, _ = make_correlated(40, seed=1)
    clusters = {"features": PCA(2).fit_transform(X), "n_clusters": 40, "min_rows": 4}
    tasks = TaskSet.from_unlabeled(X, method=method, **clusters)
    clf = MetaFewShotClassifier("protonet", n_shots=1, n_queries=3, n_episodes=1600, random_state=0)
    untrained = accuracy(clf)
    assert accuracy(clf.fit_meta(tasks)) > untrained + 0.04


def test_rows_become_classes_of_themselves_and_copies() -> None:
    tasks = TaskSet.from_unlabeled(ROWS, n_copies=3)
    task = tasks[0]
    assert len(task.classes) == 60
    np.testing.assert_array_equal(np.bincount(task.codes), 3)
    np.testing.assert_array_equal(task.X[:60], ROWS)
    copies = task.X.reshape(3, 60, 6)
    changed = copies[1:] != copies[0]
    assert 0.3 < changed.mean() < 0.5
    assert np.isin(copies, copies[0]).all()
    assert isinstance(tasks.augment, RandomCorruption)
    again = TaskSet.from_unlabeled(ROWS, n_copies=3)
    assert tasks.fingerprint() == again.fingerprint()
    other = TaskSet.from_unlabeled(ROWS, n_copies=3, random_state=1)
    assert tasks.fingerprint() != other.fingerprint()


def test_held_out_classes_are_no_copies_of_one_row() -> None:
    # With equal rows any start would be perfect on them, and meta-training would keep it.
    _, held_out = TaskSet.from_unlabeled(ROWS, n_copies=2).split(0.3)
    task = held_out[0]
    first, second = (
        task.X[[np.flatnonzero(task.codes == c)[i] for c in range(18)]] for i in (0, 1)
    )
    assert (first != second).any(axis=1).mean() > 0.8


def test_copies_tell_close_values_of_a_column_apart() -> None:
    seconds = 1.7e9 + np.random.default_rng(0).uniform(0, 60, size=60)
    task = TaskSet.from_unlabeled(np.c_[ROWS, seconds])[0]
    assert len(np.unique(task.X[:60, 6])) == 60
    assert TaskSet.from_unlabeled(ROWS.astype(np.float32))[0].X.dtype == np.float32


@pytest.mark.parametrize("rotated", [False, True], ids=["rows", "rotations"])
def test_held_out_clusters_are_of_rows_that_are_not_trained_on(rotated: bool) -> None:
    images = np.random.default_rng(0).normal(size=(300, 1, 2, 2))
    tasks = TaskSet.from_unlabeled(images, method="cactus", n_clusters=10, min_rows=20)
    tasks = tasks.with_rotations() if rotated else tasks
    for seed in range(5):
        kept, held_out = tasks.split(0.3, random_state=seed)
        known, fresh = (
            {np.sort(row, axis=None).tobytes() for task in part for row in task.X}
            for part in (kept, held_out)
        )
        assert not known & fresh
        assert len(kept) > 1
        assert min(np.bincount(task.codes).min() for part in (kept, held_out) for task in part) > 19


def test_tables_that_are_clustered_are_divided_each_by_itself() -> None:
    settings = {"method": "cactus", "n_clusters": 10, "min_rows": 20, "n_partitions": 6}
    tables = np.random.default_rng(0).normal(size=(3, 300, 2))
    clustered = [task for X in tables[:2] for task in TaskSet.from_unlabeled(X, **settings)]
    tasks = TaskSet([*clustered, Task(tables[2], np.arange(300) % 2, kind="classification")])
    for seed in range(5):
        parts = tasks.split(0.5, random_state=seed)
        for X in tables:
            known, fresh = (
                {i for i, row in enumerate(X) if any((row == task.X).all(1).any() for task in part)}
                for part in parts
            )
            assert not known & fresh
            assert len(known | fresh) > 200  # not those of classes that got too small
        assert parts[1]


def test_too_few_clusters_to_hold_any_out() -> None:
    tasks = TaskSet.from_unlabeled(ROWS, method="cactus", n_clusters=3, min_rows=5)
    assert tasks.split(0.3) == (tasks, None)
    tasks = TaskSet.from_unlabeled(ROWS, method="cactus", n_clusters=4, min_rows=5)
    assert hold_out(tasks, 0.2, 4, 0) == (tasks, None)  # at most 3 of 4 clusters would be left
    assert hold_out(tasks, 0.2, 3, 0)[1] is not None


@pytest.mark.parametrize(("method", "name"), [("umtra", "n_copies"), ("cactus", "min_rows")])
def test_classes_of_too_few_rows_name_the_parameter(method: str, name: str) -> None:
    settings = {"n_clusters": 4, "min_rows": 5} if method == "cactus" else {}
    tasks = TaskSet.from_unlabeled(ROWS, method=method, **settings)[:1]
    for part in (tasks, tasks.split(0.5)[0]):
        with pytest.raises(EpisodeError, match=rf"or pass {name}=41 to TaskSet\.from_unlab"):
            EpisodeSampler(part, n_ways=2, n_shots=40, n_queries=1)


def test_images_are_warped() -> None:
    images = np.zeros((5, 1, 16, 16), dtype=np.float32)
    images[:, :, 4:12, 6:9] = 1.0
    tasks = TaskSet.from_unlabeled(images)
    assert isinstance(tasks.augment, RandomWarp)
    assert tasks.input_shape == (1, 16, 16)
    assert tasks.augment.thickness > 0
    assert TaskSet.from_unlabeled(images - 0.5).augment.thickness == 0


def test_clusters_are_the_classes() -> None:
    X, y = make_blobs(300, n_features=4, centers=6, cluster_std=0.3, random_state=0)
    tasks = TaskSet.from_unlabeled(
        X, method="cactus", n_clusters=6, n_partitions=4, min_rows=5, random_state=1
    )
    assert len(tasks) == 4
    assert tasks.augment is None
    first = tasks[0]
    assert adjusted_rand_score(y, first.y) > 0.8
    assert min(np.bincount(first.codes)) >= 5
    assert len({tuple(task.y) for task in tasks}) > 1


def test_features_are_clustered_instead_of_rows() -> None:
    features, y = make_blobs(60, n_features=2, centers=3, cluster_std=0.1, random_state=0)
    tasks = TaskSet.from_unlabeled(
        ROWS, method="cactus", features=features, n_clusters=3, n_partitions=1, min_rows=5
    )
    assert adjusted_rand_score(y, tasks[0].y) == 1
    np.testing.assert_array_equal(tasks[0].X, ROWS)


def test_small_clusters_are_left_out() -> None:
    X = np.concatenate([np.zeros((30, 2)), np.full((30, 2), 9.0), np.full((3, 2), -9.0)])
    X += np.random.default_rng(0).normal(scale=0.1, size=X.shape)
    tasks = TaskSet.from_unlabeled(X, method="cactus", n_clusters=3, n_partitions=1)
    assert len(tasks[0]) == 60


def test_bad_input() -> None:
    with pytest.raises(InvalidParameterError, match="'umtra' or 'cactus', got 'simclr'"):
        TaskSet.from_unlabeled(ROWS, method="simclr")
    with pytest.raises(InvalidParameterError, match="augment must be a function"):
        TaskSet.from_unlabeled(ROWS, augment=None)
    with pytest.raises(InvalidParameterError, match="n_copies"):
        TaskSet.from_unlabeled(ROWS, n_copies=1)
    for method in ("umtra", "cactus"):
        with pytest.raises(InvalidParameterError, match=r"augment must be .* got 'foo'"):
            TaskSet.from_unlabeled(ROWS, method=method, augment="foo")
        with pytest.raises(InvalidParameterError, match=r"random_state must be an int >= 0, got"):
            TaskSet.from_unlabeled(ROWS, method=method, random_state=1.5)
    with pytest.raises(TaskError, match="classes cannot be made of one row"):
        TaskSet.from_unlabeled(ROWS[:1])
    with pytest.raises(TaskError, match="NaN"):
        TaskSet.from_unlabeled(np.full((4, 2), np.nan))
    with pytest.raises(TaskError, match="n_clusters=5 are more than the 1 distinct rows"):
        TaskSet.from_unlabeled(np.ones((9, 2)), method="cactus", n_clusters=5)
    with pytest.raises(TaskError, match=r"no partition of 60 rows .* min_rows=50"):
        TaskSet.from_unlabeled(ROWS, method="cactus", n_clusters=4, min_rows=50)
    with pytest.raises(TaskError, match="X and features differ in length: 60 rows, 9 rows"):
        TaskSet.from_unlabeled(ROWS, method="cactus", features=np.ones((9, 1)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_copies", 2.0, r"n_copies must be an int >= 2, got 2\.0\."),
        ("n_clusters", (2, 4), r"n_clusters must be an int >= 2, got \(2, 4\)\."),
        ("n_partitions", (1, 2), r"n_partitions must be an int >= 1, got \(1, 2\)\."),
        ("min_rows", (1, 2), r"min_rows must be an int >= 1, got \(1, 2\)\."),
    ],
)
def test_numbers_are_no_ranges(name: str, value: object, message: str) -> None:
    method = "umtra" if name == "n_copies" else "cactus"
    with pytest.raises(InvalidParameterError, match=message):
        TaskSet.from_unlabeled(ROWS, method=method, **{name: value})


@pytest.mark.parametrize("method", ["umtra", "cactus"])
def test_seeds_of_numpy(method: str) -> None:
    settings = {"method": method} | ({"min_rows": 5} if method == "cactus" else {})
    first, second = (
        TaskSet.from_unlabeled(ROWS, random_state=seed, **settings) for seed in (3, np.int64(3))
    )
    assert first.fingerprint() == second.fingerprint()


def test_corruption_takes_values_of_the_same_column() -> None:
    x = torch.arange(40.0).reshape(10, 2, 2)
    before = x.clone()
    found = RandomCorruption(0.5)(x, torch.Generator().manual_seed(0))
    assert torch.equal(x, before)
    assert found.shape == x.shape
    assert torch.equal(found % 4, x % 4)  # the column
    assert 0.2 < (found != x).float().mean() < 0.8
    assert torch.equal(RandomCorruption(0.0)(x, torch.Generator()), x)
    assert torch.equal(RandomCorruption(1.0)(x[:1], torch.Generator()), x[:1])
    with pytest.raises(InvalidParameterError, match="share must be between 0 and 1, got 2"):
        RandomCorruption(2)
