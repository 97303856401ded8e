"""Many passes of the in-context network, as many at once as the memory allows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from metaest.nets._in_context import SHARED, InContextNet

#: Cells that the passes made together may have; each takes about a kilobyte. Fewer on a CPU, whose
#: caches then hold what a pass hands from layer to layer: a fifth faster at 1,000 rows.
_CELLS_AT_ONCE, _CELLS_AT_ONCE_ON_CPU = 2**18, 2**15


def read_in_parts(
    net: InContextNet, x: Tensor, y: Tensor, mask: Tensor, class_mask: Tensor
) -> dict[str, Tensor]:
    """Return what :meth:`InContextNet.read` returns.

    Parameters
    ----------
    net : InContextNet
    x : Tensor of shape (B, S, F)
    y : Tensor of int64, shape (B, M, S)
    mask : Tensor of bool, shape (B, S)
    class_mask : Tensor of bool, shape (B, M, C)
    """
    states = []
    for tasks, passes in _parts(x, y.shape[1]):
        parts = [net.read(x[tasks], y[tasks, p], mask[tasks], class_mask[tasks, p]) for p in passes]
        states.append({k: _join([part[k] for part in parts], k) for k in parts[0]})
    return {k: torch.cat([state[k] for state in states]) for k in states[0]}


def predict_in_parts(net: InContextNet, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return what the network's ``forward`` returns: (B, Q, F) -> (B, M, Q, C).

    Parameters
    ----------
    net : InContextNet
    state : dict of Tensor
    x : Tensor of shape (B, Q, F)
    """
    logits = []
    for tasks, passes in _parts(x, state["class_mask"].shape[1]):
        parts = [net(_select(state, tasks, some), x[tasks]) for some in passes]
        logits.append(torch.cat(parts, 1))
    return torch.cat(logits)


def _parts(x: Tensor, n_passes: int) -> Iterator[tuple[slice, list[slice]]]:
    """Yield some of the tasks at a time, and their passes in parts; all at once in training."""
    most = len(x) * n_passes
    if not torch.is_grad_enabled():
        cells = _CELLS_AT_ONCE_ON_CPU if x.device.type == "cpu" else _CELLS_AT_ONCE
        most = max(1, cells // max(1, x[0].numel()))
    step, width = max(1, most // n_passes), min(most, n_passes)
    for start in range(0, len(x), step):
        passes = [slice(first, first + width) for first in range(0, n_passes, width)]
        yield slice(start, start + step), passes


def _join(parts: list[Tensor], name: str) -> Tensor:
    return parts[0] if name.startswith(SHARED) else torch.cat(parts, 1)


def _select(state: dict[str, Tensor], tasks: slice, passes: slice) -> dict[str, Tensor]:
    return {k: v[tasks] if k.startswith(SHARED) else v[tasks, passes] for k, v in state.items()}
