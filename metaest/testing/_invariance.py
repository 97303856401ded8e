"""Checks that a prediction depends on nothing but the task's own rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import SkipTest
from unittest.mock import patch

import torch
from torch import Tensor

from metaest._checks import Kind
from metaest.learners import Learner, _execute
from metaest.testing._episodes import (
    IMAGES,
    ROWS,
    collate,
    make_episode,
    uneven_episodes,
)
from metaest.testing._runs import build, meta_gradient, predict, real

SHAPES = (ROWS, IMAGES)


def assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    """Raise where two tensors differ by more than double precision explains."""
    torch.testing.assert_close(
        found, expected, rtol=1e-10, atol=1e-10, msg=lambda detail: f"{what}.\n{detail}"
    )


@contextmanager
def _strategy(looped: bool) -> Iterator[None]:
    """Run tasks one after another, or in one call, whatever would be chosen."""
    with patch.object(_execute, "is_looped", lambda module: looped):
        yield


def check_tasks_together_equal_tasks_alone(learner: Learner, kind: Kind) -> None:
    """Compare B tasks in one batch with B batches of one task: predictions, loss, gradient."""
    for shape in SHAPES:
        for looped in (True, False):
            with _strategy(looped):
                _compare_together_with_alone(learner, kind, shape)


def _compare_together_with_alone(learner: Learner, kind: Kind, shape: tuple[int, ...]) -> None:
    module, episodes = build(learner, kind, shape), uneven_episodes(kind, shape)
    batch = collate(episodes)
    together = predict(learner, module, batch)
    loss, gradient = meta_gradient(learner, module, batch)
    losses, gradients = [], []
    for task, episode in enumerate(episodes):
        single = collate([episode])
        alone = predict(learner, module, single)
        assert_close(
            real(together, episode, task), alone[0], "a task's prediction depends on its batch"
        )
        own_loss, own_gradient = meta_gradient(learner, module, single)
        losses.append(own_loss)
        gradients.append(own_gradient)
    assert_close(loss, torch.stack(losses).mean(), "meta_loss is not the mean over the tasks")
    expected = torch.stack(gradients).mean(0)
    assert_close(gradient, expected, "the meta-gradient is not the mean over the tasks")


def check_state_together_equals_state_alone(learner: Learner, kind: Kind) -> None:
    """Compare the state of B tasks with the states of single tasks, stacked."""
    # Equal sizes, so that the states' shapes agree.
    episodes = [make_episode(kind, seed=seed) for seed in range(3)]
    module = build(learner, kind)
    for looped in (True, False):
        with _strategy(looped), torch.no_grad():
            together = learner.adapt(module, collate(episodes).support)
            for task, episode in enumerate(episodes):
                alone = learner.adapt(module, collate([episode]).support)
                assert alone.keys() == together.keys(), "the state's names depend on the batch"
                for name, value in alone.items():
                    assert_close(together[name][task], value[0], f"state {name!r}")


def check_padding_changes_nothing(learner: Learner, kind: Kind) -> None:
    """Pad rows and classes with any numbers: they have no influence."""
    for shape in SHAPES:
        episode = make_episode(kind, input_shape=shape)
        module = build(learner, kind, shape)
        plain = collate([episode])
        loss, gradient = meta_gradient(learner, module, plain)
        expected = predict(learner, module, plain)[0]
        for garbage in (False, True):
            padded = collate([episode], extra=(3, 4, 2), garbage=garbage)
            own_loss, own_gradient = meta_gradient(learner, module, padded)
            found = real(predict(learner, module, padded), episode)
            assert_close(found, expected, "padding changes predictions")
            assert_close(own_loss, loss, "padding changes the meta-loss")
            assert_close(own_gradient, gradient, "padding changes the meta-gradient")


def check_order_of_the_support_set_does_not_matter(learner: Learner, kind: Kind) -> None:
    """Shuffle the support rows: predictions stay the same, unless `order_matters`."""
    if learner.order_matters:
        raise SkipTest("the method reads the rows one after another")
    episode = make_episode(kind)
    order = torch.tensor([3, 0, 5, 2, 4, 1])
    shuffled = replace(
        episode, support_x=episode.support_x[order], support_y=episode.support_y[order]
    )
    module = build(learner, kind)
    found, expected = (predict(learner, module, collate([e])) for e in (shuffled, episode))
    assert_close(found, expected, "the order of the support rows changes predictions")


def check_labels_are_only_names(learner: Learner, kind: Kind) -> None:
    """Rename the classes: the predictions are renamed and nothing else changes."""
    episode = make_episode(kind)
    assert episode.classes is not None
    new_label = torch.tensor([2, 0, 1])
    renamed = replace(
        episode,
        support_y=new_label[episode.support_y],
        query_y=new_label[episode.query_y],
        classes=episode.classes[new_label.argsort()],
    )
    module = build(learner, kind)
    expected, found = (predict(learner, module, collate([e]))[0] for e in (episode, renamed))
    assert_close(found[:, new_label], expected, "renaming the labels changes predictions")
    loss, gradient = meta_gradient(learner, module, collate([episode]))
    new_loss, new_gradient = meta_gradient(learner, module, collate([renamed]))
    assert_close(new_loss, loss, "renaming the labels changes the meta-loss")
    assert_close(new_gradient, gradient, "renaming the labels changes the meta-gradient")


def check_query_rows_one_at_a_time_equal_together(learner: Learner, kind: Kind) -> None:
    """Predict query rows one at a time: the same as together."""
    for shape in SHAPES:
        module = build(learner, kind, shape)
        batch = collate([make_episode(kind, input_shape=shape)])
        together = predict(learner, module, batch)
        for row in range(batch.query_x.shape[1]):
            alone = predict(learner, module, replace(batch, query_x=batch.query_x[:, [row]]))
            assert_close(alone[:, 0], together[:, row], "query rows influence one another")


def check_any_ways_and_shots(learner: Learner, kind: Kind) -> None:
    """Learn from any number of classes and rows: predictions and gradients are finite."""
    module = build(learner, kind)
    for shots in [(1, 1), (1,) * 7, (4, 1, 2), (9, 9), (1,) * 20]:
        batch = collate([make_episode(kind, shots=shots)])
        found = predict(learner, module, batch)
        n_rows = batch.query_x.shape[1]
        # Of a regression: the mean, or mean and variance.
        n_outputs = (len(shots),) if kind == "classification" else found.shape[2:]
        expected = (1, n_rows, *n_outputs)
        assert found.shape == expected, f"shots {shots}: shape {found.shape}, not {expected}"
        assert found.isfinite().all(), f"shots {shots}: a prediction is not finite"
        loss, gradient = meta_gradient(learner, module, batch)
        assert loss.isfinite(), f"shots {shots}: the meta-loss is not finite"
        assert gradient.isfinite().all(), f"shots {shots}: the meta-gradient is not finite"


def check_one_support_row_and_one_query_row(learner: Learner, kind: Kind) -> None:
    """Learn from the fewest rows that there are: predictions and gradients are finite."""
    module = build(learner, kind)
    shots = (1, 1) if kind == "classification" else (1,)
    batch = collate([make_episode(kind, shots=shots, n_queries=1)])
    assert predict(learner, module, batch).isfinite().all(), "a prediction is not finite"
    gradient = meta_gradient(learner, module, batch)[1]
    assert gradient.isfinite().all(), "the meta-gradient is not finite"


def check_absent_classes_have_no_probability(learner: Learner, kind: Kind) -> None:
    """Give absent classes probability 0; the others sum to 1."""
    module = build(learner, kind)
    batch = collate(uneven_episodes(kind), extra=(0, 0, 1))
    assert batch.class_mask is not None
    probabilities = predict(learner, module, batch).exp()
    absent = ~batch.class_mask.unsqueeze(1).expand_as(probabilities)
    assert (probabilities[absent] == 0).all(), "a class that the task has not has a probability"
    torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))
