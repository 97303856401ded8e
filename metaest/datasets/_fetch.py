"""Where data sets lie on this machine, and how they get there."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import math
import os
import shutil
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

from metaest._checks import check_int, is_real
from metaest._files import data_folder, keep_file, scratch_folder, why_no_download
from metaest.exceptions import DatasetError, InvalidParameterError

_LOG = logging.getLogger("metaest.datasets")
_TIMEOUT = 60.0  # seconds without a byte

#: What a prepared ``.npz`` file holds: name -> array.
Arrays = dict[str, np.ndarray]

#: ``prepare(downloads)``: make the content of the prepared file.
Prepare = Callable[[Sequence[Path]], bytes]

T = TypeVar("T")


class Archive(NamedTuple):
    """A file on the web and its checksum."""

    url: str
    md5: str


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
        Makes its content from the downloads, see :func:`prepares_npz`.
    read : callable
        Reads it, such as :func:`read_npz`.
    source : path or None
        The prepared file or its folder; nowhere else is looked then.
    data_home, download_if_missing, n_retries, delay
        As in :func:`metaest.datasets.fetch_omniglot`.

    Raises
    ------
    InvalidParameterError
        If `n_retries` or `delay` is out of its range.
    DatasetError
        If the file is not here and may not or cannot be fetched, or is damaged.
    """
    check_int(n_retries, "n_retries", low=0)
    if not is_real(delay) or not 0 <= delay < math.inf:
        raise InvalidParameterError(f"delay must be seconds >= 0, got {delay!r}.")
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


def prepares_npz(convert: Callable[[Sequence[zipfile.ZipFile]], Arrays]) -> Prepare:
    """Return a `prepare` for the arrays that `convert` makes of the zip archives."""

    def prepare(downloads: Sequence[Path]) -> bytes:
        with ExitStack() as stack:
            arrays = convert([stack.enter_context(zipfile.ZipFile(path)) for path in downloads])
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **arrays)
        return stream.getvalue()

    return prepare


def read_npz(path: Path) -> Arrays:
    """Read all arrays of a file."""
    if not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("it is damaged or no .npz file")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _check_may_download(file: str, places: Sequence[Path], download_if_missing: bool) -> None:
    reason = why_no_download(download_if_missing)
    if not reason:
        return
    raise DatasetError(
        f"{file} is not on this machine and {reason}. Looked at: "
        f"{', '.join(map(str, places))}. Pass source= (the file or its folder), set "
        "METAEST_DATA to the folder that holds it, or allow the download once."
    )


def _fetch(
    target: Path, archives: Sequence[Archive], prepare: Prepare, *, n_retries: int, delay: float
) -> None:
    """Download, verify, convert and only then put in place, in one step.

    The downloads lie in a temporary folder beside the target, so an interrupted or failed run
    leaves nothing, and two processes that fetch at once cannot disturb each other.
    """
    with scratch_folder(target.parent) as folder:
        downloads = []
        for archive in archives:
            path = Path(folder, archive.url.rsplit("/", 1)[-1])
            _download(archive, path, n_retries=n_retries, delay=delay)
            downloads.append(path)
        keep_file(target, prepare(downloads))


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
