"""Claim: MetaSampler needs far fewer trials than a cold search, and is safe with a useless past.

    METAEST_DATA=... python benchmarks/yahpo.py                          # everything
    METAEST_DATA=... python benchmarks/yahpo.py --seeds 0 --max-tasks 12 # a first look
    METAEST_DATA=... python benchmarks/yahpo.py --scenario model_choice  # conditional parameters
    METAEST_DATA=... python benchmarks/yahpo.py --report --plot a.png    # tables of what is done

Surrogates of real tuning runs (see _yahpo.py and _model_choice.py); three folds over tasks, another
shuffle for each seed. The past of a test task is the 100 trials of cold TPE on each *source* task,
in a History; no source task is evaluated again. Every method proposes trials one by one to an
Optuna study.

    random, tpe, gp    Optuna's samplers (gp is slow: only when asked for)
    cold               MetaSampler without a past
    portfolio10_tpe    10 trials of MetaSampler's portfolio, then TPE
    portfolio10_cold   10 trials of the portfolio, then the cold Gaussian process
    rgpe               5 trials of the portfolio, then RGPE (see _rgpe.py)
    meta               MetaSampler as it comes
    meta_useless       its past has each search's scores shuffled
    meta_adversarial   its past has all scores negated

Regret x 1000 is (best - incumbent) / (best - worst) x 1000: best and worst are the extremes of
random configurations, local search (for the best) and every trial of every method. Seconds are CPU
seconds on one thread: of a suggestion, the median of a search's last ten; of learning from the
past, once for each fold, estimates for the portfolio (made by the first method that needs them and
kept for the others) and meta-training.

Each finished search is a line of output/yahpo/results.jsonl; a rerun does what is missing. Two
processes may share the work by --scenario or --seeds, once the histories and bounds are made. The
table compares the methods on the searches that all of them have finished. After a change of
metaest use another --output (the histories and bounds can be copied into it).
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from _common import append_json, describe_machine, prepare
from _model_choice import ModelChoice
from _rgpe import RankingSources, RGPESampler
from _yahpo import SCENARIOS, PastSearch, World, Yahpo, load_bounds, load_histories
from _yahpo_table import Table, draw, read_results
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from metaest.tuning import History, MetaSampler

OUTPUT = Path(__file__).parent / "output" / "yahpo"
N_FOLDS = 3
#: Of the first seed, the first tasks of each fold are done by all methods before the others.
N_FIRST = 12


@dataclass
class Fold:
    """The source tasks of a fold, and what is made of them once."""

    world: World
    searches: dict[str, PastSearch]
    seed: int
    number: int
    warm: set[str] = field(default_factory=set)

    @functools.cached_property
    def history(self) -> History:
        return self._make(lambda values: values)

    @functools.cached_property
    def useless(self) -> History:
        rng = np.random.default_rng(self.seed)
        return self._make(lambda values: rng.permutation(values).tolist())

    @functools.cached_property
    def adversarial(self) -> History:
        return self._make(lambda values: [-value for value in values])

    @functools.cached_property
    def ranking_sources(self) -> RankingSources:
        return RankingSources(self.history.tasks(), self.world.space)

    def _make(self, change: Callable[[list[float]], list[float]]) -> History:
        history = History()
        for task, own in self.searches.items():
            history.add_trials(task, own.params, change(own.values), space=self.world.space)
        return history


#: Samplers of each method, and the trial each begins at.
Phases = dict[int, BaseSampler]


def _portfolio(fold: Fold, n: int, seed: int) -> MetaSampler:
    return MetaSampler(fold.history, n_portfolio=n, surrogate="cold", seed=seed)


def _tpe(fold: Fold, seed: int) -> TPESampler:
    return TPESampler(seed=seed, **fold.world.tpe_options)


METHODS: dict[str, Callable[[Fold, int], Phases]] = {
    "random": lambda fold, seed: {0: RandomSampler(seed)},
    "tpe": lambda fold, seed: {0: _tpe(fold, seed)},
    "gp": lambda fold, seed: {0: GPSampler(seed=seed)},
    "cold": lambda fold, seed: {0: MetaSampler(seed=seed)},
    "portfolio10_tpe": lambda fold, seed: {
        0: _portfolio(fold, 10, seed),
        10: _tpe(fold, seed),
    },
    "portfolio10_cold": lambda fold, seed: {0: _portfolio(fold, 10, seed)},
    "rgpe": lambda fold, seed: {
        0: _portfolio(fold, 5, seed),
        5: RGPESampler(fold.ranking_sources, seed),
    },
    "meta": lambda fold, seed: {0: MetaSampler(fold.history, seed=seed)},
    "meta_useless": lambda fold, seed: {0: MetaSampler(fold.useless, seed=seed)},
    "meta_adversarial": lambda fold, seed: {0: MetaSampler(fold.adversarial, seed=seed)},
}
DEFAULT = [name for name in METHODS if name != "gp"]
#: The default leaves out the one that choices were made on.
WORLDS: dict[str, Callable[[], World]] = {
    **{name: functools.partial(Yahpo, name) for name in SCENARIOS},
    "model_choice": ModelChoice,
}
#: What these learn of a fold's past is kept for its other tasks.
LEARNING = ("portfolio10_tpe", "portfolio10_cold", "rgpe", "meta", "meta_useless")
LEARNING += ("meta_adversarial",)


def search(world: World, task: str, phases: Phases, n_trials: int) -> dict[str, Any]:
    """Run one search; CPU seconds of each suggestion, whose thread is the only one."""
    study = optuna.create_study(direction="maximize", sampler=phases[0])
    seconds = []
    for number in range(n_trials):
        study.sampler = phases.get(number, study.sampler)
        start = time.process_time()
        trial = world.ask(study)
        seconds.append(time.process_time() - start)
        study.tell(trial, float(world(task, [trial.params])[0]))
    origins = Counter(t.user_attrs.get("metaest:origin", "") for t in study.trials)
    return {
        "values": [float(f"{trial.value:.8g}") for trial in study.trials],
        "seconds": round(float(np.median(seconds[-10:])), 4),
        "all_seconds": seconds,
        "origins": dict(origins),
    }


def warm_up(fold: Fold, method: str, task: str) -> float:
    """Let a method learn from the fold's past; return the CPU seconds that took."""
    start = time.process_time()
    phases = METHODS[method](fold, 0)
    made = time.process_time() - start
    seconds = search(fold.world, task, phases, 12)["all_seconds"]
    return made + sum(seconds) - len(seconds) * float(np.median(seconds))


