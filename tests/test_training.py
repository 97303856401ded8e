"""Meta-training: what it ends with, and what happens when it is cut off."""

import errno
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from metaest.datasets import make_sinusoid_tasks
from metaest.exceptions import (
    ArchitectureMismatchError,
    CheckpointError,
    EpisodeError,
    InvalidParameterError,
    MetaTrainingWarning,
    TaskError,
)
from metaest.learners import MAML, DeepKernelGP, FineTune, ProtoNet, Reptile, RidgeHead
from metaest.tasks import TaskSet
from metaest.training import MetaState, _train, meta_train
from metaest.training._keep_best import KeepBest

SETTINGS = {"n_ways": 3, "n_shots": 1, "n_queries": 4, "n_episodes": 160, "meta_batch_size": 8}


def make_pool(seed: int = 0, n_classes: int = 12, noisy: int = 8) -> TaskSet:
    """Make classes that differ in 2 columns, beside columns of noise."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 12)
    means = rng.normal(scale=2, size=(n_classes, 2))
    signal_ = means[y] + rng.normal(scale=0.3, size=(len(y), 2))
    return TaskSet.from_pool(np.c_[signal_, rng.normal(scale=3, size=(len(y), noisy))], y)


def assert_same_weights(one, other) -> None:
    assert one.weights.keys() == other.weights.keys()
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name]), name


class Stop(Callback):
    """Raise after a number of steps."""

    def __init__(self, steps: int, error: type[BaseException]) -> None:
        self.steps, self.error, self.done = steps, error, 0

    def on_batch_end(self, net, **kwargs) -> None:
        self.done += 1
        if self.done == self.steps:
            raise self.error


class Record(Callback):
    """Keep what each step shows."""

    def __init__(self) -> None:
        self.rates, self.sizes, self.norms = [], [], []

    def on_batch_end(self, net, batch, **kwargs) -> None:
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        self.sizes.append(len(batch))
        gradients = [p.grad.flatten() for p in net.module_.parameters() if p.grad is not None]
        self.norms.append(torch.cat(gradients).norm().item())


def test_learns_on_held_out_tasks() -> None:
    state = meta_train(
        ProtoNet(),
        make_pool(0),
        validation_tasks=make_pool(1),
        **{**SETTINGS, "n_episodes": 800, "meta_lr": 1e-2},
    )
    untrained = meta_train(
        ProtoNet(), make_pool(0), validation_tasks=make_pool(1), **{**SETTINGS, "meta_lr": 1e-12}
    )
    best = max(row["valid_score"] for row in state.history)
    assert best > untrained.history[0]["valid_score"] + 0.1


def test_the_best_round_is_kept() -> None:
    # A pool of other classes than the held-out ones and a huge rate: it must not get worse.
    pool, held_out = make_pool(0), make_pool(1)
    settings = {**SETTINGS, "meta_lr": 3.0, "lr_schedule": "constant", "max_grad_norm": None}
    state = meta_train(ProtoNet(), pool, validation_tasks=held_out, **settings)
    untouched = meta_train(ProtoNet(), pool, validation_tasks=held_out, **SETTINGS, meta_lr=1e-12)
    start = untouched.history[0]["valid_score"]
    kept = [row["valid_score"] for row in state.history if row["valid_best"]]
    assert kept == sorted(kept)
    if not kept:  # no round beat the start: its weights are the result
        assert torch.equal(
            state.weights["embedding.1.scale"], torch.ones_like(state.weights["embedding.1.scale"])
        )
    assert all(score > start for score in kept)


class Weights(Callback):
    """Keep the weights after each step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, torch.Tensor]] = []

    def on_batch_end(self, net, **kwargs) -> None:
        self.rows.append({k: v.clone() for k, v in net.module_.state_dict().items()})


