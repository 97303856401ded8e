"""The curve of pretraining, from its log."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

#: Areas under the curve in the log -> what the legend calls them.
AREAS = {
    "synthetic_50": "synthetic, 50 rows",
    "real_10": "real (choice half), 10 rows",
    "real_50": "real, 50 rows",
    "real_200": "real, 200 rows",
}


def draw(log: Path, path: Path) -> None:
    """Draw the loss, and the areas under the curve by CPU minutes.

    Parameters
    ----------
    log : Path
        JSON lines of ``pretrain_in_context.py``.
    path : Path
        Picture to write.
    """
    rows = pd.DataFrame([json.loads(line) for line in log.open()])
    later = rows["step"][::-1].cummin()[::-1].shift(-1)
    rows = rows[~(rows["step"] >= later)]  # training went on from before a decay: leave it out
    minutes = rows["cpu"] / 60
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.plot(minutes, rows["loss"], color="0.8", linewidth=1)
    left.plot(minutes, rows["loss"].ewm(halflife=5).mean(), color="C0")
    left.set(
        xlabel="CPU minutes",
        ylabel="query loss",
        title="synthetic tasks, which grow",
        ylim=(None, 1.1),
    )
    for name, label in AREAS.items():
        known = rows[name].notna()
        areas = [found["auc"] for found in rows.loc[known, name]]
        right.plot(minutes[known], areas, marker=".", label=label)
    right.set(xlabel="CPU minutes", title="area under the curve, network alone")
    right.legend(fontsize="small", loc="center right")
    figure.savefig(path, dpi=120)
