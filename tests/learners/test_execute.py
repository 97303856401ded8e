"""The one place where it is decided how B tasks run."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest import MetaFewShotClassifier
from metaest.exceptions import InvalidParameterError
from metaest.learners import (
    MAML,
    BayesianMAML,
    FineTune,
    LearnedOptimizer,
    Learner,
    MetaLSTM,
    MetaSGD,
    ProtoNet,
    Reptile,
    _execute,
)
from metaest.learners._execute import (
    chunk_size,
    encode,
    expand_parameters,
    is_looped,
    run_tasks,
    thread_count,
)
from metaest.nets import MLP, Conv4, ResidualMLP
from metaest.tasks import TaskSet
from metaest.training import meta_train
from tests.episode_helpers import build, collate, uneven_episodes


@pytest.mark.parametrize(
    ("module", "looped"),
    [
        (Conv4((1, 8, 8)), True),
        (MLP((3,)), False),
        (ResidualMLP((3,)), False),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), True),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), False),
        (nn.GRU(3, 3), True),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), True),
    ],
    ids=["conv4", "mlp", "residual", "batch norm", "layer norm", "gru", "spectral norm"],
)
def test_strategy_on_a_cpu(module: nn.Module, looped: bool) -> None:
    assert is_looped(module) is looped
    if looped:
        assert chunk_size(module, 10) == 1
    else:
        assert chunk_size(module, 10) > chunk_size(module, 1000) > 1
        assert chunk_size(module, 10**9) == 1


@pytest.mark.gpu
def test_strategy_on_a_gpu() -> None:
    assert not is_looped(Conv4((1, 8, 8)).cuda())


@pytest.mark.parametrize("looped", [True, False], ids=["looped", "batched"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3,)], ids=["images", "rows"])
def test_each_task_runs_with_its_own_weights(
    shape: tuple[int, ...], looped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_execute, "is_looped", lambda module: looped)
    nets = [Conv4(shape) if len(shape) == 3 else MLP(shape) for _ in range(3)]
    nets = [net.double() for net in nets]
    stacked = [torch.stack(values) for values in zip(*(n.parameters() for n in nets), strict=True)]
    names = [name for name, _ in nets[0].named_parameters()]
    x = torch.randn(3, 5, *shape, dtype=torch.float64)
    found = run_tasks(nets[0], dict(zip(names, stacked, strict=True)), x)
    expected = torch.stack([net(rows) for net, rows in zip(nets, x, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


class _SharedWeight(nn.Sequential):
    """Two layers with a bias each and one weight."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
        self[2].weight = self[0].weight


def _layer_with_two_names() -> nn.Module:
    mix = nn.Linear(3, 3)
    return nn.Sequential(mix, nn.Tanh(), mix)


@pytest.mark.parametrize("looped", [True, False], ids=["looped", "batched"])
@pytest.mark.parametrize("make", [_layer_with_two_names, _SharedWeight])
def test_shared_parameters_stay_shared_and_the_networks_own(
    make: Callable[[], nn.Module], looped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_execute, "is_looped", lambda module: looped)
    net, x = make().double(), torch.randn(2, 5, 3, dtype=torch.float64)
    own = dict(net.named_parameters())
    parameters = {k: torch.randn(2, *p.shape, dtype=p.dtype) for k, p in own.items()}
    before = {k: p.clone() for k, p in net.state_dict().items()}
    found = run_tasks(net, parameters, x)
    for name, p in net.named_parameters():
        assert p is own[name]
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    bias = parameters.get("2.bias", parameters["0.bias"])
    for b, weight in enumerate(parameters["0.weight"]):
        hidden = F.linear(x[b], weight, parameters["0.bias"][b]).tanh()
        torch.testing.assert_close(found[b], F.linear(hidden, weight, bias[b]))


