"""MANN: against the papers' equations one place at a time, and learning within a sequence."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metaest.episodes import EpisodeSampler
from metaest.learners import MANN, State
from metaest.learners._mann import _logits
from metaest.learners._memory import empty_memory, labels_held, read_memory, write_memory
from metaest.learners._sequence import instance_numbers, mixed_order
from metaest.tasks import TaskSet
from metaest.training import meta_train
from tests.episode_helpers import build, collate, make_episode, predict, uneven_episodes

N_SLOTS, WIDTH, N_CLASSES = 5, 4, 3


def _draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _memory() -> State:
    """Return two memories with three places in use."""
    used = torch.tensor([1.0, 1, 0, 1, 0], dtype=torch.float64)[:, None]
    labels = nn.functional.one_hot(torch.tensor([0, 2, 0, 1, 0]), N_CLASSES).double() * used
    return {
        "keys": _draw(2, N_SLOTS, WIDTH) * used,
        "labels": (labels * torch.tensor([1.0, 2.5, 1, 0.3, 1]).double()[:, None]).repeat(2, 1, 1),
        "usage": _draw(2, N_SLOTS, seed=1).abs(),
    }


def test_reading_is_the_papers_equation() -> None:
    memory, keys = _memory(), nn.functional.normalize(_draw(2, 3, WIDTH, seed=2), dim=-1)
    strength, novelty = torch.full((2, 3, 1), 4.0).double(), torch.full((2, 3, 1), 0.2).double()
    found = read_memory(memory, keys, strength, novelty)
    for task in range(2):
        for n, key in enumerate(keys[task]):
            scores, shares = [], []
            rows = zip(memory["keys"][task], memory["labels"][task], strict=True)
            for place, label in rows:
                cosine = float(key @ place) / math.sqrt(float(place @ place) + 0.01)
                mass = float(label.sum())
                scores.append(math.exp(4.0 * (cosine + 0.2 * (1 - min(mass, 1.0)))))
                shares.append(label / max(mass, 1.0))
            weights = torch.tensor(scores).double() / sum(scores)
            content = sum(w * row for w, row in zip(weights, memory["keys"][task], strict=True))
            votes = sum(w * share for w, share in zip(weights, shares, strict=True))
            torch.testing.assert_close(found.weights[task, n], weights)
            torch.testing.assert_close(found.content[task, n], content)
            torch.testing.assert_close(found.votes[task, n], votes)


def test_writing_is_the_papers_equations() -> None:
    memory, key = _memory(), _draw(2, WIDTH, seed=3)
    label = nn.functional.one_hot(torch.tensor([2, 0]), N_CLASSES).double()
    read_weights = _draw(2, N_SLOTS, seed=4).softmax(-1)
    gate = torch.tensor([[0.25], [0.6]]).double()
    mask = torch.tensor([True, False])
    found = write_memory(memory, key, label, read_weights, gate, 0.9, mask)
    least = int(memory["usage"][0].argmin())
    for place in range(N_SLOTS):
        is_least = 1.0 if place == least else 0.0
        weight = 0.25 * read_weights[0, place] + 0.75 * is_least  # eq. 7
        kept = 1 - 0.75 * is_least
        usage = 0.9 * memory["usage"][0, place] + read_weights[0, place] + weight  # eq. 5
        for name, new in (("keys", key[0]), ("labels", label[0])):
            expected = kept * memory[name][0, place] + weight * new  # eq. 8
            torch.testing.assert_close(found[name][0, place], expected)
        torch.testing.assert_close(found["usage"][0, place], usage)
    assert all(torch.equal(found[name][1], memory[name][1]) for name in memory)  # masked


def test_a_full_memory_forgets_the_least_recently_used() -> None:
    memory = empty_memory(1, N_SLOTS, WIDTH, 7, _draw(1))
    closed, real = torch.zeros(1, 1).double(), torch.tensor([True])
    nowhere = torch.zeros(1, N_SLOTS).double()
    for number in range(7):
        label = nn.functional.one_hot(torch.tensor([number]), 7).double()
        key = _draw(1, WIDTH, seed=number)
        memory = write_memory(memory, key, label, nowhere, closed, 0.9, real)
    assert labels_held(memory)[0].tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert sorted(memory["labels"][0].argmax(-1).tolist()) == [2, 3, 4, 5, 6]


def test_lstm_controller_is_torchs() -> None:
    learner = MANN(n_slots=4, width=3, n_hidden=5)
    module = build(learner)
    reference = nn.LSTMCell(7, 5).double()
    with torch.no_grad():
        reference.weight_ih.copy_(module.controller.weight[:, :7])
        reference.weight_hh.copy_(module.controller.weight[:, 7:])
        reference.bias_hh.zero_()
        reference.bias_ih.copy_(module.controller.bias)
        reference.bias_ih[5:10] += 1  # the forget gate starts open
        state = learner.adapt(module, collate([make_episode()]).support)
        features = _draw(1, 1, 5, seed=7)
        step = learner._step(module, state, features)
        inputs = [nn.functional.normalize(module.project(features[:, 0])), state["content"]]
        inputs = torch.cat([*inputs, state["right"]], -1)
        hidden, cell = reference(inputs, (state["hidden"], state["cell"]))
    torch.testing.assert_close(step.hidden[:, 0], hidden)
    torch.testing.assert_close(step.cell[:, 0], cell)


def test_probabilities_are_the_papers_vote_and_a_guess_among_the_unseen() -> None:
    learner = MANN(n_slots=4, width=3, n_hidden=5)
    module = build(learner)
    with torch.no_grad():
        module.log_floor.fill_(math.log(0.03))
    votes = torch.tensor([[[0.5, 0.2, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    held = torch.tensor([[[1.0, 0.4, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    class_mask = torch.tensor([[True, True, True, True, False]])
    unseen = np.array([0.0, 0.6, 1.0, 1.0])
    expected = np.array([0.5, 0.2, 0.0, 0.0]) + 0.3 * unseen / unseen.sum() + 0.03
    found = _logits(module, votes, held, class_mask)[0, 0].detach().softmax(0).numpy()
    np.testing.assert_allclose(found, [*(expected / expected.sum()), 0.0], rtol=1e-12)


def test_a_row_is_written_where_it_was_read_if_the_vote_was_right() -> None:
    learner = MANN(n_slots=N_SLOTS, width=WIDTH, n_hidden=5)
    module = build(learner)
    with torch.no_grad():
        module.gate.copy_(torch.tensor([-1.5, 0.9]))
        state = learner.adapt(module, collate([make_episode(shots=(1, 1, 1))]).support)
        step = learner._step(module, state, _draw(1, 1, 5, seed=7))
        label = nn.functional.one_hot(torch.tensor([1]), 3).double()
        real = torch.tensor([True])
        found = learner._write(module, state, step, label, real)
    right = step.reading.votes[:, 0, 1:2]
    assert 0.01 < right < 0.99
    gate = torch.sigmoid(step.gate[:, 0] - 1.5 + 2 * 0.9 * right)
    key, weights = step.key[:, 0], step.reading.weights[:, 0]
    expected = write_memory(state, key, label, weights, gate, learner.decay, real)
    expected |= {"right": right, "content": weights @ state["keys"][0]}
    assert found["content"].abs().max() > 0.01
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
def test_a_sequence_predicts_what_adapt_and_predict_do(controller: str) -> None:
    learner = MANN(controller=controller, n_slots=6, width=4, n_hidden=5)
    module = build(learner)
    batch = collate([make_episode(shots=(3, 2, 4))])
    order, _ = mixed_order(batch)
    with torch.no_grad():
        found = learner.predict_sequence(module, batch)
    x = torch.cat([batch.support_x, batch.query_x], 1)[0, order[0]]
    for t in range(1, len(x)):
        before = {
            "support_x": x[None, :t],
            "support_y": found.y[:, :t],
            "support_mask": found.mask[:, :t],
        }
        cut = replace(batch, **before, query_x=x[None, t : t + 1])
        torch.testing.assert_close(
            predict(learner, module, cut)[0, 0], found.logits[0, t].log_softmax(-1)
        )


def test_sequences_are_mixed_and_complete() -> None:
    batch = collate(uneven_episodes("classification"), extra=(2, 1, 0))
    order, mask = mixed_order(batch)
    real = torch.cat([batch.support_mask, batch.query_mask], 1)
    torch.testing.assert_close(order.sort(1).values, torch.arange(order.shape[1]).expand_as(order))
    assert torch.equal(mask, real.gather(1, order))
    assert torch.equal(mask, mask.sort(1, descending=True).values)  # padding comes last
    assert not torch.equal(order[0], real[0].logical_not().long().argsort(stable=True))
    other = mixed_order(replace(batch, class_ids=batch.class_ids + 1))[0]
    assert not torch.equal(order, other)


def test_instances_are_counted() -> None:
    labels = nn.functional.one_hot(torch.tensor([[1, 0, 1, 1, 0]]), 3)
    labels[0, 3] = 0  # padded
    assert instance_numbers(labels).tolist() == [[1, 1, 2, 0, 2]]


def _clusters(n_classes: int, seed: int) -> TaskSet:
    """Make classes that differ in 4 columns, beside 4 louder columns of noise."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 12)
    X = 2 * rng.normal(size=(len(y), 8))
    X[:, :4] = rng.normal(size=(n_classes, 4))[y] + 0.15 * X[:, :4]
    return TaskSet.from_pool(X, y)


@pytest.mark.slow
def test_accuracy_rises_with_the_instance() -> None:
    # Santoro et al., table 1: the first row of a class is a guess among those not yet seen.
    learner = MANN(n_slots=64)
    shape = {"n_ways": 5, "n_shots": 1, "n_queries": 9}
    training = {"n_episodes": 480, "meta_batch_size": 8, "meta_lr": 3e-3}
    meta = meta_train(learner, _clusters(200, seed=0), **shape, **training)
    module = meta.module(learner, torch.device("cpu"), torch.float32)
    sampler = EpisodeSampler(_clusters(100, seed=1), **shape)
    with torch.no_grad():
        found = learner.predict_sequence(module, sampler.batch(range(100)))
    hit = (found.logits.argmax(-1) == found.y).double()
    first, second, last = (float(hit[found.instance == n].mean()) for n in (1, 2, 10))
    best_guess = sum(1 / n for n in range(1, 6)) / 5  # each new class one of those left
    assert first < best_guess + 0.07
    assert second > 0.75
    assert last > second + 0.02
