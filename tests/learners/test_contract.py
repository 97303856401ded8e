"""What every learner promises (metaest/learners/_base.py), over all of them."""

from dataclasses import replace

import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn

from metaest.exceptions import InvalidParameterError
from metaest.learners import (
    ANIL,
    LEARNERS,
    MAML,
    DeepKernelGP,
    FineTune,
    Learner,
    MatchingNet,
    ProtoNet,
    Reptile,
    RidgeHead,
    _execute,
    make_learner,
)
from tests.episode_helpers import (
    IMAGES,
    ROWS,
    build,
    collate,
    directional_derivatives,
    make_episode,
    meta_gradient,
    predict,
    real,
    uneven_episodes,
)

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}

# A row per way through the code; a learner without one fails test_every_learner_is_here.
# Small rates, for the squared error of an untrained Conv4 explodes at large ones.
VARIANTS: dict[str, Learner] = {
    "protonet": ProtoNet(),
    "protonet-cosine": ProtoNet(metric="cosine"),
    "matching": MatchingNet(),
    "maml": MAML(inner_steps=2, inner_lr=0.02),
    "maml-first-order": MAML(inner_steps=2, inner_lr=0.02, first_order=True),
    "maml-learned-rates": MAML(inner_steps=2, inner_lr=0.02, learn_inner_lr=True),
    "maml-prototype": MAML(inner_steps=2, inner_lr=0.02, head="prototype"),
    "anil": ANIL(inner_steps=3, inner_lr=0.02),
    "anil-first-order": ANIL(inner_steps=3, inner_lr=0.02, first_order=True),
    "reptile": Reptile(inner_steps=4, inner_lr=0.02, n_minibatches=3, adapt_steps=4),
    "ridge": RidgeHead(),
    "finetune": FineTune(head_steps=20),
    "deep_kernel_gp": DeepKernelGP(n_latent=3),
    "deep_kernel_gp-none": DeepKernelGP(n_latent=3, scaling="none"),
    "deep_kernel_gp-affine": DeepKernelGP(n_latent=3, scaling="affine"),
}
CASES = [
    pytest.param(learner, kind, id=f"{name}-{kind}")
    for name, learner in VARIANTS.items()
    for kind in learner.kinds
]
# Their meta-gradient is not the derivative of their meta-loss, by design.
INEXACT = ("maml-first-order", "anil-first-order", "reptile")
EXACT = [case for case in CASES if not case.id.startswith(INEXACT)]
CLASSIFIERS = [case for case in CASES if case.id.endswith("classification")]

over_cases = pytest.mark.parametrize(("learner", "kind"), CASES)
over_shapes = pytest.mark.parametrize("shape", [ROWS, IMAGES], ids=["rows", "images"])


