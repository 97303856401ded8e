"""Episodes: sizes, seeds, padding."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaest.episodes import EpisodeBatch, EpisodeSampler
from metaest.exceptions import EpisodeError, InvalidParameterError
from metaest.tasks import TaskSet

# A row knows its number and its class.
N_CLASSES, N_ROWS = 8, 20
CODES = np.repeat(np.arange(N_CLASSES), N_ROWS)
POOL = TaskSet.from_pool(np.stack([np.arange(len(CODES)), CODES], axis=1), CODES)
SETS = TaskSet.from_datasets(
    [
        (np.stack([np.arange(30.0), np.arange(30) % ways], axis=1), np.arange(30) % ways)
        for ways in (2, 3, 6)
    ]
)
REGRESSION = TaskSet.from_datasets(
    [(np.arange(n, dtype=float)[:, None], np.arange(n) + 0.5) for n in (10, 14, 30)]
)


def _fields(batch: EpisodeBatch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if value is not None}


def _tasks(batch: EpisodeBatch):
    """Give each episode's real rows and labels: (support rows, labels, query rows, labels)."""
    for b in range(len(batch)):
        s, q = batch.support_mask[b], batch.query_mask[b]
        yield (
            batch.support_x[b][s],
            batch.support_y[b][s],
            batch.query_x[b][q],
            batch.query_y[b][q],
        )


# ------------------------------------------------------------------------------------ fixed sizes


def test_shapes_and_types() -> None:
    batch = EpisodeSampler(POOL, n_ways=5, n_shots=2, n_queries=3).batch(range(4))
    assert len(batch) == 4
    shapes = {name: tuple(value.shape) for name, value in _fields(batch).items()}
    assert shapes == {
        "support_x": (4, 10, 2),
        "support_y": (4, 10),
        "support_mask": (4, 10),
        "query_x": (4, 15, 2),
        "query_y": (4, 15),
        "query_mask": (4, 15),
        "class_mask": (4, 5),
        "class_ids": (4, 5),
    }
    assert batch.support_x.dtype == torch.float32
    assert batch.support_y.dtype == batch.class_ids.dtype == torch.int64
    assert batch.support_mask.all()
    assert batch.class_mask.all()


def test_rows_and_labels_belong_together() -> None:
    sampler = EpisodeSampler(POOL, n_ways=5, n_shots=2, n_queries=3)
    for _ in range(2):  # drawing leaves no trace in the sampler
        batch = sampler.batch(range(30))
        for b, (sx, sy, qx, qy) in enumerate(_tasks(batch)):
            for x, y, n in ((sx, sy, 2), (qx, qy, 3)):
                np.testing.assert_array_equal(np.bincount(y), [n] * 5)
                assert torch.equal(x[:, 1].long(), batch.class_ids[b][y])
            rows = torch.cat([sx, qx])[:, 0]
            assert len(rows.unique()) == len(rows), "a row is in an episode once"


def test_every_class_and_row_gets_its_turn() -> None:
    batch = EpisodeSampler(POOL, n_ways=3, n_shots=1, n_queries=1).batch(range(800))
    counts = torch.bincount(batch.class_ids.flatten(), minlength=N_CLASSES)
    assert counts.float().std() / counts.float().mean() < 0.15
    assert len(batch.support_x[..., 0].unique()) == len(CODES)
    # Labels are not tied to classes: each class stands first about as often.
    first = torch.bincount(batch.class_ids[:, 0], minlength=N_CLASSES)
    assert first.min() > 50


def test_all_classes() -> None:
    batch = EpisodeSampler(POOL, n_ways=None, n_shots=1, n_queries=1).batch([0])
    assert set(batch.class_ids[0].tolist()) == set(range(N_CLASSES))


# ----------------------------------------------------------------------------------------- ranges


def test_ranges_are_used_whole() -> None:
    sampler = EpisodeSampler(POOL, n_ways=(2, 4), n_shots=(1, 3), n_queries=(1, 5))
    ways, shots = set(), set()
    for _, sy, _, qy in _tasks(sampler.batch(range(60))):
        per_class = np.bincount(sy)
        ways.add(len(per_class))
        shots.add(per_class[0])
        assert len(set(per_class)) == 1, "balanced"
        np.testing.assert_array_equal(np.bincount(qy), 5)
    assert ways == {2, 3, 4}
    assert shots == {1, 2, 3}


