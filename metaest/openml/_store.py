"""Parquet and JSON files that are whole or not there, and the locks of their writers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaest._files import cannot_write, keep_file
from metaest._optional import import_optional
from metaest.exceptions import DatasetError

if TYPE_CHECKING:
    import pandas as pd

#: Seconds to wait for another process that fetches the same piece.
LOCK_TIMEOUT = 3600.0

_AGAIN = "Delete it to have it fetched again."


def damaged(path: Path) -> DatasetError:
    """Make the error for a file whose content is not as it was written."""
    return DatasetError(f"{path} is damaged or was not written by metaest. {_AGAIN}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the file whose content, readable as it is, cannot be what was written."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path) from error


def write_json(path: Path, content: dict[str, Any]) -> None:
    keep_file(path, json.dumps(content, indent=1).encode())


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    stream = io.BytesIO()
    frame.to_parquet(stream, engine="pyarrow", index=False)
    keep_file(path, stream.getvalue())


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {_AGAIN}") from error
    if not isinstance(content, dict):
        raise damaged(path)
    return content


def import_pandas() -> Any:
    import_optional(
        "pyarrow", "openml", "metaest.openml"
    )  # pandas reads and writes parquet with it
    return import_optional("pandas", "openml", "metaest.openml")


def read_frame(path: Path) -> pd.DataFrame:
    pd = import_pandas()
    try:
        # A stream, not a path: pyarrow would map the file, and Windows could not replace it then.
        with path.open("rb") as stream:
            return pd.read_parquet(stream, engine="pyarrow")
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        raise DatasetError(f"{path} cannot be read: {error}. {_AGAIN}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a piece; the operating system lets it go when the process is killed."""
    filelock = import_optional("filelock", "openml", "metaest.openml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
        lock.acquire(timeout=LOCK_TIMEOUT)
    except filelock.Timeout as error:
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
