"""TaskSplit: folds over tasks."""

import numpy as np
import pytest

from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError
from metaest.model_selection import TaskSplit

Y = np.repeat(np.arange(11), np.arange(3, 14))


@pytest.mark.parametrize("groups", [None, Y % 7], ids=["classes", "groups"])
def test_tasks_are_on_one_side_and_each_is_tested_once(groups):
    tasks = Y if groups is None else groups
    tested = []
    for train, test in TaskSplit(3, random_state=0).split(None, Y, groups):
        assert (np.sort(np.concatenate([train, test])) == np.arange(len(Y))).all()
        assert np.intersect1d(tasks[train], tasks[test]).size == 0
        tested.append(np.unique(tasks[test]))
    assert (np.sort(np.concatenate(tested)) == np.unique(tasks)).all()
    sizes = [len(fold) for fold in tested]
    assert max(sizes) - min(sizes) <= 1


def test_an_int_seed_gives_the_same_folds():
    def folds(seed):
        return np.concatenate([test for _, test in TaskSplit(random_state=seed).split(None, Y)])

    assert (folds(0) == folds(0)).all()
    assert (folds(0) != folds(1)).any()


def test_groups_need_no_y_and_may_be_of_regression():
    groups = np.repeat(["a", "b", "c"], 4)
    assert len(list(TaskSplit(3).split(np.zeros(12), None, groups))) == 3
    assert len(list(TaskSplit(3).split(None, np.linspace(0, 1, 12), groups))) == 3
    assert TaskSplit(3).get_n_splits() == 3
    assert repr(TaskSplit(3)) == "TaskSplit(n_splits=3, random_state=None)"


BAD = [
    ({"y": None}, TaskError, "groups or the classes of y"),
    ({"y": np.linspace(0, 1, 11)}, TaskError, "y is continuous.*pass groups"),
    ({"n_splits": 6}, EpisodeError, "n_splits=6 of 11 classes.*Pass n_splits=5 or less"),
    ({"n_splits": 8, "groups": Y % 7}, EpisodeError, "there are 7. Pass n_splits=7"),
    ({"n_splits": 1}, InvalidParameterError, "n_splits must be an int >= 2"),
    ({"groups": [1]}, TaskError, "one entry per row"),
    ({"random_state": 0.5}, InvalidParameterError, "random_state must be"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_one_clear_error(change, error, message):
    params = {"n_splits": 3, "random_state": 0, "y": Y, "groups": None} | change
    y, groups = params.pop("y"), params.pop("groups")
    with pytest.raises(error, match=message):
        TaskSplit(**params).split(None, y, groups)