def test_what_is_best_within_the_first_round_is_kept(monkeypatch) -> None:
    def score(self, net):
        return 0.0, {0: 0.5, 4: 0.9}.get(net.step_, 0.6)

    monkeypatch.setattr(KeepBest, "_validate", score)
    settings = SETTINGS | {"n_episodes": 8 * 400, "blend_with_start": False}
    steps = Weights()
    state = meta_train(
        ProtoNet(), make_pool(), validation_tasks=make_pool(1), callbacks=[steps], **settings
    )
    assert state.history[0]["early_scores"] == [0.6, 0.6, 0.9, 0.6, 0.6]  # 1, 2, 4, 8, 16 steps
    assert not any("early_scores" in row or row["valid_best"] for row in state.history[1:])
    for name, value in steps.rows[4 - 1].items():
        assert torch.equal(state.weights[name], value), name


def test_a_look_that_gains_is_a_gain_of_its_round(monkeypatch) -> None:
    def score(self, net):
        return 0.0, {0: 0.5, 4: 0.9}.get(net.step_, 0.6)

    monkeypatch.setattr(KeepBest, "_validate", score)
    settings = SETTINGS | {"n_episodes": 8 * 400, "patience": 1}
    state = meta_train(ProtoNet(), make_pool(), validation_tasks=make_pool(1), **settings)
    assert len(state.history) == 2  # the first gained, the second did not


def test_an_interrupt_while_weights_are_chosen_loses_nothing(monkeypatch) -> None:
    def choose(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_train, "choose_blend", choose)
    settings = SETTINGS | {"validation_tasks": make_pool(1)}
    with pytest.warns(MetaTrainingWarning, match="choice between .* was interrupted"):
        state = meta_train(ProtoNet(), make_pool(), **settings)
    monkeypatch.undo()
    assert_same_weights(
        state, meta_train(ProtoNet(), make_pool(), **settings, blend_with_start=False)
    )


def test_bfloat16_on_threads_is_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(48, 1, 8, 8)).astype(np.float32)
    pool = TaskSet.from_pool(X, np.repeat(np.arange(6), 8))
    settings = SETTINGS | {"n_episodes": 60, "meta_batch_size": 6, "autocast": True}
    states, before = [], torch.get_num_threads()
    for n_threads in (1, 2, 2):
        torch.set_num_threads(n_threads)
        try:
            states.append(meta_train(ProtoNet(), pool, **settings))
        finally:
            torch.set_num_threads(before)
    assert_same_weights(states[0], states[1])
    assert_same_weights(states[0], states[2])


def test_looking_does_not_change_the_training() -> None:
    settings = SETTINGS | {"n_episodes": 8 * 100}
    alone = meta_train(ProtoNet(), make_pool(), **settings)
    watched = meta_train(ProtoNet(), make_pool(), validation_tasks=make_pool(1), **settings)
    assert len(watched.history[0]["early_scores"]) == 3
    for one, other in zip(alone.history, watched.history, strict=True):
        assert one["train_loss"] == other["train_loss"]


def test_the_last_weights_are_kept_without_held_out_tasks() -> None:
    state = meta_train(RidgeHead(), make_pool(), **SETTINGS)
    assert "valid_score" not in state.history[0]
    assert all(row["valid_best"] for row in state.history)


@pytest.mark.parametrize("learner", [ProtoNet(), MAML(), Reptile(), FineTune()], ids=repr)
def test_same_seed_same_weights(learner) -> None:
    one, two = (meta_train(learner, make_pool(), random_state=3, **SETTINGS) for _ in range(2))
    assert_same_weights(one, two)
    other = meta_train(learner, make_pool(), random_state=4, **SETTINGS)
    assert any(not torch.equal(value, other.weights[name]) for name, value in one.weights.items())


def test_the_callers_random_state_and_threads_are_left_alone() -> None:
    torch.manual_seed(0)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(0)
    meta_train(ProtoNet(), make_pool(), **SETTINGS)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    images = TaskSet.from_pool(rng.normal(size=(60, 1, 8, 8)), np.repeat(np.arange(6), 10))
    threads = torch.get_num_threads()
    settings = {**SETTINGS, "n_episodes": 32, "autocast": False}
    try:
        torch.set_num_threads(1)
        single = meta_train(MAML(inner_steps=2), images, **settings)
        torch.set_num_threads(2)
        double = meta_train(MAML(inner_steps=2), images, **settings)
    finally:
        torch.set_num_threads(threads)
    assert_same_weights(single, double)