@pytest.fixture(params=["looped", "batched"])
def strategy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run tasks one after another, or in one call, whatever metaest would choose."""
    monkeypatch.setattr(_execute, "is_looped", lambda module: request.param == "looped")
    return request.param


def test_every_learner_is_here() -> None:
    assert {type(learner) for learner in VARIANTS.values()} == set(LEARNERS.values())
    assert {name.split("-")[0] for name in VARIANTS} == set(LEARNERS)


@over_cases
@over_shapes
def test_tasks_together_equal_tasks_alone(
    learner: Learner, kind: str, shape: tuple[int, ...], strategy: str
) -> None:
    module, episodes = build(learner, kind, shape), uneven_episodes(kind, shape)
    batch = collate(episodes)
    together = predict(learner, module, batch)
    loss, gradient = meta_gradient(learner, module, batch)
    losses, gradients = [], []
    for task, episode in enumerate(episodes):
        single = collate([episode])
        alone = predict(learner, module, single)
        torch.testing.assert_close(real(together, episode, task), alone[0], **TOLERANCE)
        own_loss, own_gradient = meta_gradient(learner, module, single)
        losses.append(own_loss)
        gradients.append(own_gradient)
    torch.testing.assert_close(loss, torch.stack(losses).mean(), **TOLERANCE)
    torch.testing.assert_close(gradient, torch.stack(gradients).mean(0), **TOLERANCE)


@over_cases
def test_state_together_equals_state_alone(learner: Learner, kind: str, strategy: str) -> None:
    # Equal sizes, so that the states' shapes agree.
    episodes = [make_episode(kind, seed=seed) for seed in range(3)]
    module = build(learner, kind)
    with torch.no_grad():
        together = learner.adapt(module, collate(episodes).support)
        for task, episode in enumerate(episodes):
            alone = learner.adapt(module, collate([episode]).support)
            assert alone.keys() == together.keys()
            for name, value in alone.items():
                torch.testing.assert_close(together[name][task], value[0], **TOLERANCE)


@over_cases
@over_shapes
def test_padding_changes_nothing(learner: Learner, kind: str, shape: tuple[int, ...]) -> None:
    episode = make_episode(kind, input_shape=shape)
    module = build(learner, kind, shape)
    plain = collate([episode])
    loss, gradient = meta_gradient(learner, module, plain)
    expected = predict(learner, module, plain)[0]
    for garbage in (False, True):
        padded = collate([episode], extra=(3, 4, 2), garbage=garbage)
        own_loss, own_gradient = meta_gradient(learner, module, padded)
        found = predict(learner, module, padded)
        torch.testing.assert_close(real(found, episode), expected, **TOLERANCE)
        torch.testing.assert_close(own_loss, loss, **TOLERANCE)
        torch.testing.assert_close(own_gradient, gradient, **TOLERANCE)


@over_cases
def test_order_of_the_support_set_does_not_matter(learner: Learner, kind: str) -> None:
    episode = make_episode(kind)
    order = torch.tensor([3, 0, 5, 2, 4, 1])
    shuffled = replace(
        episode, support_x=episode.support_x[order], support_y=episode.support_y[order]
    )
    module = build(learner, kind)
    found, expected = (predict(learner, module, collate([e])) for e in (shuffled, episode))
    torch.testing.assert_close(found, expected, **TOLERANCE)


@pytest.mark.parametrize(("learner", "kind"), CLASSIFIERS)
def test_labels_are_only_names(learner: Learner, kind: str) -> None:
    episode = make_episode(kind)
    assert episode.classes is not None
    new_label = torch.tensor([2, 0, 1])
    renamed = replace(
        episode,
        support_y=new_label[episode.support_y],
        query_y=new_label[episode.query_y],
        classes=episode.classes[new_label.argsort()],
    )
    module = build(learner, kind)
    expected, found = (predict(learner, module, collate([e]))[0] for e in (episode, renamed))
    torch.testing.assert_close(found[:, new_label], expected, **TOLERANCE)
    loss, gradient = meta_gradient(learner, module, collate([episode]))
    new_loss, new_gradient = meta_gradient(learner, module, collate([renamed]))
    torch.testing.assert_close(new_loss, loss, **TOLERANCE)
    torch.testing.assert_close(new_gradient, gradient, **TOLERANCE)


@over_cases
@over_shapes
def test_query_rows_one_at_a_time_equal_together(
    learner: Learner, kind: str, shape: tuple[int, ...]
) -> None:
    module = build(learner, kind, shape)
    batch = collate([make_episode(kind, input_shape=shape)])
    together = predict(learner, module, batch)
    for row in range(batch.query_x.shape[1]):
        alone = predict(learner, module, replace(batch, query_x=batch.query_x[:, [row]]))
        torch.testing.assert_close(alone[:, 0], together[:, row], **TOLERANCE)


@over_cases
@pytest.mark.parametrize("shots", [(1, 1), (1,) * 7, (4, 1, 2), (9, 9), (1,) * 20], ids=str)
def test_any_ways_and_shots(learner: Learner, kind: str, shots: tuple[int, ...]) -> None:
    module = build(learner, kind)
    batch = collate([make_episode(kind, shots=shots)])
    found = predict(learner, module, batch)
    n_rows = batch.query_x.shape[1]
    n_outputs = (len(shots),) if kind == "classification" else found.shape[2:]  # or mean, variance
    assert found.shape == (1, n_rows, *n_outputs)
    assert found.isfinite().all()
    loss, gradient = meta_gradient(learner, module, batch)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@over_cases
def test_one_support_row_and_one_query_row(learner: Learner, kind: str) -> None:
    module = build(learner, kind)
    shots = (1, 1) if kind == "classification" else (1,)
    batch = collate([make_episode(kind, shots=shots, n_queries=1)])
    assert predict(learner, module, batch).isfinite().all()
    assert meta_gradient(learner, module, batch)[1].isfinite().all()


@pytest.mark.parametrize(("learner", "kind"), CLASSIFIERS)
def test_absent_classes_have_no_probability(learner: Learner, kind: str) -> None:
    module = build(learner, kind)
    episodes = uneven_episodes(kind)
    batch = collate(episodes, extra=(0, 0, 1))
    assert batch.class_mask is not None
    probabilities = predict(learner, module, batch).exp()
    absent = ~batch.class_mask.unsqueeze(1).expand_as(probabilities)
    assert (probabilities[absent] == 0).all()
    torch.testing.assert_close(probabilities.sum(-1), torch.ones_like(probabilities[..., 0]))


@over_cases
def test_saved_weights_are_all_there_is(learner: Learner, kind: str) -> None:
    module, other = build(learner, kind, seed=0), build(learner, kind, seed=1)
    batch = collate(uneven_episodes(kind))
    other.load_state_dict({name: value.clone() for name, value in module.state_dict().items()})
    assert torch.equal(predict(learner, other, batch), predict(learner, module, batch))
    assert torch.equal(meta_gradient(learner, other, batch)[1], _gradient(learner, module, batch))


def _gradient(learner: Learner, module: nn.Module, batch) -> Tensor:
    return meta_gradient(learner, module, batch)[1]


@over_cases
def test_same_seed_same_weights(learner: Learner, kind: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    states = [build(learner, kind, seed=seed).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before), "build moved torch's global generator"
    assert all(torch.equal(a, b) for a, b in zip(*map(_values, states[:2]), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(*map(_values, states[1:]), strict=True))


def _values(state: dict[str, Tensor]) -> list[Tensor]:
    return list(state.values())


@over_cases
@over_shapes
def test_without_gradients_nothing_is_recorded(
    learner: Learner, kind: str, shape: tuple[int, ...]
) -> None:
    module = build(learner, kind, shape)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    batch = collate(uneven_episodes(kind, shape))
    with torch.no_grad():
        state = learner.adapt(module, batch.support)
        prediction = learner.predict(module, state, batch.query_x)
    tensors = [*state.values(), *(prediction if isinstance(prediction, tuple) else [prediction])]
    assert not any(t.requires_grad or t.grad_fn is not None for t in tensors if t is not None)
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(
        p.requires_grad == q.requires_grad for p, q in _parameter_pairs(learner, kind, module)
    )


def _parameter_pairs(learner: Learner, kind: str, module: nn.Module):
    shape = next(module.embedding[0].buffers()).shape
    fresh = build(learner, kind, IMAGES if len(shape) == 3 else ROWS)
    return zip(module.parameters(), fresh.parameters(), strict=True)


@over_cases
def test_state_does_not_change_with_the_weights(learner: Learner, kind: str) -> None:
    # An estimator keeps its state while another fit may train the same module.
    module = build(learner, kind)
    batch = collate([make_episode(kind)])
    with torch.no_grad():
        state = learner.adapt(module, batch.support)
        copies = {name: value.clone() for name, value in state.items()}
        for parameter in module.parameters():
            parameter += 1.0
    assert all(torch.equal(state[name], value) for name, value in copies.items())


@over_cases
def test_meta_training_leaves_no_trace(learner: Learner, kind: str) -> None:
    module = build(learner, kind)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    learner.meta_loss(module, collate(uneven_episodes(kind))).backward()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    learned = [p for p in module.parameters() if p.requires_grad]
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in learned)


@pytest.mark.parametrize(("learner", "kind"), EXACT)
@over_shapes
def test_meta_gradient_is_the_derivative(
    learner: Learner, kind: str, shape: tuple[int, ...]
) -> None:
    # Rows run batched and images looped; that both are equal is tested above.
    module = build(learner, kind, shape)
    batch = collate(uneven_episodes(kind, shape)[:2])
    step = 3e-9 if shape == IMAGES else 1e-6
    found, expected = directional_derivatives(learner, module, batch, step=step)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


@over_cases
def test_parameters_are_scikit_learns(learner: Learner, kind: str) -> None:
    copy = clone(learner)
    assert copy is not learner
    assert copy.get_params() == learner.get_params()
    assert repr(copy) == repr(learner)
    assert all("__" not in name for name in learner.get_params())


@pytest.mark.parametrize("name", LEARNERS)
def test_names(name: str) -> None:
    for kind in LEARNERS[name].kinds:
        assert type(make_learner(name, kind)) is LEARNERS[name]
    learner = LEARNERS[name]()
    assert make_learner(learner, learner.kinds[0]) is learner


def test_unknown_names() -> None:
    with pytest.raises(InvalidParameterError, match=r"'protonets' is unknown.*mean 'protonet'"):
        make_learner("protonets", "classification")
    with pytest.raises(InvalidParameterError, match="a name or a Learner object, got int"):
        make_learner(3, "classification")
    with pytest.raises(InvalidParameterError, match=r"ProtoNet cannot learn regression.*maml"):
        make_learner("protonet", "regression")
