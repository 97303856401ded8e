"""What all tests share: the data folder, one thread, no display, no GPU needed."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

# Several workers share the cores, and small tensors are slower on two threads than on one.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Give the folder of real data sets that METAEST_DATA names; skip where it is not set."""
    value = os.environ.get("METAEST_DATA")
    if not value:
        pytest.skip("METAEST_DATA is not set: tests on real data need the folder that it names")
    path = Path(value)
    if not path.is_dir():
        pytest.fail(f"METAEST_DATA names {value!r}, which is not a folder")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
