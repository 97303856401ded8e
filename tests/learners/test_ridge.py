"""RidgeHead: against scikit-learn's Ridge, in both forms of the solution."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from metaest.learners import CNP, FineTune, Learner, RidgeHead
from metaest.learners._head import solve_ridge
from tests.episode_helpers import build, collate, make_episode, meta_gradient, predict

# (S, d): fewer rows than features (dual), more (primal), equal.
SIZES = [(4, 9), (20, 5), (6, 6)]
over_sizes = pytest.mark.parametrize(("n_rows", "n_features"), SIZES, ids=str)


def _problem(n_rows: int, n_features: int, n_tasks: int = 3, n_targets: int = 2):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(n_tasks, n_rows, n_features), draw(n_tasks, n_rows, n_targets)


@over_sizes
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_solution_is_scikit_learns(n_rows: int, n_features: int, penalty: float) -> None:
    features, targets = _problem(n_rows, n_features)
    found = solve_ridge(features, targets, penalty).numpy()
    for x, y, head in zip(features.numpy(), targets.numpy(), found, strict=True):
        expected = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(x, y).coef_
        np.testing.assert_allclose(head.T, expected, rtol=1e-9)


@over_sizes
def test_both_forms_agree(n_rows: int, n_features: int) -> None:
    features, targets = _problem(n_rows, n_features)
    found = solve_ridge(features, targets, 0.3)
    # Rows of zeros add nothing to the solution and, enough of them, force the primal form.
    padded = [nn.functional.pad(part, (0, 0, 0, 30)) for part in (features, targets)]
    torch.testing.assert_close(solve_ridge(*padded, 0.3), found)
    # So do columns of zeros, with the dual form.
    wide = solve_ridge(nn.functional.pad(features, (0, 30)), targets, 0.3)
    torch.testing.assert_close(wide[:, :n_features], found)
    assert wide[:, n_features:].abs().max() == 0


@over_sizes
def test_penalty_of_each_task(n_rows: int, n_features: int) -> None:
    features, targets = _problem(n_rows, n_features)
    penalties = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    together = solve_ridge(features, targets, penalties[:, None, None])
    for b in range(3):
        alone = solve_ridge(features[[b]], targets[[b]], penalties[b])
        torch.testing.assert_close(together[[b]], alone)


@over_sizes
def test_gradients_go_through_the_solution(n_rows: int, n_features: int) -> None:
    features, targets = _problem(n_rows, n_features, n_tasks=2)
    penalty = torch.tensor(0.5, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (features, targets, penalty)]
    assert torch.autograd.gradcheck(solve_ridge, inputs)


def _flat(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Flatten()


@pytest.mark.parametrize("shots", [(1, 1, 1), (5, 7, 3)], ids=["dual", "primal"])
@pytest.mark.parametrize("kind", RidgeHead.kinds)
def test_learner_is_ridge_on_scaled_features(kind: str, shots: tuple[int, ...]) -> None:
    learner = RidgeHead(penalty=0.7)
    module = build(learner, kind, backbone=_flat)
    episode = make_episode(kind, shots=shots)
    x, query = (part.numpy() / 3**0.5 for part in (episode.support_x, episode.query_x))
    y = episode.support_y.numpy()
    y = y if kind == "regression" else np.eye(3)[y]
    x, query = (np.column_stack([part, np.ones(len(part))]) for part in (x, query))
    expected = Ridge(alpha=0.7, fit_intercept=False).fit(x, y).predict(query)
    batch = collate([episode])
    if kind == "regression":
        np.testing.assert_allclose(predict(learner, module, batch)[0].numpy(), expected)
        return
    with torch.no_grad():
        module.log_scale.fill_(np.log(2.0))
        module.shift.fill_(0.25)
        state = learner.adapt(module, batch.support)
        logits = learner.predict(module, state, batch.query_x)[0]
    np.testing.assert_allclose(logits.numpy(), 2 * expected + 0.25)


@pytest.mark.parametrize("kind", RidgeHead.kinds)
def test_penalty_and_scale_are_learned(kind: str) -> None:
    learner = RidgeHead()
    module = build(learner, kind)
    learner.meta_loss(module, collate([make_episode(kind)])).backward()
    own = {name: p for name, p in module.named_parameters() if not name.startswith("embedding.")}
    regression, classification = {"log_penalty"}, {"log_penalty", "log_scale", "shift"}
    assert set(own) == (regression if kind == "regression" else classification)
    assert own["log_penalty"].grad.abs() > 0
    assert kind == "regression" or own["log_scale"].grad.abs() > 0
    # Shared by all classes, it cannot move the softmax; it is the paper's beta.
    assert kind == "regression" or own["shift"].grad.abs() < 1e-12


def test_equal_rows_are_no_trouble() -> None:
    learner = RidgeHead(penalty=1e-3)
    episode = make_episode("regression")
    episode.support_x[:] = episode.support_x[0].clone()
    loss, gradient = meta_gradient(learner, build(learner, "regression"), collate([episode]))
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_scale_at_the_start_lets_the_softmax_tell_many_classes_apart() -> None:
    # Ridge regression puts out at most 1: without a factor the loss of 20 well separated classes
    # stays near log(20), which is 3, and meta-training spends its steps on the factor.
    n_ways = 20
    episode = make_episode(shots=(1,) * n_ways)
    corners = 10 * torch.eye(n_ways, dtype=episode.support_x.dtype)
    rows = {"support_x": corners[episode.support_y], "query_x": corners[episode.query_y]}
    batch = collate([replace(episode, **rows)])
    learner = RidgeHead()
    module = build(learner, input_shape=(n_ways,), backbone=_flat)
    loss = learner.meta_loss(module, batch)
    assert float(loss.detach()) < 0.1


@pytest.mark.parametrize("shots", [(2, 1, 3), (20, 20, 20)], ids=["dual", "primal"])
@pytest.mark.parametrize("learner", [RidgeHead(), CNP(n_hidden=8), FineTune()], ids=str)
def test_solves_in_single_precision_under_bfloat16(
    learner: Learner, shots: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.linalg.solve

    def on_a_gpu(*args: torch.Tensor) -> torch.Tensor:  # there autocast does not promote it
        with torch.autocast("cpu", enabled=False):
            return plain(*args)

    monkeypatch.setattr(torch.linalg, "solve", on_a_gpu)
    module = build(learner, "regression").float()
    batch = collate([make_episode("regression", shots=shots)]).to(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = predict(learner, module, batch)
    torch.testing.assert_close(found, predict(learner, module, batch), rtol=0.1, atol=0.1)
