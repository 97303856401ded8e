"""FineTune: ordinary pretraining, then scikit-learn's linear models on the features."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import normalize
from torch import nn

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