class _Attention(nn.Module):
    """Attention between the columns of a row, by torch's layer, its encoder or its function."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.read = kind, nn.Linear(1, 4)
        if kind == "layer":
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        elif kind == "encoder":
            self.attend = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.read(x.unsqueeze(-1))
        if self.kind == "layer":
            return self.attend(h, h, h, need_weights=False)[0].mean(1)
        if self.kind == "encoder":
            return self.attend(h).mean(1)
        h = h.unsqueeze(1)
        return F.scaled_dot_product_attention(h, h, h)[:, 0].mean(1)


def _kernels() -> tuple[bool, bool]:
    return torch.backends.mha.get_fastpath_enabled(), torch.backends.cuda.flash_sdp_enabled()


@pytest.mark.parametrize("kind", ["layer", "encoder", "function"])
def test_attention_has_second_derivatives(kind: str) -> None:
    rng, before = np.random.default_rng(0), _kernels()
    X, y = rng.normal(size=(16, 3)), np.repeat(np.arange(4), 4)
    clf = MetaFewShotClassifier(
        MAML(inner_steps=1),
        backbone=lambda shape: _Attention(kind),
        n_ways=2,
        n_shots=1,
        n_queries=2,
        n_episodes=4,
        meta_batch_size=2,
        random_state=0,
    )
    assert clf.fit(X, y).predict_proba(X).shape == (16, 4)
    learned = clf.fit_meta(X, y).meta_state_.weights
    assert all(value.isfinite().all() for value in learned.values())
    assert clf.fit(X, y).predict_proba(X).shape == (16, 4)
    assert _kernels() == before == (True, True)


def test_shared_weights_are_encoded_once() -> None:
    net, x = MLP((3,)), torch.randn(4, 5, 3)
    found = run_tasks(net, expand_parameters(net, 4), x)
    torch.testing.assert_close(encode(net, x), found)
    assert encode(net, x).shape == (4, 5, 64)


def test_dropout_differs_between_tasks() -> None:
    net = nn.Sequential(nn.Linear(3, 200), nn.Dropout(0.5))
    x = torch.ones(1, 1, 3).expand(2, 1, 3)
    out = run_tasks(net, expand_parameters(net, 2), x)
    assert not torch.equal(out[0] == 0, out[1] == 0)
    net.eval()
    out = run_tasks(net, expand_parameters(net, 2), x)
    torch.testing.assert_close(out[0], out[1])


def _batch_norm(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(nn.Linear(*input_shape, 4), nn.BatchNorm1d(4), nn.Tanh())


def test_running_statistics_are_kept_in_a_thread_of_the_callers() -> None:
    rng = np.random.default_rng(0)
    pool = TaskSet.from_pool(rng.normal(size=(24, 3)), np.repeat(np.arange(4), 6))
    settings = {"backbone": _batch_norm, "n_ways": 2, "n_queries": 2, "n_episodes": 4}
    states = []

    def train() -> None:
        states.append(meta_train(MAML(inner_steps=1), pool, n_shots=2, **settings))

    train()
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    for name, value in states[0].weights.items():
        assert torch.equal(value, states[1].weights[name]), name


class _RunningMean(nn.Module):
    """Subtracts a running mean, which it changes in place or replaces."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.linear, self.in_place = nn.Linear(3, 4), in_place
        self.register_buffer("center", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        if self.training:
            step = 0.1 * (h.detach().mean(0) - self.center)
            self.center = self.center.add_(step) if self.in_place else self.center + step
        return h - self.center


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "replaced"])
def test_a_buffer_that_changes_is_named_and_can_be_declared(in_place: bool) -> None:
    net, x = _RunningMean(in_place), torch.ones(2, 5, 3)
    center = net.center
    message = r"backbone cannot .* changes no buffer.* center\. .*track_running_stats = True"
    for _ in range(2):
        with pytest.raises(InvalidParameterError, match=message):
            run_tasks(net, expand_parameters(net, 2), x)
        assert net.center is center
        assert not center.any()
    net.track_running_stats = True
    assert is_looped(net)
    out = run_tasks(net, expand_parameters(net, 2), x)
    assert net.center.all()
    assert out.shape == (2, 5, 4)
    net.eval()
    before = net.center.clone()
    run_tasks(net, expand_parameters(net, 2), x)
    assert torch.equal(net.center, before)


