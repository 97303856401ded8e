"""Tasks and sets of them: every way to make one, and what cannot be one."""

import warnings
from typing import get_type_hints

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from metaest.exceptions import InvalidParameterError, TaskError
from metaest.tasks import Task, TaskSet, as_task_set

X = np.arange(24.0).reshape(12, 2)
Y = np.repeat(["a", "b", "c"], 4)
GROUPS = np.repeat([7, 8], 6)
NAN = float("nan")


# ----------------------------------------------------------------------------------------- a task


def test_labels_of_any_type() -> None:
    for y in (
        Y,
        list(Y),
        pd.Series(Y),
        pd.Series(Y, dtype="category"),
        np.asarray(Y, dtype=object),
        pd.Series(Y, dtype="string"),
    ):
        task = Task(X, y)
        assert task.kind == "classification"
        assert list(task.classes) == ["a", "b", "c"]
        np.testing.assert_array_equal(task.codes, np.repeat([0, 1, 2], 4))
    bools = Task(X, np.arange(12) % 2 == 0)
    np.testing.assert_array_equal(bools.classes, [False, True])
    numbers = Task(X, np.repeat([30, 10, 20], 4))
    np.testing.assert_array_equal(numbers.codes, np.repeat([2, 0, 1], 4))


def test_kind_is_found_or_given() -> None:
    assert Task(X, np.linspace(0.1, 1, 12)).kind == "regression"
    assert Task(X, np.arange(12.0) // 6).kind == "classification"
    counts = Task(X, np.arange(12), kind="regression")
    assert counts.kind == "regression"
    assert counts.y.dtype == np.float64


def test_many_classes_are_no_reason_to_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = Task(np.eye(60), np.arange(60) // 2 * 1)
        one_shot = TaskSet.from_pool(np.eye(60), np.arange(60))
    assert len(task.classes) == 30
    assert len(one_shot[0].classes) == 60


def test_rows_of_any_type() -> None:
    frame = pd.DataFrame(X, columns=["width", "height"])
    task = Task(frame, Y)
    assert list(task.feature_names) == ["width", "height"]
    np.testing.assert_array_equal(task.X, X)
    assert Task(X.tolist(), Y).input_shape == (2,)
    assert Task(X, Y).feature_names is None
    images = np.zeros((12, 1, 4, 5), dtype=np.uint8)
    assert Task(images, Y).input_shape == (1, 4, 5)
    assert repr(Task(images, Y)) == "Task(12 rows, input_shape=(1, 4, 5), 3 classes)"
    assert repr(Task(X, X[:, 0], kind="regression")) == "Task(12 rows, input_shape=(2,))"


def _with(value: object) -> np.ndarray:
    rows = X.astype(object)
    rows[3, 1] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "y", "message"),
    [
        (_with(np.inf), Y, "X of task 'iris' cannot be used: Input X contains infinity"),
        (np.zeros((0, 2)), [], r"Found array with 0 sample\(s\)"),
        (np.zeros((12, 0)), Y, r"Found array with 0 feature\(s\)"),
        (X[:, 0], Y, "Expected 2D array, got 1D array"),
        (sparse.csr_array(X), Y, "X of task 'iris' cannot be used: .*[Ss]parse"),
        (X, Y[:5], "X and y of task 'iris' differ in length: 12 rows, 5 targets"),
        (X, np.stack([Y, Y], 1), "y of task 'iris' must be one-dimensional"),
        (X, ["a"] * 12, r"task 'iris' has one class \(.*'a'.*\); classification needs at least 2"),
        (X, [None, *Y[1:]], r"has 1 missing values \(first at row 0\); drop those rows"),
        (X, [*Y[:5].tolist(), NAN, *Y[6:].tolist()], r"has 1 missing values \(first at row 5\)"),
        (X, [*range(5), NAN, *range(6)], r"has 1 missing values \(first at row 5\)"),
        (
            X,
            pd.Series([*range(11), None], dtype="Int64"),
            r"has 1 missing values \(first at row 11",
        ),
        (X, [*Y[:6], *range(6)], "mixes values of the types int, str_, which cannot be sorted"),
        (X, np.array([*Y[:6], *range(6)], dtype=object), "mixes values of the types int, str"),
    ],
)
def test_what_cannot_be_a_task(rows, y, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Task(rows, y, name="iris")


def test_text_becomes_codes_and_gaps_become_nan() -> None:
    frame = pd.DataFrame({"width": X[:, 0], "colour": ["red", None, "blue"] * 4})
    task = Task(frame, Y)
    np.testing.assert_array_equal(task.X[:3, 1], [1.0, NAN, 0.0])
    assert task.categories[0] is None
    assert task.categories[1].tolist() == ["blue", "red"]
    part = TaskSet([task]).split(0.5, random_state=0)[0][0]
    assert part.categories[1].tolist() == ["blue", "red"]
    np.testing.assert_array_equal(Task(_with(NAN), Y).X[3], [X[3, 0], NAN])
    assert Task(_with(NAN), Y).categories is None
    groups = TaskSet.from_groups(frame, np.tile([0, 1], 6), GROUPS)
    assert [one.categories[1].tolist() for one in groups] == [["blue", "red"]] * 2


@pytest.mark.parametrize(
    ("y", "message"),
    [(Y, "must be numeric for regression"), ([np.inf, *range(11)], "has infinite values")],
)
def test_what_cannot_be_a_regression_task(y, message: str) -> None:
    with pytest.raises(TaskError, match=f"y of the task {message}"):
        Task(X, y, kind="regression")


def test_a_task_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="the task has one class"):
        Task(X, [1] * 12)