def test_number_of_episodes_and_schedule() -> None:
    record = Record()
    settings = {**SETTINGS, "n_episodes": 100, "meta_lr": 0.02}
    meta_train(ProtoNet(), make_pool(), callbacks=[record], **settings)
    assert record.sizes == 12 * [8] + [4]
    assert max(record.rates) == pytest.approx(0.02)
    assert record.rates[0] == pytest.approx(0.02)  # 2 % of 13 steps is one step of warm-up
    cosine = 0.02 * 0.5 * (1 + np.cos(np.pi * np.arange(13) / 13))
    np.testing.assert_allclose(record.rates, cosine)
    constant = Record()
    meta_train(ProtoNet(), make_pool(), callbacks=[constant], lr_schedule="constant", **settings)
    assert set(constant.rates) == {0.02}


def test_gradients_are_clipped() -> None:
    record = Record()
    meta_train(ProtoNet(), make_pool(), callbacks=[record], max_grad_norm=1e-3, **SETTINGS)
    assert max(record.norms) <= 1e-3 * (1 + 1e-4)


def test_patience_ends_meta_training_without_a_warning() -> None:
    state = meta_train(
        ProtoNet(),
        make_pool(0),
        validation_tasks=make_pool(1),
        patience=2,
        **{**SETTINGS, "meta_lr": 1e-12},
    )
    assert len(state.history) == 2


def test_skorchs_early_stopping_is_no_interruption() -> None:
    stopper = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0, sink=lambda _: None)
    state = meta_train(ProtoNet(), make_pool(), callbacks=[stopper], **SETTINGS)
    assert 0 < len(state.history) < 20


# ------------------------------------------------------------------------------- cut off, resumed


@pytest.mark.parametrize("learner", [ProtoNet(), MAML()], ids=repr)
@pytest.mark.parametrize("steps", [5, 13])
def test_resumed_equals_uninterrupted(learner, steps: int, tmp_path) -> None:
    settings = {**SETTINGS, "validation_tasks": make_pool(1), "random_state": 1}
    whole = meta_train(learner, make_pool(), **settings)
    with pytest.raises(RuntimeError):
        meta_train(
            learner,
            make_pool(),
            checkpoint=tmp_path,
            callbacks=[Stop(steps, RuntimeError)],
            **settings,
        )
    resumed = meta_train(learner, make_pool(), checkpoint=tmp_path, **settings)
    assert_same_weights(whole, resumed)
    drop = ("seconds", "cpu_minutes", "dur")
    for one, two in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in one.items() if k not in drop} == {
            k: v for k, v in two.items() if k not in drop
        }


def test_resumed_with_dropout_equals_uninterrupted(tmp_path) -> None:
    def backbone(input_shape):
        return torch.nn.Sequential(torch.nn.Linear(input_shape[0], 8), torch.nn.Dropout(0.5))

    settings = {**SETTINGS, "backbone": backbone}
    whole = meta_train(ProtoNet(), make_pool(), **settings)
    with pytest.raises(RuntimeError):
        meta_train(
            ProtoNet(),
            make_pool(),
            checkpoint=tmp_path,
            callbacks=[Stop(7, RuntimeError)],
            **settings,
        )
    assert_same_weights(whole, meta_train(ProtoNet(), make_pool(), checkpoint=tmp_path, **settings))


_KILLED = """
import sys, time
sys.path.insert(0, {root!r})
from skorch.callbacks import Callback
from tests.test_training import SETTINGS, ProtoNet, make_pool, meta_train

class Slow(Callback):
    def on_batch_end(self, net, **kwargs):
        time.sleep(0.1)

meta_train(ProtoNet(), make_pool(), checkpoint={folder!r}, callbacks=[Slow()], **SETTINGS)
"""


def test_kill_9_loses_no_finished_round(tmp_path, pytestconfig) -> None:
    code = _KILLED.format(root=str(pytestconfig.rootpath), folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("*.pt")):
            assert time.monotonic() < deadline, "no checkpoint within two minutes"
            assert process.poll() is None, "the process ended by itself"
            time.sleep(0.02)
        time.sleep(0.3)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    resumed = meta_train(ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)
    assert_same_weights(resumed, meta_train(ProtoNet(), make_pool(), **SETTINGS))
    assert [path.name for path in tmp_path.glob("*.pt")] == ["meta_training.pt"]


