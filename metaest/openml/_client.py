"""The one place that imports openml: its client, confined to a scratch folder of ours.

openml-python keeps a cache of its own and, when a file is missing and the server does not answer,
deletes the folders of the task and its data set there. So it never sees a folder that lasts: each
piece is fetched into an empty scratch folder, and only what is complete is kept, by
:mod:`metaest.openml._store`.
"""

from __future__ import annotations

import os
import re
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaest._checks import check_int
from metaest._files import data_folder, scratch_folder, why_no_download
from metaest._optional import import_optional
from metaest.exceptions import DatasetError, InvalidParameterError, MetaestError
from metaest.openml._store import locked

#: openml.config is one for the process, so one thread at a time may change it.
_ONE_AT_A_TIME = threading.RLock()


def import_openml() -> Any:
    return import_optional("openml", "openml", "metaest.openml")


@dataclass(frozen=True)
class Access:
    """How a call may reach the server, and the folder that it keeps things in."""

    server: str
    folder: Path
    download_if_missing: bool
    n_retries: int
    timeout: float

    @classmethod
    def make(
        cls,
        data_home: str | os.PathLike | None,
        download_if_missing: bool,
        n_retries: Any,
        timeout: Any,
    ) -> Access:
        n_retries = check_int(n_retries, "n_retries", low=0)
        if not isinstance(timeout, int | float) or not timeout > 0:
            raise InvalidParameterError(f"timeout must be seconds > 0, got {timeout!r}.")
        with _ONE_AT_A_TIME:
            server = str(import_openml().config.server)
        # Ids mean something else on another server, so each has a folder: www.openml.org, ...
        name = server.split("://", 1)[-1].rstrip("/").removesuffix("/api/v1/xml")
        key = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._") or "server"
        folder = data_folder(data_home) / "openml" / "v1" / key
        return cls(server, folder, download_if_missing, n_retries, float(timeout))

    def obtain(
        self,
        path: Path,
        what: str,
        is_here: Callable[[], bool],
        download: Callable[[], None],
        *,
        refresh: bool = False,
    ) -> None:
        """Download a piece unless it is here; one process at a time, the others find it done."""
        if is_here() and not refresh:
            return
        self.check_may_download([what], refresh=refresh)
        with locked(path):
            if refresh or not is_here():
                download()

    def check_may_download(self, missing: list[str], *, refresh: bool = False) -> None:
        reason = why_no_download(self.download_if_missing)
        if not missing or not reason:
            return
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" * (len(missing) > 5))
        if refresh:
            raise DatasetError(
                f"{shown} cannot be fetched again: refresh=True, but {reason}. Drop one of them."
            )
        raise DatasetError(
            f"{shown} of {self.server}: not in {self.folder}, and {reason}. Make the same call "
            "once with a connection, or copy the folder from a machine that has it."
        )

    @contextmanager
    def client(self, what: str) -> Iterator[Any]:
        """Lend the openml package, set up for one fetch; all its errors become DatasetErrors."""
        openml = import_openml()
        with _ONE_AT_A_TIME, ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder(self.folder))
            stack.enter_context(self._configured(openml, scratch))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")  # of the client's own code, such as unclosed files
            try:
                yield openml
            except MetaestError:
                raise
            except Exception as error:  # the client passes on whatever its parsers raise
                raise self._explained(openml, what, error) from error

    @contextmanager
    def _configured(self, openml: Any, scratch: str) -> Iterator[None]:
        """Point the client to our server and scratch folder, and undo that whatever happens."""
        config, calls = openml.config, openml._api_calls
        before = config.get_config_as_dict()
        requests, skip_parquet = calls.requests, os.environ.get("OPENML_SKIP_PARQUET")
        try:
            config.server = self.server
            config.set_root_cache_directory(scratch)
            config.set_retry_policy("human", self.n_retries + 1)
            # The client waits forever for a silent server: it knows no timeout.
            calls.requests = _with_timeout(requests, self.timeout)
            # Of the parquet files it checks no md5, and they do not say which columns are nominal.
            os.environ["OPENML_SKIP_PARQUET"] = "true"
            yield
        finally:
            config.server = before["server"]
            config.set_root_cache_directory(before["cachedir"])
            config.retry_policy = before["retry_policy"]
            config.connection_n_retries = before["connection_n_retries"]
            calls.requests = requests
            if skip_parquet is None:
                os.environ.pop("OPENML_SKIP_PARQUET", None)
            else:
                os.environ["OPENML_SKIP_PARQUET"] = skip_parquet

    def _explained(self, openml: Any, what: str, error: Exception) -> DatasetError:
        web, known = openml._api_calls.requests.exceptions, openml.exceptions
        reason = (str(error).strip().splitlines() or [""])[0][:300]
        if isinstance(error, web.Timeout):
            reason = f"no answer within {self.timeout} s"
            remedy = "Try again later, or pass a larger timeout=."
        elif isinstance(error, web.RequestException):
            remedy = "Check the connection and try again."
        elif isinstance(error, known.OpenMLHashException):
            remedy = (
                "The file was changed or damaged on its way, and nothing was kept. Try again; if "
                "it stays so, the file on the server is wrong: please report it there."
            )
        elif isinstance(error, known.OpenMLServerException) and error.code is not None:
            remedy = "Check the id: the server has nothing under it, or does not show it to you."
        else:
            reason = f"{type(error).__name__}: {reason}"
            remedy = "The answer was damaged or not as expected; try again later."
        return DatasetError(f"could not fetch {what} from {self.server}: {reason}. {remedy}")


def _with_timeout(requests: Any, timeout: float) -> types.SimpleNamespace:
    """Return a stand-in for the module requests whose sessions wait `timeout` seconds at most."""

    class Session(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.setdefault("timeout", timeout)
            return super().request(*args, **kwargs)

    return types.SimpleNamespace(**{**vars(requests), "Session": Session})
