"""YAHPO Gym's surrogates of real tuning runs: objective, TPE histories, best and worst values.

Pfisterer et al., YAHPO Gym: an efficient multi-objective multi-fidelity benchmark for
hyperparameter optimization, AutoML-Conf 2022. A scenario is a network that says what score a
configuration got on a task; METAEST_DATA/yahpo has two. Fidelities are fixed at their full value.

Histories and bounds are made once and kept as JSON lines, a line for each task, in any order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import onnxruntime
import optuna
from _common import append_json, read_lines
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metaest.tuning._configurations import Configurations, Rows

N_TRIALS = 100
#: For the bounds: random configurations; climbs that begin at different ones, and one from where
#: they end; rounds of a climb, and how many configurations survive each.
N_RANDOM, N_CLIMBS, N_ROUNDS, N_KEPT = 20_000, 10, 20, 20


@dataclass(frozen=True)
class Spec:
    """What the files do not say: names and order of the network's inputs, and its output."""

    task: str
    categorical: tuple[str, ...]
    numerical: tuple[str, ...]
    fidelity: Mapping[str, float]
    output: int
    metric: str


SCENARIOS = {
    "rbv2_rpart": Spec(
        task="task_id",
        categorical=("task_id", "num.impute.selected.cpo"),
        numerical=("cp", "maxdepth", "minbucket", "minsplit", "trainsize", "repl"),
        fidelity={"trainsize": 1.0, "repl": 10},
        output=0,
        metric="accuracy",
    ),
    "lcbench": Spec(
        task="OpenML_task_id",
        categorical=("OpenML_task_id",),
        numerical=(
            "epoch",
            "batch_size",
            "learning_rate",
            "momentum",
            "weight_decay",
            "num_layers",
            "max_units",
            "max_dropout",
        ),
        fidelity={"epoch": 52},
        output=1,
        metric="validation accuracy",
    ),
}


