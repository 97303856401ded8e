"""Checks that several rooms share."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from metaest._checks import (
    as_native_numbers,
    check_episodes,
    check_groups,
    check_int,
    check_no_missing,
    find_kind,
    remedy_for,
)
from metaest._table import is_missing
from metaest.exceptions import EpisodeError, InvalidParameterError, TaskError


def test_find_kind() -> None:
    assert find_kind(np.array([0.5, 1.2])) == "regression"
    assert find_kind(np.array(["a", "b"])) == "classification"
    assert find_kind(np.array([0.5, 1.2]), "classification") == "classification"
    with pytest.raises(InvalidParameterError, match=r"kind must be 'auto', .*got 'clasification'"):
        find_kind(np.array([0, 1]), "clasification")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros((3, 2)), r"groups must be one-dimensional.*got shape \(3, 2\)"),
        ("abc", r"groups must be one-dimensional"),
        ([1, 2], "expected 3, got 2"),
        ([1, np.nan, 2], r"groups has 1 missing values \(first at row 1\)"),
        (np.array(["a", None, "b"], dtype=object), "groups has 1 missing"),
    ],
)
def test_groups_that_cannot_be(groups, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        check_groups(groups, 3)


def test_groups() -> None:
    np.testing.assert_array_equal(check_groups(pd.Series(["b", "a"]), 2), ["b", "a"])


@pytest.mark.parametrize(
    "gap",
    [None, np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")],
    ids=repr,
)
def test_what_is_missing(gap) -> None:
    assert is_missing(gap)
    with pytest.raises(TaskError, match=r"labels has 1 missing values \(first at row 1\)"):
        check_no_missing(np.array(["a", gap], dtype=object), "labels")


@pytest.mark.parametrize(
    "value",
    ["", 0, False, b"nan", [None], {}, np.array([np.nan, 1]), np.array([np.nan]), np.zeros(0)],
    ids=repr,
)
def test_what_is_not_missing(value) -> None:
    assert not is_missing(value)
    assert not is_missing(pd.Series(value, dtype=object))


def test_labels_that_are_arrays() -> None:
    labels = np.empty(2, dtype=object)
    labels[:] = [np.array([1, 2]), np.array([np.nan, 1])]
    with pytest.raises(TaskError, match=r"labels has values of the type ndarray, which"):
        check_no_missing(labels, "labels")


@pytest.mark.parametrize("value", [0, 1.0, True, "1", None, np.bool_(True)])
def test_what_is_no_int(value) -> None:
    with pytest.raises(InvalidParameterError, match=r"n must be an int >= 1, got "):
        check_int(value, "n")


def test_episodes_as_positions() -> None:
    mask = np.array([True, False, True, False])
    ((support, query),) = check_episodes([(mask, [])], 4)
    np.testing.assert_array_equal(support, [0, 2])
    assert query.dtype.kind == "i"
    assert len(query) == 0


@pytest.mark.parametrize(
    "episode",
    [3, ([0],), ([0], [9]), ([0.5], [1]), ("a", "b"), (0, 1), ([[0]], [1]), ([True], [1])],
)
def test_episodes_that_cannot_be(episode) -> None:
    with pytest.raises(
        EpisodeError, match=r"episode 1 must be a pair \(support, query\) of row po"
    ):
        check_episodes([([0], [1]), episode], 4)


def test_an_episode_without_support() -> None:
    with pytest.raises(EpisodeError, match="episode 0 has no support rows"):
        check_episodes([([], [1])], 4)


@pytest.mark.parametrize("kind", [">f8", ">i4", np.longdouble, object])
def test_native_numbers(kind) -> None:
    X = as_native_numbers(np.array([[1, 2]]).astype(kind))
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, [[1, 2]])


def test_native_numbers_are_not_copied() -> None:
    for kind in ("f4", "i8", "u1", "?"):
        X = np.ones((2, 2), dtype=kind)
        assert as_native_numbers(X) is X


def test_a_remedy_only_where_there_is_one() -> None:
    assert "Drop the rows" in remedy_for("Input y contains NaN.")
    assert "imputer" in remedy_for("Input X contains NaN.")
    text = "could not convert string to float: 'a'"
    assert "OneHotEncoder" in remedy_for(text)
    assert "Pass a DataFrame" in remedy_for(text, gaps=True)
    assert remedy_for("Found input variables with inconsistent numbers of samples") == ""
