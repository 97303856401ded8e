"""Files: where what was fetched is kept, whether more may be fetched, and how one is replaced."""

from __future__ import annotations

import os
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from metaest.exceptions import DatasetError


def data_folder(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that fetched data sets are kept in.

    Parameters
    ----------
    data_home : path, default=None
        None: the environment variable ``METAEST_CACHE_DIR``, else ``~/metaest_data``.
    """
    folder = data_home or os.environ.get("METAEST_CACHE_DIR") or Path("~", "metaest_data")
    return Path(folder).expanduser().absolute()  # whatever os.chdir does later


def why_no_download(download_if_missing: bool) -> str:
    """Return what forbids downloads, or ""."""
    if os.environ.get("METAEST_OFFLINE", "") not in ("", "0"):
        return "METAEST_OFFLINE is set"
    return "" if download_if_missing else "download_if_missing=False"


def scratch_folder(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a new folder for downloads inside `folder`, to be used in ``with``.

    Raises
    ------
    DatasetError
        If it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-", ignore_cleanup_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def keep_file(path: Path, data: bytes) -> None:
    """Write a file of the data folder as a whole or not at all; make its folder.

    Raises
    ------
    DatasetError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    except OSError as error:
        raise cannot_write(path.parent, error) from error


def cannot_write(folder: Path, error: OSError) -> DatasetError:
    """Make the error for a folder of fetched data that refuses a file."""
    return DatasetError(
        f"cannot write to {folder} ({error}). Pass data_home=, or set METAEST_CACHE_DIR to a "
        "folder that you may write to."
    )


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file as a whole or not at all: beside `path` first, then in its place.

    Whatever happens before that step, `path` stays as it was and nothing lies beside it.

    Raises
    ------
    OSError
        If it cannot be written; of the system's kind, and about `path`.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):  # it is not there, as a rule
            part.unlink()
