"""MAML++: rates of each step and the multi-step loss, against MAML."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metaest.exceptions import InvalidParameterError
from metaest.learners import MAML
from metaest.learners._inner import descend
from tests.episode_helpers import build, collate, meta_gradient, predict, uneven_episodes

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
KINDS = ("classification", "regression")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
def test_equal_rates_of_each_step_are_the_plain_rate(kind: str, first_order: bool) -> None:
    options = {"inner_steps": 3, "inner_lr": 0.3, "head_lr": 0.05, "first_order": first_order}
    plain, stepped = MAML(**options), MAML(**options, learn_inner_lr=3)
    one, two = build(plain, kind), build(stepped, kind)
    with torch.no_grad():  # they start in single precision
        two.inner_rates[:], two.inner_rates[:, -2:] = 0.3, 0.05
    assert two.inner_rates.shape == (3, len(list(one.embedding.parameters())) + 2)
    batch = collate(uneven_episodes(kind))
    loss, gradient = meta_gradient(stepped, two, batch)
    expected_loss, expected_gradient = meta_gradient(plain, one, batch)
    is_weight = [name != "inner_rates" for name, p in two.named_parameters() for _ in p.flatten()]
    torch.testing.assert_close(loss, expected_loss, **TOLERANCE)
    torch.testing.assert_close(gradient[torch.tensor(is_weight)], expected_gradient, **TOLERANCE)


def test_each_step_has_its_rates_and_later_ones_the_last() -> None:
    # A parabola: each step shrinks the distance from 1 to the factor 1 - 2 rate.
    start, rates = {"a": torch.zeros(1, 1)}, [{"a": 0.1}, {"a": 0.3}]

    def loss_of(parameters) -> Tensor:
        return (parameters["a"] - 1).square().sum(1)

    ends = [float(descend(loss_of, start, rates, steps)["a"].detach()) for steps in range(5)]
    gaps = np.cumprod([1, 0.8, 0.4, 0.4, 0.4])
    np.testing.assert_allclose(ends, 1 - gaps, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learned", [1, 2])
def test_relative_rates_are_factors_of_the_starting_ones(kind: str, learned: int) -> None:
    options = {"inner_steps": 3, "inner_lr": 0.3, "head_lr": 0.05, "learn_inner_lr": learned}
    absolute, relative = MAML(**options), MAML(**options, relative_rates=True)
    one, two = build(absolute, kind), build(relative, kind)
    assert torch.equal(two.inner_rates, torch.ones_like(one.inner_rates))
    with torch.no_grad():
        two.inner_rates *= torch.linspace(-1, 2, two.inner_rates.shape[-1])
        one.inner_rates.copy_(0.3 * two.inner_rates)
        one.inner_rates[..., -2:] = 0.05 * two.inner_rates[..., -2:]
    batch = collate(uneven_episodes(kind))
    loss, gradient = meta_gradient(relative, two, batch)
    expected_loss, expected = meta_gradient(absolute, one, batch)
    units = {name: torch.ones_like(p) for name, p in one.named_parameters()}
    units["inner_rates"][:], units["inner_rates"][..., -2:] = 0.3, 0.05
    chain = torch.cat([unit.flatten() for unit in units.values()])
    torch.testing.assert_close(loss, expected_loss, **TOLERANCE)
    torch.testing.assert_close(gradient, chain * expected, **TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_may_change_after_rates_were_learned(kind: str) -> None:
    trained, more = (MAML(inner_steps=n, learn_inner_lr=2) for n in (2, 5))
    module, batch = build(trained, kind), collate(uneven_episodes(kind))
    build(more, kind).load_state_dict(module.state_dict())
    assert not torch.equal(predict(more, module, batch), predict(trained, module, batch))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learned", [False, 3], ids=["fixed rate", "rates of each step"])
@pytest.mark.parametrize("first_order", [False, True], ids=["second order", "first order"])
def test_multi_step_loss_is_the_mean_of_each_steps_loss(
    kind: str, learned: int, first_order: bool
) -> None:
    options = {"inner_lr": 0.3, "learn_inner_lr": learned, "first_order": first_order}
    learner = MAML(inner_steps=3, multi_step_loss=True, **options)
    module, batch = build(learner, kind), collate(uneven_episodes(kind))
    if learned:
        with torch.no_grad():
            module.inner_rates *= torch.linspace(0.5, 2, 3).unsqueeze(1)
    alone = [meta_gradient(MAML(inner_steps=n, **options), module, batch) for n in (1, 2, 3)]
    found = meta_gradient(learner, module, batch)
    for value, parts in zip(found, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(value, torch.stack(parts).mean(0), **TOLERANCE)


def test_multi_step_loss_without_steps_is_the_loss_at_the_start() -> None:
    batch = collate(uneven_episodes("regression"))
    plain, learner = MAML(inner_steps=0), MAML(inner_steps=0, multi_step_loss=True)
    module = build(plain, "regression")
    assert torch.equal(learner.meta_loss(module, batch), plain.meta_loss(module, batch))


@pytest.mark.parametrize("learned", [-1, 2.5, "per_step"])
def test_bad_learn_inner_lr(learned: object) -> None:
    with pytest.raises(InvalidParameterError, match="'learn_inner_lr' parameter of MAML must be"):
        build(MAML(learn_inner_lr=learned))
