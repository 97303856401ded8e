"""The surrogates that come with metaest, meta-trained on the embedded history."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from metaest.exceptions import HistoryError
from metaest.learners import Learner
from metaest.nets import NetSpec
from metaest.training import MetaState

_FILE = "surrogates.safetensors"


def load_shipped(key: str, learner: Learner, n_columns: int) -> MetaState | None:
    """Return the surrogate that was trained on the tasks with this fingerprint, or None.

    Raises
    ------
    HistoryError
        If the file is damaged.
    """
    weights = _read().get(key)
    if weights is None:
        return None
    return MetaState(learner, NetSpec((n_columns,), "regression", 1, "mlp"), weights, "fit_meta")


def write_shipped(states: Mapping[str, MetaState], path: Path) -> None:
    """Write surrogates by the fingerprint of what they were trained on."""
    tensors = {f"{key}/{n}": v for key, state in states.items() for n, v in state.weights.items()}
    save_file(tensors, path)


@lru_cache(maxsize=1)
def _read() -> dict[str, dict[str, Tensor]]:
    file = resources.files("metaest.tuning") / "data" / _FILE
    if not file.is_file():
        return {}
    try:
        tensors = load(file.read_bytes())
    except SafetensorError as error:
        raise HistoryError(
            f"the surrogates that come with metaest are damaged: {_FILE} ({error}). Install "
            "metaest again, with: pip install --force-reinstall --no-deps metaest"
        ) from error
    found: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        key, weight = name.split("/", 1)
        found.setdefault(key, {})[weight] = value
    return found
