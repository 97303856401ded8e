"""Claim: a learned optimizer beats tuned hand-made ones on the problems that it was learned for.

    python benchmarks/learned_optimizer.py [--validate] [--set lr=0.01 n_problems=500] [--plot FILE]

Random quadratics in 10 dimensions, f(theta) = |W theta - y|^2 with independent Gaussian entries
(Andrychowicz et al., NeurIPS 2016, section 3.1 and figure 4), 100 steps. The hand-made optimizers'
rates (and momentum) are tuned on validation problems by the mean loss, for 20, 50 and 100 steps
each by itself; the learned one is the same in all columns. Cells are means with
95 % intervals, the median after 100 steps, and how far the mean there is behind the learned one
(paired). The learned one's settings were chosen with --validate, which scores the validation
problems. --plot draws the curves.
Finished rows are appended to benchmarks/output/learned_optimizer.jsonl.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import append_json, cpu_time, describe_machine, markdown_row, prepare
from torch import Tensor

from metaest.training import LSTMOptimizer, train_optimizer

OUTPUT = Path(__file__).parent / "output" / "learned_optimizer.jsonl"
DIMENSIONS, STEPS, POINTS = 10, 100, (20, 50, 100)
#: Seeds and numbers of problems.
VALIDATE, TEST = (1, 4000), (2, 2000)  # many: one that diverges decides about a rate
TRAINED = 32  # problems at once in training

SETTINGS = {"n_problems": 600, "lr": 0.01}

RATES = np.geomspace(1e-3, 1, 19).tolist()
MOMENTA = (0.8, 0.9, 0.95)
#: Name -> torch optimizer and the grid of its settings.
GRIDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"lr": RATES}),
    "SGD, momentum": (torch.optim.SGD, {"lr": RATES, "momentum": MOMENTA}),
    "SGD, Nesterov momentum": (
        torch.optim.SGD,
        {"lr": RATES, "momentum": MOMENTA, "nesterov": (True,)},
    ),
    "RMSprop": (torch.optim.RMSprop, {"lr": RATES}),
    "Adam": (torch.optim.Adam, {"lr": RATES}),
}

Loss = Callable[[Any], Tensor]
MakeOptimizer = Callable[[list[Tensor]], torch.optim.Optimizer]


def quadratics(generator: torch.Generator, n: int = TRAINED) -> tuple[dict[str, Tensor], Loss]:
    """Draw n problems at once."""
    draw = functools.partial(torch.randn, generator=generator)
    W, y = draw(n, DIMENSIONS, DIMENSIONS), draw(n, DIMENSIONS, 1)
    start = 0.01 * draw(n, DIMENSIONS, 1)
    return {"theta": start}, lambda p: (W @ p["theta"] - y).square().sum((1, 2))


def curves(make: MakeOptimizer, problems: tuple[dict[str, Tensor], Loss]) -> np.ndarray:
    """Return the losses of each problem after 0, 1, ..., 100 steps: (n, 101)."""
    start, loss_of = problems
    theta = start["theta"].clone().requires_grad_()
    optimizer = make([theta])
    path = []
    for _ in range(STEPS):
        losses = loss_of({"theta": theta})  # (n,)
        path.append(losses.detach())
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
    with torch.no_grad():
        path.append(loss_of({"theta": theta}))
    return torch.stack(path, 1).double().numpy()


def candidates(name: str) -> list[MakeOptimizer]:
    optimizer, grid = GRIDS[name]
    values = itertools.product(*grid.values())
    return [functools.partial(optimizer, **dict(zip(grid, v, strict=True))) for v in values]


def tune(name: str) -> dict[int, MakeOptimizer]:
    """Return the setting that is best after each number of steps, on the validation problems."""
    makes, problems = candidates(name), _problems(VALIDATE)
    means = [curves(make, problems).mean(0)[list(POINTS)] for make in makes]
    best = np.where(np.isfinite(means), means, np.inf).argmin(0)
    return {point: makes[k] for point, k in zip(POINTS, best, strict=True)}


def _problems(seed_and_number: tuple[int, int]) -> tuple[dict[str, Tensor], Loss]:
    seed, n = seed_and_number
    return quadratics(torch.Generator().manual_seed(seed), n)


def format_mean(values: np.ndarray) -> str:
    """Mean and the half-width of its 95 % interval."""
    return f"{values.mean():.3f} ± {1.96 * values.std(ddof=1) / len(values) ** 0.5:.3f}"


def report(name: str, columns: dict[int, np.ndarray], learned: np.ndarray | None, **more: Any):
    """Print and keep a row; the last cell is the paired difference to the learned optimizer."""
    cells = [format_mean(columns[point]) for point in POINTS]
    cells.append(f"{np.median(columns[STEPS]):.3f}")
    gap = "" if learned is None else format_mean(columns[STEPS] - learned)
    print(markdown_row(name, *cells, gap, *more.values()), flush=True)
    row = {"name": name, "cells": cells, "gap": gap, "machine": describe_machine()}
    append_json(OUTPUT, row | {k: str(v) for k, v in more.items()})


def parse_setting(text: str) -> tuple[str, Any]:
    name, value = text.split("=")
    return name, json.loads(value)


def draw(paths: dict[str, np.ndarray], file: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.5))
    for name, path in paths.items():
        axes.semilogy(path, label=name)
    axes.set(xlabel="step", ylabel="mean loss", title="Random quadratics, 10 dimensions")
    axes.legend()
    figure.savefig(file, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--set", nargs="*", type=parse_setting, default=[], metavar="NAME=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    settings = SETTINGS | dict(options.set)
    prepare()
    print(describe_machine())
    print(
        markdown_row(
            "optimizer", *(f"{p} steps" for p in POINTS), "median", "behind", "settings", "CPU-min"
        )
    )
    with cpu_time() as timer:
        rule = train_optimizer(quadratics, **settings, random_state=options.seed)
    minutes = f"{timer.minutes:.1f}"
    problems = _problems(VALIDATE if options.validate else TEST)
    found = curves(functools.partial(LSTMOptimizer, rule=rule), problems)
    paths = {"learned": found.mean(0)}
    columns = {point: found[:, point] for point in POINTS}
    report("learned", columns, None, settings=settings, minutes=minutes)
    if options.validate:
        return
    for name in GRIDS:
        with cpu_time() as timer:
            best = tune(name)
        own = {point: curves(make, problems) for point, make in best.items()}
        paths[name] = own[STEPS].mean(0)
        chosen = [make.keywords for make in best.values()]
        columns = {point: path[:, point] for point, path in own.items()}
        report(name, columns, found[:, STEPS], settings=chosen, minutes=f"{timer.minutes:.1f}")
    if options.plot is not None:
        draw(paths, options.plot)


if __name__ == "__main__":
    main()
