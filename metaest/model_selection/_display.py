"""A picture of scores over episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from metaest._optional import import_optional
from metaest._palette import add_grid, is_dark, palette_on, wash_on, wrap_name, wrapped_lines
from metaest.model_selection._estimate import Estimate, count_decimals, mean_interval

__all__ = ["EpisodeScoresDisplay"]


class EpisodeScoresDisplay:
    """Mean scores with their intervals, over the spread of the episodes.

    A row per estimator: a dot for the mean, a bar for its confidence interval, and a histogram
    of its episodes. Made by :meth:`EpisodeScores.plot`.

    Parameters
    ----------
    scores : dict of estimator name to ndarray of shape (n_episodes,)
    metric : str
    confidence : float, default=0.95
        Confidence level of the intervals.
    chance : float, default=None
        Score of guessing, drawn as a line.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> scores = {"1-nn": np.array([0.7, 0.8, 0.9]), "ridge": np.array([0.8, 0.8, 0.9])}
    >>> display = EpisodeScoresDisplay(scores, metric="accuracy").plot()
    >>> display.ax_.get_xlabel()
    'accuracy of an episode (%)'
    """

    def __init__(
        self,
        scores: Mapping[str, np.ndarray],
        *,
        metric: str,
        confidence: float = 0.95,
        chance: float | None = None,
    ) -> None:
        self.scores = scores
        self.metric = metric
        self.confidence = confidence
        self.chance = chance

    def plot(self, ax: Any = None, *, color: Any = None) -> EpisodeScoresDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure. Names and numbers stand on both sides of the axes; for a row of
            them make the figure with ``plt.subplots(1, 2, layout="constrained")``.
        color : matplotlib color, default=None

        Returns
        -------
        EpisodeScoresDisplay
            Itself, with ``ax_`` and ``figure_``.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        plt = import_optional("matplotlib.pyplot", "plot", "EpisodeScores.plot")
        n_rows = len(self.scores)
        if ax is None:
            longest = max(len(line) for line in wrapped_lines(self.scores))
            width = 6.4 + 0.07 * max(0, longest - 12)
            _, ax = plt.subplots(figsize=(width, 1.1 + 0.75 * n_rows), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        estimates = [
            Estimate(name, self.metric, *mean_interval(values, self.confidence))
            for name, values in self.scores.items()
        ]
        scale = 100 if all(estimate.is_share for estimate in estimates) else 1
        edges = _bins(scale * np.concatenate(list(self.scores.values())))
        for row, estimate in enumerate(estimates):
            self._draw_row(n_rows - 1 - row, estimate, edges, scale, color or palette_on(ax)[0])
        self._label_rows(estimates)
        self._finish(estimates, scale)
        return self

    def _draw_row(
        self, row: int, estimate: Estimate, edges: np.ndarray, scale: float, color: Any
    ) -> None:
        counts, _ = np.histogram(scale * self.scores[estimate.estimator], bins=edges)
        base = row + 0.1
        heights = base + 0.6 * counts / max(1, counts.max())
        alpha = wash_on(self.ax_)
        self.ax_.stairs(heights, edges, baseline=base, fill=True, color=color, alpha=alpha)
        self.ax_.errorbar(
            scale * estimate.mean,
            row,
            xerr=scale * estimate.half_width,
            fmt="o",
            color=color,
            markersize=4,
            elinewidth=1.5,
            capsize=5,
            capthick=1.5,
        )

    def _label_rows(self, estimates: list[Estimate]) -> None:
        """Write the names on the left and the numbers on the right."""
        places = count_decimals(estimates)
        rows = range(len(estimates) - 1, -1, -1)
        self.ax_.set_yticks(list(rows), [wrap_name(e.estimator) for e in estimates])
        for row, estimate in zip(rows, estimates, strict=True):
            self.ax_.annotate(
                estimate.format(places),
                (1, row),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                annotation_clip=False,
            )

    def _finish(self, estimates: list[Estimate], scale: float) -> None:
        ax = self.ax_
        if self.chance is not None:
            ax.axvline(scale * self.chance, color="0.6", linewidth=1, linestyle=":", zorder=0)
            ax.annotate(
                "chance",
                (scale * self.chance, 0),
                xycoords=("data", "axes fraction"),
                xytext=(3, 3),
                textcoords="offset points",
                color="0.7" if is_dark(ax) else "0.45",
                fontsize="small",
            )
        n_episodes = max(estimate.n_episodes for estimate in estimates)
        unit = " (%)" if scale == 100 else ""
        ax.set_xlabel(f"{self.metric} of an episode{unit}")
        over = "one episode" if n_episodes == 1 else f"the {n_episodes} episodes"
        title = f"Mean and {100 * self.confidence:g} % interval, over {over}"
        ax.set_title(title, loc="left", fontsize="medium")
        ax.set_ylim(-0.35, len(estimates) - 0.2)
        add_grid(ax, "x")
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)


def _bins(values: np.ndarray) -> np.ndarray:
    """Return edges of at most about 30 bins.

    Scores that are shares of few rows lie on a lattice. There each bin spans whole steps of it;
    otherwise some bins would hold more steps than their neighbours.
    """
    values = values[np.isfinite(values)]
    levels = np.unique(values.round(9))
    if len(levels) < 2:
        middle = levels[0] if len(levels) else 0.0
        return middle + np.array([-0.5, 0.5]) * max(1e-3, 0.01 * abs(middle))
    span, step = levels[-1] - levels[0], np.diff(levels).min()
    if span / step > 300:
        return np.linspace(values.min(), values.max(), 31)
    width = step * max(1, np.ceil(span / step / 30))
    n_bins = int(np.ceil((span + step) / width - 1e-6))
    return levels[0] - step / 2 + width * np.arange(n_bins + 1)
