"""Claim: the portfolio's first trial is about as good as one configuration for all tasks can be.

    METAEST_DATA=... python benchmarks/yahpo_first_trial.py      # about 2 minutes, 1 core

Mean regret x 1000 of the first trial on held-out tasks, in the folds and by the bounds of yahpo.py:

    portfolio   MetaSampler's first choice, from 100 trials of TPE on each source task
    evaluated   of the same candidates the one that is best when each is *evaluated* on all source
                tasks, which MetaSampler never does
    hindsight   the best mean over all tasks, held-out ones too: of random configurations, the best
                of each task, and variations of the best of these; no choice that is the same for
                all tasks can be better than about this
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
from _common import describe_machine, markdown_row, prepare
from _yahpo import SCENARIOS, PastSearch, Yahpo, load_bounds, load_histories
from yahpo import N_FOLDS, OUTPUT

from metaest.tuning import History
from metaest.tuning._configurations import Configurations, Rows
from metaest.tuning._portfolio import evaluate_candidates, greedy_portfolio
from metaest.tuning._sources import find_sources

N_RANDOM, N_ROUNDS, N_TOP, N_EACH = 1500, 12, 20, 10


class Scenario:
    """A scenario, and regrets in it."""

    def __init__(self, name: str) -> None:
        self.yahpo = Yahpo(name)
        self.histories: Mapping[str, PastSearch] = load_histories(self.yahpo, OUTPUT)
        self.bounds = load_bounds(self.yahpo, OUTPUT, self.histories)

    def regrets(self, configurations: Configurations, rows: Rows, tasks: list[str]) -> np.ndarray:
        """Return the regret x 1000 of each configuration on each task: (tasks, rows)."""
        params = [configurations.write(rows, number) for number in range(len(rows))]
        values = np.array([self.yahpo(task, params) for task in tasks])
        worst, best = np.array([self.bounds[task] for task in tasks]).T[..., None]
        return 1000 * (best - values) / (best - worst)

    def hindsight(self) -> float:
        """Return the mean regret of the best configuration for all tasks."""
        rng = np.random.default_rng(0)
        configurations, tasks = Configurations(self.yahpo.space), self.yahpo.tasks
        bests = [own.params[int(np.argmax(own.values))] for own in self.histories.values()]
        rows = configurations.draw(N_RANDOM, rng).join(configurations.read(bests))
        means = self.regrets(configurations, rows, tasks).mean(0)
        for _ in range(N_ROUNDS):
            top = np.argsort(means)[:N_TOP]
            new = configurations.vary(rows.take(np.repeat(top, N_EACH)), rng)
            rows = rows.take(top).join(new)
            found = self.regrets(configurations, new, tasks).mean(0)
            means = np.concatenate([means[top], found])
        return float(means.min())

    def held_out(self, seed: int) -> tuple[list[float], list[float]]:
        """Return the regrets on held-out tasks of the portfolio's and the evaluated choice."""
        tasks = np.array(self.yahpo.tasks)
        order = np.random.default_rng(seed).permutation(len(tasks))
        chosen: tuple[list[float], list[float]] = ([], [])
        for fold in range(N_FOLDS):
            is_out = np.arange(len(tasks)) % N_FOLDS == fold
            source, out = tasks[order[~is_out]].tolist(), tasks[order[is_out]].tolist()
            sources = find_sources(self._past(source), direction="maximize", space=self.yahpo.space)
            assert sources is not None
            candidates = evaluate_candidates(sources)
            configurations = sources.configurations
            known = self.regrets(configurations, candidates.rows, source).mean(0)
            firsts = (greedy_portfolio(candidates.scores, 1)[0], int(known.argmin()))
            regrets = self.regrets(configurations, candidates.rows.take(list(firsts)), out)
            for own, found in zip(chosen, regrets.T, strict=True):
                own += found.tolist()
        return chosen

    def _past(self, tasks: list[str]) -> list:
        history = History()
        for task in tasks:
            own = self.histories[task]
            history.add_trials(task, own.params, own.values, space=self.yahpo.space)
        return history.tasks()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    prepare()
    print(describe_machine(), "\n")
    print(markdown_row("scenario", "portfolio", "evaluated", "hindsight"))
    print(markdown_row(*["---"] * 4))
    for name in SCENARIOS:
        scenario = Scenario(name)
        portfolio, evaluated = np.array([scenario.held_out(s) for s in args.seeds]).swapaxes(0, 1)
        cells = [
            f"{found.mean():.1f} ± {found.std() / found.shape[1] ** 0.5:.1f}"
            for found in (portfolio, evaluated)
        ]
        print(markdown_row(name, *cells, f"{scenario.hindsight():.1f}"), flush=True)


if __name__ == "__main__":
    main()
