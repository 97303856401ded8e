"""MetaSampler passes Optuna's own tests of samplers, with no history and with a full one."""

from collections.abc import Callable

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from metaest.tuning import History, MetaSampler


def _history() -> History:
    """Give past searches over the names that Optuna's tests use."""
    space = {
        "x": FloatDistribution(-10, 10),
        "y": FloatDistribution(-10, 10),
        "a": IntDistribution(1, 10),
        "c": CategoricalDistribution(("a", "b", "c")),
    }
    history = History()
    rng = np.random.default_rng(0)
    for task in range(4):
        params = [
            {
                "x": float(rng.uniform(-10, 10)),
                "y": float(rng.uniform(-10, 10)),
                "a": int(rng.integers(1, 11)),
                "c": str(rng.choice(["a", "b", "c"])),
            }
            for _ in range(12)
        ]
        scores = [p["x"] ** 2 + p["y"] * task + p["a"] for p in params]
        history.add_trials(f"task {task}", params, scores, space=space, direction="minimize")
    return history


HISTORY = _history()


def _name_parameters(case: type) -> type:
    """Give the unnamed functions among Optuna's parameters numbers: ours must have names."""
    for test in vars(case).values():
        for number, mark in enumerate(getattr(test, "pytestmark", [])):
            if mark.name == "parametrize" and all(map(callable, mark.args[1])):
                ids = [str(i) for i in range(len(mark.args[1]))]
                test.pytestmark[number] = pytest.mark.parametrize(*mark.args, ids=ids).mark
    return case


@pytest.fixture(params=["empty", "full"])
def sampler(request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
    history = None if request.param == "empty" else HISTORY
    return lambda: MetaSampler(history, seed=0)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestMetaSampler(
    *map(
        _name_parameters,
        (BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase),
    )
):
    @pytest.fixture
    def sampler(self, sampler: Callable[[], BaseSampler]) -> Callable[[], BaseSampler]:
        return sampler