def test_a_finished_run_is_read_back(tmp_path) -> None:
    first = meta_train(ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)
    record = Record()
    again = meta_train(ProtoNet(), make_pool(), checkpoint=tmp_path, callbacks=[record], **SETTINGS)
    assert record.sizes == []
    assert_same_weights(first, again)


def test_a_run_that_ran_out_of_patience_is_over(tmp_path) -> None:
    settings = SETTINGS | {"patience": 1, "meta_lr": 1.0, "checkpoint": tmp_path}
    run = functools.partial(meta_train, RidgeHead(), make_pool(), **settings)
    first = run(validation_tasks=make_pool(1))
    assert len(first.history) < 20
    again = run(validation_tasks=make_pool(1))
    assert len(again.history) == len(first.history)
    assert_same_weights(first, again)


def test_interrupt_keeps_the_finished_rounds() -> None:
    with pytest.warns(
        MetaTrainingWarning, match=r"interrupted in round 5 of 20, 4 finished; the best"
    ) as told:
        state = meta_train(
            ProtoNet(), make_pool(), callbacks=[Stop(5, KeyboardInterrupt)], **SETTINGS
        )
    assert told[0].filename == __file__
    assert sum("valid_best" in row for row in state.history) == 4
    assert state.source == "fit_meta"


def test_checkpoint_of_another_run_is_refused_and_kept(tmp_path) -> None:
    meta_train(ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)
    before = (tmp_path / "meta_training.pt").read_bytes()
    with pytest.raises(CheckpointError, match="other settings or tasks"):
        meta_train(ProtoNet(), make_pool(5), checkpoint=tmp_path, **SETTINGS)
    assert (tmp_path / "meta_training.pt").read_bytes() == before


def _times(factor: float) -> Callable:
    return lambda x, generator: factor * x


class _Times:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def augment(self, x, generator):
        return self.factor * x


def _partial(factor: float) -> Callable:
    return functools.partial(lambda x, generator, by: by * x, by=factor)


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (_times(2.0), _times(2.0), None),
        (_times(2.0), _times(2.0), _times(1.5)),
        (_times(2.0), _times(2.0), lambda x, generator: x + 1),
        (_Times(2.0).augment, _Times(2.0).augment, _Times(1.5).augment),
        (_partial(2.0), _partial(2.0), _partial(1.5)),
    ],
    ids=["none", "value", "code", "method", "partial"],
)
def test_checkpoint_of_other_augmentation_is_refused(one, same, other, tmp_path) -> None:
    def run(augment) -> MetaState:
        tasks = TaskSet([*make_pool()], augment=augment)
        return meta_train(ProtoNet(), tasks, checkpoint=tmp_path, **SETTINGS)

    assert_same_weights(run(one), run(same))
    with pytest.raises(CheckpointError, match="other settings or tasks"):
        run(other)


def test_checkpoint_of_another_augmentation_of_held_out_tasks_is_refused(tmp_path) -> None:
    def run(augment) -> MetaState:
        held_out = TaskSet([*make_pool(1)], augment=augment)
        settings = SETTINGS | {"checkpoint": tmp_path, "validation_tasks": held_out}
        return meta_train(ProtoNet(), make_pool(), **settings)

    assert_same_weights(run(_times(2.0)), run(_times(2.0)))
    with pytest.raises(CheckpointError, match="other settings or tasks"):
        run(_times(1.5))


def test_checkpoint_of_another_start_is_refused(tmp_path) -> None:
    starts = [meta_train(ProtoNet(), make_pool(), random_state=i, **SETTINGS) for i in (1, 2)]
    run = functools.partial(meta_train, ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)
    assert_same_weights(run(start=starts[0]), run(start=starts[0]))
    with pytest.raises(CheckpointError, match="other settings or tasks"):
        run(start=starts[1])


