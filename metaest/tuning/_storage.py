"""Opening Optuna storages, and what their errors mean."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.engine
import sqlalchemy.exc
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileSymlinkLock,
)

from metaest.exceptions import HistoryError, did_you_mean

#: Seconds that a writer waits for others; a bulk write of theirs takes less than one.
SQLITE_TIMEOUT = 60
_OPEN_ATTEMPTS = 8


class BatchBackend(BaseJournalBackend):
    """A journal that can write many operations at once: one lock, one synchronisation to disk."""

    def __init__(self, backend: BaseJournalBackend) -> None:
        self._backend = backend
        self._pending: list[dict[str, Any]] | None = None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        # What is pending is read back, like all the rest, after it was written.
        yield from self._backend.read_logs(log_number_from) if self._pending is None else ()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._pending is None:
            self._backend.append_logs(logs)
        else:
            self._pending += json.loads(json.dumps(logs))  # as they are now

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Hold back what is appended and write it at the end; nothing if there was an error."""
        self._pending = []
        try:
            yield
            pending = self._pending
        finally:
            self._pending = None
        if pending:
            self._backend.append_logs(pending)


class WholeLinesLock(JournalFileSymlinkLock):
    """Refuses to write behind half a line, which would spoil what is written and the file."""

    def acquire(self) -> bool:
        is_acquired = super().acquire()
        try:
            self._check()
        except BaseException:
            self.release()
            raise
        return is_acquired

    def _check(self) -> None:
        path = Path(self._lock_target_file)
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if size and file.read(1) != b"\n":
                raise HistoryError(
                    f"the last line of the history {str(path)!r} is cut off: a process ended while "
                    "it wrote there. Remove the text after the last line break, and then add what "
                    "was being written again."
                )


def open_storage(storage: Any) -> BaseStorage:
    """Open a path, a URL, an Optuna storage, or a new one in memory for None."""
    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, BaseStorage):
        return storage
    if not isinstance(storage, (str, os.PathLike)):
        raise HistoryError(
            "storage must be a path, a URL, an Optuna storage or None, got "
            f"{type(storage).__name__}."
        )
    text = os.fspath(storage)
    with translated_errors(without_password(text)):
        if "://" in text:
            return _open_database(text)
        path = Path(text).expanduser().absolute()  # whatever os.chdir does later
        if not path.parent.is_dir():
            raise HistoryError(f"the folder of the history {text!r} does not exist; create it.")
        if path.suffix in (".journal", ".log"):
            lock = WholeLinesLock(str(path))
            return JournalStorage(BatchBackend(JournalFileBackend(str(path), lock)))
        if any(sign in text for sign in "?#"):
            raise HistoryError(f"the path {text!r} of a history may not have ? or # in it.")
        return _open_database(f"sqlite:///{path}")


def _open_database(url: str) -> RDBStorage:
    """Open a database; where several processes create its tables at once, all but one try again."""
    options: dict[str, Any] = {}
    if url.startswith("sqlite") and "timeout=" not in url:
        options = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
    escaped = url.replace("{", "{{").replace("}", "}}")  # Optuna fills in a template
    for attempt in range(_OPEN_ATTEMPTS):
        try:
            return RDBStorage(escaped, engine_kwargs=options)
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            message = str(error) + str(error.__cause__)
            is_race = any(
                sign in message
                for sign in ("already exists", "UNIQUE", "duplicate key", "no such table")
            )
            if not is_race or attempt == _OPEN_ATTEMPTS - 1:
                raise
            time.sleep(random.random() * 0.2 * (attempt + 1))
    raise AssertionError("the loop returns or raises")


def check_exists(storage: str | os.PathLike[str]) -> None:
    """Raise HistoryError if a file that is to be read is not there: Optuna would make one."""
    text = file = os.fspath(storage)
    if "://" in text:
        try:
            url = sqlalchemy.engine.make_url(text)
        except sqlalchemy.exc.ArgumentError:
            return  # opening it says what is wrong
        file = url.database or ":memory:"
        if url.get_backend_name() != "sqlite" or file.startswith((":memory:", "file:")):
            return
    if not Path(file).expanduser().is_file():
        hint = did_you_mean(text, ["embedded"])
        raise HistoryError(f"there is no history {text!r}: no such file.{hint}")


def without_password(name: str) -> str:
    """Return a path or URL as it may be shown."""
    if "://" not in name or "@" not in name:
        return name
    scheme, rest = name.split("://", 1)
    return f"{scheme}://***@{rest.rsplit('@', 1)[1]}"


@contextlib.contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turn the errors of databases, journals and Optuna into one clear HistoryError."""
    try:
        yield
    except HistoryError:
        raise
    except (
        sqlalchemy.exc.SQLAlchemyError,
        optuna.exceptions.OptunaError,
        ImportError,
        RuntimeError,
        OSError,
        ValueError,
        LookupError,
        AssertionError,  # of Optuna's journal: an operation that it does not know
    ) as error:
        raise HistoryError(f"the history {name!r} {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    message = f"{error} {error.__cause__ or ''}"
    short = str(error.__cause__ or error).splitlines()[0] if message.strip() else repr(error)
    if "is locked" in message:
        return (
            "is locked by another process that does not let go of it; end that one, or give more "
            f"time with a URL such as sqlite:///history.db?timeout=300. ({short})"
        )
    if "no longer compatible" in message or "alembic" in message.lower():
        return f"has tables of another version of Optuna: {short}"
    if isinstance(error, ImportError):
        return f"needs a database driver that is not installed, such as psycopg2: {short}"
    if isinstance(error, (PermissionError, IsADirectoryError)) or "readonly" in message:
        return f"cannot be opened or written: {short}"
    if isinstance(error, sqlalchemy.exc.OperationalError):
        return f"cannot be reached or opened: {short}"
    return (
        f"is corrupt, or no Optuna storage ({short}). Restore a copy, or begin with another file."
    )


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Leave out Optuna's line for each study that is made."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(before, optuna.logging.WARNING))
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def batch_of(storage: BaseStorage) -> Callable[[], contextlib.AbstractContextManager[None]] | None:
    """Return the batch of a storage that :func:`open_storage` made over a journal."""
    backend = getattr(storage, "_backend", None)
    return backend.batch if isinstance(backend, BatchBackend) else None
