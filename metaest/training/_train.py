"""The meta-training loop."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from skorch.callbacks import GradientNormClipping

from metaest._torch import resolve_device, state_to_cpu, usual_torch
from metaest._warn import warn
from metaest.episodes import EpisodeSampler, IntRange
from metaest.exceptions import InvalidParameterError, MetaTrainingWarning
from metaest.learners import Learner, LearnerNet, make_learner
from metaest.nets import NetSpec
from metaest.tasks import TaskSet
from metaest.training._blend import choose_blend
from metaest.training._callbacks import (
    Checkpoint,
    Progress,
    RoundTimer,
    Schedule,
    check_callbacks,
    ended_by_early_stopping,
)
from metaest.training._distill import Distillation
from metaest.training._held_out import draw_held_out
from metaest.training._keep_best import KeepBest
from metaest.training._key import run_key
from metaest.training._net import EpisodeNet, EpisodeRounds
from metaest.training._rows import readable
from metaest.training._settings import Settings
from metaest.training._spec import spec_of, target_statistics_of
from metaest.training._state import MetaState, library_versions, load_weights

N_ROUNDS = 20


@usual_torch()
def meta_train(
    learner: str | Learner,
    tasks: TaskSet,
    *,
    backbone: Any = "auto",
    validation_tasks: TaskSet | None = None,
    n_ways: IntRange | None = 5,
    n_shots: IntRange = 5,
    n_queries: IntRange = 15,
    n_episodes: int = 2000,
    meta_batch_size: int = 16,
    meta_lr: float = 1e-3,
    lr_schedule: Literal["cosine", "constant"] = "cosine",
    max_grad_norm: float | None = 10.0,
    patience: int | None = None,
    callbacks: Sequence[Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    distill: MetaState | Distillation | None = None,
    start: MetaState | None = None,
    blend_with_start: bool = True,
    device: str | torch.device = "auto",
    autocast: Literal["auto"] | bool = "auto",
    standardize: bool = True,
    random_state: int = 0,
    verbose: int = 0,
) -> MetaState:
    """Meta-train a learner on episodes of tasks with Adam.

    Training goes in 20 rounds. With `validation_tasks` the weights that score best on fixed
    episodes of these are kept, of those after each round and after 1, 2, 4, 8, ... steps of the
    first (whose row has these scores, "early_scores"). The score is the accuracy, or minus the
    loss on the query rows (squared error, or negative log-likelihood where a variance is
    predicted). With `blend_with_start`, those between the starting weights and these, if these
    are better: the nearest to the start whose score is within a standard error of the best. So
    meta-training never ends behind its start on held-out tasks, and keeps of it what other tasks
    may need.
    `history` tells the share of the way that was gone ("share", in its last row).

    Parameters
    ----------
    learner : str or Learner
    tasks : TaskSet
        All with the same shape of a row, unless the learner reads any columns.
    backbone : str or callable, default="auto"
        See :class:`~metaest.nets.NetSpec`.
    validation_tasks : TaskSet, default=None
        Held-out tasks.
    n_ways, n_shots, n_queries
        See :class:`~metaest.episodes.EpisodeSampler`. Held-out episodes have no more ways than
        the held-out tasks allow.
    n_episodes : int, default=2000
    meta_batch_size : int, default=16
        Episodes of a meta-step.
    meta_lr : float, default=1e-3
        Highest learning rate of Adam.
    lr_schedule : {"cosine", "constant"}, default="cosine"
    max_grad_norm : float or None, default=10.0
        The meta-gradient is scaled down to this norm.
    patience : int or None, default=None
        Stop after so many rounds without gain on the held-out tasks.
    callbacks : list of skorch callbacks, default=None
        Also classes of them, or pairs (name, callback).
    checkpoint : path, default=None
        Folder for a checkpoint after each round. A run that was cut off and is called again with
        the same settings goes on from there and ends with the same weights. What `callbacks` of
        your own remember is not in it.
    distill : MetaState or Distillation, default=None
        A teacher whose predictions the learner learns from, besides the labels.
    start : MetaState, default=None
        Weights to go on from, of the same network; None: random ones.
    blend_with_start : bool, default=True
        Whether weights between start and end are tried (with `validation_tasks`). False: the
        better ones of both are kept.
    device : str or torch.device, default="auto"
    autocast : "auto" or bool, default="auto"
        Whether layers compute in bfloat16 while meta-training. "auto": for learners that take no
        gradient of a gradient, on a GPU, and for convolutions on a CPU that has it.
    standardize : bool, default=True
        Whether the network shifts and scales inputs by the statistics of the tasks. False: they
        have one scale already, also in columns that hardly vary.
    random_state : int, default=0
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    MetaState

    Raises
    ------
    InvalidParameterError
        If the learner cannot learn tasks of this kind, or a number is out of its range.
    ArchitectureMismatchError
        If `start` is of another network.
    TaskError
        If the tasks differ in their columns, or have what the learner cannot read.
    EpisodeError
        If the tasks are too small for the episodes.
    CheckpointError
        If the folder holds a checkpoint of another run, or cannot be written to.

    Warns
    -----
    MetaTrainingWarning
        If interrupted (Ctrl-C): the best weights so far are kept. If the loss is
        not finite: the best weights before that are kept.
    """
    learner = make_learner(learner, tasks.kind)
    tasks, validation_tasks = readable(tasks, validation_tasks, learner)
    teaching = Distillation.of(distill)
    tasks = teaching.align(tasks) if teaching else tasks
    own_callbacks = check_callbacks(callbacks)
    settings = Settings(
        n_episodes, meta_batch_size, meta_lr, lr_schedule, max_grad_norm, patience,
        autocast=autocast, standardize=standardize, random_state=random_state,
    )  # fmt: skip
    target_device = resolve_device(device)
    shape: dict[str, Any] = {"n_ways": n_ways, "n_shots": n_shots, "n_queries": n_queries}
    sampler = EpisodeSampler(tasks, **shape, random_state=random_state)
    rounds = EpisodeRounds(sampler, n_episodes, meta_batch_size, N_ROUNDS)
    spec = spec_of(tasks, backbone, standardize and not learner.any_columns)
    mean, scale = target_statistics_of(tasks)
    batches = draw_held_out(validation_tasks, shape, n_episodes, random_state + 1)
    keep_best = KeepBest(batches, patience, rounds.early_looks())
    loss = teaching.wrap(learner, spec, mean, scale, tasks.feature_names) if teaching else None
    run = run_key(learner, spec, tasks, validation_tasks, shape, settings, teaching, start)
    saver = Checkpoint(checkpoint, run, keep_best, rounds)
    clip = [] if max_grad_norm is None else [GradientNormClipping(max_grad_norm)]
    schedule = Schedule(lr_schedule, meta_lr, rounds.n_steps)
    own = [schedule, RoundTimer(), keep_best, Progress(rounds, keep_best, verbose > 0), *clip]
    module = _build(learner, spec, start, random_state)
    first = state_to_cpu(module.state_dict())
    net = EpisodeNet(
        module,
        learner=learner.in_training(),
        meta_loss=loss,
        target_mean=mean,
        target_scale=scale,
        seed=random_state,
        autocast=autocast,
        lr=meta_lr,
        device=str(target_device),
        callbacks=[*own, *own_callbacks, saver],
    ).initialize()
    _fit(net, rounds, keep_best, saver)
    weights = _settle(net, keep_best, first, blend_with_start)
    return _collect(net, learner, spec, weights, tasks.feature_names)


def _build(
    learner: Learner, spec: NetSpec, start: MetaState | None, random_state: int
) -> LearnerNet:
    """Return the network with the weights that meta-training starts from."""
    module = learner.build(spec, np.random.default_rng(random_state))
    if start is not None:
        load_weights(module, learner, start)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        name = type(learner).__name__
        raise InvalidParameterError(
            f"backbone={spec.backbone!r} leaves {name} nothing to meta-train: neither has a "
            "weight. Take backbone='auto' or 'residual', or leave out fit_meta: fit works without "
            "it."
        )
    return module


def _settle(
    net: EpisodeNet,
    keep_best: KeepBest,
    first: dict[str, torch.Tensor],
    blend_with_start: bool,
) -> dict[str, torch.Tensor]:
    """Return the weights to keep: with held-out episodes, those that serve these best."""
    if not keep_best.batches or not len(net.history):
        return keep_best.weights
    best = keep_best.weights if keep_best.gained else first
    if not blend_with_start:
        return best
    try:
        share, weights = choose_blend(net, first, keep_best.weights, keep_best.batches)
    except KeyboardInterrupt:
        warn(
            "the choice between the starting weights and the best ones of meta-training was "
            "interrupted; the better of both on held-out tasks are kept and usable.",
            MetaTrainingWarning,
        )
        return best
    net.history.record("share", share)
    return weights


def _collect(
    net: EpisodeNet,
    learner: Learner,
    spec: NetSpec,
    weights: Mapping[str, torch.Tensor],
    feature_names: np.ndarray | None,
) -> MetaState:
    mean, scale = net.target_mean, net.target_scale
    if learner.scales_targets:  # those of a new task would lose digits
        mean, scale = 0.0, 1.0
    return MetaState(
        learner,
        spec.without_statistics(),
        weights,
        "fit_meta",
        target_mean=mean,
        target_scale=scale,
        feature_names=feature_names,
        history=[{k: v for k, v in row.items() if k != "batches"} for row in net.history],
        versions=library_versions(),
    )


def _fit(
    net: EpisodeNet,
    rounds: EpisodeRounds,
    keep_best: KeepBest,
    saver: Checkpoint,
) -> None:
    """Run the rounds that are left; an interrupt keeps the best finished one."""
    saver.restore(net)
    left = 0 if keep_best.is_stale else rounds.n_rounds - len(net.history)
    net.notify("on_train_begin", X=rounds, y=None)
    try:
        net.fit_loop(rounds, epochs=left)
    except KeyboardInterrupt:
        if not keep_best.stopped and not ended_by_early_stopping(net):
            done = sum("valid_best" in row for row in net.history)
            again = (
                "Call fit_meta again with the same settings to go on."
                if saver.path
                else "Pass checkpoint=FOLDER to fit_meta to be able to go on after a stop."
            )
            warn(
                f"meta-training was interrupted in round {done + 1} of {rounds.n_rounds}, "
                f"{done} finished; the best weights so far are kept and usable. {again}",
                MetaTrainingWarning,
            )
    finally:
        net.notify("on_train_end", X=rounds, y=None)
    _warn_if_diverged(net)


def _warn_if_diverged(net: EpisodeNet) -> None:
    losses = [row["train_loss"] for row in net.history if "train_loss" in row]
    bad = [number for number, loss in enumerate(losses, 1) if not math.isfinite(loss)]
    if bad:
        warn(
            f"meta-training diverged: its loss is not finite from round {bad[0]} on; the best "
            "weights before that are kept. Lower meta_lr or the learner's step size (inner_lr), "
            "or rescale extreme columns.",
            MetaTrainingWarning,
        )
