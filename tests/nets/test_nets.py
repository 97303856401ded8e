"""Backbones, and what a network is built from."""

import numpy as np
import pytest
import torch
from torch import nn

from metaest.exceptions import InvalidParameterError, TaskError
from metaest.nets import BACKBONES, MLP, Conv4, NetSpec, ResidualMLP, Standardize, make_embedding
from metaest.nets._spec import input_statistics, target_statistics


def _embedding(input_shape: tuple[int, ...] = (3,), backbone="auto", kind="classification", **kw):
    return make_embedding(
        NetSpec(input_shape, kind, backbone=backbone, **kw), np.random.default_rng(0)
    )


# --------------------------------------------------------------------------------------- backbones


@pytest.mark.parametrize(
    ("input_shape", "kernels", "pixels"),
    [
        ((1, 28, 28), [(2, 1), (3, 2), (4, 3), (5, 4)], 1),
        ((3, 84, 84), [(2, 3), (3, 2), (4, 3), (5, 4)], 5 * 5),
        ((1, 8, 8), [(2, 1), (3, 2)], 4 * 4),
        ((1, 16, 12), [(2, 1), (3, 2)], 8 * 6),
        ((2, 1, 1), [(2, 2)], 1),
    ],
    ids=str,
)
def test_conv4_takes_images_of_any_size(input_shape, kernels, pixels: int) -> None:
    net = Conv4(input_shape, widths=(2, 3, 4, 5))
    out = net(torch.randn(5, *input_shape))
    assert out.shape == (5, kernels[-1][0] * pixels)
    assert out.isfinite().all()
    assert [tuple(p.shape[:2]) for p in net.parameters() if p.ndim == 4] == kernels


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("training", [True, False])
def test_a_rows_features_do_not_depend_on_other_rows(name: str, training: bool) -> None:
    shape = (1, 8, 8) if name == "conv4" else (6,)
    net, n_features = _embedding(shape, name)
    net.double().train(training)
    x = torch.randn(7, *shape, dtype=torch.float64)
    together = net(x)
    assert together.shape == (7, n_features)
    alone = torch.cat([net(row[None]) for row in x])
    torch.testing.assert_close(alone, together, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "identity"])
def test_backbones_have_second_derivatives(name: str) -> None:
    shape = (1, 8, 8) if name == "conv4" else (6,)
    net, _ = _embedding(shape, name)
    net.double()
    parameters = list(net.parameters())
    loss = net(torch.randn(4, *shape, dtype=torch.float64)).square().sum()
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    second = torch.autograd.grad(
        sum(g.square().sum() for g in gradients), parameters, allow_unused=True
    )
    assert all(g is None or g.isfinite().all() for g in second)
    assert any(g is not None and g.abs().max() > 0 for g in second)


def test_residual_starts_at_the_identity_and_can_leave_it() -> None:
    net, x = ResidualMLP((4,)), torch.randn(5, 4)
    assert torch.equal(net(x), x)
    assert torch.equal(ResidualMLP((1, 2, 2))(x.view(5, 1, 2, 2)), x)
    net(x).square().sum().backward()
    assert net.out.weight.grad.abs().max() > 0
    assert net.scale.grad.abs().max() > 0


def test_identity_is_the_standardised_and_squashed_input() -> None:
    mean, scale = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 1.0, 0.5])
    net, n_features = _embedding(backbone="identity", statistics=(mean, scale))
    x = torch.randn(5, 3)
    z = (x - mean) / scale
    torch.testing.assert_close(net(x), z / (1 + (z / 3).square()).sqrt())
    assert n_features == 3
    assert not list(net.parameters())
    assert _embedding((1, 2, 2), "identity")[1] == 4


def test_columns_of_classes_are_squashed_and_those_of_regressions_are_not() -> None:
    statistics = (torch.zeros(3), torch.tensor([1.0, 1.0, 1e-3]))
    x = torch.tensor([[0.01, -0.5, 1.0]])
    squashed = _embedding(backbone="identity", statistics=statistics)[0](x)
    assert squashed.abs().max() < 3
    torch.testing.assert_close(squashed[:, 0], x[:, 0], rtol=1e-5, atol=0)
    spec = NetSpec((3,), "regression", 1, "identity", statistics)
    net, _ = make_embedding(spec, np.random.default_rng(0))
    assert torch.equal(net(x), x / statistics[1])


def test_mlp_layers() -> None:
    net = MLP((3,), hidden=(40, 20))
    assert [tuple(p.shape) for p in net.parameters()] == [(40, 3), (40,), (20, 40), (20,)]
    assert MLP((1, 2, 2), hidden=(7,))(torch.randn(5, 1, 2, 2)).shape == (5, 7)


# ------------------------------------------------------------------------------------ standardising


def test_standardize() -> None:
    mean, scale = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 0.5])
    layer, x = Standardize((2,), mean, scale), torch.randn(4, 2)
    torch.testing.assert_close(layer(x), (x - mean) / scale)
    assert torch.equal(Standardize((2,))(x), x)
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"mean", "scale", "squash"}
    squashed = Standardize((2,), mean, scale, squash=0.5)(torch.tensor([[1.0, 1e38]]))
    torch.testing.assert_close(squashed, torch.tensor([[0.0, 2.0]]))
    images = torch.randn(4, 2, 5, 5)
    found = Standardize((2, 5, 5), mean, scale)(images)
    torch.testing.assert_close(found[:, 1], (images[:, 1] - 2.0) / 0.5)


