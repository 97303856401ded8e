"""Where data sets lie on this machine, and how they get there."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np

from metaest.exceptions import DatasetError

_LOG = logging.getLogger("metaest.datasets")
_TIMEOUT = 60.0  # seconds without a byte

#: What a prepared ``.npz`` file holds: name -> array.
Arrays = dict[str, np.ndarray]

#: ``prepare(downloads, target)``: write the prepared file.
Prepare = Callable[[Sequence[Path], Path], None]

T = TypeVar("T")


class Archive(NamedTuple):
    """A file on the web and its checksum."""

    url: str
    md5: str


def data_folder(data_home: str | os.PathLike | None = None) -> Path:
    """Return the folder that fetched data sets are kept in.

    Parameters
    ----------
    data_home : path, default=None
        None: the environment variable ``METAEST_CACHE_DIR``, else ``~/metaest_data``.
    """
    folder = data_home or os.environ.get("METAEST_CACHE_DIR") or Path("~", "metaest_data")
    return Path(folder).expanduser()


def load_or_fetch(
    file: str,
    archives: Sequence[Archive],
    prepare: Prepare,
    read: Callable[[Path], T],
    *,
    source: str | os.PathLike | None,
    data_home: str | os.PathLike | None,
    download_if_missing: bool,
    n_retries: int,
    delay: float,
) -> T:
    """Read a prepared file from where it lies; fetch and prepare it where it lies nowhere.

    Parameters
    ----------
    file : str
        Name of the prepared file.
    archives : sequence of Archive
        What it is prepared from.
    prepare : callable
        Writes the prepared file from the downloads, see :func:`writes_npz`.
    read : callable
        Reads it, such as :func:`read_npz`.
    source : path or None
        The prepared file or its folder; nowhere else is looked then.
    data_home, download_if_missing, n_retries, delay
        As in :func:`metaest.datasets.fetch_omniglot`.
    """
    if source is not None:
        path = Path(source).expanduser()
        path = path / file if path.is_dir() else path
        if not path.is_file():
            raise DatasetError(f"source={str(source)!r} does not exist or holds no {file}.")
        return _read(path, read, "Pass the path of another copy.")
    places = [data_folder(data_home) / file]
    if os.environ.get("METAEST_DATA"):
        local = Path(os.environ["METAEST_DATA"]).expanduser() / file
        places.insert(len(places) if data_home else 0, local)
    for path in places:
        if path.is_file():
            return _read(path, read, "Delete it to have it fetched again.")
    target = data_folder(data_home) / file
    _check_may_download(file, places, download_if_missing)
    _fetch(target, archives, prepare, n_retries=n_retries, delay=delay)
    return _read(target, read, "Delete it to have it fetched again.")


def writes_npz(convert: Callable[[Sequence[zipfile.ZipFile]], Arrays]) -> Prepare:
    """Return a `prepare` that writes the arrays which `convert` makes of the zip archives."""

    def prepare(downloads: Sequence[Path], target: Path) -> None:
        with ExitStack() as stack:
            arrays = convert([stack.enter_context(zipfile.ZipFile(path)) for path in downloads])
        with target.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    return prepare


def read_npz(path: Path) -> Arrays:
    """Read all arrays of a file."""
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("it is damaged or no .npz file")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _check_may_download(file: str, places: Sequence[Path], download_if_missing: bool) -> None:
    offline = os.environ.get("METAEST_OFFLINE", "") not in ("", "0")
    if download_if_missing and not offline:
        return
    reason = "METAEST_OFFLINE is set" if offline else "download_if_missing=False"
    raise DatasetError(
        f"{file} is not on this machine and {reason}. Looked at: "
        f"{', '.join(map(str, places))}. Pass source= (the file or its folder), set "
        "METAEST_DATA to the folder that holds it, or allow the download once."
    )


def _fetch(
    target: Path, archives: Sequence[Archive], prepare: Prepare, *, n_retries: int, delay: float
) -> None:
    """Download, verify, convert and only then put in place, in one step.

    All of it happens in a temporary folder beside the target, so an interrupted or failed run
    leaves nothing, and two processes that fetch at once cannot disturb each other.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-")
    except OSError as error:
        raise DatasetError(
            f"cannot write to {target.parent} ({error}). Pass data_home=, or set METAEST_CACHE_DIR "
            "to a folder that you may write to."
        ) from error
    with scratch as folder:
        downloads = []
        for archive in archives:
            path = Path(folder, archive.url.rsplit("/", 1)[-1])
            _download(archive, path, n_retries=n_retries, delay=delay)
            downloads.append(path)
        prepared = Path(folder, f"prepared-{target.name}")
        prepare(downloads, prepared)
        with prepared.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(prepared, target)


def _download(archive: Archive, path: Path, *, n_retries: int, delay: float) -> None:
    """Download one file and check it; a connection that breaks is tried again."""
    _LOG.info("Downloading %s", archive.url)
    for attempt in range(n_retries + 1):
        try:
            with urlopen(archive.url, timeout=_TIMEOUT) as answer, path.open("wb") as stream:
                shutil.copyfileobj(answer, stream)
                expected = answer.headers.get("Content-Length")
            if expected is not None and path.stat().st_size != int(expected):
                raise HTTPException(f"got {path.stat().st_size} of {expected} bytes")
            break
        except (OSError, HTTPException) as error:
            gone = isinstance(error, HTTPError) and 400 <= error.code < 500
            if gone or attempt == n_retries:
                raise DatasetError(
                    f"could not download {archive.url}: {error}. Check the connection, or download "
                    "it elsewhere and pass source= (a prepared file) or set METAEST_DATA."
                ) from error
            _LOG.warning("%s: %s; trying again in %s s", archive.url, error, delay)
            time.sleep(delay)
    found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if found != archive.md5:
        raise DatasetError(
            f"{archive.url} has the md5 checksum {found}, expected {archive.md5}: the download was "
            "changed or damaged on its way, and nothing was kept. Try again; if it stays so, the "
            "file behind the address has changed: please report it."
        )


def _read(path: Path, read: Callable[[Path], T], remedy: str) -> T:
    try:
        return read(path)
    except (ValueError, EOFError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}. {remedy}") from error
