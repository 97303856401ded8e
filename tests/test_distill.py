"""Distillation: a student learns from a meta-trained teacher's predictions."""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax

from metaest import MetaFewShotClassifier
from metaest.episodes import EpisodeSampler
from metaest.exceptions import InvalidParameterError
from metaest.learners import (
    ANIL,
    FineTune,
    InContextTransformer,
    Learner,
    ProtoNet,
    Reptile,
    RidgeHead,
    _in_context,
)
from metaest.nets import MLP, NetSpec
from metaest.tasks import TaskSet
from metaest.training import Distillation, MetaState, meta_train, seeded_state
from tests.episode_helpers import build, collate, make_episode, uneven_episodes

SMALL = functools.partial(MLP, hidden=(16, 8))
SETTINGS = {
    "n_ways": 3,
    "n_shots": (1, 3),
    "n_queries": (2, 4),
    "n_episodes": 800,
    "meta_batch_size": 8,
    "meta_lr": 1e-2,
}


def make_pool(seed: int, n_classes: int, wrong: float = 0.0) -> TaskSet:
    """Make classes that differ in 2 of 22 columns; a share of the labels is wrong."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 12)
    means = rng.normal(scale=2, size=(n_classes, 2))
    signal = means[y] + rng.normal(scale=0.3, size=(len(y), 2))
    X = np.c_[signal, rng.normal(scale=2, size=(len(y), 20))]
    return TaskSet.from_pool(X, np.where(rng.random(len(y)) < wrong, rng.permutation(y), y))


def accuracy(state: MetaState) -> float:
    sampler = EpisodeSampler(make_pool(1, 40), n_ways=3, n_shots=1, n_queries=5)
    batch = sampler.batch(range(300))
    module = state.module(state.learner, torch.device("cpu"))
    with torch.no_grad():
        adapted = state.learner.adapt(module, batch.support)
        found = state.learner.predict(module, adapted, batch.query_x).argmax(-1)
    return float((found == batch.query_y).float().mean())


@functools.cache
def teacher() -> MetaState:
    return meta_train(ProtoNet(), make_pool(0, 60), **SETTINGS)


def seeded_teacher(learner: Learner, kind: str = "classification", **statistics) -> MetaState:
    """Give a quick teacher: random weights that say they were meta-trained."""
    spec = NetSpec((3,), kind, 20, functools.partial(MLP, hidden=(7, 7)))
    state = seeded_state(learner, spec, 5, **statistics)
    object.__setattr__(state, "source", "fit_meta")
    return state


def test_student_of_noisy_labels_is_better_with_a_teacher() -> None:
    noisy = make_pool(2, 6, wrong=0.3)
    alone = meta_train(ProtoNet(), noisy, backbone=SMALL, **SETTINGS)
    distill = Distillation(teacher(), weight=0.9)
    taught = meta_train(ProtoNet(), noisy, backbone=SMALL, distill=distill, **SETTINGS)
    assert accuracy(taught) > accuracy(alone) + 0.08
    assert taught.weights.keys() == alone.weights.keys()


def test_teacher_stays_as_it_is() -> None:
    state = teacher()
    before = {name: value.clone() for name, value in state.weights.items()}
    meta_train(ANIL(), make_pool(3, 5), distill=state, **{**SETTINGS, "n_episodes": 16})
    assert all(torch.equal(value, before[name]) for name, value in state.weights.items())


def test_estimator_learns_from_an_estimator() -> None:
    settings = {k: v for k, v in SETTINGS.items() if k != "n_episodes"}
    big = MetaFewShotClassifier("protonet", n_episodes=16, random_state=0, **settings)
    big.fit_meta(make_pool(0, 10))
    states = []
    for distill in (None, big, big.meta_state_, Distillation(big.meta_state_)):
        small = MetaFewShotClassifier("anil", backbone=SMALL, n_episodes=16, **settings)
        small.set_params(random_state=0).fit_meta(make_pool(2, 10), distill=distill)
        states.append(small.meta_state_.weights)
    plain, *taught = (torch.cat([w.flatten() for w in state.values()]) for state in states)
    assert all(torch.equal(weights, taught[0]) for weights in taught)
    assert not torch.equal(plain, taught[0])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_loss_is_hintons_mixture(temperature: float) -> None:
    student, state = ProtoNet(), seeded_teacher(ProtoNet(metric="cosine"))
    module, episodes = build(student), uneven_episodes("classification")
    distill = Distillation(state, weight=0.3, temperature=temperature)
    loss = distill.wrap(student, NetSpec((3,), "classification", 20), 0.0, 1.0)
    big = state.module(state.learner, torch.device("cpu"), torch.float64)
    expected = []
    for episode in episodes:
        batch = collate([episode])
        with torch.no_grad():
            t, s = (
                learner.predict(net, learner.adapt(net, batch.support), batch.query_x)[0].numpy()
                for learner, net in ((state.learner, big), (student, module))
            )
        t, s = (log_softmax(v / temperature, axis=1) for v in (t, s))
        kl = temperature**2 * (np.exp(t) * (t - s)).sum(1).mean()
        own = student.meta_loss(module, batch).item()
        expected.append(0.7 * own + 0.3 * kl)
    plain = loss(module, collate(episodes))
    assert plain.item() == pytest.approx(np.mean(expected), rel=1e-6)
    padded = loss(module, collate(episodes, extra=(3, 4, 2), garbage=True))
    torch.testing.assert_close(padded, plain, rtol=1e-10, atol=1e-10)


def test_student_equal_to_its_teacher_has_no_distance_to_it() -> None:
    state = seeded_teacher(ProtoNet())
    module = state.module(state.learner, torch.device("cpu"), torch.float64)
    distill = Distillation(state, weight=1.0)
    loss = distill.wrap(state.learner, state.spec, 0.0, 1.0)
    assert loss(module, collate([make_episode()])).item() == pytest.approx(0, abs=1e-12)


def test_regression_targets_have_each_ones_own_scale() -> None:
    # The same network that was meta-trained on targets of another scale.
    state = seeded_teacher(RidgeHead(), "regression", target_mean=3.0, target_scale=2.0)
    module = state.module(state.learner, torch.device("cpu"), torch.float64)
    batch = collate([make_episode("regression")])
    loss = Distillation(state, weight=1.0).wrap(state.learner, state.spec, -1.0, 5.0)
    with torch.no_grad():
        own = state.learner.adapt(module, batch.support)
        own = state.learner.predict(module, own, batch.query_x).mean
        support = collate([make_episode("regression")]).support
        raw = 5.0 * support.y - 1.0
        object.__setattr__(support, "y", (raw - 3.0) / 2.0)
        told = state.learner.adapt(module, support)
        told = state.learner.predict(module, told, batch.query_x).mean * 2.0 + 3.0
    expected = (own - (told + 1.0) / 5.0).square().mean()
    torch.testing.assert_close(loss(module, batch).detach(), expected)


def test_it_is_the_network_that_learns_from_a_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args) -> None:
        raise AssertionError("companions are not meta-trained")

    monkeypatch.setattr(_in_context, "fit_companions", never)
    state = meta_train(InContextTransformer(), make_pool(0, 5), distill=teacher(), **SETTINGS)
    assert state.source == "fit_meta"


def test_checkpoints_know_their_teacher() -> None:
    one, same = (Distillation(seeded_teacher(ProtoNet()), weight=0.5) for _ in range(2))
    assert one.fingerprint() == same.fingerprint()
    other = Distillation(one.teacher, weight=0.6)
    assert other.fingerprint() != one.fingerprint()


@pytest.mark.parametrize(
    "statistics",
    [{"target_mean": 1.0}, {"target_scale": 8.0}, {"feature_names": np.array(["a", "b", "c"])}],
    ids=lambda statistics: next(iter(statistics)),
)
def test_checkpoints_know_what_their_teacher_reads_and_tells(statistics: dict) -> None:
    one, other = (
        Distillation(seeded_teacher(RidgeHead(), "regression", **own)) for own in ({}, statistics)
    )
    assert one.fingerprint() != other.fingerprint()


def named_pool(columns: str) -> TaskSet:
    X = pd.DataFrame(make_pool(0, 5)[0].X[:, :3], columns=list("abc"))
    return TaskSet.from_pool(X[list(columns)], make_pool(0, 5)[0].y)


def test_a_teacher_finds_its_columns_by_name() -> None:
    state = seeded_teacher(ProtoNet(), feature_names=np.array(list("abc"), dtype=object))
    shape = {"n_ways": 3, "n_shots": 2, "n_queries": 3}
    samplers = [EpisodeSampler(named_pool(order), **shape) for order in ("abc", "cab")]
    heard = []

    class Listener(Distillation):
        def _ask(self, batch, *args):
            heard.append(super()._ask(batch, *args))
            return heard[-1]

    for own in samplers:
        student, spec = ProtoNet(), NetSpec((3,), "classification", 5)
        names = own.tasks.feature_names
        loss = Listener(state).wrap(student, spec, 0.0, 1.0, names)
        loss(student.build(spec, np.random.default_rng(0)), own.batch(range(4)))
    assert torch.equal(*heard)
    short = SETTINGS | {"n_episodes": 8}
    for pool in (named_pool("cab"), TaskSet([named_pool("cab")[0], named_pool("bca")[0]])):
        for student in (ProtoNet(), InContextTransformer()):
            assert meta_train(student, pool, distill=state, **short).source == "fit_meta"
    renamed = named_pool("abc")
    renamed[0].feature_names = np.array(["a", "b", "x"], dtype=object)
    with pytest.raises(InvalidParameterError, match=r"new: \['x'\], missing: \['c'\]\). Rename"):
        meta_train(ProtoNet(), renamed, distill=state, **short)


def test_bad_teachers() -> None:
    state = teacher()
    with pytest.raises(InvalidParameterError, match=r"must be a meta-trained estimator.*got 3"):
        meta_train(ProtoNet(), make_pool(0, 5), distill=3, **SETTINGS)
    with pytest.raises(InvalidParameterError, match="Call fit_meta of the teacher first"):
        Distillation(seeded_state(ProtoNet(), state.spec, 0))
    pretrained = replace(seeded_state(ProtoNet(), state.spec, 0), source="pretrained")
    with pytest.raises(InvalidParameterError, match=r"auto' keeps .* Name the teacher's learner"):
        Distillation(pretrained)
    with pytest.raises(InvalidParameterError, match=r"weight must be in \[0, 1\].*weight=2"):
        Distillation(state, weight=2)
    with pytest.raises(InvalidParameterError, match="temperature=0"):
        Distillation(state, temperature=0)
    other = TaskSet.from_pool(np.random.default_rng(0).normal(size=(60, 3)), [0, 1, 2] * 20)
    with pytest.raises(InvalidParameterError, match=r"input_shape=\(22,\), but the tasks are"):
        meta_train(ProtoNet(), other, distill=state, **SETTINGS)


@pytest.mark.parametrize("student", [Reptile(), FineTune(adapt_steps=1)], ids=str)
def test_students_that_a_teacher_cannot_reach(student: Learner) -> None:
    short = SETTINGS | {"n_episodes": 8}
    with pytest.raises(InvalidParameterError, match=r"no effect on .*such as MAML"):
        meta_train(student, make_pool(0, 5), distill=teacher(), **short)
    alone = Distillation(teacher(), weight=0.0)
    assert meta_train(student, make_pool(0, 5), distill=alone, **short).source == "fit_meta"
