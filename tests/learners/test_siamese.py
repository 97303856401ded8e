"""Siamese networks: against torch's own losses over enumerated pairs and triplets."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from metaest.datasets import fetch_omniglot
from metaest.exceptions import InvalidParameterError
from metaest.learners import Siamese, make_learner
from metaest.tasks import TaskSet
from metaest.training import meta_train
from tests.episode_helpers import Episode, build, collate, make_episode, predict


def _identity(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


def _rows(episode: Episode) -> tuple[Tensor, Tensor]:
    x = torch.cat([episode.support_x, episode.query_x])
    return x, torch.cat([episode.support_y, episode.query_y])


def _pairs(episode: Episode) -> tuple[Tensor, Tensor, Tensor]:
    x, y = _rows(episode)
    i, j = torch.tensor(list(combinations(range(len(x)), 2))).T
    return x[i], x[j], y[i] == y[j]


def _meta_loss(learner: Siamese, episode: Episode) -> tuple[nn.Module, Tensor]:
    module = build(learner, backbone=_identity)
    return module, learner.meta_loss(module, collate([episode]))


def _balanced(losses: Tensor, same: Tensor) -> Tensor:
    return (losses[same].mean() + losses[~same].mean()) / 2


@pytest.mark.parametrize("shots", [(2, 1, 3), (1, 1)], ids=str)
def test_logistic_is_the_cross_entropy_of_all_pairs(shots: tuple[int, ...]) -> None:
    episode = make_episode(shots=shots)
    learner = Siamese()
    module = build(learner, backbone=_identity)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([0.5, 2.0, -0.3]))
    a, b, same = _pairs(episode)
    alpha = module.weight / 3**0.5  # Koch et al.: sum_j alpha_j |h_1j - h_2j|
    logits = 3**0.5 * module.bias - ((a - b).abs() * alpha).sum(1)
    losses = nn.BCELoss(reduction="none")(logits.sigmoid(), same.double())
    found = learner.meta_loss(module, collate([episode]))
    torch.testing.assert_close(found, _balanced(losses, same))
    torch.testing.assert_close(learner.compare_pairs(module, a, b), logits)


@pytest.mark.parametrize("margin", [0.5, 1.0, 4.0])
def test_contrastive_is_hadsells_equation(margin: float) -> None:
    episode = make_episode()
    module, found = _meta_loss(Siamese(loss="contrastive", margin=margin), episode)
    a, b, same = _pairs(episode)
    distance = nn.PairwiseDistance(eps=0.0)(a, b)
    y = (~same).double()  # Hadsell et al.: Y = 1 for dissimilar rows
    losses = (1 - y) / 2 * distance**2 + y / 2 * (margin - distance).clamp(min=0) ** 2
    torch.testing.assert_close(found, _balanced(losses, same))
    learner = Siamese(loss="contrastive", margin=margin)
    torch.testing.assert_close(learner.compare_pairs(module, a, b), -distance)


@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplet_is_torchs_loss_of_all_triplets(margin: float) -> None:
    episode = make_episode()
    _, found = _meta_loss(Siamese(loss="triplet", margin=margin), episode)
    x, y = _rows(episode)
    x = nn.functional.normalize(x, dim=1)
    chosen = [
        (a, p, n) for a, p, n in permutations(range(len(x)), 3) if y[a] == y[p] and y[a] != y[n]
    ]
    a, p, n = torch.tensor(chosen).T

    def squared(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().sum(-1)

    torchs = nn.TripletMarginWithDistanceLoss(
        distance_function=squared, margin=margin, reduction="none"
    )
    losses = torchs(x[a], x[p], x[n])
    torch.testing.assert_close(found, losses[losses > 0].mean())


def test_one_shot_is_the_nearest_neighbour() -> None:
    episode = make_episode(shots=(1,) * 6, n_queries=10)
    x, y, query = (v.numpy() for v in (episode.support_x, episode.support_y, episode.query_x))
    for loss, p in (("logistic", 1), ("contrastive", 2)):
        learner = Siamese(loss=loss)
        found = predict(learner, build(learner, backbone=_identity), collate([episode]))[0]
        expected = KNeighborsClassifier(1, p=p).fit(x, y).predict(query)
        np.testing.assert_array_equal(found.argmax(1).numpy(), expected)


def test_logits_are_the_mean_log_odds_of_a_class() -> None:
    # At one shot: the posterior where exactly one of the classes matches the query row.
    learner, episode = Siamese(), make_episode(shots=(1, 1, 1))
    module = build(learner, backbone=_identity)
    n_query = len(episode.query_x)
    a = episode.query_x.repeat_interleave(3, 0)
    with torch.no_grad():
        match = learner.compare_pairs(module, a, episode.support_x.repeat(n_query, 1)).sigmoid()
    odds = (match / (1 - match)).view(n_query, 3)
    found = predict(learner, module, collate([episode]))[0].exp()
    torch.testing.assert_close(found, odds / odds.sum(1, keepdim=True))

    learner, episode = Siamese(loss="triplet"), make_episode(shots=(2, 1, 3))
    module = build(learner, backbone=_identity)
    x, query = (nn.functional.normalize(v, dim=1) for v in (episode.support_x, episode.query_x))
    distances = torch.cdist(query, x).square()  # (Q, S)
    means = torch.stack([distances[:, episode.support_y == k].mean(1) for k in range(3)], 1)
    found = predict(learner, module, collate([episode]))[0]
    torch.testing.assert_close(found, (-means / (0.4 * 0.2)).log_softmax(1))


@pytest.mark.parametrize("loss", ["logistic", "contrastive", "triplet"])
def test_equal_rows_have_finite_gradients(loss: str) -> None:
    episode = make_episode(shots=(2, 2))
    same = Episode(
        episode.support_x * 0 + 1.0, episode.support_y, episode.query_x * 0 + 1.0,
        episode.query_y, episode.classes,
    )  # fmt: skip
    learner = Siamese(loss=loss)
    module = build(learner)
    learner.meta_loss(module, collate([same], extra=(2, 2, 1))).backward()
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "least"), [("logistic", 0.93), ("triplet", 0.95)])
def test_verifies_drawings_of_new_characters(loss: str, least: float, data_dir) -> None:
    omniglot = fetch_omniglot(subset="small1", source=data_dir)
    known = omniglot.alphabet != "Greek"
    tasks = TaskSet.from_pool(omniglot.images[known], omniglot.target[known])
    learner = Siamese(loss=loss)
    settings = {"n_ways": 15, "n_shots": 1, "n_queries": 3, "meta_batch_size": 1}
    state = meta_train(learner, tasks, **settings, n_episodes=150, meta_lr=2e-3, autocast=False)
    x, y = omniglot.images[~known], omniglot.target[~known]
    rng = np.random.default_rng(0)
    first = rng.integers(len(x), size=400)
    second = np.array([rng.choice(np.flatnonzero(y == y[i])) for i in first[:200]])
    second = np.concatenate([second, rng.integers(len(x), size=200)])
    with torch.no_grad():
        module = state.module(learner, torch.device("cpu"))
        scores = learner.compare_pairs(module, *(torch.from_numpy(x[i]) for i in (first, second)))
    assert roc_auc_score(y[first] == y[second], scores.numpy()) > least


def test_bad_parameters() -> None:
    with pytest.raises(InvalidParameterError, match=r"'loss' parameter of Siamese .*'hinge'"):
        build(Siamese(loss="hinge"))
    with pytest.raises(InvalidParameterError, match=r"'margin' parameter of Siamese"):
        build(Siamese(loss="triplet", margin=0.0))
    with pytest.raises(InvalidParameterError, match="Siamese cannot learn regression"):
        make_learner(Siamese(), "regression")


def test_contrastive_probabilities_and_margin() -> None:
    # The default margin is the root of the number of features, here 3.
    default, given = Siamese(loss="contrastive"), Siamese(loss="contrastive", margin=3**0.5)
    episode = make_episode(shots=(2, 1, 3))
    module = build(default, backbone=_identity)
    distances = torch.cdist(episode.query_x, episode.support_x)  # (Q, S)
    means = torch.stack([distances[:, episode.support_y == k].mean(1) for k in range(3)], 1)
    found = predict(default, module, collate([episode]))[0]
    torch.testing.assert_close(found, (-means / (0.1 * 3**0.5)).log_softmax(1))
    torch.testing.assert_close(_meta_loss(default, episode)[1], _meta_loss(given, episode)[1])


def test_log_odds_at_the_start() -> None:
    learner, (x, _) = Siamese(), _rows(make_episode())
    found = learner.compare_pairs(build(learner, backbone=_identity), x[1:], x[:-1]).detach()
    expected = (3**0.5) / 2 - (x[1:] - x[:-1]).abs().sum(1) / 3**0.5
    torch.testing.assert_close(found, expected)
