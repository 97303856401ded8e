"""Relation networks: against the paper's equations in numpy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import expit, softmax
from torch import nn

from metaest.exceptions import InvalidParameterError
from metaest.learners import RelationNet, make_learner
from metaest.tasks import TaskSet
from metaest.training import meta_train
from tests.episode_helpers import Episode, build, collate, make_episode, predict, uneven_episodes


def _identity(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


def _scores(module: nn.Module, episode: Episode) -> np.ndarray:
    """Log-odds of each query row and class by eq. 1: a network on concatenated features."""
    x, y, query = (v.numpy() for v in (episode.support_x, episode.support_y, episode.query_x))
    of_class, of_query, score = (
        [p.detach().numpy() for p in layer.parameters()]
        for layer in (module.of_class, module.of_query, module.score)
    )
    weight = np.hstack([of_class[0], of_query[0]])  # (h, 2 d)
    bias = of_class[1] + of_query[1]
    out = np.zeros((len(query), episode.n_classes))
    for i, row in enumerate(query):
        for k in range(episode.n_classes):
            both = np.concatenate([x[y == k].mean(0), row])
            out[i, k] = (score[0] @ np.maximum(weight @ both + bias, 0) + score[1]).item()
    return out


@pytest.mark.parametrize("shots", [(2, 1, 3), (1, 1, 1, 1)], ids=str)
def test_scores_are_a_network_on_concatenated_features(shots: tuple[int, ...]) -> None:
    episode, learner = make_episode(shots=shots), RelationNet()
    module = build(learner, backbone=_identity)
    found = predict(learner, module, collate([episode]))[0].exp().numpy()
    np.testing.assert_allclose(found, softmax(_scores(module, episode), axis=1), rtol=1e-6)


def test_loss_is_the_squared_error_to_the_one_hot_labels() -> None:
    episodes, learner = uneven_episodes("classification"), RelationNet()
    module = build(learner, backbone=_identity)
    losses = []
    for episode in episodes:
        labels = np.eye(episode.n_classes)[episode.query_y.numpy()]
        losses.append(np.square(expit(_scores(module, episode)) - labels).sum(1).mean())
    found = learner.meta_loss(module, collate(episodes, extra=(1, 1, 1), garbage=True))
    assert float(found.detach()) == pytest.approx(np.mean(losses), rel=1e-6)


def test_probabilities_are_monotone_in_the_relation_scores() -> None:
    episode, learner = make_episode(shots=(2, 2, 1, 1), n_queries=4), RelationNet()
    module = build(learner)
    with torch.no_grad():
        state = learner.adapt(module, collate([episode]).support)
        scores = learner.predict(module, state, episode.query_x.unsqueeze(0))[0].sigmoid()
    found = predict(learner, module, collate([episode]))[0].exp()
    assert torch.equal(scores.argsort(1), found.argsort(1))
    assert ((scores > 0) & (scores < 1)).all()


def test_starts_as_the_nearest_class_mean() -> None:
    # Columns of very different spread: distances over the columns themselves often disagree.
    rng, learner = np.random.default_rng(0), RelationNet()
    classes, spread = np.arange(5), np.geomspace(1, 0.02, 96)
    found, euclidean, manhattan = [], [], []
    for _ in range(20):
        means, query = (rng.normal(size=(n, 96)) * spread for n in (5, 30))
        parts = (means, classes, query, np.zeros(30, dtype=int), classes)
        episode = Episode(*map(torch.from_numpy, parts))
        module = build(learner, input_shape=(96,), backbone=_identity)
        found.append(predict(learner, module, collate([episode]))[0].argmax(1).numpy())
        euclidean.append(cdist(query, means).argmin(1))
        manhattan.append(cdist(query, means, "cityblock").argmin(1))
    agrees = np.concatenate(found) == np.concatenate(euclidean)
    disputed = np.concatenate(euclidean) != np.concatenate(manhattan)
    assert agrees.mean() > 0.8
    assert disputed.sum() > 100
    assert agrees[disputed].mean() > 0.6


def test_learns_a_comparison_that_no_distance_makes() -> None:
    # A class is a sign: rows of a class agree in it and in nothing else, the length least of all.
    rng = np.random.default_rng(0)
    tasks = []
    for _ in range(60):
        y = np.repeat([0, 1], 20)
        length = rng.uniform(0.1, 5, size=40)
        noise = rng.normal(size=(40, 2)) * 4
        tasks.append((np.c_[np.where(y, 1, -1) * length, noise], y))
    tasks = TaskSet.from_datasets(tasks)
    settings = {"n_ways": 2, "n_shots": 1, "n_queries": 8, "n_episodes": 800, "meta_lr": 1e-2}
    state = meta_train(RelationNet(), tasks, validation_tasks=tasks, **settings)
    untrained = meta_train(
        RelationNet(), tasks, validation_tasks=tasks, **{**settings, "meta_lr": 1e-9}
    )
    best, start = (max(r["valid_score"] for r in s.history) for s in (state, untrained))
    assert best > 0.9
    assert best > start + 0.1


def test_regression_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match="RelationNet cannot learn regression"):
        make_learner(RelationNet(), "regression")
