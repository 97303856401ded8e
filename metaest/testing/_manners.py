"""Checks of a learner's manners: seeds, gradients, what it keeps and what it leaves alone."""

from __future__ import annotations

from unittest import SkipTest

import torch
from sklearn.base import clone
from torch import Tensor

from metaest._checks import Kind
from metaest.learners import Learner, LearnerNet
from metaest.testing._episodes import IMAGES, ROWS, collate, make_episode, uneven_episodes
from metaest.testing._runs import build, directional_derivatives, meta_gradient, predict


def check_parameters_are_scikit_learns(learner: Learner, kind: Kind) -> None:
    """Clone a learner: its parameters and ``repr`` stay the same."""
    copy = clone(learner)
    assert copy is not learner
    assert copy.get_params() == learner.get_params(), "clone has other parameters"
    assert repr(copy) == repr(learner), "clone has another repr"
    assert all("__" not in name for name in learner.get_params()), "a parameter's name has '__'"


def check_same_seed_same_weights(learner: Learner, kind: Kind) -> None:
    """Build networks: all randomness comes from `rng`, none from torch's generator."""
    before = torch.get_rng_state()
    first, second, other = (
        list(build(learner, kind, seed=seed).state_dict().values()) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before), "build moved torch's global generator"
    pairs = zip(first, second, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs), "the same seed gives other weights"
    pairs = zip(first, other, strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs), "another seed gives the same weights"


def check_saved_weights_are_all_there_is(learner: Learner, kind: Kind) -> None:
    """Copy a ``state_dict`` into another network: it predicts and learns the same."""
    module, other = build(learner, kind, seed=0), build(learner, kind, seed=1)
    batch = collate(uneven_episodes(kind))
    other.load_state_dict({name: value.clone() for name, value in module.state_dict().items()})
    found, expected = predict(learner, other, batch), predict(learner, module, batch)
    assert torch.equal(found, expected), "predictions depend on more than the state_dict"
    found, expected = (meta_gradient(learner, m, batch)[1] for m in (other, module))
    assert torch.equal(found, expected), "meta-gradients depend on more than the state_dict"


def check_nothing_is_recorded_without_gradients(learner: Learner, kind: Kind) -> None:
    """Run under ``torch.no_grad()``: results are detached, the network is as it was."""
    for shape in (ROWS, IMAGES):
        module = build(learner, kind, shape)
        before = _values(module)
        wanted = [p.requires_grad for p in module.parameters()]
        batch = collate(uneven_episodes(kind, shape))
        with torch.no_grad():
            state = learner.adapt(module, batch.support)
            prediction = learner.predict(module, state, batch.query_x)
        outputs = prediction if isinstance(prediction, tuple) else (prediction,)
        for tensor in (*state.values(), *(t for t in outputs if t is not None)):
            assert not tensor.requires_grad, "a result requires gradients under no_grad"
            assert tensor.grad_fn is None, "a result was recorded under no_grad"
        assert all(p.grad is None for p in module.parameters()), "adapt left gradients behind"
        assert _same(before, _values(module)), "adapt or predict changed the network"
        assert wanted == [p.requires_grad for p in module.parameters()]


def check_state_does_not_change_with_the_weights(learner: Learner, kind: Kind) -> None:
    """Change the weights after `adapt`: the state, which estimators keep, stays the same."""
    module = build(learner, kind)
    batch = collate([make_episode(kind)])
    with torch.no_grad():
        state = learner.adapt(module, batch.support)
        copies = {name: value.clone() for name, value in state.items()}
        for parameter in module.parameters():
            parameter.add_(1.0)
    assert _same(state, copies), "the state is a view of the weights"


def check_meta_training_leaves_no_trace(learner: Learner, kind: Kind) -> None:
    """Descend ``meta_loss``: some weight has a gradient, and none has changed."""
    module = build(learner, kind)
    before = _values(module)
    learner.meta_loss(module, collate(uneven_episodes(kind))).backward()
    assert _same(before, _values(module)), "meta_loss changed the network"
    learned = [p for p in module.parameters() if p.requires_grad]
    moves = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in learned]
    assert any(moves), "meta_loss has no gradient in any weight"


def check_meta_gradient_is_the_derivative(learner: Learner, kind: Kind) -> None:
    """Compare the gradient of ``meta_loss`` with finite differences in double precision."""
    # Rows run batched and images looped; that both are equal is another check.
    for shape in (ROWS, IMAGES):
        module = build(learner, kind, shape)
        batch = collate(uneven_episodes(kind, shape)[:2])
        step = 3e-9 if shape == IMAGES else 1e-6
        found, expected = directional_derivatives(learner, module, batch, step=step)
        tolerance = 2e-6 * float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


def check_a_gpu_agrees_with_the_cpu(learner: Learner, kind: Kind) -> None:
    """Compare a GPU with the CPU: predictions and gradients, in double precision."""
    if not torch.cuda.is_available():
        raise SkipTest("needs a CUDA device")
    device = torch.device("cuda")
    for shape in (ROWS, IMAGES):
        batch = collate(uneven_episodes(kind, shape))
        module = build(learner, kind, shape)
        expected = predict(learner, module, batch), meta_gradient(learner, module, batch)[1]
        module = build(learner, kind, shape).to(device)
        moved = batch.to(device)
        found = predict(learner, module, moved), meta_gradient(learner, module, moved)[1]
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.cpu(), b, rtol=1e-6, atol=1e-6)


def _values(module: LearnerNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in b)