def test_imbalance() -> None:
    sampler = EpisodeSampler(POOL, n_ways=4, n_shots=(1, 6), n_queries=2, balanced=False)
    counts = np.array(
        [np.bincount(sy, minlength=4) for _, sy, _, _ in _tasks(sampler.batch(range(40)))]
    )
    assert set(counts.ravel()) == {1, 2, 3, 4, 5, 6}
    assert (counts.min(1) < counts.max(1)).mean() > 0.9


def test_ranges_take_what_there_is() -> None:
    codes = np.repeat([0, 1, 2], [3, 6, 30])
    tasks = TaskSet.from_pool(np.arange(39.0)[:, None], codes)
    for balanced in (True, False):
        options = {"n_ways": 3, "n_shots": (1, 10), "n_queries": (1, 15), "balanced": balanced}
        for sx, sy, qx, qy in _tasks(EpisodeSampler(tasks, **options).batch(range(40))):
            shots, queries = np.bincount(sy), np.bincount(qy, minlength=3)
            assert shots.min() >= 1
            assert queries.min() >= 1
            assert queries.max() <= 15
            order = [int(sx[sy == label][0].item() >= 3) for label in range(3)]
            rare = order.index(0)
            assert shots[rare] + queries[rare] <= 3
            assert len(torch.cat([sx, qx]).unique()) == len(sx) + len(qx)


def test_tasks_with_fewer_classes_give_all_of_them() -> None:
    sampler = EpisodeSampler(SETS, n_ways=(3, 5), n_shots=1, n_queries=2)
    batch = sampler.batch(range(60))
    ways = batch.class_mask.sum(1)
    assert set(ways.tolist()) == {2, 3, 4, 5}
    # Class ids are unique in the set: 0-1, 2-4, 5-10.
    for b, (sx, sy, _, _) in enumerate(_tasks(batch)):
        ids = batch.class_ids[b][batch.class_mask[b]]
        task = 0 if ids.max() < 2 else 1 if ids.max() < 5 else 2
        offset = [0, 2, 5][task]
        assert torch.equal(sx[:, 1].long() + offset, ids[sy])


def test_regression_episodes() -> None:
    batch = EpisodeSampler(REGRESSION, n_shots=(2, 5), n_queries=(1, 8)).batch(range(50))
    assert batch.class_mask is None
    assert batch.class_ids is None
    assert batch.support_y.dtype == torch.float32
    sizes = set()
    for sx, sy, qx, qy in _tasks(batch):
        assert torch.equal(sx[:, 0] + 0.5, sy)
        assert torch.equal(qx[:, 0] + 0.5, qy)
        rows = torch.cat([sx, qx])
        assert len(rows.unique()) == len(rows)
        sizes.add((len(sx), len(qx)))
    assert {n for n, _ in sizes} == {2, 3, 4, 5}
    assert {n for _, n in sizes} >= {5, 8}


# ---------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("tasks", [SETS, REGRESSION], ids=["classes", "targets"])
def test_padding_is_marked_and_zero(tasks: TaskSet) -> None:
    batch = EpisodeSampler(tasks, n_ways=(2, 6), n_shots=(1, 3), n_queries=(1, 4)).batch(range(20))
    assert not batch.support_mask.all()
    for part in ("support", "query"):
        mask = getattr(batch, f"{part}_mask")
        for name in (f"{part}_x", f"{part}_y"):
            assert not getattr(batch, name)[~mask].any()
    # Real rows come first.
    assert not (batch.support_mask.int().diff(dim=1) > 0).any()


# ------------------------------------------------------------------------------------------ seeds


@pytest.mark.parametrize("tasks", [POOL, SETS, REGRESSION], ids=["pool", "sets", "regression"])
def test_an_episode_depends_on_seed_and_number_alone(tasks: TaskSet) -> None:
    options = {"n_ways": (2, 4), "n_shots": (1, 3), "n_queries": 2}
    sampler = EpisodeSampler(tasks, random_state=5, **options)
    whole = list(_tasks(sampler.batch(range(5))))
    (alone,) = _tasks(EpisodeSampler(tasks, random_state=5, **options).batch([3]))
    assert all(torch.equal(a, b) for a, b in zip(alone, whole[3], strict=True))
    backwards = list(_tasks(sampler.batch([4, 3, 2, 1, 0])))
    for a, b in zip(whole, reversed(backwards), strict=True):
        assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))
    other = list(_tasks(EpisodeSampler(tasks, random_state=6, **options).batch(range(5))))
    same = [
        a[0].shape == b[0].shape and torch.equal(a[0], b[0])
        for a, b in zip(whole, other, strict=True)
    ]
    assert not any(same)


def test_torch_and_numpy_seeds_are_left_alone() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    tasks = TaskSet([POOL[0]], augment=lambda x, g: x + torch.randn(x.shape, generator=g))
    EpisodeSampler(tasks).batch(range(3))
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])