class World(Protocol):
    """Tasks of one search space, and the score of every configuration on each.

    Attributes
    ----------
    name, metric : str
    space : dict of str to optuna distribution
    tasks : list of str
    tpe_options : dict
        What Optuna's TPE needs for this space.
    """

    name: str
    metric: str
    space: dict[str, BaseDistribution]
    tasks: list[str]
    tpe_options: ClassVar[dict[str, Any]]

    def __call__(self, task: str, params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Return the scores (n,) of n configurations; higher is better."""
        ...

    def ask(self, study: optuna.Study) -> optuna.Trial:
        """Begin a trial that has all of its parameters."""
        ...


class Yahpo:
    """One scenario of YAHPO Gym: a :class:`World`."""

    tpe_options: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str) -> None:
        if "METAEST_DATA" not in os.environ:
            raise SystemExit("set METAEST_DATA to the folder that has yahpo/")
        folder = Path(os.environ["METAEST_DATA"]) / "yahpo" / name
        content = json.loads((folder / "config_space.json").read_text())
        if content["conditions"]:
            raise SystemExit(f"{name} has conditional parameters, which this script cannot read")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.name = name
        self.spec = SCENARIOS[name]
        self.metric = self.spec.metric
        self._net = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self._inputs = [own.name for own in self._net.get_inputs()]
        self._codes = json.loads((folder / "encoding.json").read_text())
        named = {entry["name"]: entry for entry in content["hyperparameters"]}
        self.tasks: list[str] = named.pop(self.spec.task)["choices"]
        searched = [n for n in named if n not in self.spec.fidelity]
        self.space = {n: _distribution(named[n]) for n in searched}

    def __call__(self, task: str, params: Sequence[Mapping[str, Any]]) -> np.ndarray:
        spec = self.spec
        rows = [{**p, **spec.fidelity, spec.task: task} for p in params]
        codes = [[self._codes[name][row[name]] for name in spec.categorical] for row in rows]
        numbers = [[row[name] for name in spec.numerical] for row in rows]
        feed = {
            name: np.array(codes, np.int32) if "cat" in name else np.array(numbers, np.float32)
            for name in self._inputs
        }
        return self._net.run(None, feed)[0][:, spec.output].astype(float)

    def ask(self, study: optuna.Study) -> optuna.Trial:
        return study.ask(self.space)


def _distribution(entry: Mapping[str, Any]) -> BaseDistribution:
    if entry["type"] == "categorical":
        return CategoricalDistribution(entry["choices"])
    kinds: dict[str, Callable[..., BaseDistribution]] = {
        "uniform_int": IntDistribution,
        "uniform_float": FloatDistribution,
    }
    return kinds[entry["type"]](entry["lower"], entry["upper"], log=entry["log"])


@dataclass(frozen=True)
class PastSearch:
    """The trials of a search."""

    params: list[dict[str, Any]]
    values: list[float]


def load_histories(world: World, folder: Path) -> dict[str, PastSearch]:
    """Return each task's own search: 100 trials of cold TPE."""
    path = folder / f"{world.name}-histories.jsonl"
    found = read_lines(path)
    done = {row["task"] for row in found}
    for number, task in enumerate(world.tasks):
        if task in done:
            continue
        sampler = optuna.samplers.TPESampler(seed=1000 + number, **world.tpe_options)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for _ in range(N_TRIALS):
            trial = world.ask(study)
            study.tell(trial, float(world(task, [trial.params])[0]))
        row = {
            "task": task,
            "params": [t.params for t in study.trials],
            "values": [t.value for t in study.trials],
        }
        append_json(path, row)
        found.append(row)
    by_task = {row["task"]: PastSearch(row["params"], row["values"]) for row in found}
    return {task: by_task[task] for task in world.tasks}


def load_bounds(
    world: World, folder: Path, histories: Mapping[str, PastSearch]
) -> dict[str, tuple[float, float]]:
    """Return the worst and the best known value of each task.

    Of random configurations and the best of every task's history, improved by local search.
    What the methods find later may still be better: the caller widens the bounds by it.
    """
    path = folder / f"{world.name}-bounds.jsonl"
    found = {row["task"]: (row["worst"], row["best"]) for row in read_lines(path)}
    configurations = Configurations(world.space)
    drawn = configurations.draw(N_RANDOM, np.random.default_rng(0))
    bests = [own.params[int(np.argmax(own.values))] for own in histories.values()]
    start = drawn.join(configurations.read(bests))
    params = _write(configurations, start)
    for number, task in enumerate(world.tasks):
        if task in found:
            continue
        values = world(task, params)
        best = _climb_all(world, task, configurations, start, values, number)
        own = histories[task].values
        found[task] = (min(values.min(), *own), max(best, *own))
        append_json(path, {"task": task, "worst": found[task][0], "best": found[task][1]})
    return found


def _climb_all(
    world: World,
    task: str,
    configurations: Configurations,
    rows: Rows,
    values: np.ndarray,
    seed: int,
) -> float:
    """Climb from different places, then from where that led; return the best value.

    The surrogates have many hills: a single climb often ends on a lower one.
    """
    rng = np.random.default_rng([1, seed])
    ends = []
    for part in np.array_split(rng.permutation(len(values)), N_CLIMBS):
        ends.append(_climb(world, task, configurations, rows.take(part), values[part], rng))
    found, reached = zip(*ends, strict=True)
    whole = found[0].join(*found[1:])
    return float(_climb(world, task, configurations, whole, np.concatenate(reached), rng)[1].max())


def _climb(
    world: World,
    task: str,
    configurations: Configurations,
    rows: Rows,
    values: np.ndarray,
    rng: np.random.Generator,
) -> tuple[Rows, np.ndarray]:
    """Vary and cross the best configurations, again and again; return the best of all."""
    for _ in range(N_ROUNDS):
        kept = np.argsort(-values, kind="stable")[:N_KEPT]
        rows, values = rows.take(kept), values[kept]
        varied = configurations.vary(rows.take(np.repeat(np.arange(len(rows)), 8)), rng)
        a, b = rng.integers(len(rows), size=(2, 2 * N_KEPT))
        mask = rng.random((len(a), rows.values.shape[1])) < 0.5
        crossed = configurations.activate(np.where(mask, rows.values[a], rows.values[b]))
        new = varied.join(crossed)
        # What is there already would crowd out the others.
        _, first = np.unique(rows.join(new).values.round(9), axis=0, return_index=True)
        new = new.take(first[first >= len(rows)] - len(rows))
        rows = rows.join(new)
        values = np.concatenate([values, world(task, _write(configurations, new))])
    kept = np.argsort(-values, kind="stable")[:N_KEPT]
    return rows.take(kept), values[kept]


def _write(configurations: Configurations, rows: Rows) -> list[dict[str, Any]]:
    return [configurations.write(rows, number) for number in range(len(rows))]
