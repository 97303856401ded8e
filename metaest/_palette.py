"""What all pictures share: colours that are seen on any background, and names that fit."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

#: Colour-blind safe (Okabe and Ito); what stands out least on white comes last.
PALETTE = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
    "#F0E442",  # yellow
)

#: The same for dark backgrounds, with white for black.
_ON_DARK = tuple("#FFFFFF" if color == "#000000" else color for color in PALETTE)


def is_dark(ax: Any) -> bool:
    """Whether the background of some matplotlib Axes is nearer to black than to white."""
    color = ax.get_facecolor()
    if color[3] < 0.5:  # the figure is seen through it
        color = ax.figure.get_facecolor()
    red, green, blue, alpha = color
    return bool(alpha >= 0.5 and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5)


def palette_on(ax: Any) -> tuple[str, ...]:
    """Colours of which none is the background of `ax`."""
    return _ON_DARK if is_dark(ax) else PALETTE


def colors_on(ax: Any, n: int) -> list[Any]:
    """Give n colours, all different, if need be close ones."""
    from matplotlib import colormaps

    if n <= len(PALETTE):
        return list(palette_on(ax)[:n])
    return list((colormaps["tab20"] if n <= 20 else colormaps["turbo"].resampled(n))(range(n)))


def ink_on(ax: Any) -> tuple[str, str]:
    """Colour that stands out most on the background of `ax`, and the one nearest to it."""
    return ("white", "black") if is_dark(ax) else ("black", "white")


def wash_on(ax: Any) -> float:
    """Opacity of areas of colour, through which marks and lines are still seen."""
    return 0.45 if is_dark(ax) else 0.25


def add_grid(ax: Any, axis: str) -> None:
    """Draw faint lines behind everything else."""
    ax.grid(axis=axis, color=ink_on(ax)[0], alpha=0.16 if is_dark(ax) else 0.08)
    ax.set_axisbelow(True)


def wrap_name(name: object) -> str:
    """Break a long name into at most three lines of 30 characters; its dollars are no formulas.

    Of an even longer one the end is shown, too: names of much in common often differ there.
    """
    lines = textwrap.wrap(str(name), 30) or [""]
    if len(lines) > 3:
        lines = [*lines[:2], "…" + str(name)[-29:]]
    return "\n".join(lines).replace("$", r"\$")


def wrapped_lines(names: Iterable[object]) -> list[str]:
    """Lines of all names, each wrapped."""
    return "\n".join(wrap_name(name) for name in names).split("\n")


def add_named_legend(ax: Any, handles: Sequence[Any], names: Sequence[str], **options: Any) -> None:
    """Draw a legend without a frame, also of names that begin with "_".

    Those matplotlib keeps for itself: before 3.10 it leaves them out even where they are passed.
    """
    stand_ins = [name.replace("_", " ") for name in names]
    legend = ax.legend(handles=list(handles), labels=stand_ins, frameon=False, **options)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def legend_columns(ax: Any, names: Iterable[object]) -> int:
    """Columns in which a legend of some names is about as high as `ax`, and its margins, at most.

    A higher one would leave the axes no room in a constrained layout.
    """
    height = ax.bbox.height / ax.figure.dpi  # inches
    return max(1, math.ceil(len(wrapped_lines(names)) / max(1, height / 0.17)))
