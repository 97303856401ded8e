"""What configurations of one model are worth on the data sets of its past searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaest.tuning._configurations import SAME, Configurations, Rows, Space
from metaest.tuning._portfolio import Candidates, evaluate_candidates
from metaest.tuning._sources import Sources, SourceTask


@dataclass(frozen=True)
class Searches:
    """Past searches of one model.

    Attributes
    ----------
    model : str or None
    sources : Sources
    fingerprints : mapping of str to str or None
        By search.
    estimators : mapping of str to str or None
        The model that each search was of.
    """

    model: str | None
    sources: Sources
    fingerprints: Mapping[str, str | None]
    estimators: Mapping[str, str | None]


@dataclass(frozen=True)
class Origin:
    """Where a configuration is from.

    Attributes
    ----------
    task : str
        The search.
    place : int
        Among its trials, from 0, the best.
    n_trials : int
        Of the search.
    is_moved : bool
        Whether it lay outside of the new space, and the configuration is the nearest inside.
    lost : tuple of str
        Parameters that it had and the new space has not.
    """

    task: str
    place: int
    n_trials: int
    is_moved: bool
    lost: tuple[str, ...]


@dataclass(frozen=True)
class RatedCandidates:
    """Configurations of one model, and their scores on T data sets.

    Attributes
    ----------
    model : str or None
    estimators : mapping of str to str or None
        See Searches.
    configurations : Configurations
    rows : Rows
        M configurations.
    origins : list of Origin
    scores, raw : ndarray of shape (T, M)
        From 0 to 1, and in the metric's units; higher is better. Estimates, but for what was
        measured.
    is_measured : ndarray of bool, shape (T, M)
        What was tried in a search on the new data set itself.
    low, high : ndarray of shape (T,)
        The worst and the best trial, in the metric's units.
    """

    model: str | None
    estimators: Mapping[str, str | None]
    configurations: Configurations
    rows: Rows
    origins: list[Origin]
    scores: np.ndarray
    raw: np.ndarray
    is_measured: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def params(self, number: int) -> dict[str, Any]:
        """Return the active parameters of a configuration."""
        params = self.configurations.write(self.rows, number)
        active = self.rows.active[number]
        return {name: params[name] for name, on in zip(params, active, strict=True) if on}


def rate_candidates(
    searches: Searches, chosen: list[int], is_same: np.ndarray, space: Space | None
) -> RatedCandidates:
    """Say what the best configurations of past searches are worth on the chosen data sets.

    Parameters
    ----------
    searches : Searches
    chosen : list of int
        Searches, one on each of T data sets.
    is_same : ndarray of bool, shape (T,)
        Which of these are the new data set.
    space : mapping of str to optuna distribution, or None
        Configurations are brought into it, and rated as what they are then.
    """
    own = searches.sources.configurations
    absent = [name for name in own.names if space is not None and name not in space]
    new = None if space is None else own.narrowed(space, absent)
    every = [searches.sources.tasks[i] for i in chosen]
    tasks = [_without(task, np.isin(own.names, absent)) for task in every]
    found = evaluate_candidates(Sources(own, tasks), new, is_quick=True)
    rows = found.rows if new is None else new.bring_inside(found.rows)
    _, first = np.unique(own.encode(rows).round(9), axis=0, return_index=True)
    kept = np.sort(first)  # each configuration once
    rows = rows.take(kept)
    low = np.array([task.raw.min() for task in tasks])
    high = np.array([task.raw.max() for task in tasks])
    span = (high - low)[:, None]
    scores = found.scores[:, kept]
    raw = low[:, None] + scores * span
    tried = np.full(raw.shape, np.nan)
    for number in np.flatnonzero(is_same):
        tried[number] = _scores_of(every[number], rows)
    is_measured = np.isfinite(tried)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(is_measured & (span > 0), (tried - low[:, None]) / span, scores)
    return RatedCandidates(
        model=searches.model,
        estimators=searches.estimators,
        configurations=new or own,
        rows=rows,
        origins=[_origin(found, every, i, rows.active[n], own.names) for n, i in enumerate(kept)],
        scores=scores,
        raw=np.where(is_measured, tried, raw),
        is_measured=is_measured,
        low=low,
        high=high,
    )


def _without(task: SourceTask, is_absent: np.ndarray) -> SourceTask:
    """Return a search as if it had not had some parameters; its scores then vary by chance."""
    active = task.rows.active & ~is_absent
    return dataclasses.replace(task, rows=Rows(task.rows.values, active))


def _scores_of(task: SourceTask, rows: Rows) -> np.ndarray:
    """Return the mean score of each configuration in a search, NaN where it was not tried."""
    distances = np.abs(rows.values[:, None] - task.rows.values) * task.rows.active
    is_alike = (rows.active[:, None] == task.rows.active).all(2) & (distances.max(2) <= SAME)
    n_trials = is_alike.sum(1)
    return np.where(n_trials > 0, is_alike @ task.raw / np.maximum(n_trials, 1), np.nan)


def _origin(
    found: Candidates, tasks: list[SourceTask], number: int, active: np.ndarray, names: list[str]
) -> Origin:
    task = tasks[found.origins[number]]
    place = int(found.places[number])
    trial = np.argsort(-task.scores, kind="stable")[place]
    lost = np.array(names)[task.rows.active[trial] & ~active]
    is_moved = bool(found.moved[number])
    return Origin(task.name, place, len(task.raw), is_moved, tuple(lost.tolist()))