# ------------------------------------------------------------------------------------------- sets


def test_from_pool() -> None:
    tasks = TaskSet.from_pool(X, Y)
    assert len(tasks) == 1
    assert tasks.kind == "classification"
    assert tasks.input_shape == (2,)
    assert repr(tasks) == "TaskSet(1 task, classification, input_shape=(2,))"
    assert TaskSet.from_pool(X, np.arange(12), kind="regression").kind == "regression"


def test_from_groups() -> None:
    y = np.tile([0, 1], 6)
    frame = pd.DataFrame(X, columns=["width", "height"])
    tasks = TaskSet.from_groups(frame, y, GROUPS)
    assert [task.name for task in tasks] == ["7", "8"]
    np.testing.assert_array_equal(tasks[1].X, X[6:])
    np.testing.assert_array_equal(tasks[1].y, y[6:])
    assert list(tasks.feature_names) == ["width", "height"]
    named = TaskSet.from_groups(X, y, np.where(GROUPS == 7, "west", "east"))
    assert [task.name for task in named] == ["east", "west"]
    pairs = np.empty(12, dtype=object)
    pairs[:] = [(group, "a") for group in GROUPS.tolist()]
    assert [task.name for task in TaskSet.from_groups(X, y, pairs)] == ["(7, 'a')", "(8, 'a')"]


def test_groups_in_no_order() -> None:
    tasks = TaskSet.from_groups(X, np.repeat([0, 1], 6), np.arange(12) % 3)
    for number, task in enumerate(tasks):
        np.testing.assert_array_equal(task.X, X[number::3])


