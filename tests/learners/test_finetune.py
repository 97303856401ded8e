"""FineTune: ordinary pretraining, then scikit-learn's linear models on the features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import normalize
from torch import nn

from metaest.episodes import Support
from metaest.learners import FineTune
from tests.episode_helpers import (
    N_BASE_CLASSES,
    build,
    collate,
    make_episode,
    predict,
    uneven_episodes,
)


def _identity(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


def _objective(weight: np.ndarray, x: np.ndarray, y: np.ndarray, l2: float) -> float:
    """Mean cross-entropy plus half the squared weights, the bias among them."""
    log_p = np.log(softmax(x @ weight.T, axis=1))
    return -log_p[np.arange(len(y)), y].mean() + l2 / 2 * np.square(weight).sum()


@pytest.mark.parametrize("shots", [(5, 5, 5), (1, 1, 1), (4, 1, 2, 6)], ids=str)
@pytest.mark.parametrize("l2", [1e-1, 1e-2, 1e-3])
def test_new_head_is_logistic_regression(shots: tuple[int, ...], l2: float) -> None:
    episode = make_episode(shots=shots, n_queries=5)
    x, query = (
        np.column_stack([normalize(part.numpy()), np.ones(len(part))])
        for part in (episode.support_x, episode.query_x)
    )
    y = episode.support_y.numpy()
    best = LogisticRegression(C=1 / (l2 * len(y)), fit_intercept=False, tol=1e-12, max_iter=10_000)
    best.fit(x, y)
    learner = FineTune(l2=l2)
    module, batch = build(learner, backbone=_identity), collate([episode])
    state = learner.adapt(module, batch.support)
    head = torch.cat([state["weight"][0], state["bias"][0].unsqueeze(1)], 1).numpy()
    least = _objective(best.coef_, x, y, l2)
    nothing = np.log(len(shots))
    # The default 100 steps leave less than a half percent of all that there is to gain.
    assert _objective(head, x, y, l2) - least < 5e-3 * (nothing - least)
    found = predict(learner, module, batch)[0].exp().numpy()
    np.testing.assert_allclose(found, best.predict_proba(query), atol=0.05)

    learner.set_params(head_steps=3000)
    found = predict(learner, module, batch)[0].exp().numpy()
    np.testing.assert_allclose(found, best.predict_proba(query), atol=1e-4)


def test_new_regression_head_is_ridge_on_what_the_old_one_leaves() -> None:
    learner = FineTune(l2=0.05)
    module = build(learner, "regression", backbone=_identity)
    episode = make_episode("regression")
    x, query = (
        np.column_stack([part.numpy(), np.ones(len(part))])
        for part in (episode.support_x, episode.query_x)
    )
    old = torch.cat([module.base_head.weight[0], module.base_head.bias]).detach().numpy()
    residual = episode.support_y.numpy() - x @ old
    alpha = 0.05 * np.square(x).sum() / len(x)
    change = Ridge(alpha=alpha, fit_intercept=False).fit(x, residual).predict(query)
    found = predict(learner, module, collate([episode]))[0].numpy()
    np.testing.assert_allclose(found, query @ old + change)


def test_penalty_of_a_regression_is_on_the_sum_of_its_rows() -> None:
    learner = FineTune(l2=0.5)
    module = build(learner, "regression", backbone=_identity)
    support = collate([make_episode("regression")]).support
    twice = Support(*(torch.cat([v, v], 1) for v in (support.x, support.y, support.mask)), None)
    once = learner.adapt(module, support)["weight"]
    assert (learner.adapt(module, twice)["weight"] - once).abs().max() > 1e-3
    same = FineTune(l2=1.0).adapt(module, twice)["weight"]
    torch.testing.assert_close(same, once)


def test_pretraining_is_cross_entropy_over_all_base_classes() -> None:
    learner = FineTune()
    module = build(learner)
    assert module.base_head.out_features == N_BASE_CLASSES
    episodes = uneven_episodes("classification")
    losses = []
    for episode in episodes:
        x = torch.cat([episode.support_x, episode.query_x])
        y = episode.classes[torch.cat([episode.support_y, episode.query_y])]
        losses.append(nn.functional.cross_entropy(module.base_head(module.embedding(x)), y))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(learner.meta_loss(module, collate(episodes)), expected)


def test_pretraining_for_regression_is_squared_error() -> None:
    learner = FineTune()
    module = build(learner, "regression")
    episodes = uneven_episodes("regression")
    losses = []
    for episode in episodes:
        x = torch.cat([episode.support_x, episode.query_x])
        y = torch.cat([episode.support_y, episode.query_y])
        losses.append(nn.functional.mse_loss(module.base_head(module.embedding(x))[:, 0], y))
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(learner.meta_loss(module, collate(episodes)), expected)


def test_scale_of_the_features_does_not_matter_to_classes() -> None:
    learner, episode = FineTune(), make_episode()
    module = build(learner, backbone=_identity)
    batch = collate([episode])
    expected = predict(learner, module, batch)
    module.embedding[0].scale.fill_(0.01)
    torch.testing.assert_close(predict(learner, module, batch), expected)


# --------------------------------------------------------------- Baseline++ and the whole network


def test_cosine_pretraining_is_cross_entropy_of_scaled_cosines() -> None:
    learner, episode = FineTune(head="cosine"), make_episode()
    module = build(learner)
    x = torch.cat([episode.support_x, episode.query_x])
    y = episode.classes[torch.cat([episode.support_y, episode.query_y])]
    cosines = nn.functional.cosine_similarity(
        module.embedding(x).unsqueeze(1), module.base_head.weight.unsqueeze(0), dim=-1
    )
    expected = nn.functional.cross_entropy(2 * cosines, y)
    torch.testing.assert_close(learner.meta_loss(module, collate([episode])), expected)


def test_cosine_head_starts_at_the_class_means() -> None:
    learner = FineTune(head="cosine", head_steps=0)
    episode = make_episode(shots=(2, 1, 3))
    x, query = (normalize(v.numpy()) for v in (episode.support_x, episode.query_x))
    means = np.stack([x[episode.support_y.numpy() == k].mean(0) for k in range(3)])
    expected = softmax(2 * query @ normalize(means).T, axis=1)
    found = predict(learner, build(learner, backbone=_identity), collate([episode]))[0].exp()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_cosine_head_descends_its_loss() -> None:
    episode = make_episode(shots=(5, 5, 5), seed=3)
    batch = collate([episode])
    losses = []
    for steps in (0, 1, 20, 100):
        learner = FineTune(head="cosine", head_steps=steps)
        module = build(learner, backbone=_identity)
        on_support = collate([replace(episode, query_x=episode.support_x)])
        log_p = predict(learner, module, on_support)[0]
        losses.append(nn.functional.nll_loss(log_p, episode.support_y).item())
        weight = learner.adapt(module, batch.support)["weight"]
        torch.testing.assert_close(weight.norm(dim=-1), torch.full_like(weight[..., 0], 2.0))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_whole_network_descends_the_support_loss(kind: str) -> None:
    episode = make_episode(kind, shots=(6, 6, 6))
    x = episode.support_x.unsqueeze(0)
    losses = []
    for steps in (0, 5, 50):
        learner = FineTune(head_steps=20, l2=1.0, adapt_steps=steps, body_lr=0.02)
        module = build(learner, kind)
        state = learner.adapt(module, collate([episode]).support)
        found = learner.predict(module, state, x)
        if kind == "regression":
            losses.append((found.mean[0] - episode.support_y).square().mean().item())
        else:
            losses.append(nn.functional.cross_entropy(found[0], episode.support_y).item())
        assert len(state) == (1 if kind == "regression" else 2) + 1 + (4 if steps else 0)
    assert losses[2] < losses[1] < losses[0]


def test_a_step_of_the_whole_network_is_a_gradient_step() -> None:
    episode = make_episode()
    batch, rate = collate([episode]), 0.03
    still, moved = FineTune(head_steps=5), FineTune(head_steps=5, adapt_steps=1, body_lr=rate)
    module = build(still)
    start = still.adapt(module, batch.support)
    features = nn.functional.normalize(module.embedding(episode.support_x), dim=1)
    logits = features @ start["weight"][0].T + start["bias"][0]
    # Times the number of classes, as in every inner loop here.
    (3 * nn.functional.cross_entropy(logits, episode.support_y)).backward()
    state = moved.adapt(module, batch.support)
    for name, parameter in module.embedding.named_parameters():
        expected = parameter.detach() - rate * parameter.grad
        torch.testing.assert_close(state[f"embedding.{name}"][0], expected)


def test_a_step_of_a_regression_has_a_bound() -> None:
    batch, rate = collate([make_episode("regression")]), 0.03
    batch = replace(batch, support_y=1000 * batch.support_y)
    still, moved = FineTune(l2=10.0), FineTune(l2=10.0, adapt_steps=1, body_lr=rate)
    module = build(still, "regression")
    start = still.adapt(module, batch.support)
    start |= {f"embedding.{k}": p.unsqueeze(0) for k, p in module.embedding.named_parameters()}
    end = moved.adapt(module, batch.support)
    gaps = torch.cat([(end[k] - value).flatten() for k, value in start.items()])
    assert gaps.norm().item() == pytest.approx(10 * rate)


def test_a_step_of_the_cosine_head_is_two_over_the_squared_scale() -> None:
    episode = make_episode(shots=(2, 1, 3))
    learner = FineTune(head="cosine", head_steps=1)
    module = build(learner, backbone=_identity)
    with torch.no_grad():
        module.log_scale.fill_(np.log(3.0))
    rows = nn.functional.normalize(episode.support_x, dim=1)
    means = torch.stack([rows[episode.support_y == k].mean(0) for k in range(3)])
    weight = nn.functional.normalize(means, dim=1).requires_grad_()
    logits = 3 * rows @ nn.functional.normalize(weight, dim=1).T
    nn.functional.cross_entropy(logits, episode.support_y).backward()
    expected = 3 * nn.functional.normalize(weight.detach() - 2 / 9 * weight.grad, dim=1)
    found = learner.adapt(module, collate([episode]).support)["weight"][0]
    torch.testing.assert_close(found, expected)
