"""Parquet and JSON files that are whole or not there, and the locks of their writers."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from metaest.exceptions import DatasetError, missing_dependency

if TYPE_CHECKING:
    import pandas as pd

#: Seconds to wait for another process that fetches the same piece.
LOCK_TIMEOUT = 3600.0

_DAMAGED = "Delete it to have it fetched again."


def replace_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside `path`, then put it in place in one step.

    Whatever happens before that step, `path` stays as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".write-")
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1)
    replace_file(path, lambda stream: stream.write(text.encode()))


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    def write(stream: BinaryIO) -> None:
        frame.to_parquet(stream, engine="pyarrow", index=False)

    replace_file(path, write)


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {_DAMAGED}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is damaged or not ours. {_DAMAGED}")
    return content


def import_pandas() -> Any:
    try:
        import_module("pyarrow")  # pandas reads and writes parquet with it
        return import_module("pandas")
    except ImportError as error:
        raise missing_dependency(error.name or "pandas", "openml", "metaest.openml") from error


def read_frame(path: Path) -> pd.DataFrame:
    pd = import_pandas()
    try:
        # A stream, not a path: pyarrow would map the file, and Windows could not replace it then.
        with path.open("rb") as stream:
            return pd.read_parquet(stream, engine="pyarrow")
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        raise DatasetError(f"{path} cannot be read: {error}. {_DAMAGED}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a piece; the operating system lets it go when the process is killed."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise missing_dependency("filelock", "openml", "metaest.openml") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire(timeout=LOCK_TIMEOUT)
    except Timeout as error:
        raise DatasetError(
            f"another process has been fetching {path} for {LOCK_TIMEOUT:.0f} s. Wait for it or "
            "end it, then try again."
        ) from error
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def cannot_write(folder: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"cannot write to {folder} ({error}). Pass data_home=, or set METAEST_CACHE_DIR to a "
        "folder that you may write to."
    )
