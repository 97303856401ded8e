"""Everything metaest asks of torch that is not mathematics: devices, seeds, conversions."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metaest.exceptions import DeviceError

#: Numbers in an input below which more than one thread inside an operation does not pay.
SMALL_INPUT = 500_000

#: Logit of a class that an episode does not have: finite, so that no gradient becomes NaN.
MASKED_LOGIT = -1e9


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the torch device that `device` names, "auto" being the best one at hand.

    Raises
    ------
    DeviceError
        If torch does not know the device or the machine does not have it.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.zeros(1, device=resolved).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise DeviceError(
            f"device={device!r} cannot be used on this machine ({reason}). "
            'Pass device="auto" to take a GPU where there is one and the CPU elsewhere.'
        ) from error
    return resolved


#: One block at a time: torch's random state is the whole process's, so in other threads' blocks
#: numbers would come from this one's seed.
_SEED_LOCK = threading.RLock()


@contextmanager
def local_seed(
    seed: int | np.random.Generator, device: torch.device | None = None
) -> Iterator[None]:
    """Seed torch inside the block and restore the caller's random state after it.

    A generator draws the seed.
    Other threads wait for the end of the block before they enter one.
    """
    if isinstance(seed, np.random.Generator):
        seed = int(seed.integers(2**62))
    devices = [device] if device is not None and device.type == "cuda" else []
    with _SEED_LOCK, torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed: it also seeds devices that are not in use, and for each writes
        # down the call stack, which took a tenth of the time of small networks.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield


class _ProcessWide:
    """A setting of the whole process, that blocks in any thread want at one value.

    What it was is restored by the last of them to end.

    Parameters
    ----------
    read, write : callable
    wanted : object
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], Any], wanted: Any) -> None:
        self._read, self._write, self._wanted = read, write, wanted
        self._lock = threading.Lock()
        self._depth = 0
        self._before: Any = None

    @contextmanager
    def block(self) -> Iterator[None]:
        with self._lock:
            if self._depth == 0:
                self._before = self._read()
                self._write(self._wanted)
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._write(self._before)


class _OneThread:
    """torch's number of threads, that blocks in any thread want at one.

    Each thread has a number of its own, but begins with the one that was set last in any: what
    a thread that begins within another's block finds is not its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before = 1
        self._own = threading.local()

    @contextmanager
    def block(self) -> Iterator[None]:
        own = self._own
        own.depth = getattr(own, "depth", 0) + 1
        with self._lock:
            if own.depth == 1:
                own.before = self._found()
                self._before = self._before if self._depth else own.before
                torch.set_num_threads(1)
            self._depth += 1
        try:
            yield
        finally:
            own.depth -= 1
            with self._lock:
                self._depth -= 1
                if own.depth == 0:
                    torch.set_num_threads(own.before)

    def outside(self) -> int:
        """Return the number of this thread, or what it was before its blocks."""
        with self._lock:
            return self._own.before if getattr(self._own, "depth", 0) else self._found()

    def _found(self) -> int:
        found = torch.get_num_threads()
        return self._before if self._depth and found == 1 else found


_THREADS = _OneThread()
_PRECISION = _ProcessWide(torch.get_default_dtype, torch.set_default_dtype, torch.float32)


def _attention_kernels() -> tuple[bool, ...]:
    return (
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),  # these three of CPUs too
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cuda.cudnn_sdp_enabled(),
    )


def _allow_attention_kernels(allowed: tuple[bool, ...]) -> None:
    fastpath, flash, memory_efficient, plain, cudnn = allowed
    torch.backends.mha.set_fastpath_enabled(fastpath)
    torch.backends.cuda.enable_flash_sdp(flash)
    torch.backends.cuda.enable_mem_efficient_sdp(memory_efficient)
    torch.backends.cuda.enable_math_sdp(plain)
    torch.backends.cuda.enable_cudnn_sdp(cudnn)


_ATTENTION = _ProcessWide(
    _attention_kernels, _allow_attention_kernels, (False, False, False, True, False)
)


def plain_attention() -> AbstractContextManager[None]:
    """Let torch's attention be matrix products.

    Its other kernels have no second derivative, and that for inference none at all, which torch
    takes inside ``vmap``, where no tensor seems to need a gradient.
    """
    return _ATTENTION.block()


def one_intra_op_thread() -> AbstractContextManager[None]:
    """Let torch use one thread inside an operation.

    Small tensors gain nothing from more, and on a loaded machine the threads wait for each
    other: 20 times slower was measured.
    """
    return _THREADS.block()


def usable_threads() -> int:
    """Return how many threads torch may use, also inside a block that holds it to one."""
    return _THREADS.outside()


@contextmanager
def usual_torch() -> Iterator[None]:
    """Work inside the block, or function, as torch does where nobody set anything.

    That is with float32 as the default, which other packages change for their own sake, out of
    ``torch.inference_mode``, in which learners that take gradient steps cannot adapt, and out of
    ``torch.autocast``, which would round what is read.
    """
    kinds = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    with ExitStack() as stack:
        stack.enter_context(_PRECISION.block())
        stack.enter_context(torch.inference_mode(False))
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def threads_for(n_numbers: int) -> AbstractContextManager[None]:
    """Return a block with one thread for small inputs, and as many as torch has for large ones."""
    return one_intra_op_thread() if n_numbers < SMALL_INPUT else nullcontext()


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Draw one integer seed from anything scikit-learn takes as ``random_state``."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    return int(random_state)


def as_float_tensor(
    array: np.ndarray, device: torch.device | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Copy a numeric array (read-only ones too, of any byte order) to `device`."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    return torch.from_numpy(np.array(array, dtype=kind, order="C")).to(device=device, dtype=dtype)


def state_to_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Detach, copy and move a state to the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}


def state_to(
    state: Mapping[str, Tensor], device: torch.device, least: torch.dtype
) -> dict[str, Tensor]:
    """Move every tensor of a state to `device`, in at least the precision `least`."""
    return {
        name: value.to(device, torch.promote_types(value.dtype, least))
        if value.is_floating_point()
        else value.to(device)
        for name, value in state.items()
    }


def select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def module_device(module: nn.Module) -> torch.device:
    """Return the device of the first parameter or buffer (CPU if there is none)."""
    for tensor in (*module.parameters(), *module.buffers()):
        return tensor.device
    return torch.device("cpu")


def mask_logits(logits: Tensor, class_mask: Tensor) -> Tensor:
    """Give absent classes a logit that no present class can reach.

    Parameters
    ----------
    logits : Tensor of shape (B, Q, C)
    class_mask : Tensor of bool, shape (B, C)
    """
    floor = MASKED_LOGIT if logits.dtype != torch.float16 else -6e4
    return logits.masked_fill(~class_mask.unsqueeze(1), floor)
