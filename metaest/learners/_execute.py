"""How B tasks run: together, or one after another. Learners write only the mathematics.

Small row networks gain 5x to 10x from running all tasks in one call; convolutions on a CPU lose
(their caches overflow), so there tasks run one at a time, each graph is freed, and the single
tasks spread over threads. The results are the same. Only the *forward* pass is ever vmapped:
``vmap(grad)`` gives wrong second-order gradients through layer, batch and instance normalisation
(torch 2.13).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaest._torch import module_device, one_intra_op_thread

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Layers that vmap refuses, or that update state when called.
_LOOPED = (nn.modules.batchnorm._BatchNorm, nn.RNNBase, nn.modules.instancenorm._InstanceNorm)

#: Layers that draw random numbers when called.
_RANDOM = (
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


def is_looped(module: nn.Module) -> bool:
    """Whether tasks with weights of their own run one after another."""
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    on_cpu = module_device(module).type == "cpu"
    return (convolves and on_cpu) or any(isinstance(m, _LOOPED) for m in module.modules())


def chunk_size(module: nn.Module, n_rows: int) -> int:
    """How many tasks of `n_rows` rows to hold in one graph.

    One where they are looped anyway; otherwise as many as bound the memory.
    """
    if is_looped(module):
        return 1
    budget = 16_384 if module_device(module).type == "cpu" else 131_072
    return max(1, budget // max(1, n_rows))


def thread_count(module: nn.Module) -> int:
    """How many Python threads the chunks of a step may run on, one core each.

    More than one where tasks are looped, on a CPU; but one where a layer may draw random
    numbers, since the threads would draw them in no fixed order, or keeps running statistics,
    which would be lost with the threads' copies of the module or be updated in no fixed order.
    """
    if module_device(module).type != "cpu" or not is_looped(module):
        return 1
    layers = list(module.modules())
    known = all(type(m).__module__.startswith(("torch.nn.", "metaest.nets.")) for m in layers)
    random = any(isinstance(m, _RANDOM) or _drops_out(m) for m in layers)
    counting = any(getattr(m, "track_running_stats", False) for m in layers)
    return torch.get_num_threads() if known and not random and not counting else 1


def _drops_out(layer: nn.Module) -> bool:
    share = getattr(layer, "dropout", 0.0)  # of recurrent layers and of attention
    return isinstance(share, float) and share > 0


def map_chunks(function: Callable[[_T], _R], chunks: Iterable[_T], n_threads: int) -> list[_R]:
    """Apply `function` to each chunk, on threads; the results are in the order of the chunks."""
    with one_intra_op_thread():
        if n_threads == 1:
            return [function(chunk) for chunk in chunks]
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(function, chunks))


def expand_parameters(module: nn.Module, n_tasks: int) -> dict[str, Tensor]:
    """Give each of B tasks the module's parameters, as views of shape (B, ...)."""
    return {k: p.unsqueeze(0).expand(n_tasks, *p.shape) for k, p in module.named_parameters()}


def run_tasks(module: nn.Module, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run each task's rows through the module with the task's own parameters.

    Parameters
    ----------
    module : nn.Module
        From (n, ...) to (n, d).
    parameters : mapping of name to Tensor of shape (B, ...)
    x : Tensor of shape (B, n, ...)

    Returns
    -------
    Tensor of shape (B, n, d)
    """
    if is_looped(module):
        if threading.current_thread() is not threading.main_thread():
            module = copy.deepcopy(module)  # functional_call swaps a module's parameters
        rows = [
            functional_call(module, {k: p[b] for k, p in parameters.items()}, (x[b],))
            for b in range(len(x))
        ]
        return torch.stack(rows)

    def forward(own: dict[str, Tensor], own_x: Tensor) -> Tensor:
        return functional_call(module, own, (own_x,))

    # Normalisation layers fail under vmap on what channels-last kernels put out.
    kernels = {k: p.contiguous() for k, p in parameters.items() if p.ndim == 5}
    return torch.vmap(forward, randomness="different")({**parameters, **kernels}, x)


def encode(module: nn.Module, x: Tensor) -> Tensor:
    """Run the rows of all tasks through a module that they share.

    Parameters
    ----------
    module : nn.Module
        From (n, ...) to (n, d).
    x : Tensor of shape (B, n, ...)

    Returns
    -------
    Tensor of shape (B, n, d)
    """
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
