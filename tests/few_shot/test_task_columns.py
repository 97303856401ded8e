"""Columns of the tasks of ``fit_meta``: matched by name where they have names."""

import numpy as np
import pandas as pd
import pytest
import torch

from metaest import MetaFewShotClassifier
from metaest.exceptions import ArchitectureMismatchError, TaskError
from metaest.few_shot._start import choose_learner
from metaest.learners import InContextTransformer, ProtoNet
from metaest.tasks import TaskSet
from metaest.training._rows import readable

NAMES = list("abcd")
SETTINGS = {"n_ways": 2, "n_shots": 1, "n_queries": 2, "n_episodes": 16, "random_state": 0}


def make_tables(n: int = 6) -> list[tuple[pd.DataFrame, np.ndarray]]:
    rng = np.random.default_rng(0)
    scales = [1, 10, 100, 1000]  # which tell the columns apart
    y = np.repeat([0, 1], 5)
    return [(pd.DataFrame(rng.normal(size=(10, 4)) * scales, columns=NAMES), y) for _ in range(n)]


def turned(tables: list) -> list:
    """Return the tables with the columns of all but the first in orders of their own."""
    rng = np.random.default_rng(1)
    return [tables[0], *((X[list(rng.permutation(NAMES))], y) for X, y in tables[1:])]


def renamed(tables: list, columns: list) -> list:
    return [tables[0], *((X.set_axis(columns, axis=1), y) for X, y in tables[1:])]


@pytest.mark.parametrize("input_shape", [None, (1, 2, 2)], ids=["rows", "flat images"])
def test_columns_in_any_order_are_as_in_one(input_shape) -> None:
    tables, held_out = make_tables(), make_tables()[:3]
    clf = MetaFewShotClassifier("protonet", **SETTINGS, input_shape=input_shape)
    expected = clf.fit_meta(tables, validation_tasks=held_out).meta_state_
    found = clf.fit_meta(
        turned(tables), validation_tasks=[(X[NAMES[::-1]], y) for X, y in held_out]
    ).meta_state_
    assert list(found.feature_names) == NAMES
    for name, weight in expected.weights.items():
        assert torch.equal(weight, found.weights[name]), name
    assert found.history[-1]["valid_score"] == expected.history[-1]["valid_score"]
    X, y = tables[1]
    clf.fit(X, y)
    with pytest.raises(ArchitectureMismatchError, match="the order differs"):
        clf.fit(X[NAMES[::-1]], y)


@pytest.mark.parametrize(
    ("where", "label"), [("tasks", "task"), ("validation_tasks", "validation task")]
)
def test_other_columns_are_refused(where: str, label: str) -> None:
    tables = make_tables()
    parts = {"tasks": tables, "validation_tasks": tables, where: renamed(tables, list("abce"))}
    message = rf"columns: {label} '1' lacks \['d'\] .* has \['e'\] besides.*df\[columns\], or use"
    with pytest.raises(TaskError, match=message):
        MetaFewShotClassifier("protonet", **SETTINGS).fit_meta(**parts)


def test_auto_reads_other_columns_in_context_and_another_order_not() -> None:
    clf, tables = MetaFewShotClassifier(), make_tables()
    chosen = {
        name: choose_learner(clf, tasks=TaskSet.from_datasets(tasks))
        for name, tasks in {
            "other": renamed(tables, list("wxyz")),
            "order": turned(tables),
            "numbers": renamed(tables, [3, 2, 1, 0]),
        }.items()
    }
    assert isinstance(chosen["other"], InContextTransformer)
    assert isinstance(chosen["order"], ProtoNet)
    assert isinstance(chosen["numbers"], ProtoNet)


def test_tasks_that_need_no_change_are_not_copied() -> None:
    tables = make_tables()
    tasks = TaskSet.from_datasets(tables)
    assert readable(tasks, tasks, ProtoNet()) == (tasks, tasks)
    some = TaskSet.from_datasets([*tables, (tables[0][0][NAMES[::-1]], tables[0][1])])
    aligned, _ = readable(some, None, ProtoNet())
    assert [one is other for one, other in zip(aligned, some, strict=True)] == [True] * 6 + [False]
    np.testing.assert_array_equal(some[6].X[:, ::-1], aligned[6].X)  # and the given one is as ever
    assert readable(aligned, None, ProtoNet())[0] is aligned


def test_tables_without_names_are_read_by_position() -> None:
    (X, y), (X1, y1) = make_tables(2)
    tasks = TaskSet.from_datasets([(X.to_numpy(), y), (X, y), (X1[NAMES[::-1]], y1)])
    aligned, _ = readable(tasks, None, ProtoNet())
    assert aligned[0] is tasks[0]
    np.testing.assert_array_equal(aligned[2].X, X1)


def test_the_column_that_cannot_be_read_is_named() -> None:
    tables = make_tables(3)
    tables[1] = (tables[1][0].assign(c="red")[NAMES[::-1]], tables[1][1])
    with pytest.raises(TaskError, match="task '1' has text or categories in column 'c'"):
        readable(TaskSet.from_datasets(tables), None, ProtoNet())