def test_checkpoint_of_other_precision_is_refused(tmp_path) -> None:
    run = functools.partial(meta_train, ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)
    run(autocast=False)
    with pytest.raises(CheckpointError, match="other settings or tasks"):
        run(autocast=True)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch) -> None:
    run = functools.partial(meta_train, ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)
    with pytest.raises(RuntimeError):
        run(callbacks=[Stop(5, RuntimeError)])
    before = (tmp_path / "meta_training.pt").read_bytes()

    def fail(*args) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(
            CheckpointError, match=r"meta_training\.pt cannot be written \(No space"
        ):
            run()
    assert [path.name for path in tmp_path.iterdir()] == ["meta_training.pt"]
    assert (tmp_path / "meta_training.pt").read_bytes() == before
    assert_same_weights(run(), meta_train(ProtoNet(), make_pool(), **SETTINGS))


def test_corrupt_checkpoint_is_refused(tmp_path) -> None:
    (tmp_path / "meta_training.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"cannot be read.*Delete it"):
        meta_train(ProtoNet(), make_pool(), checkpoint=tmp_path, **SETTINGS)


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_episodes": 0}, "n_episodes must be an int >= 1"),
        ({"meta_batch_size": 1.5}, "meta_batch_size must be an int"),
        ({"meta_lr": 0.0}, "meta_lr must be above 0"),
        ({"lr_schedule": "linear"}, "'cosine' or 'constant'"),
        ({"patience": 0}, "patience must be an int >= 1"),
        ({"n_episodes": (8, 16)}, r"n_episodes must be an int >= 1, got \(8, 16\)"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0, or None for no limit; got 0.0"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be above 0"),
        ({"max_grad_norm": "1"}, "max_grad_norm must be above 0, or None for no limit; got '1'"),
        ({"meta_lr": "0.1"}, "meta_lr must be above 0, got '0.1'"),
        ({"random_state": None}, "random_state must be an int >= 0, got None"),
        ({"random_state": -1}, "random_state must be an int >= 0, got -1"),
        ({"random_state": 0.5}, "random_state must be an int >= 0, got 0.5"),
    ],
)
def test_bad_parameters(changes, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        meta_train(ProtoNet(), make_pool(), **{**SETTINGS, **changes})


def test_learners_that_cannot_learn_the_tasks() -> None:
    with pytest.raises(InvalidParameterError, match="ProtoNet cannot learn regression tasks"):
        meta_train(ProtoNet(), make_sinusoid_tasks(5, random_state=0), **SETTINGS)
    with pytest.raises(InvalidParameterError, match="DeepKernelGP cannot learn classification"):
        meta_train(DeepKernelGP(), make_pool(), **SETTINGS)


def test_a_name_stands_for_its_learner() -> None:
    one, other = (meta_train(own, make_pool(), **SETTINGS) for own in ("protonet", ProtoNet()))
    assert_same_weights(one, other)


def test_a_start_of_another_network_is_refused() -> None:
    start = meta_train(RidgeHead(), make_pool(), **SETTINGS)
    with pytest.raises(ArchitectureMismatchError, match=r"meta-trained with RidgeHead.*ProtoNet"):
        meta_train(ProtoNet(), make_pool(), start=start, **SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if k != "log_scale"}, "the weights lack log_scale"),
        (lambda w: {**w, "other": w["log_scale"]}, "it has no other"),
        (lambda w: {**w, "log_scale": w["log_scale"][None]}, r"log_scale has shape .*, the weigh"),
    ],
)
def test_weights_that_differ_are_named(change, message: str) -> None:
    start = meta_train(RidgeHead(), make_pool(), **SETTINGS)
    start = replace(start, weights=change(start.weights))
    with pytest.raises(ArchitectureMismatchError, match=message + ".*call fit_meta again"):
        meta_train(RidgeHead(), make_pool(), start=start, **SETTINGS)


def test_tasks_with_other_columns() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(20, d)), np.repeat([0, 1], 10)) for d in (3, 4)]
    with pytest.raises(TaskError, match=r"differ in their columns.*\(3,\), \(4,\)"):
        meta_train(ProtoNet(), TaskSet.from_datasets(pairs), **SETTINGS)


def test_pool_with_too_few_classes() -> None:
    with pytest.raises(EpisodeError, match=r"n_ways=20 asks for 20 classes.*has 12"):
        meta_train(ProtoNet(), make_pool(), **{**SETTINGS, "n_ways": 20})


