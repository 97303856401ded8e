"""Past searches from whatever holds them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from metaest.exceptions import InvalidParameterError
from metaest.tuning._history import History
from metaest.tuning._record import SearchRecord
from metaest.tuning._storage import check_exists


def read_history(history: Any) -> list[SearchRecord]:
    """Return the searches of a history, or of what one can be opened from.

    Raises
    ------
    HistoryError
        If it cannot be read; a path that does not exist is a mistake, and no new file.
    InvalidParameterError
        If it is none.
    """
    if history is None:
        return []
    if isinstance(history, History):
        return history.tasks()
    if isinstance(history, Sequence) and not isinstance(history, str):
        if all(isinstance(record, SearchRecord) for record in history):
            return list(history)
        raise InvalidParameterError(
            "history must be a History, a path, a URL or a list of SearchRecord (History.tasks() "
            f"gives one); got a list with {', '.join(sorted({type(r).__name__ for r in history}))}."
        )
    if history == "embedded":
        raise InvalidParameterError(
            "history='embedded' says too little: MetaSampler does not know which model it tunes; "
            "give embedded_history(estimator), for example MetaSampler(embedded_history(SVC()))."
        )
    if isinstance(history, (str, os.PathLike)):
        check_exists(history)
    return History(history).tasks()
