"""Errors and warnings of metaest.

Every error is a :class:`MetaestError` and also the builtin a caller would expect, so that
``except ValueError`` keeps working. A message names the parameter, what was expected, what came
and the remedy.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    "ArchitectureMismatchError",
    "CheckpointError",
    "DatasetError",
    "DeviceError",
    "EpisodeError",
    "FileFormatError",
    "HistoryError",
    "InvalidParameterError",
    "MetaTrainingWarning",
    "MetaestError",
    "MissingDependencyError",
    "NewerVersionError",
    "SearchWarning",
    "TaskError",
    "UnsupportedTaskError",
]


class MetaestError(Exception):
    """Base of all errors raised by metaest."""


class InvalidParameterError(MetaestError, ValueError):
    """A parameter has a value that is not allowed."""


class TaskError(MetaestError, ValueError):
    """The data of a task cannot be used (empty, one class, not finite, shapes differ)."""


class EpisodeError(MetaestError, ValueError):
    """The asked episodes cannot be drawn from the tasks at hand."""


class UnsupportedTaskError(MetaestError, ValueError):
    """The learner's method cannot do what the task asks of it."""


class ArchitectureMismatchError(MetaestError, ValueError):
    """Parameters or data disagree with the meta-trained network."""


class DeviceError(MetaestError, RuntimeError):
    """The asked device is not available."""


class FileFormatError(MetaestError, ValueError):
    """A saved file is corrupt, truncated or was not written by metaest."""


class NewerVersionError(FileFormatError):
    """A saved file was written by a newer version of metaest."""


class CheckpointError(MetaestError, ValueError):
    """A checkpoint cannot be read or written, or belongs to another meta-training run."""


class HistoryError(MetaestError, ValueError):
    """A past search, or the storage that holds searches, cannot be used."""


class DatasetError(MetaestError, OSError):
    """A data set could not be found, fetched or verified."""


class MissingDependencyError(MetaestError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class MetaTrainingWarning(UserWarning):
    """Meta-training ended early; the message says what was kept."""


class SearchWarning(UserWarning):
    """A search ended early or could not be recorded; the message says what was kept."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for a near miss, or an empty string."""
    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def missing_dependency(package: str, extra: str, purpose: str) -> MissingDependencyError:
    """Make the error for an optional `package` that `purpose` needs."""
    return MissingDependencyError(
        f"{purpose} needs the package {package!r}, which is not installed. "
        f"Install it with: pip install 'metaest[{extra}]'"
    )
