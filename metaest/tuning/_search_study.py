"""Opening the study of a search: a new one, or one to go on with."""

from __future__ import annotations

import contextlib
import copy
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from metaest.exceptions import HistoryError
from metaest.tuning._record import ABANDONED_KEY
from metaest.tuning._search_folds import is_counted
from metaest.tuning._search_identity import IDENTITY_KEY, check_same_search
from metaest.tuning._storage import open_storage, quiet_optuna, translated_errors, without_password


@contextlib.contextmanager
def no_experimental_warnings() -> Iterator[None]:
    """Leave out Optuna's warnings about its own new features; nobody here chose them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


Identify = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def open_study(
    storage: Any, study_name: str | None, pruner: Any, identify: Identify | None
) -> optuna.Study:
    """Open a study and fail over the trials that a killed process left running.

    Parameters
    ----------
    storage : path, URL, optuna.storages.BaseStorage or None
    study_name : str or None
        None: a new study.
    pruner : optuna.pruners.BasePruner or None
    identify : callable or None
        Returns what is searched, from what the study says of that, if it says anything. None for
        a study that nobody can resume.

    Raises
    ------
    HistoryError
        If the storage cannot be used, or the study is of another search.
    """
    name = study_name or f"search-{uuid.uuid4().hex[:12]}"
    label = "in memory" if storage is None else without_password(str(storage))
    opened = open_storage(storage)
    with quiet_optuna(), no_experimental_warnings(), translated_errors(label):
        study = optuna.create_study(
            storage=opened,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            sampler=RandomSampler(),
            pruner=optuna.pruners.NopPruner() if pruner is None else copy.deepcopy(pruner),
        )
        _check(study, identify)
        abandon_running(study)
    return study


def _check(study: optuna.Study, identify: Identify | None) -> None:
    if study.directions != [StudyDirection.MAXIMIZE]:
        raise HistoryError(
            f"study {study.study_name!r} is there already and does not maximise one value, as "
            "scikit-learn's scores are; give another study_name."
        )
    if identify is None:
        return
    known = study.user_attrs.get(IDENTITY_KEY)
    identity = identify(known if isinstance(known, dict) else {})
    finished = study.get_trials(deepcopy=False)
    if known is not None or any(trial.state != TrialState.WAITING for trial in finished):
        check_same_search(known, identity, study.study_name)
    complete = {**identity, **(known or {})}  # an older version stored less
    if known != complete:
        study.set_user_attr(IDENTITY_KEY, complete)


def abandon_running(study: optuna.Study) -> None:
    """Mark the trials that nobody will finish as failed, so that they count for nothing."""
    storage = study._storage
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        storage.set_trial_user_attr(trial._trial_id, ABANDONED_KEY, True)
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def copy_in_memory(study: optuna.Study) -> optuna.Study:
    """Return a study that needs no database: the same one if it is in memory already."""
    if isinstance(study._storage, InMemoryStorage):
        return study
    memory = InMemoryStorage()
    with quiet_optuna():
        optuna.copy_study(
            from_study_name=study.study_name, from_storage=study._storage, to_storage=memory
        )
    return optuna.load_study(
        study_name=study.study_name, storage=memory, sampler=study.sampler, pruner=study.pruner
    )


def count_finished(study: optuna.Study) -> int:
    """Count the trials that n_trials counts."""
    return sum(is_counted(trial) for trial in study.get_trials(deepcopy=False))


def make_seed(random_state: np.random.RandomState, n_finished: int) -> int:
    """Return a sampler's seed: after a resumption another one, or it would draw the same again."""
    first = int(random_state.randint(2**31 - 1))
    if n_finished == 0:
        return first
    return int(np.random.SeedSequence([first, n_finished]).generate_state(1)[0])
