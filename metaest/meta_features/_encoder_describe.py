"""What the encoder computes of each data set before anything that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaest.meta_features._canonical import Sample
from metaest.meta_features._encoder_probes import describe_curves, probe
from metaest.meta_features._encoder_views import View, draw_halves, make_view
from metaest.meta_features._landmarks import landmarks


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
