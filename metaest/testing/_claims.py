"""A check that a learner can do what its class attributes say."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaest._checks import Kind
from metaest.episodes import EpisodeBatch
from metaest.learners import Gaussian, Learner, LearnerNet
from metaest.testing._episodes import ROWS, collate, make_episode
from metaest.testing._runs import build, predict


def check_claims_hold(learner: Learner, kind: Kind) -> None:
    """Use what `predicts_variance`, `any_columns` and `describes` claim.

    A learner that gives a variance must also say so; the others may be able to do more than
    they say.
    """
    _check_variance(learner, kind)
    if learner.any_columns:
        _check_columns(learner, kind)
    if learner.describes and kind == "classification":
        _check_descriptions(learner)


def _check_variance(learner: Learner, kind: Kind) -> None:
    module, batch = build(learner, kind), collate([make_episode(kind)])
    with torch.no_grad():
        found = learner.predict(module, learner.adapt(module, batch.support), batch.query_x)
    if kind == "classification":
        assert not isinstance(found, Gaussian), (
            "predict returned a Gaussian for a classification. Return logits (B, Q, C)"
        )
        return
    assert isinstance(found, Gaussian), (
        "predict returned a tensor for a regression. Return Gaussian(mean) or "
        "Gaussian(mean, variance), of shape (B, Q)"
    )
    claimed, given = learner.predicts_variance, found.variance is not None
    assert claimed == given, (
        f"predicts_variance is {claimed}, but predict returned a Gaussian "
        f"{'with' if given else 'without'} a variance. Set predicts_variance = {given}"
    )


def _check_columns(learner: Learner, kind: Kind) -> None:
    module = build(learner, kind)
    for n_columns in (ROWS[0] - 1, ROWS[0] + 2):  # one column would broadcast
        batch = collate([make_episode(kind, input_shape=(n_columns,))])
        _can_predict(
            learner,
            module,
            batch,
            f"any_columns is True, but a network built for {ROWS[0]} columns cannot read "
            f"{n_columns}. Set any_columns = False, or override build so that no weight's shape "
            "depends on the number of columns",
        )


def _check_descriptions(learner: Learner) -> None:
    """Describe classes by vectors as long as a row, which needs no map from one to the other."""
    module = build(learner, description_size=ROWS[0])
    episode = make_episode()
    plain = collate([episode])
    class_x = torch.stack([episode.query_x[episode.query_y == c].mean(0) for c in range(3)])
    described = replace(plain, class_x=class_x.unsqueeze(0))  # (1, C, 3)
    others = replace(described, class_x=class_x.flip(0).unsqueeze(0))
    advice = "Use support.class_x (B, C, e) in adapt, or set describes = False"

    claim = f"describes is True, but adapt fails with class descriptions. {advice}"
    found = _can_predict(learner, module, described, claim)
    assert not torch.allclose(found, predict(learner, module, others)), (
        f"describes is True, but other descriptions give the same predictions. {advice}"
    )
    for shots, rows in [((0, 1, 3), "a class without rows"), ((0, 0, 0), "no rows at all")]:
        # Rows are masked, not cut, for a batch has one row or more.
        kept = torch.cat([torch.arange(n) < k for n, k in zip((2, 1, 3), shots, strict=True)])
        fewer = replace(described, support_mask=kept.unsqueeze(0))
        claim = f"describes is True, but adapt fails with descriptions and {rows}. {advice}"
        found = _can_predict(learner, module, fewer, claim)
        assert found.isfinite().all(), (
            f"describes is True, but with descriptions and {rows} a prediction is not finite. "
            "Give the description a weight, so that a mean over a class is never over nothing"
        )


def _can_predict(
    learner: Learner, module: LearnerNet, batch: EpisodeBatch, claim: str
) -> torch.Tensor:
    """Predict, or say which claim it contradicts that the learner cannot."""
    try:
        return predict(learner, module, batch)
    except Exception as error:
        raise AssertionError(f"{claim}: {error}") from error
