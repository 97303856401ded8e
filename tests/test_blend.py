"""Weights between the start of meta-training and its end."""

import math

import numpy as np
import pytest
import torch

from metaest import MetaFewShotClassifier
from metaest.learners import ProtoNet
from metaest.tasks import TaskSet
from metaest.training import meta_train
from metaest.training._blend import SHARES, choose_blend

N_EPISODES = 40


class Scored:
    """A net of one weight, whose episodes score what a function says of it."""

    def __init__(self, score) -> None:
        self.module_ = torch.nn.Linear(1, 1, bias=False)
        self.score = score

    def score_episodes(self, batches):
        noise = torch.linspace(-1, 1, N_EPISODES)
        return None, self.score(self.module_.weight.item(), noise)


def choose(score):
    net = Scored(score)
    start, end = {"weight": torch.tensor([[0.0]])}, {"weight": torch.tensor([[1.0]])}
    share, weights = choose_blend(net, start, end, [None])
    assert weights["weight"].item() == net.module_.weight.item() == pytest.approx(share)
    return share


def test_what_is_better_by_far_is_kept_whole() -> None:
    assert choose(lambda w, noise: w + 0.01 * noise) == 1


def test_a_start_that_nothing_beats_is_kept() -> None:
    assert choose(lambda w, noise: -w + 0.01 * noise) == 0


@pytest.mark.parametrize("best", SHARES)
def test_the_best_share_is_found(best) -> None:
    def score(w: float, noise: torch.Tensor) -> torch.Tensor:
        return 0.01 * noise - (10 * (best - w) if w < best else w - best)

    assert choose(score) == pytest.approx(best)


def test_an_end_that_is_no_better_is_not_gone_towards() -> None:
    assert choose(lambda w, noise: 0.01 * noise - (w - 0.5) ** 2) == 0
    assert choose(lambda w, noise: 0.01 * noise - (w - 0.49) ** 2) == 0
    assert choose(lambda w, noise: 0.01 * noise - (w - 0.51) ** 2) == 0.5


def test_gains_within_the_noise_are_not_worth_a_change() -> None:
    # Of N_EPISODES episodes the end gains .1, give or take 1 (a standard error of .09).
    assert choose(lambda w, noise: w * (0.05 + noise)) == 0
    assert choose(lambda w, noise: w * (0.15 + noise)) == 1


def test_differences_are_paired() -> None:
    # Episodes differ a lot, the gain is the same in all of them.
    assert choose(lambda w, noise: 0.01 * w + 100 * noise) == 1


def test_of_equals_the_one_nearest_to_the_start() -> None:
    assert choose(lambda w, noise: torch.full_like(noise, float(w >= 0.25))) == 0.25


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_scores_that_are_not_finite_are_never_chosen(bad) -> None:
    one = torch.arange(N_EPISODES) == 3
    assert choose(lambda w, noise: noise + (bad if 0.2 < w < 0.8 else w)) == 1
    assert choose(lambda w, noise: torch.where(one & (w > 0.8), bad, noise + w)) == 0
    assert choose(lambda w, noise: torch.where(one & (0.2 < w < 0.8), bad, noise + w)) == 1
    assert choose(lambda w, noise: noise + bad) == 0


def make_pool(n_classes: int = 20, seed: int = 0) -> TaskSet:
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_classes), 12)
    X = rng.normal(size=(n_classes, 4))[y] + 0.5 * rng.normal(size=(len(y), 4))
    return TaskSet.from_pool(np.c_[X, 3 * rng.normal(size=(len(y), 8))].astype(np.float32), y)


SETTINGS = {"n_queries": 5, "n_episodes": 800, "meta_batch_size": 8, "random_state": 0}


def test_the_result_is_on_the_line_from_start_to_end() -> None:
    tasks, held_out = make_pool(), make_pool(8, seed=1)
    state = meta_train(ProtoNet(), tasks, validation_tasks=held_out, **SETTINGS)
    end = meta_train(
        ProtoNet(), tasks, validation_tasks=held_out, blend_with_start=False, **SETTINGS
    )
    share = state.history[-1]["share"]
    assert share in (0, *SHARES)
    assert "share" not in end.history[-1]
    start = ProtoNet().build(state.spec, np.random.default_rng(0)).state_dict()
    moved = 0.0
    for name, value in state.weights.items():
        assert torch.allclose(value, torch.lerp(start[name], end.weights[name], share), atol=1e-6)
        moved = max(moved, (end.weights[name] - start[name]).abs().max().item())
    assert moved > 0.01


def test_a_killed_run_that_goes_on_chooses_the_same(tmp_path) -> None:
    pool = make_pool()
    make = lambda: MetaFewShotClassifier(ProtoNet(), **SETTINGS)  # noqa: E731
    whole = make().fit_meta(pool).meta_state_

    class Killed(Exception):
        pass

    from skorch.callbacks import Callback

    class Kill(Callback):
        def on_epoch_begin(self, net, **kwargs) -> None:
            if len(net.history) == 8:
                raise Killed

    with pytest.raises(Killed):
        make().set_params(callbacks=[Kill()]).fit_meta(pool, checkpoint=tmp_path)
    state = make().fit_meta(pool, checkpoint=tmp_path).meta_state_
    assert state.history[-1]["share"] == whole.history[-1]["share"]
    assert all(torch.equal(value, whole.weights[name]) for name, value in state.weights.items())