def test_kind_of_groups_is_that_of_the_whole_table() -> None:
    # One group's targets happen to be whole numbers.
    y = np.concatenate([np.arange(6.0), np.linspace(0.1, 0.9, 6)])
    assert {task.kind for task in TaskSet.from_groups(X, y, GROUPS)} == {"regression"}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (GROUPS[:5], "groups must have one entry per row: expected 12, got 5"),
        ([NAN, *GROUPS[1:]], r"groups has 1 missing values \(first at row 0\)"),
        ([None, *GROUPS[1:]], "groups has 1 missing values"),
        ([NAN, *"abcdefghijk"], r"groups has 1 missing values \(first at row 0\)"),
        ([1, "1"] * 6, "groups mixes values of the types int, str"),
        (np.arange(12), "task '0' has one class"),
    ],
)
def test_groups_that_cannot_be(groups, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        TaskSet.from_groups(X, Y, groups)


def test_from_datasets() -> None:
    ready = Task(X, Y, name="ready")
    tasks = TaskSet.from_datasets([(X, Y), [X[:8, :1], Y[:8]], ready])
    assert [task.name for task in tasks] == ["0", "1", "ready"]
    assert tasks.input_shape is None
    assert tasks.feature_names is None
    np.testing.assert_array_equal(tasks.class_offsets, [0, 3, 5, 8])
    assert len(TaskSet.from_datasets((X, Y) for _ in range(3))) == 3


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ([], "the task set is empty"),
        ([X], r"task 0 must be a pair \(X, y\), got ndarray.*from_pool"),
        ([(X, Y), (X, Y, GROUPS)], r"task 1 must be a pair \(X, y\), got a tuple of 3\."),
        ([(X, Y), (X, X[:, 0] / 7)], "mix classification and regression"),
        ([(X, Y), (X, Y[:3])], "X and y of task '1' differ in length"),
    ],
)
def test_datasets_that_cannot_be(datasets, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        TaskSet.from_datasets(datasets)


def test_a_set_holds_tasks() -> None:
    with pytest.raises(TaskError, match=r"holds Task objects, got tuple.*from_datasets"):
        TaskSet([(X, Y)])


def test_columns_of_a_set() -> None:
    frame = pd.DataFrame(X, columns=["width", "height"])
    same = TaskSet.from_datasets([(frame, Y), (frame + 1, Y)])
    assert list(same.feature_names) == ["width", "height"]
    other = TaskSet.from_datasets([(frame, Y), (frame[["height", "width"]], Y)])
    assert other.feature_names is None
    assert TaskSet.from_datasets([(frame, Y), (X, Y)]).feature_names is None


def test_a_set_is_a_sequence() -> None:
    tasks = TaskSet.from_datasets([(X + i, Y) for i in range(5)], augment=lambda x, g: x)
    part = tasks[1:4]
    assert isinstance(part, TaskSet)
    assert [task.name for task in part] == ["1", "2", "3"]
    assert part.augment is tasks.augment
    assert tasks[-1].name == "4"
    assert tasks[0] in tasks


# ------------------------------------------------------------------------------------------ split


def test_split_of_tasks() -> None:
    tasks = TaskSet.from_datasets([(X + i, Y) for i in range(10)], augment=lambda x, g: x)
    kept, held_out = tasks.split(0.3, random_state=1)
    names = {task.name for task in kept}, {task.name for task in held_out}
    assert list(map(len, names)) == [7, 3]
    assert not names[0] & names[1]
    assert kept.augment is tasks.augment
    assert held_out.augment is None, "held-out tasks are for judging, as they are"
    again = tasks.split(0.3, random_state=1)[1]
    assert again.fingerprint() == held_out.fingerprint()
    assert tasks.split(0.3, random_state=2)[1].fingerprint() != held_out.fingerprint()


def test_split_of_a_pool() -> None:
    frame = pd.DataFrame(np.arange(40.0).reshape(20, 2), columns=["width", "height"])
    tasks = TaskSet.from_pool(frame, np.arange(20) % 10, augment=lambda x, g: x)
    kept, held_out = tasks.split(0.3)
    classes = set(kept[0].classes), set(held_out[0].classes)
    assert list(map(len, classes)) == [7, 3]
    assert classes[0] | classes[1] == set(range(10))
    rows = np.concatenate([kept[0].X, held_out[0].X])
    np.testing.assert_array_equal(rows[rows[:, 0].argsort()], frame)
    for part in (kept, held_out):
        assert list(part.feature_names) == ["width", "height"]
    assert held_out.augment is None


def test_split_keeps_something_on_both_sides() -> None:
    two = TaskSet.from_datasets([(X, Y), (X + 1, Y)])
    for share in (0.01, 0.99):
        assert list(map(len, two.split(share))) == [1, 1]
    pool = TaskSet.from_pool(X, np.arange(12) % 4)
    assert [len(part[0].classes) for part in pool.split(0.01)] == [2, 2]
    for small in (TaskSet.from_pool(X, Y), TaskSet.from_pool(X, X[:, 0], kind="regression")):
        assert small.split() == (small, None)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 3, "a", None, NAN])
def test_split_needs_a_share(held_out: object) -> None:
    with pytest.raises(InvalidParameterError, match="held_out must be between 0 and 1"):
        TaskSet.from_pool(X, Y).split(held_out)


@pytest.mark.parametrize("random_state", ["a", None, -1, 0.5])
def test_split_needs_a_seed(random_state: object) -> None:
    with pytest.raises(InvalidParameterError, match="random_state must be an int >= 0, got"):
        TaskSet.from_pool(X, Y).split(random_state=random_state)


@pytest.mark.parametrize(
    "name", ["__init__", "from_pool", "from_groups", "from_datasets", "from_unlabeled", "split"]
)
def test_type_hints_can_be_read_at_run_time(name: str) -> None:
    assert "return" in get_type_hints(getattr(TaskSet, name))


# -------------------------------------------------------------------------------------- rotations


