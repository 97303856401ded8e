"""A check that a learner's functions leave everything but their results alone."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from metaest._checks import Kind
from metaest.episodes import EpisodeBatch
from metaest.learners import Learner, LearnerNet
from metaest.testing._episodes import collate, make_episode
from metaest.testing._invariance import assert_close
from metaest.testing._runs import build, output


def check_functions_are_pure(learner: Learner, kind: Kind) -> None:
    """Predict, predict again, and again after another task: nothing but the state counts.

    Nor do `adapt`, `predict` and `meta_loss` change what they are given, the network's mode or,
    but for `meta_loss`, a global random generator.
    """
    learner = clone(learner)  # without what earlier calls may have left on it
    module, own = build(learner, kind), dict(vars(learner))
    # Of one size, so that what was kept of one task would fit the other.
    batch, other = (collate([make_episode(kind, seed=seed)]) for seed in (0, 1))
    with _strange_random_states():
        with torch.no_grad():
            with (
                _leaves_alone("adapt", module, _tensors(batch)),
                _keeps_nothing("adapt", module),
                _draws_nothing("adapt"),
            ):
                state = learner.adapt(module, batch.support)
            first = _predict(learner, module, state, batch)
            again = _predict(learner, module, state, batch)
            learner.adapt(module, other.support)
            after = _predict(learner, module, state, batch)
        for is_training in (False, True):
            module.train(is_training)
            with _leaves_alone("meta_loss", module, _tensors(batch)):
                learner.meta_loss(module, batch)
    kept = [name for name, value in vars(learner).items() if own.get(name, own) is not value]
    assert not kept, f"the learner's attributes {kept} were set or changed. {_KEEP_NOTHING}"
    assert_close(again, first, f"predict, called twice with one state, differs. {_KEEP_NOTHING}")
    assert_close(
        after, first, f"a task's prediction differs after adapt to another one. {_KEEP_NOTHING}"
    )


_KEEP_NOTHING = (
    "Return all that predict needs as adapt's state, and keep nothing on the learner or the module"
)


def _tensors(batch: EpisodeBatch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if value is not None}


def _predict(
    learner: Learner, module: LearnerNet, state: dict[str, Tensor], batch: EpisodeBatch
) -> Tensor:
    """Predict, and compare what was given before and after."""
    query_x = {"query_x": batch.query_x}
    with (
        _leaves_alone("predict", module, query_x),
        _leaves_alone("predict", module, state),
        _keeps_nothing("predict", module),
        _draws_nothing("predict"),
    ):
        return output(learner.predict(module, state, batch.query_x))


@contextmanager
def _leaves_alone(function: str, module: LearnerNet, given: Mapping[str, Tensor]) -> Iterator[None]:
    """Compare the tensors in `given`, and the network's mode, before and after a function."""
    values = {name: value.clone() for name, value in given.items()}
    modes = [part.training for part in module.modules()]
    yield
    assert given.keys() == values.keys(), (
        f"{function} added or removed entries of the state, which is used again. Work on a copy: "
        "state | {...}"
    )
    for name, value in values.items():
        assert torch.equal(given[name], value), (
            f"{function} changed {name!r}, which it was given and which is used again. Return new "
            "tensors: no methods that end in '_', no assignment to parts or to the state's entries"
        )
    assert modes == [part.training for part in module.modules()], (
        f"{function} called train() or eval() of the network or a part of it. Leave that to the "
        "estimator"
    )


@contextmanager
def _keeps_nothing(function: str, module: LearnerNet) -> Iterator[None]:
    """Compare the attributes, parameters and buffers of the network before and after a function."""
    before = _attributes(module)
    tensors = {name: value.clone() for name, value in module.state_dict().items()}
    yield
    after = _attributes(module)
    kept = [name for name in {**before, **after} if before.get(name, after) is not after.get(name)]
    kept += [
        name
        for name, value in module.state_dict().items()
        if name in tensors and not torch.equal(value, tensors[name])
    ]
    assert not kept, (
        f"{function} set, changed or removed {', '.join(map(repr, kept))} of the network. "
        f"{_KEEP_NOTHING}"
    )


def _attributes(module: LearnerNet) -> dict[str, object]:
    """Name what the network's parts hold: attributes, parameters, buffers and parts."""
    found: dict[str, object] = {}
    for place, part in module.named_modules():
        own = dict(vars(part))
        for inner in ("_parameters", "_buffers", "_modules"):
            own |= own[inner]
        own.pop("training")  # compared for each function
        found |= {f"{place}.{name}".lstrip("."): value for name, value in own.items()}
    return found


@contextmanager
def _draws_nothing(function: str) -> Iterator[None]:
    """Compare the global random generators before and after a function."""
    before = _random_states()
    yield
    assert before == _random_states(), (
        f"{function} seeded or moved a global random generator, of torch, numpy or Python. Use a "
        "generator of its own: torch.Generator().manual_seed(0)"
    )


def _random_states() -> tuple[bytes, bytes]:
    others = np.random.get_state(), random.getstate()
    return torch.get_rng_state().numpy().tobytes(), pickle.dumps(others)


@contextmanager
def _strange_random_states() -> Iterator[None]:
    """Put the global random generators where no seed of a learner's own would, then back."""
    numpys, pythons = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(271_828)
        np.random.seed(271_828)
        random.seed(271_828)
        try:
            yield
        finally:
            np.random.set_state(numpys)
            random.setstate(pythons)
