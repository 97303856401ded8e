"""What the encoder computes of each data set before anything that is learnt."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaest._checks import check_numeric_targets, check_targets, find_kind
from metaest._table import Table
from metaest.exceptions import TaskError
from metaest.meta_features._canonical import Sample, draw_sample
from metaest.meta_features._encoder_probes import describe_curves, probe
from metaest.meta_features._encoder_views import View, draw_halves, make_view
from metaest.meta_features._landmarks import landmarks

MAX_ROWS = 2000
MAX_COLUMNS = 100


@dataclass(frozen=True)
class Description:
    """A data set as the network sees it, and how cheap learners do on it.

    Parameters
    ----------
    view : View
    landmarks : ndarray of shape (n_landmarks,)
    skills : ndarray of shape (n_probes,)
    """

    view: View
    landmarks: np.ndarray
    skills: np.ndarray


def read_samples(datasets: Iterable[Any], kind: str) -> list[Sample]:
    """Draw the canonical sample of each data set.

    Raises
    ------
    TaskError
        If there is no data set, or one cannot be used; the message names it.
    """
    samples = [_read_sample(entry, kind, number) for number, entry in enumerate(datasets)]
    if not samples:
        raise TaskError("datasets is empty; pass at least one pair (X, y).")
    return samples


def describe(sample: Sample, *, with_learners: bool) -> Description:
    """Describe a sample; the learners take most of the time, so only where they are needed."""
    view = make_view(sample)
    if not with_learners:
        return Description(view, np.empty(0), np.empty(0))
    return Description(view, np.array(list(landmarks(sample).values())), probe(sample))


def describe_halves(samples: Sequence[Sample], seed: int) -> list[list[Description]]:
    """Describe one half and the other half of each data set, to see what is noise."""
    rng = np.random.default_rng(seed)
    pairs = [draw_halves(sample, rng) for sample in samples]
    return [[describe(pair[k], with_learners=True) for pair in pairs] for k in (0, 1)]


def surface_blocks(
    descriptions: Sequence[Description], identities: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the inputs of the part that knows response surfaces, group by group.

    Parameters
    ----------
    descriptions : list of Description
        Of n data sets.
    identities : ndarray of shape (n, n_identity)
        What the network makes of them.

    Returns
    -------
    dict of str to ndarray of shape (n, n_features_of_group)
    """
    simple = [np.concatenate([d.view.statistics, d.landmarks]) for d in descriptions]
    curves = describe_curves(np.stack([d.skills for d in descriptions]))
    return {"simple": np.stack(simple), "network": identities} | curves


def _read_sample(entry: Any, kind: str, number: int) -> Sample:
    label = f"data set {number}"
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise TaskError(
            f"datasets must be a list of pairs (X, y), but entry {number} is "
            f"{type(entry).__name__}; for one data set pass [(X, y)]."
        )
    table = Table(entry[0], label)
    y = check_targets(entry[1], table.n_rows, label)
    with warnings.catch_warnings():  # of many classes, huge numbers
        warnings.simplefilter("ignore")
        found = find_kind(y, kind)
    if found == "regression":
        y = check_numeric_targets(y, label)
    return draw_sample(table, y, found, max_rows=MAX_ROWS, max_columns=MAX_COLUMNS)