def test_rotations_are_new_classes() -> None:
    images = np.arange(6 * 9.0).reshape(6, 1, 3, 3)
    tasks = TaskSet.from_pool(images, ["a", "a", "b", "b", "c", "c"], augment=lambda x, g: x)
    turned = tasks.with_rotations()
    assert len(turned[0]) == 24
    assert len(turned[0].classes) == 12
    assert turned.augment is tasks.augment
    for quarter in range(4):
        rows = turned[0].X[6 * quarter : 6 * quarter + 6]
        np.testing.assert_array_equal(rows, np.rot90(images, quarter, axes=(2, 3)))
        codes = turned[0].codes[6 * quarter : 6 * quarter + 6]
        np.testing.assert_array_equal(codes, 3 * quarter + tasks[0].codes)


@pytest.mark.parametrize("twice", [False, True])
def test_held_out_classes_take_their_rotations_along(twice: bool) -> None:
    images = np.arange(10 * 9.0).reshape(10, 1, 3, 3)
    tasks = TaskSet.from_pool(images, np.arange(10) % 5).with_rotations()
    tasks = tasks.with_rotations() if twice else tasks
    kept, held_out = tasks.split(0.2, random_state=1)
    originals = [set(part[0].classes % 5) for part in (kept, held_out)]
    assert list(map(len, originals)) == [4, 1]
    assert originals[0].isdisjoint(originals[1])
    assert len(held_out[0].classes) == len(tasks[0].classes) / 5
    again, rest = kept.split(0.5, random_state=1)  # the parts know it, too
    assert {*again[0].classes % 5}.isdisjoint(rest[0].classes % 5)
    one = rest.split(0.5)[0].split(0.5)
    assert one[1] is None  # the rotations of one class


@pytest.mark.parametrize(
    "tasks",
    [
        TaskSet.from_pool(X, Y),
        TaskSet.from_pool(np.zeros((12, 1, 4, 5)), Y),
        TaskSet.from_pool(np.zeros((12, 1, 4, 4)), X[:, 0], kind="regression"),
    ],
    ids=["rows", "not square", "regression"],
)
def test_rotations_need_square_images(tasks: TaskSet) -> None:
    with pytest.raises(TaskError, match=r"needs classification tasks of square images.*got"):
        tasks.with_rotations()


# ------------------------------------------------------------------------------------ fingerprint


def test_fingerprint_tells_data_apart() -> None:
    base = TaskSet.from_pool(X, Y)
    assert base.fingerprint() == TaskSet.from_pool(X.copy(), list(Y)).fingerprint()
    assert base.fingerprint() == TaskSet.from_pool(np.asfortranarray(X), Y).fingerprint()
    changed = X.copy()
    changed[3, 1] += 1e-9
    others = [
        TaskSet.from_pool(changed, Y),
        TaskSet.from_pool(X, Y[::-1]),
        TaskSet.from_pool(X.astype(np.float32), Y),
        TaskSet.from_pool(X, np.arange(12), kind="regression"),
        TaskSet.from_datasets([(X, Y), (X, Y)]),
        TaskSet.from_pool(X.reshape(12, 1, 2, 1), Y),
    ]
    prints = {tasks.fingerprint() for tasks in (base, *others)}
    assert len(prints) == 1 + len(others)


# ------------------------------------------------------------------------------ what fit_meta takes


