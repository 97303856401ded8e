"""What the benchmarks share: one thread, CPU time, the machine's name, Markdown rows."""

from __future__ import annotations

import ctypes
import datetime
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import metaest

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def prepare(n_threads: int = 1) -> None:
    """Set the threads, and keep glibc from returning activations to the system at every step.

    The second takes a quarter off the CPU time of convolutions (page faults).
    """
    torch.set_num_threads(n_threads)
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_TOP_PAD, 256 * 2**20)


class CpuTimer:
    """CPU minutes of this process since it was made."""

    def __init__(self) -> None:
        self.start = time.process_time()

    @property
    def minutes(self) -> float:
        return (time.process_time() - self.start) / 60


@contextmanager
def cpu_time() -> Iterator[CpuTimer]:
    """Measure CPU time: ``with cpu_time() as timer: ...; timer.minutes``."""
    yield CpuTimer()


def describe_machine() -> str:
    """Return one line for RESULTS.md."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    return (
        f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, metaest {metaest.__version__}, {datetime.date.today()}"
    )


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown_row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def append_json(path: Path, row: dict) -> None:
    """Add a finished measurement, so that a run that is cut off loses none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() and file.seek(-1, os.SEEK_END) and file.read() != b"\n":
            file.write(b"\n")  # a killed run left half a line
        file.write(json.dumps(row).encode() + b"\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; the last one may be half, where a run was killed."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
