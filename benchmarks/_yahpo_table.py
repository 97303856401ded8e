"""Tables and the figure of the tuning benchmark, from its finished searches."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import markdown_row, read_lines
from _yahpo import World

CHECKPOINTS = (1, 2, 3, 5, 10, 25, 50, 100)
#: Searches with a misleading past, which should end no worse than those without one.
MISLED = ("meta_useless", "meta_adversarial")
REFERENCES = ("cold", "tpe")
#: Of the figure: colour and line.
LOOKS = {
    "random": ("0.7", ":"),
    "tpe": ("0.35", "-"),
    "gp": ("0.35", "--"),
    "cold": ("#56B4E9", "-"),
    "portfolio10_tpe": ("#E69F00", "--"),
    "portfolio10_cold": ("#E69F00", "-"),
    "rgpe": ("#009E73", "-"),
    "meta": ("#0072B2", "-"),
    "meta_useless": ("#CC79A7", "--"),
    "meta_adversarial": ("#D55E00", "--"),
}


@dataclass(frozen=True)
class Result:
    """A finished search; `learning` where the past was learned just before it."""

    scenario: str
    seed: int
    method: str
    task: str
    values: list[float]
    seconds: float
    origins: dict[str, int]
    learning: float | None = None

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.scenario, self.seed, self.method, self.task


def read_results(path: Path) -> list[Result]:
    """Read the finished searches; of the same one, the longest."""
    found: dict[tuple, Result] = {}
    for row in read_lines(path):
        result = Result(**{name: own for name, own in row.items() if name != "fold"})
        known = found.get(result.key)
        if known is None or len(known.values) < len(result.values):
            found[result.key] = result
    return list(found.values())


class Table:
    """The searches of a scenario that all methods have finished.

    Attributes
    ----------
    methods : list of str
        Those asked for of which there are results.
    regrets : dict of str to ndarray of shape (n_searches, n_trials)
        In thousandths; searches are in the same order for all methods.
    """

    def __init__(
        self,
        results: Sequence[Result],
        world: World,
        bounds: Mapping[str, tuple[float, float]],
        methods: Sequence[str],
        seeds: Sequence[int],
        n_trials: int,
    ) -> None:
        self.scenario, self.metric, self.n_trials = world.name, world.metric, n_trials
        own = [r for r in results if r.scenario == world.name]
        bounds = _widen(bounds, own)
        whole = [r for r in own if r.seed in seeds and len(r.values) >= n_trials]
        self._by_method: dict[str, dict[tuple[int, str], Result]] = defaultdict(dict)
        for result in whole:
            self._by_method[result.method][result.seed, result.task] = result
        self.methods = [m for m in methods if m in self._by_method]
        keys = [set(self._by_method[m]) for m in self.methods]
        self.keys = sorted(set.intersection(*keys)) if keys else []
        self._learning = {
            m: [r.learning for r in whole if r.method == m and r.learning is not None]
            for m in self.methods
        }
        self.regrets = {m: self._regret(m, bounds) for m in self.methods}

    @property
    def checkpoints(self) -> list[int]:
        return [n for n in CHECKPOINTS if n <= self.n_trials]

    def print(self) -> None:
        if not self.keys:
            print(f"\n{self.scenario}: nothing that all of the methods have finished")
            return
        seeds, tasks = ({key[i] for key in self.keys} for i in (0, 1))
        print(
            f"\n### {self.scenario}, {self.metric}: {len(tasks)} tasks, seeds "
            f"{', '.join(map(str, sorted(seeds)))}: {len(self.keys)} searches of each method\n"
        )
        goals = [n for n in (50, 100) if n <= self.n_trials] if "tpe" in self.methods else []
        heads = ["method", *(f"@{n}" for n in self.checkpoints)]
        heads += [f"trials to TPE@{n}" for n in goals]
        heads += ["s per suggestion", "s of learning", "origins of trials"]
        print(markdown_row(*heads))
        print(markdown_row(*["---"] * len(heads)))
        for method in self.methods:
            regret = self.regrets[method]
            cells = [self._mean(regret[:, n - 1]) for n in self.checkpoints]
            cells += [self._trials_to(method, n) for n in goals]
            print(markdown_row(method, *cells, *self._costs(method)))
        self._print_safety()

    def _print_safety(self) -> None:
        """Compare misled searches with those without a past, search by search."""
        there = [m for m in MISLED if m in self.methods]
        references = [m for m in REFERENCES if m in self.methods]
        if not there or not references:
            return
        print("\nRegret x 1000 above that of a search without a past, of the same seed and task:\n")
        print(markdown_row("method", "against", *(f"@{n}" for n in self.checkpoints)))
        print(markdown_row(*["---"] * (2 + len(self.checkpoints))))
        for method in there:
            for other in references:
                gap = self.regrets[method] - self.regrets[other]
                cells = [self._mean(gap[:, n - 1], "+") for n in self.checkpoints]
                print(markdown_row(method, other, *cells))

    def _regret(self, method: str, bounds: Mapping[str, tuple[float, float]]) -> np.ndarray:
        values = np.array([self._by_method[method][k].values[: self.n_trials] for k in self.keys])
        worst, best = np.array([bounds[task] for _, task in self.keys]).reshape(-1, 2).T[:, :, None]
        incumbents = np.maximum.accumulate(values.reshape(-1, self.n_trials), axis=1)
        return 1000 * (best - incumbents) / np.maximum(best - worst, 1e-12)

    def _mean(self, values: np.ndarray, sign: str = "") -> str:
        """Mean and standard error; seeds share tasks, so each task is averaged first."""
        of_task = defaultdict(list)
        for (_, task), value in zip(self.keys, values, strict=True):
            of_task[task].append(value)
        means = np.array([np.mean(own) for own in of_task.values()])
        error = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else float("nan")
        return f"{values.mean():{sign}.1f} ± {error:.1f}"

    def _trials_to(self, method: str, n: int) -> str:
        """Median number of trials until the regret is that of TPE after n, on the same task."""
        reached = self.regrets[method] <= self.regrets["tpe"][:, [n - 1]] + 1e-9
        first = np.where(reached.any(1), reached.argmax(1) + 1.0, np.inf)
        median = float(np.median(first))
        return f"{median:g}" if np.isfinite(median) else f"> {self.n_trials}"

    def _costs(self, method: str) -> list[str]:
        own = [self._by_method[method][key] for key in self.keys]
        learning = self._learning[method]
        origins: Counter[str] = Counter()
        for result in own:
            origins.update(result.origins)
        total = sum(origins.values())
        return [
            f"{np.median([r.seconds for r in own]):.3f}",
            f"{np.mean(learning):.0f}" if learning else "",
            ", ".join(f"{100 * c / total:.0f} % {n}" for n, c in origins.most_common() if n),
        ]


def _widen(
    bounds: Mapping[str, tuple[float, float]], results: Sequence[Result]
) -> dict[str, tuple[float, float]]:
    """Let the bounds hold every trial."""
    wide = dict(bounds)
    for result in results:
        worst, best = wide[result.task]
        wide[result.task] = min(worst, *result.values), max(best, *result.values)
    return wide


def draw(tables: Sequence[Table], path: Path) -> None:
    """Draw the mean regret of each method over its trials."""
    import matplotlib.pyplot as plt

    tables = [table for table in tables if table.keys]
    if not tables:
        return
    figure, axes = plt.subplots(
        1, len(tables), figsize=(6 * len(tables), 4.8), layout="constrained", squeeze=False
    )
    for ax, table in zip(axes[0], tables, strict=True):
        trials = np.arange(1, table.n_trials + 1)
        for method, regret in table.regrets.items():
            color, line = LOOKS[method]
            width = 2.4 if method == "meta" else 1.4
            ax.plot(trials, regret.mean(0), line, color=color, label=method, linewidth=width)
        ticks = table.checkpoints
        ax.set(xscale="log", yscale="log", xlabel="trials", xlim=(1, table.n_trials))
        ax.set_xticks(ticks, ticks)
        low, high = ax.get_ylim()
        levels = [k * 10**p for p in range(-2, 4) for k in (1, 2, 5)]
        levels = [level for level in levels if low <= level <= high]
        ax.set_yticks(levels, [f"{level:g}" for level in levels])
        ax.minorticks_off()
        ax.set_title(f"{table.scenario}, {len(table.keys)} searches", loc="left", fontsize="medium")
        ax.grid(color="0.93")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    axes[0, 0].set_ylabel("mean normalised regret x 1000")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\nfigure: {path}")
