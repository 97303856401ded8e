"""ProtoNet and MatchingNet: against their papers' equations in numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics.pairwise import cosine_distances, cosine_similarity, euclidean_distances
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch import nn

from metaest._torch import MASKED_LOGIT
from metaest.exceptions import InvalidParameterError
from metaest.learners import MatchingNet, ProtoNet
from metaest.learners._matching import class_logsumexp
from tests.episode_helpers import (
    Episode,
    build,
    collate,
    make_episode,
    meta_gradient,
    predict,
    uneven_episodes,
)
from tests.learners.memory_helpers import LargestTensor


def _identity(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Identity()


def _arrays(episode: Episode) -> tuple[np.ndarray, ...]:
    parts = (episode.support_x, episode.support_y, episode.query_x, episode.query_y)
    return tuple(part.numpy() for part in parts)


def _probabilities(learner, episode: Episode) -> np.ndarray:
    module = build(learner, backbone=_identity)
    return predict(learner, module, collate([episode]))[0].exp().numpy()


def _class_means(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x[y == label].mean(0) for label in np.unique(y)])


# --------------------------------------------------------------------------------------- ProtoNet


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_euclidean_prototypes_are_the_papers_equation(temperature: float) -> None:
    episode = make_episode()
    x, y, query, _ = _arrays(episode)
    distances = euclidean_distances(query, _class_means(x, y), squared=True)
    found = _probabilities(ProtoNet(temperature=temperature), episode)
    np.testing.assert_allclose(found, softmax(-distances / temperature, axis=1), rtol=1e-5)


def test_cosine_prototypes() -> None:
    episode = make_episode()
    x, y, query, _ = _arrays(episode)
    distances = cosine_distances(query, _class_means(x, y))
    found = _probabilities(ProtoNet(metric="cosine"), episode)
    np.testing.assert_allclose(found, softmax(-distances / 0.1, axis=1), rtol=1e-5)


def test_raw_features_give_scikit_learns_nearest_centroid() -> None:
    episode = make_episode(shots=(3, 5, 1, 2), n_queries=20)
    x, y, query, _ = _arrays(episode)
    expected = NearestCentroid().fit(x, y).predict(query)
    np.testing.assert_array_equal(_probabilities(ProtoNet(), episode).argmax(1), expected)


def test_one_shot_is_the_nearest_neighbour() -> None:
    episode = make_episode(shots=(1,) * 6, n_queries=10)
    x, y, query, _ = _arrays(episode)
    expected = KNeighborsClassifier(1).fit(x, y).predict(query)
    np.testing.assert_array_equal(_probabilities(ProtoNet(), episode).argmax(1), expected)


def test_euclidean_prototypes_are_a_linear_model() -> None:
    # Snell et al. 2017, section 2.4: w_k = 2 c_k, b_k = -|c_k|^2.
    learner = ProtoNet(temperature=1.0)
    module, batch = build(learner), collate([make_episode()])
    with torch.no_grad():
        prototypes = learner.adapt(module, batch.support)["prototypes"][0]
        features = module.embedding(batch.query_x[0])
        linear = features @ (2 * prototypes).T - prototypes.square().sum(1)
    torch.testing.assert_close(predict(learner, module, batch)[0], linear.log_softmax(-1))


def test_scale_of_the_features_does_not_matter_to_cosine() -> None:
    episode = make_episode(shots=(1, 1, 1))
    factors = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)
    scaled = Episode(
        episode.support_x * factors[:, None],
        episode.support_y,
        episode.query_x * 7,
        episode.query_y,
        episode.classes,
    )
    learner = ProtoNet(metric="cosine")
    np.testing.assert_allclose(_probabilities(learner, scaled), _probabilities(learner, episode))


@pytest.mark.parametrize(("metric", "start"), [("euclidean", 5**0.5), ("cosine", 0.1)])
def test_default_temperature(metric: str, start: float) -> None:
    module = build(ProtoNet(metric=metric))
    assert float(module.log_temperature.detach().exp()) == pytest.approx(start)


@pytest.mark.parametrize("learner_class", [ProtoNet, MatchingNet])
def test_temperature_is_learned_unless_told_not_to(learner_class) -> None:
    batch = collate(uneven_episodes("classification"))
    for learned in (True, False):
        learner = learner_class(temperature=1.0, learn_temperature=learned)
        module = build(learner)
        assert module.log_temperature.requires_grad is learned
        learner.meta_loss(module, batch).backward()
        assert (module.log_temperature.grad is not None) is learned


def test_far_rows_keep_finite_gradients() -> None:
    learner = ProtoNet(temperature=1.0)
    episode = make_episode()
    far = Episode(
        1e4 * episode.support_x,
        episode.support_y,
        1e4 * episode.query_x,
        episode.query_y,
        episode.classes,
    )
    module = build(learner).float()
    loss, gradient = meta_gradient(learner, module, collate([far]).to(dtype=torch.float32))
    assert loss.isfinite()
    assert gradient.isfinite().all()


def test_unknown_metric() -> None:
    with pytest.raises(
        InvalidParameterError, match=r"'metric' parameter of ProtoNet must be .*Got 'manhattan'"
    ):
        build(ProtoNet(metric="manhattan"))


# ------------------------------------------------------------------------------------ MatchingNet


def _attention(query: np.ndarray, x: np.ndarray, temperature: float) -> np.ndarray:
    return softmax(cosine_similarity(query, x) / temperature, axis=1)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("shots", [(2, 1, 3), (1, 1, 1, 1)], ids=str)
def test_attention_is_the_papers_equation(temperature: float, shots: tuple[int, ...]) -> None:
    episode = make_episode(shots=shots)
    x, y, query, _ = _arrays(episode)
    expected = _attention(query, x, temperature) @ np.eye(len(shots))[y]
    found = _probabilities(MatchingNet(temperature=temperature), episode)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1)


def test_attention_is_a_weighted_nearest_neighbour_vote() -> None:
    episode = make_episode(shots=(4, 2, 3), n_queries=10)
    x, y, query, _ = _arrays(episode)

    def weights(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / 0.1)

    knn = KNeighborsClassifier(len(x), weights=weights, metric="cosine").fit(x, y)
    found = _probabilities(MatchingNet(temperature=0.1), episode)
    np.testing.assert_allclose(found, knn.predict_proba(query), rtol=1e-5)


def test_regression_is_the_attended_mean() -> None:
    episode = make_episode("regression")
    x, y, query, _ = _arrays(episode)
    learner = MatchingNet(temperature=0.5)
    module = build(learner, "regression", backbone=_identity)
    found = predict(learner, module, collate([episode]))[0].numpy()
    np.testing.assert_allclose(found, _attention(query, x, 0.5) @ y, rtol=1e-5)


def test_cold_attention_copies_the_most_similar_row() -> None:
    episode = make_episode(shots=(3, 3))
    x, y, query, _ = _arrays(episode)
    found = _probabilities(MatchingNet(temperature=1e-3), episode)
    np.testing.assert_array_equal(found.argmax(1), y[cosine_similarity(query, x).argmax(1)])
    assert np.isfinite(found).all()


def _sums_by_masking(scores: torch.Tensor, y: torch.Tensor, n_classes: int) -> torch.Tensor:
    strangers = ~nn.functional.one_hot(y, n_classes).bool()  # (B, S, C)
    return scores.unsqueeze(-1).masked_fill(strangers.unsqueeze(1), MASKED_LOGIT).logsumexp(2)


def test_sums_over_the_rows_of_a_class() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 6, (3, 8), generator=generator)  # some classes have no rows
    scores = torch.randn(3, 5, 8, generator=generator, dtype=torch.float64) * 300
    scores[0, :, 5:] = MASKED_LOGIT  # padded
    scores.requires_grad_()
    found, expected = (f(scores, y, 7) for f in (class_logsumexp, _sums_by_masking))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)
    present = expected > MASKED_LOGIT / 2
    gradients = [torch.autograd.grad(v[present].sin().sum(), scores)[0] for v in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
    assert class_logsumexp(scores.bfloat16(), y, 7).dtype == torch.float32


def test_memory_of_attention_to_many_classes() -> None:
    batch = collate([make_episode(shots=(2,) * 20, n_queries=1)])
    learner = MatchingNet()
    module = build(learner)
    with LargestTensor() as largest:
        predict(learner, module, batch)
    assert largest.numel <= 20 * 40  # query rows times support rows
