"""Descent that ran away goes back, each task for itself; all other descent stays as it is."""

import pytest
import torch
from sklearn.base import clone

from metaest.learners import MAML, Learner, MetaSGD
from metaest.learners._head import apply_network, inner_losses
from metaest.learners._settle import settle
from tests.episode_helpers import build, collate, make_episode

EPISODES = [make_episode(seed=seed, shots=(4, 4, 4)) for seed in range(3)]


def descend(learner: Learner, rate: float):
    """Return network, support, first state, last state and what is made of them."""
    torch.manual_seed(0)
    module, support = build(learner), collate(EPISODES).support
    if isinstance(learner, MetaSGD):
        for own in module.inner_rates:
            own.data.fill_(rate)
    with torch.enable_grad():
        end = learner.adapt(module, support)
    with torch.no_grad():
        first = clone(learner).set_params(inner_steps=0).adapt(module, support)
        found = settle(module, iter([first, end]), support)
    return module, support, first, end, found


def losses(module, support, state) -> torch.Tensor:
    with torch.no_grad():
        return inner_losses(apply_network(module, state, support.x, support.class_mask), support)


@pytest.mark.parametrize("learner", [MAML(inner_steps=3), MetaSGD(inner_steps=3)], ids=repr)
def test_descent_that_went_down_stays_as_it_is(learner: Learner) -> None:
    module, support, first, end, found = descend(learner, 0.01)
    assert (losses(module, support, end) < losses(module, support, first)).all()
    for name, value in end.items():
        assert torch.equal(found[name], value), name


def test_descent_that_ran_away_goes_back() -> None:
    module, support, first, end, found = descend(MetaSGD(inner_steps=2, head="prototype"), 3.0)
    before, after = losses(module, support, first), losses(module, support, end)
    assert (after > before + 1).any()
    assert (losses(module, support, found) <= before + 0.01).all()


def test_tasks_go_back_each_for_itself() -> None:
    learner = MetaSGD(inner_steps=2, head="prototype")
    module, support, first, end, _ = descend(learner, 0.001)
    away = {k: v.clone() for k, v in end.items()}
    for value in away.values():
        if value.is_floating_point():
            value[1] += 5 * torch.randn(value[1].shape, dtype=value.dtype)
    with torch.no_grad():
        found = settle(module, iter([first, away]), support)
    before = losses(module, support, first)
    assert losses(module, support, away)[1] > before[1] + 1
    assert (losses(module, support, found) <= before + 0.01).all()
    for name, value in end.items():
        assert torch.equal(found[name][[0, 2]], value[[0, 2]]), name


def test_meta_training_sees_the_steps_as_they_are() -> None:
    module, support, first, end, _ = descend(MetaSGD(inner_steps=2, head="prototype"), 3.0)
    assert settle(module, iter([first, end]), support) is end