def test_augmentation_is_reproducible_and_differs_by_part() -> None:
    tasks = TaskSet([POOL[0]], augment=lambda x, g: torch.rand(x.shape, generator=g))
    sampler = EpisodeSampler(tasks, n_ways=2, n_shots=3, n_queries=3)
    batch = sampler.batch(range(5))
    again = sampler.batch([3])
    assert torch.equal(again.support_x[0], batch.support_x[3])
    assert torch.equal(again.query_x[0], batch.query_x[3])
    noise = torch.cat([batch.support_x, batch.query_x]).flatten(1)
    assert len(noise.unique(dim=0)) == len(noise)


def test_augmentation_gets_floats_and_changes_no_data() -> None:
    images = np.full((12, 1, 4, 4), 200, dtype=np.uint8)
    seen = []

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        seen.append((x.dtype, tuple(x.shape)))
        return x.zero_()

    tasks = TaskSet.from_pool(images, np.arange(12) % 3, augment=augment)
    EpisodeSampler(tasks, n_ways=3, n_shots=1, n_queries=2).batch([0])
    assert seen == [(torch.float32, (3, 1, 4, 4)), (torch.float32, (6, 1, 4, 4))]
    assert tasks[0].X.min() == 200


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (lambda x, g: x[:, :1], r"shape of its rows, \(2, 2\); got Tensor of shape \(2, 1\)"),
        (lambda x, g: x.numpy(), r"must return a torch.Tensor .* got ndarray of shape \(2, 2\)"),
        (lambda x, g: None, r"got NoneType"),
    ],
)
def test_an_augmentation_that_returns_something_else(augment, message: str) -> None:
    tasks = TaskSet.from_pool(np.ones((8, 2)), np.arange(8) % 2, augment=augment)
    with pytest.raises(InvalidParameterError, match=message):
        EpisodeSampler(tasks, n_ways=2, n_shots=1, n_queries=1).batch([0])


def test_an_augmentation_in_another_precision() -> None:
    tasks = TaskSet.from_pool(np.ones((8, 2)), np.arange(8) % 2, augment=lambda x, g: x.double())
    batch = EpisodeSampler(tasks, n_ways=2, n_shots=1, n_queries=1).batch([0])
    assert batch.support_x.dtype == torch.float32


def test_the_augmentation_is_not_seeded_as_the_draw() -> None:
    # numpy's seed sequences ignore zeros at the end: [5, 3, 0] is [5, 3].
    seeds = []
    tasks = TaskSet([POOL[0]], augment=lambda x, g: (seeds.append(g.initial_seed()), x)[1])
    EpisodeSampler(tasks, random_state=5).batch([3])
    assert int(np.random.default_rng([5, 3]).integers(2**62)) not in seeds


# ------------------------------------------------------------------------------- the batch itself


def test_batch_parts_and_types() -> None:
    batch = EpisodeSampler(POOL, n_ways=2, n_shots=1, n_queries=1).batch(range(5))
    parts = list(batch.chunks(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.query_x for part in parts]), batch.query_x)
    assert torch.equal(torch.cat([part.class_ids for part in parts]), batch.class_ids)
    double = batch.to(dtype=torch.float64)
    assert double.support_x.dtype == torch.float64
    assert double.support_y.dtype == torch.int64
    assert double.support_mask.dtype == torch.bool
    support = batch.support
    assert len(support) == 5
    assert support.x is batch.support_x
    assert support.class_mask is batch.class_mask


def test_regression_batch_in_parts() -> None:
    batch = EpisodeSampler(REGRESSION, n_shots=2, n_queries=1).batch(range(3))
    assert [part.class_mask for part in batch.chunks(2)] == [None, None]


def test_parts_are_padded_to_their_own_longest_task() -> None:
    batch = EpisodeSampler(POOL, n_ways=(2, 4), n_shots=(1, 3), n_queries=(1, 3)).batch(range(9))
    for b, part in enumerate(batch.chunks(1)):
        assert part.support_mask.all()
        assert part.query_mask.all()
        assert part.class_mask.all()
        assert torch.equal(part.class_ids[0], batch.class_ids[b][batch.class_mask[b]])
        assert torch.equal(part.support_x[0], batch.support_x[b][batch.support_mask[b]])
        assert torch.equal(part.query_y[0], batch.query_y[b][batch.query_mask[b]])
    for part in batch.chunks(3):
        assert part.support_mask.any(0).all()
        assert part.query_x.shape[:2] == part.query_y.shape == part.query_mask.shape