def test_as_task_set_takes_every_form() -> None:
    tasks = TaskSet.from_pool(X, Y)
    assert as_task_set(tasks, kind="classification") is tasks
    assert len(as_task_set([(X, Y), (X, Y)], kind="classification")) == 2
    assert len(as_task_set(X, Y, kind="classification")) == 1
    assert len(as_task_set(X, np.tile([0, 1], 6), GROUPS, kind="classification")) == 2
    # The kind is the estimator's, whatever the targets look like.
    assert as_task_set([(X, np.arange(12))], kind="regression").kind == "regression"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X,), r"X with y; got ndarray without y"),
        (("iris",), r"got str without y"),
        ((pd.DataFrame(X),), r"got DataFrame without y"),
        ((X, None, GROUPS), r"got groups but no y"),
        (([],), "the task set is empty"),
        (
            (TaskSet.from_pool(X, X[:, 0] / 7),),
            r"expected classification tasks, got regression tasks. Use MetaFewShotRegressor",
        ),
    ],
)
def test_as_task_set_refuses(arguments, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        as_task_set(*arguments, kind="classification")


def test_strings_in_a_category_and_numbers_of_other_machines() -> None:
    frame = pd.DataFrame({"a": range(12), "b": pd.Categorical(["u", "v"] * 6)})
    assert [levels is None for levels in Task(frame, Y).categories] == [True, False]
    assert Task(X.astype(">f8"), Y).X.dtype.isnative


def test_bad_kind_and_augmentation() -> None:
    with pytest.raises(InvalidParameterError, match=r"kind must be .*got 'clasification'"):
        Task(X, Y, kind="clasification")
    with pytest.raises(InvalidParameterError, match=r"augment must be a function.*got 3"):
        TaskSet.from_pool(X, Y, augment=3)


def test_a_set_with_targets_beside_it() -> None:
    with pytest.raises(TaskError, match="got a TaskSet and also y or groups"):
        as_task_set(TaskSet.from_pool(X, Y), Y, kind="classification")


# ----------------------------------------------------------------------------- class descriptions

WORDS = {"c": [5.0, 6.0, 7.0], "b": [3, 4, 5], "a": [1, 2, 3], "z": [0, 0, 0]}
TABLE = np.array([[1.0, 2, 3], [3, 4, 5], [5, 6, 7]])


FRAME = pd.DataFrame(WORDS).T  # its index is c, b, a, z


@pytest.mark.parametrize(
    "given", [WORDS, TABLE, TABLE.tolist(), FRAME], ids=["mapping", "array", "list", "frame"]
)
def test_descriptions_are_in_the_order_of_the_classes(given) -> None:
    task = Task(X, Y, class_descriptions=given)
    np.testing.assert_array_equal(task.class_descriptions, TABLE)
    assert task.description_size == TaskSet([task]).description_size == 3
    assert Task(X, Y).description_size is None


def test_descriptions_of_every_way_to_make_a_set() -> None:
    for given in (WORDS, TABLE, FRAME):
        pool = TaskSet.from_pool(X, Y, class_descriptions=given)
        np.testing.assert_array_equal(pool[0].class_descriptions, TABLE)
        groups = TaskSet.from_groups(X, Y, GROUPS, class_descriptions=given)
        np.testing.assert_array_equal(groups[0].class_descriptions, TABLE[:2])  # a and b
        np.testing.assert_array_equal(groups[1].class_descriptions, TABLE[1:])  # b and c
    pairs = TaskSet.from_datasets([(X, Y), (X[:8], Y[:8])], class_descriptions=WORDS)
    np.testing.assert_array_equal(pairs[1].class_descriptions, TABLE[:2])


def test_held_out_classes_keep_their_descriptions() -> None:
    y = np.repeat(np.arange(6), 2)
    tasks = TaskSet.from_pool(X, y, class_descriptions=np.arange(6.0)[:, None])
    for part in tasks.split(0.4):
        assert part is not None
        np.testing.assert_array_equal(part[0].class_descriptions[:, 0], part[0].classes)
    assert tasks.fingerprint() != TaskSet.from_pool(X, y).fingerprint()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": [1.0], "b": [2.0]}, r"lack 1 of its classes: \['c'\]"),
        (TABLE[:2], r"array of shape \(3, length\).*got shape \(2, 3\)"),
        (WORDS | {"b": [1.0]}, r"vectors of one length, got shapes \[\(1,\), \(3,\)\]"),
        (WORDS | {"b": [1.0, NAN, 2.0]}, "description of class b of the task has missing"),
        ([["x"], ["y"], ["z"]], "must be numeric"),
        (pd.DataFrame(TABLE, index=["a", "b", "d"]), r"lack 1 .*\['c'\].*frame's index"),
        (pd.DataFrame(TABLE, index=["a", "b", "a"]), "have 'a' twice in their index"),
    ],
    ids=["missing", "too few", "lengths", "gap", "strings", "frame", "twice"],
)
def test_bad_descriptions(given, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Task(X, Y, class_descriptions=given)


def test_descriptions_that_do_not_fit_the_set() -> None:
    tasks = [Task(X, Y, class_descriptions=TABLE[:, :n]) for n in (2, 3)]
    for other in (tasks[1], Task(X, Y)):
        with pytest.raises(TaskError, match="of one length in all tasks, and in all tasks or none"):
            TaskSet([tasks[0], other])
    with pytest.raises(TaskError, match="a regression, which has no classes to describe"):
        Task(X, X[:, 0] + 0.5, class_descriptions=TABLE)
    images = TaskSet.from_pool(np.zeros((12, 1, 2, 2)), Y, class_descriptions=TABLE)
    with pytest.raises(TaskError, match=r"without descriptions; got .*description_size=3"):
        images.with_rotations()
