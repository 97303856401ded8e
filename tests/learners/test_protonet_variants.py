"""ProtoNet's metrics, clusters and descriptions: against numpy and scipy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.special import softmax
from torch import Tensor, nn

from metaest.episodes import EpisodeBatch
from metaest.exceptions import InvalidParameterError, UnsupportedTaskError
from metaest.learners import ProtoNet
from metaest.learners._prototypes import covariance_factors, mixture_prototypes
from metaest.nets import NetSpec
from tests.episode_helpers import (
    Episode,
    build,
    collate,
    directional_derivatives,
    make_episode,
    meta_gradient,
    predict,
    real,
    uneven_episodes,
)


def _probabilities(learner: ProtoNet, episode: Episode) -> np.ndarray:
    shape = tuple(episode.support_x.shape[1:])
    module = build(learner, "classification", shape, backbone="identity")
    return predict(learner, module, collate([episode]))[0].exp().numpy()


def _arrays(episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(t.numpy() for t in (episode.support_x, episode.support_y, episode.query_x))


def _two_clusters(seed: int = 0, noise: float = 0.05) -> Episode:
    """Give two classes of two clusters each, with one mean (XOR)."""
    corners = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    generator = torch.Generator().manual_seed(seed)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        x = corners.repeat(n, 1) + noise * torch.randn(4 * n, 2, generator=generator)
        return x.double(), torch.tensor([0, 0, 1, 1]).repeat(n)

    return Episode(*draw(4), *draw(10), torch.tensor([0, 1]))


# ------------------------------------------------------------------------------------ mahalanobis


@pytest.mark.parametrize("shots", [(4, 1, 6), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("beta", [1.0, 0.1])
def test_mahalanobis_is_the_papers_equation(shots: tuple[int, ...], beta: float) -> None:
    episode = make_episode(shots=shots)
    x, y, query = _arrays(episode)
    logits = np.zeros((len(query), len(shots)))
    for k, n in enumerate(shots):
        own = np.cov(x[y == k], rowvar=False) if n > 1 else np.zeros((3, 3))
        share = n / (n + 1)
        inverse = np.linalg.inv(
            share * own + (1 - share) * np.cov(x, rowvar=False) + beta * np.eye(3)
        )
        mean = x[y == k].mean(0)
        logits[:, k] = [-0.5 * mahalanobis(row, mean, inverse) ** 2 for row in query]
    found = _probabilities(ProtoNet(metric="mahalanobis", beta=beta, temperature=2.0), episode)
    np.testing.assert_allclose(found, softmax(logits, axis=1), rtol=1e-6)


def test_heavy_ridge_gives_euclidean_prototypes() -> None:
    episode = make_episode(shots=(4, 1, 6))
    found = _probabilities(ProtoNet(metric="mahalanobis", beta=1e8, temperature=2.0 / 1e8), episode)
    expected = _probabilities(ProtoNet(temperature=2.0), episode)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_mahalanobis_undoes_a_stretched_direction() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 10)
    x, query = (rng.normal(size=(20, 2)) * [20.0, 0.1] + np.stack([0 * y, y], 1) for _ in "ab")
    episode = Episode(*(torch.as_tensor(a) for a in (x, y, query, y, np.arange(2))))
    settings = {"temperature": 2.0}
    plain = _probabilities(ProtoNet(**settings), episode).argmax(1)
    aware = _probabilities(ProtoNet(metric="mahalanobis", beta=1e-3, **settings), episode)
    assert (aware.argmax(1) == y).all()
    assert (plain == y).mean() < 0.8


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_mahalanobis_in_single_precision(scale: float) -> None:
    rng = torch.Generator().manual_seed(0)
    x = scale * torch.randn(1, 6, 40, generator=rng)  # fewer rows than features
    weights = torch.eye(3).repeat_interleave(2, 0).unsqueeze(0)
    x.requires_grad_()
    factors = covariance_factors(x, weights, 1.0)
    assert factors.dtype == torch.float32
    factors.diagonal(dim1=2, dim2=3).log().sum().backward()
    assert factors.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_mahalanobis_under_bfloat16() -> None:
    learner = ProtoNet(metric="mahalanobis")
    module = build(learner).float()
    batch = collate(uneven_episodes("classification")).to(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = learner.meta_loss(module, batch)
    assert float(loss.detach()) == pytest.approx(
        float(learner.meta_loss(module, batch).detach()), rel=0.05
    )


# --------------------------------------------------------------------------------------- diagonal


def test_diagonal_metric_starts_as_the_euclidean_one_and_is_learned() -> None:
    episode, learner = make_episode(), ProtoNet(metric="diagonal")
    np.testing.assert_array_equal(
        _probabilities(learner, episode), _probabilities(ProtoNet(), episode)
    )
    module = build(learner, backbone="identity")
    learner.meta_loss(module, collate([episode])).backward()
    assert module.log_scale.grad.abs().max() > 0
    with torch.no_grad():
        module.log_scale[:] = torch.tensor([0.7, -0.3, 0.1])
    factors = module.log_scale.detach().exp()
    scaled = replace(
        episode, support_x=episode.support_x * factors, query_x=episode.query_x * factors
    )
    found = predict(learner, module, collate([episode]))[0].exp().numpy()
    np.testing.assert_allclose(found, _probabilities(ProtoNet(), scaled), rtol=1e-10)


# --------------------------------------------------------------------------------------- clusters


def test_two_clusters_in_a_class() -> None:
    episode = _two_clusters()
    truth = episode.query_y.numpy()
    plain = _probabilities(ProtoNet(temperature=0.2), episode).argmax(1)
    mixture = _probabilities(ProtoNet(clusters="infinite", temperature=0.2), episode).argmax(1)
    assert (plain == truth).mean() < 0.8
    assert (mixture == truth).all()


def test_clusters_are_the_means_of_their_rows() -> None:
    episode = _two_clusters()
    x, y = episode.support_x, episode.support_y
    weights = nn.functional.one_hot(y, 2).double().unsqueeze(0)
    cold = torch.tensor(1e-3, dtype=torch.float64)  # no row belongs to two clusters
    found, owners = mixture_prototypes(x.unsqueeze(0), weights, cold, 1e-300)
    for label in (0, 1):
        rows = x[y == label]
        means = torch.stack([rows[rows[:, 0] < 0].mean(0), rows[rows[:, 0] > 0].mean(0)])
        own = found[0, owners[0, :, label]]
        assert len(own) == 2
        torch.testing.assert_close(own[own[:, 0].argsort()], means, rtol=1e-8, atol=1e-8)
    assert (found[0, ~owners[0].any(1)] == 0).all()


def test_few_clusters_are_plain_prototypes() -> None:
    episode = make_episode(shots=(4, 1, 3))
    found = _probabilities(ProtoNet(clusters="infinite", concentration=1e-300), episode)
    np.testing.assert_allclose(found, _probabilities(ProtoNet(), episode), rtol=1e-10)


def test_many_clusters_are_the_nearest_neighbour() -> None:
    episode = make_episode(shots=(4, 1, 3), n_queries=8)
    x, y, query = _arrays(episode)
    learner = ProtoNet(clusters="infinite", temperature=1e-3, concentration=1e300)
    nearest = ((query[:, None] - x) ** 2).sum(2).argmin(1)
    np.testing.assert_array_equal(_probabilities(learner, episode).argmax(1), y[nearest])


def test_the_papers_distance_decides() -> None:
    # One class of two rows at distance 1 from their mean, one of a single row.
    def n_clusters(temperature: float, concentration: float, far: float) -> int:
        x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, far]]], dtype=torch.float64)
        weights = torch.tensor([[[1.0, 0], [1, 0], [0, 1]]], dtype=torch.float64)
        tau = torch.tensor(temperature, dtype=torch.float64)
        return int(mixture_prototypes(x, weights, tau, concentration)[1][0, :, 0].sum())

    for temperature, concentration, far in [(1, 0.3, 2), (1, 0.7, 2), (1, 0.7, 9), (0.3, 0.1, 1)]:
        sigma, rho = temperature / 2, (far / 2) ** 2 / 2  # the variance of the means, 2 features
        limit = -2 * sigma * np.log(concentration / (1 + rho / sigma))
        assert n_clusters(temperature, concentration, far) == (2 if limit < 1 else 1)


@pytest.mark.parametrize("shots", [(9, 12, 7), (2, 2)], ids=str)
def test_clusters_do_not_depend_on_the_order(shots: tuple[int, ...]) -> None:
    episode = make_episode(shots=shots)
    learner = ProtoNet(clusters="infinite", temperature=0.3)
    expected = _probabilities(learner, episode)
    for seed in range(5):
        order = torch.randperm(sum(shots), generator=torch.Generator().manual_seed(seed))
        shuffled = replace(
            episode, support_x=episode.support_x[order], support_y=episode.support_y[order]
        )
        np.testing.assert_allclose(_probabilities(learner, shuffled), expected, rtol=1e-9)


def test_rows_that_are_equal_end_in_one_cluster() -> None:
    learner = ProtoNet(clusters="infinite", temperature=0.3, concentration=1e300)
    episode = make_episode(shots=(3, 3))
    same = replace(episode, support_x=episode.support_x[:1].expand(6, -1) + 0.1)
    assert np.isfinite(_probabilities(learner, same)).all()


@pytest.mark.parametrize("metric", ["cosine", "mahalanobis"])
def test_clusters_need_a_metric_of_their_own(metric: str) -> None:
    with pytest.raises(InvalidParameterError, match=r"clusters='infinite' needs metric="):
        build(ProtoNet(clusters="infinite", metric=metric))


# ----------------------------------------------------------------------------------- descriptions

DESCRIBED = {
    "euclidean": ProtoNet(),
    "cosine": ProtoNet(metric="cosine", description_weight=0.5),
    "diagonal": ProtoNet(metric="diagonal"),
    "mahalanobis": ProtoNet(metric="mahalanobis", description_weight=2.0),
    "infinite": ProtoNet(clusters="infinite", temperature=0.3),
}
over_described = pytest.mark.parametrize("learner", DESCRIBED.values(), ids=list(DESCRIBED))
over_sizes = pytest.mark.parametrize("size", [3, 5], ids=["like rows", "other length"])


def _module(learner: ProtoNet, size: int) -> nn.Module:
    statistics = torch.full((size,), 0.3), torch.full((size,), 2.0)
    spec = NetSpec((3,), backbone="mlp", description_size=size, description_statistics=statistics)
    return learner.build(spec, np.random.default_rng(0)).double().eval()


def _described(batch: EpisodeBatch, size: int, seed: int = 0) -> EpisodeBatch:
    """Describe the classes by their number in the whole set; padded ones by large numbers."""
    assert batch.class_mask is not None
    table = torch.randn(20, size, generator=torch.Generator().manual_seed(seed)).double()
    class_x = table[batch.class_ids].masked_fill(~batch.class_mask.unsqueeze(-1), 50.0)
    return replace(batch, class_x=class_x)


@over_described
@over_sizes
def test_described_tasks_together_equal_tasks_alone(learner: ProtoNet, size: int) -> None:
    module, episodes = _module(learner, size), uneven_episodes("classification")
    batch = _described(collate(episodes, extra=(2, 1, 1), garbage=True), size)
    together = predict(learner, module, batch)
    loss, gradient = meta_gradient(learner, module, batch)
    parts = []
    for task, episode in enumerate(episodes):
        single = _described(collate([episode]), size)
        alone = predict(learner, module, single)[0]
        torch.testing.assert_close(real(together, episode, task), alone, rtol=1e-10, atol=1e-10)
        parts.append(meta_gradient(learner, module, single))
    losses, gradients = zip(*parts, strict=True)
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, torch.stack(gradients).mean(0), rtol=1e-9, atol=1e-10)


@over_described
@over_sizes
def test_gradients_through_descriptions(learner: ProtoNet, size: int) -> None:
    batch = _described(collate(uneven_episodes("classification")[:2]), size)
    for case in (batch, replace(batch, support_mask=torch.zeros_like(batch.support_mask))):
        found, expected = directional_derivatives(learner, _module(learner, size), case)
        torch.testing.assert_close(found, expected, rtol=0, atol=3e-6 * expected.abs().max().item())


def test_a_description_is_an_example_of_some_weight() -> None:
    episode = make_episode(shots=(2, 1, 3))
    x, y, query = _arrays(episode)
    names = np.random.default_rng(0).normal(size=(3, 3))
    for weight in (0.5, 2.0):
        learner = ProtoNet(temperature=1.0, description_weight=weight)
        module = build(learner, backbone="identity")
        batch = replace(collate([episode]), class_x=torch.as_tensor(names).unsqueeze(0))
        means = [
            (x[y == k].sum(0) + weight * names[k]) / ((y == k).sum() + weight) for k in range(3)
        ]
        distances = ((query[:, None] - np.stack(means)) ** 2).sum(2)
        found = predict(learner, module, batch)[0].exp().numpy()
        np.testing.assert_allclose(found, softmax(-distances, axis=1), rtol=1e-9)


@over_described
def test_descriptions_alone_are_prototypes(learner: ProtoNet) -> None:
    episode = make_episode(shots=(2, 1, 3))
    module = build(learner, backbone="identity")
    names = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    batch = replace(collate([episode]), class_x=names)
    batch = replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    one_shot = Episode(names[0], torch.arange(3), episode.query_x, episode.query_y, None)
    found = predict(learner, module, batch)[0]
    expected = collate([replace(one_shot, classes=episode.classes)])
    if learner.metric == "mahalanobis":  # of weight 2: two equal examples
        twice = replace(one_shot, support_x=names[0].repeat(2, 1), classes=episode.classes)
        expected = collate([replace(twice, support_y=torch.arange(3).repeat(2))])
    torch.testing.assert_close(found, predict(learner, module, expected)[0])


def test_a_learned_map_of_descriptions_like_rows_starts_at_the_identity() -> None:
    learner = ProtoNet()
    batch = _described(collate([make_episode()]), 3)
    plain = build(learner, backbone="residual")
    spec = NetSpec((3,), backbone="residual", description_size=3)
    mapped = learner.build(spec, np.random.default_rng(0)).double().eval()
    assert torch.equal(predict(learner, plain, batch), predict(learner, mapped, batch))
    assert not hasattr(plain, "describe")


def test_descriptions_of_another_length_need_meta_training() -> None:
    learner = ProtoNet()
    batch = _described(collate([make_episode()]), 5)
    with pytest.raises(UnsupportedTaskError, match=r"have 5 values, but rows .*Call fit_meta"):
        predict(learner, build(learner), batch)


def test_rows_belong_to_the_clusters_of_their_class_softly() -> None:
    x = torch.tensor([[0.0, 0], [1, 0], [1.6, 0], [5, 1], [5, 3]]).double()
    weights = nn.functional.one_hot(torch.tensor([0, 0, 0, 1, 1])).double()
    tau = torch.tensor(0.8).double()
    found, owners = (
        v[0] for v in mixture_prototypes(x.unsqueeze(0), weights.unsqueeze(0), tau, 4.0)
    )
    assert owners.sum(0).tolist() == [2, 2]
    for label, rows in ((0, x[:3]), (1, x[3:])):
        seeds = x[owners[:, label]]  # (k, d)
        shares = (-torch.cdist(rows, seeds).square() / 0.8).softmax(1)  # (n, k)
        expected = shares.T @ rows / shares.sum(0).unsqueeze(1)
        torch.testing.assert_close(found[owners[:, label]], expected)


def test_the_nearest_cluster_counts() -> None:
    episode = _two_clusters(noise=0.5)
    learner = ProtoNet(clusters="infinite", temperature=1.5)
    module, batch = build(learner, "classification", (2,), backbone="identity"), collate([episode])
    state = learner.adapt(module, batch.support)
    prototypes, owners = state["prototypes"][0], state["owners"][0]
    distances = torch.cdist(episode.query_x, prototypes).square()  # (Q, N)
    nearest = torch.stack([distances[:, owners[:, k]].amin(1) for k in (0, 1)], 1)
    found = predict(learner, module, batch)[0]
    torch.testing.assert_close(found, (-nearest / 1.5).log_softmax(1))
