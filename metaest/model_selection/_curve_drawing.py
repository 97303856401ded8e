"""How the curves of AdaptationCurveDisplay are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metaest._palette import (
    add_named_legend,
    legend_columns,
    palette_on,
    wash_on,
    wrap_name,
    wrapped_lines,
)
from metaest.model_selection._estimate import Estimate

#: Seven, so that with eight colours no two of the first 56 curves look the same.
_MARKERS = "osD^vP*"

#: One per round of the colours.
_LINES = ("-", "--", ":", "-.")

#: Lines of a legend inside the axes, and characters of one, that leave room for the curves.
_MOST_INSIDE, _LONGEST_INSIDE = 5, 24


def figure_size(names: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches, which leave the axes their room beside the legend."""
    lines = wrapped_lines(names)
    if _fits_inside(lines):
        return 6.4, 4.0
    return 7.2 + 0.07 * max(len(line) for line in lines), max(4.0, 0.9 + 0.21 * len(lines))


def spread(values: Sequence[int], number: int, n_curves: int) -> Sequence[float]:
    """Positions of the values: a single one moves aside, for its bars not to cover each other."""
    return values if len(values) > 1 else [values[0] + 0.1 * (number - (n_curves - 1) / 2)]


def draw_curve(
    ax: Any, values: Sequence[float], curve: Sequence[Estimate], scale: float, number: int
) -> tuple[Any, Any]:
    """Draw one estimator's means and intervals, in a style of its own.

    Returns
    -------
    line : matplotlib Line2D
    band : matplotlib PolyCollection
    """
    colors = palette_on(ax)
    color = colors[number % len(colors)]
    low = [scale * estimate.low for estimate in curve]
    high = [scale * estimate.high for estimate in curve]
    band = ax.fill_between(values, low, high, color=color, alpha=0.7 * wash_on(ax), linewidth=0)
    if len(values) == 1:  # where a band has no width
        ax.vlines(values, low, high, color=color)
    (line,) = ax.plot(
        values,
        [scale * estimate.mean for estimate in curve],
        color=color,
        linestyle=_LINES[number // len(colors) % len(_LINES)],
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=5,
    )
    return line, band


def add_legend(ax: Any, lines: Sequence[Any]) -> None:
    """Name the curves, beside the axes where they are many."""
    names = [wrap_name(line.get_label()) for line in lines]
    outside = {"loc": "upper left", "bbox_to_anchor": (1, 1), "ncols": legend_columns(ax, names)}
    is_inside = _fits_inside("\n".join(names).split("\n"))
    add_named_legend(ax, lines, names, **({} if is_inside else outside))


def _fits_inside(lines: Sequence[str]) -> bool:
    return len(lines) <= _MOST_INSIDE and max(map(len, lines)) <= _LONGEST_INSIDE


def set_ticks(ax: Any, values: Sequence[int], *, log: bool) -> None:
    """Put a tick at each value, and its number where there is room for it."""
    if len(values) == 1:
        ax.margins(x=1)
    elif log:
        ax.set_xscale("log")
    ax.set_xticks(list(values), _tick_labels(values, np.log(values) if log else np.array(values)))
    ax.minorticks_off()


def _tick_labels(values: Sequence[int], places: np.ndarray) -> list[str]:
    """Name the values; of those that stand too close together the largest."""
    digit = 0.018 * (places[-1] - places[0])  # about, in axes of the usual width
    labels, free = [], np.inf
    for place, value in zip(places[::-1], values[::-1], strict=True):
        half = digit * (len(str(value)) + 1) / 2
        fits = place + half <= free
        labels.append(str(value) if fits else "")
        free = place - half if fits else free
    return labels[::-1]
