"""A history as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from metaest.exceptions import missing_dependency
from metaest.tuning._record import SearchRecord


def make_frame(records: Iterable[SearchRecord]) -> Any:
    """Return a DataFrame with a row for each trial.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise missing_dependency("pandas", "frame", "History.to_frame") from error
    return pd.DataFrame(
        [
            {
                "task": record.task,
                "number": trial.number,
                "state": trial.state.name,
                "value": trial.value,
                "direction": record.direction,
                "metric": record.metric,
                "estimator": record.estimator,
                **{f"params_{name}": value for name, value in trial.params.items()},
            }
            for record in records
            for trial in record.trials
        ]
    )
