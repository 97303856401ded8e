"""Many passes of the in-context network, as many together as the memory allows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from metaest._torch import one_intra_op_thread, usable_threads
from metaest.nets._in_context import SHARED, InContextNet

_T = TypeVar("_T")

#: Cells that the passes made together may have; each takes about a kilobyte. Fewer on a CPU, whose
#: caches then hold what a pass hands from layer to layer: a fifth faster at 1,000 rows.
_CELLS_AT_ONCE, _CELLS_AT_ONCE_ON_CPU = 2**18, 2**15

#: So many labelled rows cost each row that attends to them about as much as a cell.
_SUPPORT_ROWS_PER_CELL = 8


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
    for tasks, passes in _parts(x, x.shape[1], y.shape[1]):
        rows, labels, real, present = x[tasks], y[tasks], mask[tasks], class_mask[tasks]
        parts = _on_threads(
            [functools.partial(net.read, rows, labels[:, p], real, present[:, p]) for p in passes],
            x.device,
        )
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
    n_passes, n_support = state["members"].shape[1:3]
    for tasks, passes in _parts(x, n_support, n_passes):
        states = [_select(state, tasks, some) for some in passes]
        parts = _on_threads([functools.partial(net, own, x[tasks]) for own in states], x.device)
        logits.append(torch.cat(parts, 1))
    return torch.cat(logits)


def _parts(x: Tensor, n_support: int, n_passes: int) -> Iterator[tuple[slice, list[slice]]]:
    """Yield some of the tasks at a time, and their passes in parts; all at once in training."""
    most = len(x) * n_passes
    if not torch.is_grad_enabled():
        cells = _CELLS_AT_ONCE_ON_CPU if x.device.type == "cpu" else _CELLS_AT_ONCE
        cells_of_a_pass = x.shape[1] * (x.shape[2] + n_support // _SUPPORT_ROWS_PER_CELL)
        most = max(1, cells // max(1, cells_of_a_pass))
    step, width = max(1, most // n_passes), min(most, n_passes)
    for start in range(0, len(x), step):
        passes = [slice(first, first + width) for first in range(0, n_passes, width)]
        yield slice(start, start + step), passes


def _on_threads(calls: Sequence[Callable[[], _T]], device: torch.device) -> list[_T]:
    """Make the calls, on a CPU at once; the results do not depend on that."""
    n_threads = 1 if torch.is_grad_enabled() or device.type != "cpu" else usable_threads()
    if min(n_threads, len(calls)) == 1:
        return [call() for call in calls]
    with one_intra_op_thread(), ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(_without_gradient, calls))


def _without_gradient(call: Callable[[], _T]) -> _T:
    with torch.no_grad():  # each thread has its own
        return call()


def _join(parts: list[Tensor], name: str) -> Tensor:
    return parts[0] if name.startswith(SHARED) else torch.cat(parts, 1)


def _select(state: dict[str, Tensor], tasks: slice, passes: slice) -> dict[str, Tensor]:
    return {k: v[tasks] if k.startswith(SHARED) else v[tasks, passes] for k, v in state.items()}