class _Remembering(nn.Module):
    """Changes buffers in its forward: what all tasks share, and what is of each task."""

    def __init__(self, *, of_tasks: bool) -> None:
        super().__init__()
        self.layer, self.of_tasks = nn.Linear(3, 4), of_tasks
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("table", None, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        if self.table is None:
            self.table = x.mean(0) if self.of_tasks else torch.ones(3)
        return self.layer(x + self.table)


def test_buffers_that_all_tasks_share_may_change() -> None:
    net, x = _Remembering(of_tasks=False), torch.randn(2, 5, 3)
    for _ in range(2):
        out = run_tasks(net, expand_parameters(net, 2), x)
    assert net.calls == 2
    torch.testing.assert_close(out, net.layer(x + 1))


def test_no_values_of_tasks_stay_in_a_buffer_that_held_none() -> None:
    net, x = _Remembering(of_tasks=True), torch.randn(2, 5, 3)
    with pytest.raises(InvalidParameterError, match=r"may change table\."):
        run_tasks(net, expand_parameters(net, 2), x)
    assert net.table is None
    with pytest.raises(RuntimeError, match="size"):
        run_tasks(net, expand_parameters(net, 2), x[..., :2])
    assert net.table is None


def test_other_errors_of_a_backbone_with_buffers_stay_its_own() -> None:
    net = _RunningMean(in_place=False).eval()
    with pytest.raises(RuntimeError, match="Expected size"):
        run_tasks(net, expand_parameters(net, 2), torch.ones(2, 5, 7))


@pytest.mark.parametrize("learner", [MAML(inner_steps=1), Reptile(inner_steps=1)], ids=str)
def test_spectral_norm_follows_its_weight(learner: Learner) -> None:
    def backbone(shape: tuple[int, ...]) -> nn.Module:
        return nn.utils.parametrizations.spectral_norm(nn.Linear(*shape, 4))

    rng = np.random.default_rng(0)
    pool = TaskSet.from_pool(rng.normal(size=(24, 3)), np.repeat(np.arange(4), 6))
    shape = {"n_ways": 2, "n_shots": 2, "n_queries": 2}
    state = meta_train(learner, pool, backbone=backbone, n_episodes=4, **shape)
    start = learner.build(state.spec, np.random.default_rng(0)).state_dict()
    (name,) = (k for k in start if k.endswith("_u"))
    assert state.weights[name].isfinite().all()
    assert not torch.equal(state.weights[name], start[name])


@pytest.mark.parametrize("learner", [MAML(inner_steps=1), ProtoNet()], ids=str)
def test_running_statistics_are_the_same_on_any_number_of_threads(learner: Learner) -> None:
    rng = np.random.default_rng(0)
    pool = TaskSet.from_pool(rng.normal(size=(48, 3)), np.repeat(np.arange(6), 8))
    settings = {"backbone": _batch_norm, "n_ways": 3, "n_shots": (1, 3), "n_queries": 2}
    states, before = [], torch.get_num_threads()
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        try:
            states.append(meta_train(learner, pool, n_episodes=16, meta_batch_size=8, **settings))
        finally:
            torch.set_num_threads(before)
    one, two = (state.weights for state in states)
    (counted,) = (k for k in one if k.endswith("num_batches_tracked"))
    assert one[counted] > 0
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


@pytest.mark.parametrize(
    ("layer", "threads"),
    [
        (nn.Conv1d(1, 1, 1), 2),
        (nn.BatchNorm1d(3), 1),
        (nn.BatchNorm1d(3, track_running_stats=False), 2),
        (nn.Dropout(), 1),
        (nn.RReLU(), 1),
        (nn.LSTM(3, 3), 2),
        (nn.LSTM(3, 3, 2, dropout=0.1), 1),
        (nn.MultiheadAttention(2, 1, dropout=0.1), 1),
        (nn.FractionalMaxPool2d(2, 1), 1),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), 1),
    ],
    ids=str,
)
def test_random_and_counting_layers_run_on_one_thread(
    layer: nn.Module, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert thread_count(nn.Sequential(nn.Conv1d(1, 1, 1), layer)) == threads


class _Scaled(nn.Module):
    """A layer times a learned number of no dimension."""

    def __init__(self, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.linear = nn.Linear(*input_shape, 4)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.linear(x)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize(
    "learner_class", [MAML, MetaSGD, Reptile, BayesianMAML, MetaLSTM, LearnedOptimizer, FineTune]
)
def test_a_number_as_a_parameter_learns_too(learner_class: type[Learner], kind: str) -> None:
    learner = learner_class()
    name = "adapt_steps" if "adapt_steps" in learner.get_params() else "inner_steps"
    learner.set_params(**{name: 2})
    module, batch = build(learner, kind, backbone=_Scaled), collate(uneven_episodes(kind))
    start = module.embedding[1].scale
    scale = learner.adapt(module, batch.support)["embedding.1.scale"]
    if learner_class is FineTune and kind == "classification":  # features have length 1
        torch.testing.assert_close(scale, start.expand(3))
        return
    assert scale.isfinite().all()
    assert (scale != start).all()
    if learner_class is not FineTune:
        learner.meta_loss(module, batch).backward()
        assert start.grad.isfinite()
