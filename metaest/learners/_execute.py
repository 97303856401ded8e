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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metaest._torch import module_device, one_intra_op_thread, plain_attention
from metaest.exceptions import InvalidParameterError

_T = TypeVar("_T")
_R = TypeVar("_R")

#: Layers that vmap refuses, or that update state when called.
_LOOPED = (
    nn.modules.batchnorm._BatchNorm,
    nn.RNNBase,
    nn.modules.instancenorm._InstanceNorm,
    nn.utils.parametrizations._SpectralNorm,
)

#: Layers that draw random numbers when called.
_RANDOM = (
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


#: What torch says where all tasks' values were to go into a tensor that they share.
_REFUSALS = ("vmap", "Batching rule", "broadcast shape")

#: Of threads of :func:`map_chunks`, whose chunks share a module.
_POOLED = threading.local()


def is_looped(module: nn.Module) -> bool:
    """Whether tasks with weights of their own run one after another."""
    convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
    on_cpu = module_device(module).type == "cpu"
    looped = any(isinstance(m, _LOOPED) or _counts(m) for m in module.modules())
    return (convolves and on_cpu) or looped


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
    known = all(_is_known(m) for m in layers)
    random = any(isinstance(m, _RANDOM) or _drops_out(m) for m in layers)
    counting = any(_counts(m) for m in layers)
    return torch.get_num_threads() if known and not random and not counting else 1


def _is_known(layer: nn.Module) -> bool:
    return type(layer).__module__.startswith(("torch.nn.", "metaest.nets."))


def _counts(layer: nn.Module) -> bool:
    """Whether a layer keeps statistics of what it was called with, in buffers."""
    if not layer._buffers:  # quick, for the name is slow to look up where there is none
        return False
    is_spectral = isinstance(layer, nn.utils.parametrizations._SpectralNorm)
    return is_spectral or bool(getattr(layer, "track_running_stats", False))


def _drops_out(layer: nn.Module) -> bool:
    share = getattr(layer, "dropout", 0.0)  # of recurrent layers and of attention
    return isinstance(share, float) and share > 0


def map_chunks(function: Callable[[_T], _R], chunks: Iterable[_T], n_threads: int) -> list[_R]:
    """Apply `function` to each chunk, on threads; the results are in the order of the chunks."""
    with one_intra_op_thread():
        if n_threads == 1:
            return [function(chunk) for chunk in chunks]
        with ThreadPoolExecutor(n_threads, initializer=_enter_pool) as pool:
            return list(pool.map(function, chunks))


def _enter_pool() -> None:
    _POOLED.shares_module = True


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
    names = _names_of_parameters(module)

    def forward(own: Mapping[str, Tensor], own_x: Tensor) -> Tensor:
        spread = {name: own[first] for name, first in names.items()}
        return functional_call(module, spread, (own_x,), tie_weights=False)

    may_attend = any(
        isinstance(m, nn.MultiheadAttention) or not _is_known(m) for m in module.modules()
    )
    with plain_attention() if may_attend else nullcontext():
        if is_looped(module):
            if getattr(_POOLED, "shares_module", False):
                module = copy.deepcopy(module)  # functional_call swaps a module's parameters
            rows = [forward({k: p[b] for k, p in parameters.items()}, x[b]) for b in range(len(x))]
            return torch.stack(rows)
        # Normalisation layers fail under vmap on what channels-last kernels put out.
        kernels = {k: p.contiguous() for k, p in parameters.items() if p.ndim == 5}
        with _fixed_buffers(module):
            return torch.vmap(forward, randomness="different")({**parameters, **kernels}, x)


def _names_of_parameters(module: nn.Module) -> dict[str, str]:
    """Map the name of each layer's parameter to its name in ``named_parameters``.

    These differ where layers share a parameter. A layer with two names is here once:
    ``functional_call`` would put back under the second what it had put in under the first.
    """
    first = {id(p): name for name, p in module.named_parameters()}
    return {
        f"{prefix}.{name}".lstrip("."): first[id(p)]
        for prefix, layer in module.named_modules()
        for name, p in layer._parameters.items()
        if p is not None
    }


@contextmanager
def _fixed_buffers(module: nn.Module) -> Iterator[None]:
    """Say what to do where a network gives a buffer a value for each task; put back what it held.

    A buffer that all tasks share, such as a count of calls, may change.

    Raises
    ------
    InvalidParameterError
    """
    held = [
        (layer, f"{prefix}.{name}".lstrip("."), name, buffer)
        for prefix, layer in module.named_modules()
        for name, buffer in layer._buffers.items()
        if not type(layer).__module__.startswith("metaest.nets.")
    ]
    changed = []
    try:
        try:
            yield
        finally:
            for layer, full, name, buffer in held:
                now = layer._buffers.get(name)
                if now is not None and torch._C._functorch.is_batchedtensor(now):
                    changed.append(full)
                    layer._buffers[name] = buffer
    except RuntimeError as error:
        if not held or not any(words in str(error) for words in _REFUSALS):
            raise
        raise _refusal(changed or [full for _, full, _, _ in held], error) from error
    if changed:
        raise _refusal(changed)


def _refusal(buffers: list[str], error: Exception | None = None) -> InvalidParameterError:
    reason = "" if error is None else f" torch says: {error}"
    return InvalidParameterError(
        "the backbone cannot run several tasks at once, as this learner does. Expected a "
        f"forward that changes no buffer; it may change {', '.join(buffers)}. Give the layer that "
        "holds it an attribute track_running_stats = True, and tasks run one after another, "
        f"or write spectral norms with torch.nn.utils.parametrizations.spectral_norm.{reason}"
    )


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
