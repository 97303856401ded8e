"""History."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage

from metaest.exceptions import HistoryError
from metaest.tuning._entry import are_same, make_record
from metaest.tuning._frame import make_frame
from metaest.tuning._read import read_trials
from metaest.tuning._record import VERSION_KEY, SearchRecord, attributes, read_record
from metaest.tuning._storage import open_storage, translated_errors, without_password
from metaest.tuning._trials import check_space, make_trials, merge_spaces, split_by_task
from metaest.tuning._words import count
from metaest.tuning._write import duplicate, write_record

Direction = Literal["maximize", "minimize"]


class History:
    """Past hyperparameter searches, each an Optuna study in an Optuna storage.

    optuna-dashboard and plain Optuna read it. What they do not know is in user attributes of the
    study: ``metaest:task``, ``metaest:space``, ``metaest:metric``, ``metaest:estimator``,
    ``metaest:meta_features``, ``metaest:fingerprint``, ``metaest:version``. Studies without them
    are left alone.

    Each search keeps its own space, metric and direction; nothing is merged or converted here.

    Parameters
    ----------
    storage : path, URL, optuna.storages.BaseStorage or None, default=None
        A path ending in ".journal" or ".log" is an Optuna journal file, another path an SQLite
        file; a URL is any database of Optuna (``postgresql://...``); None is memory. Several
        processes may write at once, each with a History of its own.

    Attributes
    ----------
    storage : optuna.storages.BaseStorage
        For ``optuna.load_study(study_name=..., storage=history.storage)``.

    Raises
    ------
    HistoryError
        If the storage is locked, corrupt, of a newer version or cannot be reached.

    Examples
    --------
    >>> from optuna.distributions import FloatDistribution
    >>> from metaest.tuning import History
    >>> history = History()
    >>> space = {"C": FloatDistribution(1e-3, 1e3, log=True)}
    >>> history.add_trials("iris", [{"C": 0.1}, {"C": 10.0}], [0.91, 0.97], space=space)
    >>> print(history)
    History(1 search, 2 trials, in memory)
    >>> history.tasks()[0].complete_trials[1].params
    {'C': 10.0}
    """

    def __init__(self, storage: Any = None) -> None:
        self.storage: BaseStorage = open_storage(storage)
        if isinstance(storage, BaseStorage):
            self._name = type(storage).__name__
        elif storage is None:
            self._name = "in memory"
        else:
            self._name = without_password(str(storage))

    def add_study(
        self,
        study: optuna.Study,
        *,
        X: Any = None,
        y: Any = None,
        meta_features: Any = None,
        task: str | None = None,
        metric: str | None = None,
        estimator: Any = None,
    ) -> None:
        """Add an Optuna study: its complete, pruned and failed trials; an infinite value is failed.

        A study that is in this storage already is not copied, but marked as part of the history.

        Parameters
        ----------
        study : optuna.Study
            With one objective.
        X : array-like or DataFrame of shape (n_rows, n_columns), default=None
            The data set, for its fingerprint and, without `meta_features`, its meta-features.
        y : array-like of shape (n_rows,), default=None
        meta_features : mapping of str to float, default=None
        task : str, default=None
            Name in the history; by default the study's.
        metric : str, default=None
            What the values are; by default the study's metric name, if it has one.
        estimator : estimator, class or its name, default=None
            What was tuned; of a Pipeline, its last step. Searches of another, known one are not
            mixed with it.

        Raises
        ------
        HistoryError
            If there are several objectives or no value, a parameter changed its type, or the
            name is taken.
        InvalidParameterError
            If `task`, `meta_features` or `estimator` is wrong, or only one of X and y is given.
        TaskError
            If X and y cannot be used.
        """
        if len(study.directions) != 1:
            raise HistoryError(
                f"study {study.study_name!r} has {len(study.directions)} objectives; a history "
                "holds searches with one. Add one objective with add_trials."
            )
        trials = [t for t in study.get_trials() if t.state.is_finished()]
        names = study.metric_names
        record = make_record(
            study.study_name if task is None else task,
            trials,
            merge_spaces(trials, study.study_name),
            study.direction.name.lower(),
            metric if metric is not None or not names else names[0],
            X,
            y,
            meta_features,
            estimator,
        )
        if not self._mark_own(study, record):
            self._write([record])

    def add_trials(
        self,
        task: str,
        params: Any,
        values: Iterable[float],
        *,
        space: Mapping[str, BaseDistribution],
        direction: Direction = "maximize",
        meta_features: Any = None,
        X: Any = None,
        y: Any = None,
        metric: str | None = None,
        estimator: Any = None,
    ) -> None:
        """Add a search from its parameters and values, or nothing if there is an error.

        Parameters
        ----------
        task : str
            A name that is not in the history yet.
        params : list of dict, or DataFrame of shape (n_trials, n_params)
            Dicts hold the active parameters only. An empty cell of a DataFrame is the choice None
            where the space has that, and otherwise an inactive parameter.
        values : array-like of shape (n_trials,)
            A value that is missing or infinite marks a failed trial.
        space : dict of str to optuna distribution
            What was searched.
        direction : {"maximize", "minimize"}, default="maximize"
        meta_features, X, y, metric, estimator
            As for :meth:`add_study`.

        Raises
        ------
        HistoryError
            If a trial is not of the space, lengths differ, no value is finite or the name is taken.
        InvalidParameterError
            If another parameter is wrong, or only one of X and y is given.
        TaskError
            If X and y cannot be used.
        """
        space = check_space(space)
        trials = make_trials(params, values, space, task)
        known = (metric, X, y, meta_features, estimator)
        self._write([make_record(task, trials, space, direction, *known)])

    def add_openml(
        self,
        rows: Any,
        *,
        space: Mapping[str, BaseDistribution],
        direction: Direction = "maximize",
        metric: str | None = None,
        estimator: Any = None,
    ) -> None:
        """Add evaluations of many tasks; the names become "openml/TASK_ID".

        Parameters
        ----------
        rows : DataFrame
            With the columns "task_id", "value" and one for each parameter of `space`; others are
            left out. Empty cells are read as by :meth:`add_trials`.
        space, direction, metric, estimator
            As for :meth:`add_trials`.

        Raises
        ------
        HistoryError, InvalidParameterError
            If a column is not there, or as for :meth:`add_trials`. Nothing is added then.
        """
        space = check_space(space)
        absent = [n for n in ("task_id", "value", *space) if n not in getattr(rows, "columns", ())]
        if absent:
            raise HistoryError(
                "rows must be a DataFrame with the columns 'task_id', 'value' and one for each "
                f"parameter of the space; not there: {', '.join(map(repr, absent))}."
            )
        records = []
        for name, group in split_by_task(rows):
            trials = make_trials(group[list(space)], group["value"], space, name)
            records.append(make_record(name, trials, space, direction, metric, estimator=estimator))
        self._write(records)

    def tasks(self) -> list[SearchRecord]:
        """Return the searches, in the order they were added.

        Raises
        ------
        HistoryError
            If one was written by a newer metaest, is damaged, or the storage cannot be read.
        """
        with translated_errors(self._name):
            studies = self._studies()
            trials = read_trials(self.storage, [study._study_id for study in studies])
            return [
                read_record(
                    study.study_name,
                    study.direction.name.lower(),
                    study.user_attrs,
                    trials[study._study_id],
                )
                for study in studies
            ]

    def to_frame(self) -> Any:
        """Return a DataFrame with a row for each trial.

        Columns: task, number, state, value, direction, metric, estimator, and ``params_NAME`` for
        each parameter, missing where it was not active or is None.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        return make_frame(self.tasks())

    def __len__(self) -> int:
        with translated_errors(self._name):
            return len(self._studies())

    def __repr__(self) -> str:
        return f"History({self._name})"  # reads nothing: it is part of what an estimator prints

    def __str__(self) -> str:
        tasks = self.tasks()
        searches = count(len(tasks), "search", "searches")
        trials = count(sum(len(record.trials) for record in tasks), "trial")
        return f"History({searches}, {trials}, {self._name})"

    def _studies(self) -> list[Any]:
        return [s for s in self.storage.get_all_studies() if VERSION_KEY in s.user_attrs]

    def _write(self, records: list[SearchRecord]) -> None:
        with translated_errors(self._name):
            taken = {study.study_name for study in self.storage.get_all_studies()}
            for record in records:
                if record.task in taken:
                    raise duplicate(record.task)
            for record in records:
                write_record(self.storage, record)

    def _mark_own(self, study: optuna.Study, record: SearchRecord) -> bool:
        """Mark a study that is in this storage; return False if it is not."""
        with translated_errors(self._name):
            for own in self.storage.get_all_studies():
                if own.study_name != study.study_name:
                    continue
                found = self.storage.get_all_trials(own._study_id, deepcopy=False)
                if not are_same(study.get_trials(deepcopy=False), found):
                    return False
                if record.task != study.study_name or VERSION_KEY in own.user_attrs:
                    raise duplicate(study.study_name)
                for key, value in attributes(record).items():
                    self.storage.set_study_user_attr(own._study_id, key, value)
                return True
        return False
