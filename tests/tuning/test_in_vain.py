"""Where the past's advice brings nothing, a model without a past has every other turn."""

import math
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from metaest.tuning import History, MetaSampler
from metaest.tuning._observations import is_past_in_vain

SPACE: dict[str, Any] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
BASE = [("portfolio", 0.5), ("portfolio", 0.3)]


def make_trials(parts: list[tuple[str, float | None]]) -> list[FrozenTrial]:
    return [
        optuna.create_trial(
            value=value,
            state=TrialState.FAIL if value is None else TrialState.COMPLETE,
            user_attrs={"metaest:origin": origin},
        )
        for origin, value in parts
    ]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([("surrogate", 0.3)] * 8, True),
        ([("surrogate", 0.5)] * 8, True),  # as good as the best, but no better
        ([("surrogate", None)] * 8, True),
        ([("surrogate", 0.3)] * 7, False),
        ([("surrogate", 0.6), *[("surrogate", 0.3)] * 9], False),
        ([*[("surrogate", 0.3)] * 8, ("cold", 0.3)], False),  # it had its turn
        ([*[("surrogate", 0.3)] * 8, ("cold", 0.3), ("surrogate", 0.3)], True),
        ([*[("surrogate", 0.3)] * 8, ("cold", 0.9), ("surrogate", 0.6)], True),
        ([*[("surrogate", 0.3)] * 8, ("cold", 0.9), ("surrogate", 0.95)], False),
        ([*[("surrogate", 0.3)] * 8, ("random", 0.3)], True),
        ([("surrogate", -math.inf)] * 8, True),
    ],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_when_it_is(parts: list[tuple[str, float | None]], expected: bool, direction: str) -> None:
    sign = 1 if direction == "maximize" else -1
    signed = [(origin, None if v is None else sign * v) for origin, v in [*BASE, *parts]]
    assert is_past_in_vain(make_trials(signed), direction) is expected


def test_trials_that_run_do_not_count() -> None:
    trials = make_trials([*BASE, *[("surrogate", 0.3)] * 8])
    trials[-1].state, trials[-1].values = TrialState.RUNNING, None
    assert not is_past_in_vain(trials, "maximize")


def test_the_models_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that past searches found good scores as badly here as everything else."""
    monkeypatch.setattr("metaest.tuning._planner._MARGIN", math.inf)  # no model is contradicted
    history = History()
    for task in range(5):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=task))
        params = [study.ask(SPACE).params for _ in range(20)]
        values = [-((p["x"] - 0.2) ** 2) - (p["y"] - 0.2) ** 2 for p in params]
        history.add_trials(f"task {task}", params, values, space=SPACE)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        return 0.0

    study = optuna.create_study(direction="maximize", sampler=MetaSampler(history, seed=0))
    study.optimize(objective, n_trials=15)
    origins = [trial.user_attrs["metaest:origin"] for trial in study.trials]
    assert origins[:11] == ["portfolio"] * 3 + ["surrogate"] * 8
    assert origins[11:] == ["cold", "surrogate"] * 2
