"""The surrogate that is meta-trained on past searches: a past search is a task too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metaest.learners import DeepKernelGP, LearnerNet
from metaest.tasks import Task, TaskSet
from metaest.training import MetaState, meta_train
from metaest.tuning._cache import Cache
from metaest.tuning._posterior import Features, Prior
from metaest.tuning._shipped import load_shipped

#: Trials that a search must have to be trained on, and such searches that training needs.
_MIN_TRIALS, _MIN_TASKS = 6, 3
#: From so many tasks on, a fifth is held out to choose the best weights.
_HELD_OUT_FROM = 8


class _Learner(DeepKernelGP):
    """Without what past searches say of the scale of scores.

    A model that learns it trusts the past more, and a search whose best lies elsewhere finds it
    later (benchmarks/RESULTS.md).
    """

    learns_scale_prior = False


LEARNER = _Learner()

#: How far a new search may go from what the past ones say (standard deviations; see Prior).
_SPREAD = {"length": 0.5, "noise": 1.0, "amplitude": 1.0, "mean": 0.5}


class Surrogate:
    """A meta-trained deep-kernel Gaussian process.

    Parameters
    ----------
    state : MetaState
        Of a :class:`~metaest.learners.DeepKernelGP`.
    """

    def __init__(self, state: MetaState) -> None:
        self.state = state

    def features(self, x: np.ndarray) -> Features:
        """Return the learned features of encoded configurations (n, d)."""
        module = self._module()
        with torch.no_grad():
            parts = LEARNER.parts(module, torch.from_numpy(x).unsqueeze(0))
        return Features(
            torch.from_numpy(x), parts["radial"][0], parts["linear"][0], parts["prior"][0]
        )

    def prior(self) -> Prior:
        """Return what the past searches say of the parameters of a new one."""
        weights = self.state.weights
        lengths, noise = weights["log_length"].double(), weights["log_noise"].double()
        amplitudes = weights["log_amplitude"].double()
        center = torch.cat([lengths, noise.reshape(1), amplitudes, torch.ones(1).double()])
        n = len(lengths)
        spread = torch.tensor(
            [
                *[_SPREAD["length"]] * n,
                *[_SPREAD["noise"]],
                *[_SPREAD["amplitude"]] * 3,
                _SPREAD["mean"],
            ],
            dtype=torch.float64,
        )
        return Prior(center, spread, has_mean=True)

    def _module(self) -> LearnerNet:
        return self.state.module(LEARNER, torch.device("cpu"), torch.float64)


_trained = Cache[Surrogate](8)


def train_surrogate(
    tasks: Sequence[tuple[np.ndarray, np.ndarray]], verbose: int = 0
) -> Surrogate | None:
    """Meta-train a surrogate on past searches; None if they are too few.

    One is trained once in a process for the same searches, whoever asks for it.

    Parameters
    ----------
    tasks : sequence of (x, scores)
        Encoded configurations (n, d) and their scores (n,) of each search.
    verbose : int, default=0
        1 shows a progress bar.
    """
    task_set = teaching_tasks(tasks)
    if task_set is None:
        return None
    key = task_set.fingerprint()

    def load_or_train() -> Surrogate:
        state = load_shipped(key, LEARNER, task_set.check_input_shape()[0])
        return Surrogate(_train(task_set, verbose) if state is None else state)

    return _trained.get(key, load_or_train)


def teaching_tasks(tasks: Sequence[tuple[np.ndarray, np.ndarray]]) -> TaskSet | None:
    """Return the searches that a surrogate can be trained on; None if they are too few."""
    fitting = [Task(x, _standardized(y), kind="regression") for x, y in tasks if _teaches(y)]
    return TaskSet(fitting) if len(fitting) >= _MIN_TASKS else None


def _standardized(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.mean()) / scores.std()


def _teaches(scores: np.ndarray) -> bool:
    return len(scores) >= _MIN_TRIALS and float(np.ptp(scores)) > 0


def _train(tasks: TaskSet, verbose: int) -> MetaState:
    held_out = None
    n_steps = 250
    if len(tasks) >= _HELD_OUT_FROM:
        order = np.random.default_rng(0).permutation(len(tasks))
        n_held_out = max(2, len(tasks) // 5)
        held_out = tasks._subset(order[:n_held_out])
        tasks = tasks._subset(order[n_held_out:])
        n_steps = 600
    return meta_train(
        LEARNER,
        tasks,
        validation_tasks=held_out,
        backbone="mlp",
        n_shots=(2, 30),
        n_queries=(2, 15),
        n_episodes=16 * n_steps,
        meta_batch_size=16,
        meta_lr=3e-3,
        patience=5,
        blend_with_start=False,  # a random one
        standardize=False,
        device="cpu",
        random_state=0,
        verbose=verbose,
    )
