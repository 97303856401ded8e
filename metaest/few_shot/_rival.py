"""Whether meta-training pays: its outcome against the pretrained network, on held-out tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metaest._torch import resolve_device
from metaest.few_shot._start import is_auto, pretrained_state
from metaest.learners import InContextTransformer
from metaest.tasks import TaskSet
from metaest.training import MetaState
from metaest.training._held_out import draw_held_out, score_held_out

#: The pretrained network's time grows with the square of the columns.
_MOST_COLUMNS = 100

#: And with that of the labelled rows.
_MOST_ROWS = 1000


def better_of(
    trained: MetaState,
    estimator: Any,
    held_out: TaskSet | None,
    shape: Mapping[str, Any],
    seed: int,
) -> MetaState:
    """Return what was meta-trained, or the pretrained network if it does better without.

    They are compared where the user left the choice to us (learner="auto") and both can be had:
    on new episodes of the held-out tasks, in tables of at most 100 columns and with at most 1,000
    support rows. The last row of the history has both scores ("held_out" and
    "held_out_pretrained").

    Parameters
    ----------
    trained : MetaState
    estimator : BaseMetaFewShot
    held_out : TaskSet or None
    shape : mapping
        n_ways, n_shots and n_queries of the episodes.
    seed : int
    """
    spec = trained.spec
    is_open = is_auto(estimator) and estimator.backbone == "auto" and not spec.description_size
    if held_out is None or not is_open or trained.learner.any_columns:
        return trained
    rival = pretrained_state(InContextTransformer(), spec.input_shape, estimator._kind)
    if rival is None or spec.input_shape[0] > _MOST_COLUMNS:
        return trained
    batches = draw_held_out(held_out, dict(shape), 0, seed + 2)
    if max(batch.support_x.shape[1] for batch in batches) > _MOST_ROWS:
        return trained
    device = resolve_device(estimator.device)
    scores = [score_held_out(state, batches, device) for state in (trained, rival)]
    facts = dict(zip(("held_out", "held_out_pretrained"), scores, strict=True))
    history = [*trained.history[:-1], {**(trained.history[-1:] or [{}])[0], **facts}]
    if scores[1] > scores[0]:
        return replace(rival, feature_names=trained.feature_names, history=history)
    return replace(trained, history=history)
