"""Packages of extras, and the colours of the pictures that one of them draws."""

import sys

import pytest

from metaest._optional import import_optional
from metaest._palette import PALETTE
from metaest.exceptions import MissingDependencyError


def test_a_module_that_is_there_is_returned() -> None:
    from matplotlib import pyplot

    assert import_optional("matplotlib.pyplot", "plot", "This") is pyplot


@pytest.mark.parametrize("name", ["matplotlib", "matplotlib.pyplot"])  # pyplot is loaded by then
def test_a_package_that_is_missing_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = r"This needs the package 'matplotlib'.*metaest\[plot\]"
    with pytest.raises(MissingDependencyError, match=message):
        import_optional(name, "plot", "This")


def test_the_colours_differ() -> None:
    from matplotlib.colors import to_rgb

    assert len({to_rgb(color) for color in PALETTE}) == len(PALETTE) == 8
