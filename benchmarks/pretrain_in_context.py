"""Pretrain the in-context learner on synthetic tasks; stop and go on at any time.

    METAEST_DATA=... python benchmarks/pretrain_in_context.py --checkpoint FOLDER --minutes 100
    METAEST_DATA=... python benchmarks/pretrain_in_context.py --checkpoint FOLDER --decay 10
    python benchmarks/pretrain_in_context.py --checkpoint FOLDER --export
    python benchmarks/pretrain_in_context.py --checkpoint FOLDER --plot docs/images/pretraining.png

The first starts or goes on (SIGTERM and Ctrl-C save first). The rate is constant after a warm-up;
the second lets it fall to zero over that many minutes and keeps the result beside the undecayed
state, from which training can still go on. The third writes the averaged weights (the decayed ones
where there are any) into the package, the fourth draws the log. FOLDER/log.jsonl has a line every
50 steps: step, tasks seen, loss, rate, CPU seconds, and now and then the area under the curve on
fixed synthetic tasks and on the real data sets for choices (every second one of
$METAEST_DATA/openml by data id).

benchmarks/checkpoints holds the state that the shipped weights came from (before the decay; moments
in half precision): copy the folder and go on from there.

On a GPU: --device cuda --rows 40000 --workers 12 --size base.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import datetime
import json
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _common import append_json, prepare
from _curve import draw
from _in_context_data import Batches, Tables, score_real, score_synthetic, synthetic_tables
from _muon import make_optimizers

from metaest.nets._in_context import InContextNet

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"cell_width": 16, "row_width": 32, "n_layers": 2, "n_inducing": 4},
    "small": {},
    "base": {"cell_width": 64, "row_width": 256, "n_layers": 8, "n_inducing": 16},
}
WARM_UP = 100


class Run:
    """The network, its average, the optimisers and where they stand."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.settings = SIZES[options.size] | json.loads(options.net)
        self.net = InContextNet(**self.settings).to(options.device)
        self.average = InContextNet(**self.settings).to(options.device)
        self.average.load_state_dict(self.net.state_dict())
        self.optimizers = make_optimizers(self.net, options.optimizer, options.lr)
        self.step, self.tasks, self.cpu = 0, 0, 0.0

    def train_step(self, tables: Tables, rate: float) -> float:
        loss = self._loss(tables)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        for optimizer in self.optimizers:
            if torch.isfinite(norm):
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.tasks += len(tables.x)
        share = min(1.0, max(10 / (10 + self.step), 1 / self.options.average))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.net.parameters(), strict=True)
            for mean, value in pairs:
                mean.lerp_(value, share)
        return float(loss.detach())

    def _loss(self, tables: Tables) -> torch.Tensor:
        device, n = self.options.device, tables.n_support
        x, y = tables.x.to(device), tables.y.to(device)
        mask = torch.ones_like(y[:, :n], dtype=torch.bool)
        with torch.autocast(device, torch.bfloat16, enabled=self.options.bf16):
            class_mask = tables.class_mask.to(device)
            state = self.net.read(x[:, :n], y[:, None, :n], mask, class_mask.unsqueeze(1))
            logits = self.net(state, x[:, n:]).squeeze(1)
        return F.cross_entropy(logits.float().flatten(0, 1), y[:, n:].flatten())

    def save(self, path: Path) -> None:
        """Write all that training goes on from; a crash leaves the former file."""
        content = {
            "settings": self.settings,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "progress": (self.step, self.tasks, self.cpu),
        }
        part = path.with_suffix(".part")
        torch.save(content, part)
        part.replace(path)

    def restore(self, path: Path) -> None:
        content = torch.load(path, map_location=self.options.device, weights_only=True)
        if content["settings"] != self.settings:
            raise SystemExit(f"{path} has another network: {content['settings']}")
        self.net.load_state_dict(content["net"])
        self.average.load_state_dict(content["average"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.tasks, self.cpu = content["progress"]


def train(run: Run, folder: Path) -> None:
    """Run until the time is up or a signal comes; log, validate and save on the way."""
    options = run.options
    minutes = options.decay or options.minutes
    stop: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: stop.append(number))
    largest = (options.max_rows, options.max_columns)
    source = Batches(options.seed + 1, run.step, options.rows, options.growth, largest)
    loader = torch.utils.data.DataLoader(
        source, batch_size=None, num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )  # fmt: skip
    fixed = synthetic_tables()
    start, cpu_before, cpu_start = time.monotonic(), run.cpu, time.process_time()
    marks = {"save": start, "validate": start}  # times of the last
    losses: list[float] = []
    rate = 0.0

    def due(name: str, interval: float) -> bool:
        now = time.monotonic()
        if now - marks[name] < interval:
            return False
        marks[name] = now
        return True

    path = folder / ("decayed.pt" if options.decay else "checkpoint.pt")
    for tables in loader:
        on_cpu = time.process_time() - cpu_start
        passed = (on_cpu if options.cpu_clock else time.monotonic() - start) / 60
        done = bool(stop) or passed > minutes
        if not done:
            rate = options.lr * min(1.0, (run.step + 1) / WARM_UP)
            if options.decay:
                rate *= max(0.0, 1 - passed / minutes)
            losses.append(run.train_step(tables, rate))
            run.cpu = cpu_before + on_cpu
        if done or due("save", 120):
            run.save(path)
        if done or run.step % 50 == 0:
            row = {"step": run.step, "tasks": run.tasks, "cpu": round(run.cpu, 1), "lr": rate}
            if losses:
                row["loss"] = round(sum(losses) / len(losses), 4)
            row["time"] = _now()
            losses.clear()
            if not stop and due("validate", 0 if done else 60 * options.validate):
                row |= validate(run, fixed, real=not options.no_real)
            append_json(folder / "log.jsonl", row)
            print(json.dumps(row), flush=True)
        if done:
            break


def validate(run: Run, fixed: list[Tables], real: bool) -> dict[str, Any]:
    """Score the averaged weights."""
    device = run.options.device
    found = {"synthetic_50": score_synthetic(run.average, fixed, device)}
    if real:
        for n_train, n_seeds in ((10, 3), (50, 2), (200, 1)):
            found[f"real_{n_train}"] = score_real(run.average, n_train, device, n_seeds)
    rounded = {k: {m: round(v, 4) for m, v in scores.items()} for k, scores in found.items()}
    return {**rounded}


def export(folder: Path, name: str) -> None:
    """Write the averaged weights into the package."""
    from metaest.pretrained._in_context import write_in_context

    path = folder / "decayed.pt"
    content = torch.load(
        path if path.exists() else folder / "checkpoint.pt", map_location="cpu", weights_only=True
    )
    step, tasks, cpu = content["progress"]
    write_in_context(
        content["average"],
        content["settings"],
        {
            "name": name,
            "date": str(datetime.date.today()),
            "training": f"{tasks} synthetic tasks in {step} steps, {cpu / 60:.0f} CPU minutes",
        },
    )


def _now() -> str:
    return datetime.datetime.now().strftime("%H:%M:%S")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder")
    parser.add_argument("--minutes", type=float, default=100)
    parser.add_argument("--decay", type=float, default=0, help="minutes of falling rate")
    parser.add_argument("--cpu-clock", action="store_true", help="minutes are of CPU time")
    parser.add_argument("--export", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    parser.add_argument("--name", default="in-context-1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="small", choices=SIZES)
    parser.add_argument("--net", default="{}", help="further sizes of the network, as JSON")
    parser.add_argument("--optimizer", default="muon", choices=["muon", "adamw"])
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--average", type=float, default=1000, help="steps to average over")
    parser.add_argument("--rows", type=int, default=3000, help="rows of a step")
    parser.add_argument("--growth", type=float, default=5000, help="steps to full-size tables")
    parser.add_argument("--max-rows", type=int, default=256)
    parser.add_argument("--max-columns", type=int, default=40)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw tasks")
    parser.add_argument("--validate", type=float, default=6, help="minutes between validations")
    parser.add_argument("--no-real", action="store_true")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse()
    prepare()
    folder = options.checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    if options.export:
        export(folder, options.name)
        return
    if options.plot:
        draw(folder / "log.jsonl", options.plot)
        return
    run = Run(options)
    if (folder / "checkpoint.pt").exists():
        run.restore(folder / "checkpoint.pt")
    train(run, folder)


if __name__ == "__main__":
    main()