@dataclass(frozen=True)
class Job:
    """One search of one method, to be done or done."""

    scenario: str
    seed: int
    fold: int
    method: str
    task: str

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.scenario, self.seed, self.method, self.task


def plan(
    tasks: dict[str, list[str]], seeds: Sequence[int], methods: Sequence[str], max_tasks: int | None
) -> Iterator[Job]:
    """Yield the work, so that a run that is cut off has all methods on some tasks."""
    for seed in seeds:
        parts = [slice(None, N_FIRST), slice(N_FIRST, None)] if seed == seeds[0] else [slice(None)]
        for part in parts:
            for scenario, names in tasks.items():
                chosen = _numbered(names, seed)[:max_tasks][part]
                for fold in range(N_FOLDS):
                    own = [task for number, task in chosen if number % N_FOLDS == fold]
                    for method in methods:
                        yield from (Job(scenario, seed, fold, method, task) for task in own)


def _numbered(names: Sequence[str], seed: int) -> list[tuple[int, str]]:
    """Shuffle the tasks; the number's remainder is the fold."""
    order = np.random.default_rng(seed).permutation(len(names))
    return [(number, names[index]) for number, index in enumerate(order)]


def run(jobs: Sequence[Job], worlds: dict[str, tuple], output: Path, n_trials: int) -> None:
    """Do what is missing."""
    path = output / "results.jsonl"
    done = {r.key for r in read_results(path) if len(r.values) >= n_trials}
    missing = [job for job in jobs if job.key not in done]
    print(f"{len(jobs)} searches, {len(jobs) - len(missing)} done before", flush=True)
    fold, last = None, None
    for count, job in enumerate(missing, 1):
        world, histories = worlds[job.scenario]
        if (job.scenario, job.seed, job.fold) != last:
            last = job.scenario, job.seed, job.fold
            numbered = _numbered(world.tasks, job.seed)
            sources = {t: histories[t] for n, t in numbered if n % N_FOLDS != job.fold}
            fold = Fold(world, sources, job.seed, job.fold)
        assert fold is not None
        row: dict[str, Any] = {**job.__dict__}
        if job.method in LEARNING and job.method not in fold.warm:
            row["learning"] = round(warm_up(fold, job.method, job.task), 2)
            fold.warm.add(job.method)
        seed = 10_000 * job.seed + world.tasks.index(job.task)
        row |= search(world, job.task, METHODS[job.method](fold, seed), n_trials)
        del row["all_seconds"]
        append_json(path, row)
        if count % 20 == 0 or "learning" in row:
            print(f"{count}/{len(missing)}", *job.__dict__.values(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", nargs="+", choices=list(WORLDS), default=list(SCENARIOS))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=DEFAULT)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--max-tasks", type=int, help="of each scenario and seed")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--report", action="store_true", help="only the tables of what is done")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    args = parser.parse_args()
    prepare()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(describe_machine(), flush=True)
    worlds, bounds = {}, {}
    for name in args.scenario:
        world = WORLDS[name]()
        histories = load_histories(world, args.output)
        worlds[name] = world, histories
        bounds[name] = load_bounds(world, args.output, histories)
    if not args.report:
        names = {name: world.tasks for name, (world, _) in worlds.items()}
        jobs = list(plan(names, args.seeds, args.methods, args.max_tasks))
        run(jobs, worlds, args.output, args.trials)
    results = read_results(args.output / "results.jsonl")
    tables = [
        Table(results, world, bounds[name], args.methods, args.seeds, args.trials)
        for name, (world, _) in worlds.items()
    ]
    for table in tables:
        table.print()
    if args.plot:
        draw(tables, args.plot)


if __name__ == "__main__":
    main()