# ---------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        (POOL, {"n_ways": 9}, r"n_ways=9 asks for 9 classes, but the pool has 8.*n_ways=8 or less"),
        (POOL, {"n_ways": (9, 12)}, r"n_ways=\(9, 12\) asks for 9 classes"),
        (POOL, {"n_shots": 15, "n_queries": 6}, r"class 0 of the pool has 20 rows, but .* = 21"),
        (SETS[2:3], {"n_queries": 5, "n_shots": 1, "n_ways": 2}, "class 0 of task 2 has 5 rows"),
        (SETS, {"n_queries": 5, "n_shots": 1}, r"class 0 of task 2 has 5 rows, but .* = 6"),
        (REGRESSION, {"n_shots": 8, "n_queries": 3}, r"task 0 has 10 rows, but .* = 11 are needed"),
    ],
)
def test_too_little_data(tasks: TaskSet, options: dict, message: str) -> None:
    with pytest.raises(EpisodeError, match=message):
        EpisodeSampler(tasks, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"n_ways": 1},
        {"n_ways": 2.0},
        {"n_shots": 0},
        {"n_shots": (3, 1)},
        {"n_queries": "15"},
        {"n_queries": (1, 2, 3)},
        {"n_shots": True},
    ],
    ids=str,
)
def test_bad_numbers(options: dict) -> None:
    (name,) = options
    with pytest.raises(
        InvalidParameterError, match=rf"{name} must be an int >= \d or an ascending"
    ):
        EpisodeSampler(POOL, **options)


def test_tasks_of_different_columns() -> None:
    tasks = TaskSet.from_datasets([(np.eye(6)[:, :n], np.arange(6) % 2) for n in (2, 3)])
    sampler = EpisodeSampler(tasks, n_shots=1, n_queries=1)
    with pytest.raises(
        EpisodeError, match=r"differ in their columns: rows of shapes \[\(2,\), \(3,\)\]"
    ):
        sampler.batch(range(20))


# ----------------------------------------------------------------------------- class descriptions

NAMES = np.stack([np.arange(N_CLASSES), 10 + np.arange(N_CLASSES)], axis=1)
DESCRIBED = TaskSet.from_pool(POOL[0].X, POOL[0].y, class_descriptions=NAMES)


def test_descriptions_are_those_of_the_drawn_classes() -> None:
    sampler = EpisodeSampler(DESCRIBED, n_ways=(2, 6), n_shots=1, n_queries=1)
    batch = sampler.batch(range(8))
    assert batch.class_x is not None
    assert batch.class_mask is not None
    assert batch.class_x.dtype == torch.float32
    assert torch.equal(
        batch.class_x[batch.class_mask][:, 0].long(), batch.class_ids[batch.class_mask]
    )
    assert (batch.class_x[~batch.class_mask] == 0).all()
    assert torch.equal(batch.support.class_x, batch.class_x)
    halves = torch.cat([chunk.class_x[chunk.class_mask] for chunk in batch.chunks(3)])
    assert torch.equal(halves, batch.class_x[batch.class_mask])
    assert batch.to(dtype=torch.float64).class_x.dtype == torch.float64
    assert EpisodeSampler(POOL).batch([0]).class_x is None


def test_no_shots_where_there_are_descriptions() -> None:
    batch = EpisodeSampler(DESCRIBED, n_ways=3, n_shots=0, n_queries=2).batch(range(4))
    assert not batch.support_mask.any()  # one padded row, which every layer can take
    assert batch.support_x.shape == (4, 1, 2)
    assert batch.query_x.shape == (4, 6, 2)
    shots = EpisodeSampler(DESCRIBED, n_ways=3, n_shots=(0, 2), n_queries=2).batch(range(30))
    assert set((shots.support_mask.sum(1) // 3).tolist()) == {0, 1, 2}
    with pytest.raises(InvalidParameterError, match="n_shots must be an int >= 1"):
        EpisodeSampler(POOL, n_shots=0)


@pytest.mark.parametrize("random_state", [None, -1, "a", 1.5, [0, 1]])
def test_seeds_that_cannot_be(random_state) -> None:
    with pytest.raises(InvalidParameterError, match="random_state must be an int >= 0, got"):
        EpisodeSampler(POOL, random_state=random_state)


def test_one_row_is_said_in_the_singular():
    X, y = np.arange(7.0)[:, None], [0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(EpisodeError, match="class 1 of the pool has 1 row, but"):
        EpisodeSampler(TaskSet.from_pool(X, y), n_ways=2, n_shots=1, n_queries=2)
