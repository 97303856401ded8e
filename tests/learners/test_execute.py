"""The one place where it is decided how B tasks run."""

import numpy as np
import pytest
import torch
from torch import nn

from metaest.learners import MAML, Learner, ProtoNet, _execute
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


@pytest.mark.parametrize(
    ("module", "looped"),
    [
        (Conv4((1, 8, 8)), True),
        (MLP((3,)), False),
        (ResidualMLP((3,)), False),
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), True),
        (nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), False),
        (nn.GRU(3, 3), True),
    ],
    ids=["conv4", "mlp", "residual", "batch norm", "layer norm", "gru"],
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
    ],
    ids=str,
)
def test_random_and_counting_layers_run_on_one_thread(
    layer: nn.Module, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert thread_count(nn.Sequential(nn.Conv1d(1, 1, 1), layer)) == threads
