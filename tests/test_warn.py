"""Warnings name the line of the user's own code."""

import functools
from collections.abc import Callable
from typing import Any

import joblib
import pytest

from metaest._warn import warn
from metaest.exceptions import SearchWarning


def _inside(module: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function of a module of that name which calls another."""
    namespace = {"__name__": module, "call": call}
    exec(compile("def through():\n    call()", module, "exec"), namespace)
    return namespace["through"]


@pytest.mark.parametrize(
    "between",
    [
        [],
        ["metaest.training._train"],
        ["metaest._table_codes", "sklearn.base", "contextlib", "sklearn.pipeline"],
        ["metaest.few_shot._base", "joblib.parallel", "torch.utils._contextlib", "skorch.net"],
    ],
)
def test_what_lies_between_is_passed_over(between: list[str]) -> None:
    call = functools.partial(warn, "look here", SearchWarning)
    for module in ["metaest.own", *between]:
        call = _inside(module, call)
    with pytest.warns(SearchWarning, match="look here") as told:
        call()
    assert told[0].filename == __file__


def test_a_users_module_may_have_a_similar_name() -> None:
    call = _inside("metaest_bench.run", _inside("metaest.own", functools.partial(warn, "here")))
    with pytest.warns(UserWarning, match="here") as told:
        call()
    assert told[0].filename == "metaest_bench.run"


def test_in_a_thread_there_may_be_no_user() -> None:
    with pytest.warns(UserWarning, match="alone"):
        joblib.Parallel(2, "threading")([joblib.delayed(warn)("alone") for _ in range(2)])