class Poison(Callback):
    """Make the weights NaN in a round."""

    def __init__(self, round_: int) -> None:
        self.round_ = round_

    def on_epoch_begin(self, net, **kwargs) -> None:
        if len(net.history) == self.round_:
            for parameter in net.module_.parameters():
                parameter.data.fill_(torch.nan)


@pytest.mark.parametrize("held_out", [True, False])
def test_diverged_meta_training_keeps_finite_weights_and_says_so(held_out: bool) -> None:
    settings = SETTINGS | {"validation_tasks": make_pool(1) if held_out else None}
    with pytest.warns(
        MetaTrainingWarning, match=r"diverged.*not finite from round 3 on.*Low"
    ) as told:
        state = meta_train(ProtoNet(), make_pool(), **settings, callbacks=[Poison(3)])
    assert told[0].filename == __file__
    assert all(value.isfinite().all() for value in state.weights.values())


def test_diverged_from_the_start_keeps_the_start() -> None:
    rng = np.random.default_rng(0)
    tasks = [(rng.normal(size=(20, 3)), rng.normal(size=20)) for _ in range(4)]
    tasks = TaskSet.from_datasets(tasks)
    learner = MAML(inner_lr=1e30)
    with pytest.warns(MetaTrainingWarning, match="not finite from round 1 on"):
        state = meta_train(learner, tasks, validation_tasks=tasks, n_episodes=8, n_queries=5)
    assert state.weights
    assert all(value.isfinite().all() for value in state.weights.values())


@pytest.mark.parametrize("callbacks", [3, [3], [("name", 3)], ["Callback"]])
def test_what_is_no_callback(callbacks) -> None:
    with pytest.raises(InvalidParameterError, match=r"must be a list of skorch callbacks.*got"):
        meta_train(ProtoNet(), make_pool(), **SETTINGS, callbacks=callbacks)


def test_named_early_stopping_is_no_interruption(recwarn) -> None:
    stop = ("stop", EarlyStopping(monitor="valid_loss", patience=1, threshold=1e9))
    settings = SETTINGS | {"validation_tasks": make_pool(1)}
    state = meta_train(ProtoNet(), make_pool(), **settings, callbacks=[stop])
    assert len(state.history) < 20
    assert not [w for w in recwarn if w.category is MetaTrainingWarning]


def test_a_checkpoint_folder_that_cannot_be_is_refused_before_training(tmp_path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    never = Stop(1, AssertionError)
    for path in (file, file / "folder"):
        with pytest.raises(CheckpointError, match=r"must be a folder to write to: .*another path"):
            meta_train(ProtoNet(), make_pool(), **SETTINGS, checkpoint=path, callbacks=[never])
    assert file.read_text() == "mine"


class Gradients(Callback):
    """Keep the meta-gradient of the last step."""

    def on_batch_end(self, net, **kwargs) -> None:
        self.found = [p.grad.clone() for p in net.module_.parameters() if p.grad is not None]


def test_meta_gradient_is_the_mean_over_episodes_in_any_chunks(monkeypatch) -> None:
    settings = SETTINGS | {"n_episodes": 8, "max_grad_norm": None}
    parts = []
    for size in (8, 3):  # 3, 3 and 2 episodes
        monkeypatch.setattr("metaest.training._parts.chunk_size", lambda *args, size=size: size)
        kept = Gradients()
        meta_train(ProtoNet(), make_pool(), callbacks=[kept], **settings)
        parts.append(kept.found)
    torch.testing.assert_close(*parts, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shots", [(1, 3), (3, 1)], ids=["support", "query"])
def test_batch_normalization_of_one_row_names_shots_and_queries(shots: tuple[int, int]) -> None:
    def backbone(shape) -> nn.Module:
        return nn.Sequential(nn.Linear(shape[0], 8), nn.BatchNorm1d(8))

    own = {"n_shots": shots[0], "n_queries": shots[1], "n_episodes": 8}
    with pytest.raises(InvalidParameterError, match=r"backbone has batch .*Raise n_shots and n_q"):
        meta_train(RidgeHead(), make_sinusoid_tasks(4), backbone=backbone, **own)