@pytest.mark.parametrize("input_shape", [(3,), (2, 4, 5)], ids=["rows", "images"])
def test_statistics_are_numpys(input_shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(3, 2, size=(n, *input_shape)) for n in (5000, 1, 30)]
    mean, scale = input_statistics(parts, input_shape)
    whole = np.concatenate(parts)
    axes = (0, *range(2, whole.ndim))
    assert mean.shape == scale.shape == (input_shape[0], *[1] * (len(input_shape) - 1))
    np.testing.assert_allclose(mean.flatten(), whole.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(scale.flatten(), whole.std(axes), rtol=1e-5)


def test_statistics_of_bytes_constants_and_large_offsets() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(20, 1, 6, 6)).astype(np.uint8)
    mean, scale = input_statistics([pixels], (1, 6, 6))
    np.testing.assert_allclose(mean.item(), pixels.mean(), rtol=1e-6)
    np.testing.assert_allclose(scale.item(), pixels.std(), rtol=1e-6)
    columns = np.stack([np.full(9, 0.1), 1e6 + np.arange(9.0), np.zeros(9)], axis=1)
    _, scale = input_statistics([columns], (3,))
    np.testing.assert_allclose(scale, [1.0, np.arange(9).std(), 1.0], rtol=1e-6)


def test_embedding_standardises_by_the_specs_statistics() -> None:
    statistics = torch.tensor([5.0, 5.0]), torch.tensor([2.0, 4.0])
    net, n_features = _embedding((2,), statistics=statistics)
    assert n_features == 2
    expected = torch.tensor([[1.0, -1.0]]) / (1 + 1 / 9) ** 0.5  # squashed, too
    torch.testing.assert_close(net(torch.tensor([[7.0, 1.0]])), expected)


# -------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(
    ("input_shape", "kind", "expected"),
    [
        ((1, 8, 8), "classification", Conv4),
        ((1, 8, 8), "regression", Conv4),
        ((4,), "classification", ResidualMLP),
        ((4,), "regression", MLP),
    ],
)
def test_auto(input_shape, kind: str, expected: type) -> None:
    net, _ = _embedding(input_shape, "auto", kind)
    assert type(net[1]) is expected


def test_custom_backbone() -> None:
    net, n_features = _embedding((3,), lambda shape: nn.Linear(*shape, 7))
    assert n_features == 7
    assert net(torch.randn(2, 3)).shape == (2, 7)
    _, lazy = _embedding((3,), lambda shape: nn.Sequential(nn.LazyLinear(5), nn.Dropout(0.5)))
    assert lazy == 5
    _, partial = _embedding((2, 3), lambda shape: nn.Flatten())
    assert partial == 6


def test_checking_a_backbone_leaves_no_trace() -> None:
    net, _ = _embedding((3,), lambda shape: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)))
    assert net.training
    assert net[1][0].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("input_shape", "backbone", "message"),
    [
        (
            (3,),
            "conv5",
            r"backbone='conv5' is unknown; there are auto, conv4.*Did you mean 'conv4'",
        ),
        ((3,), "conv4", r"needs images \(channels, height, width\), got rows of shape \(3,\)"),
        ((3,), 7, r"backbone=7 is unknown"),
        ((3,), nn.Linear(3, 2), r"got the module Linear itself"),
        ((3,), lambda shape: 5, r"factory, backbone\(input_shape\) -> torch.nn.Module; got int"),
        ((3,), lambda shape: nn.Linear(4, 2), r"cannot take inputs of shape \(n, 3\)"),
        ((1, 4, 4), lambda shape: nn.Conv2d(1, 2, 3), r"got \(2, 2, 2, 2\) for 2 rows.*Flatten"),
        ((3,), lambda shape: nn.Flatten(0), r"got \(6,\) for 2 rows"),
        ((3, 4), lambda shape: nn.LSTM(4, 2, batch_first=True), r"got a tuple for 2 rows"),
    ],
)
def test_backbones_that_cannot_be(input_shape, backbone, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        _embedding(input_shape, backbone)


def test_weights_come_from_the_generator() -> None:
    state = torch.get_rng_state()
    spec = NetSpec((3,), backbone="mlp")
    nets = [make_embedding(spec, np.random.default_rng(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    first, same, other = (net[1][0].weight for net in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_statistics_of_small_and_of_constant_columns() -> None:
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=50) * 1e-20, np.full(50, 0.1), np.zeros(50)]
    _, scale = input_statistics([X], (3,))
    np.testing.assert_allclose(scale.numpy(), [X[:, 0].std(), 1, 1], rtol=1e-6)


def test_values_that_single_precision_cannot_hold() -> None:
    with pytest.raises(TaskError, match=r"X has values beyond .* in column or channel 1"):
        input_statistics([np.array([[1.0, 1e300], [2.0, -1e300]])], (2,))
    with pytest.raises(TaskError, match="y has values beyond"):
        target_statistics(np.array([1e300, -1e300]))


def test_statistics_of_targets() -> None:
    assert target_statistics(np.array([1.0, 3.0])) == (2.0, 1.0)
    assert target_statistics(np.full(7, 0.1)) == (pytest.approx(0.1), 1.0)


def test_a_factory_that_fails_is_named() -> None:
    spec = NetSpec((4,), backbone=nn.Linear)
    with pytest.raises(
        InvalidParameterError, match=r"input_shape=\(4,\) it failed: .*out_features"
    ):
        make_embedding(spec, np.random.default_rng(0))
