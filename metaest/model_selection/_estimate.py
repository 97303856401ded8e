"""A mean score, its interval, and how to write it down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from scipy.special import stdtrit

from metaest._optional import import_optional

__all__ = ["Estimate", "EstimateTable"]

#: An interval narrower than this part of its mean is none.
_ROUNDING = 1e-9


class Estimate(NamedTuple):
    """The mean of a score over episodes, with its confidence interval.

    Attributes
    ----------
    estimator : str
    metric : str
    mean : float
    half_width : float
        The interval is mean ± half_width. NaN for a single episode.
    n_episodes : int
        Episodes that have a score.
    """

    estimator: str
    metric: str
    mean: float
    half_width: float
    n_episodes: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half_width

    @property
    def is_share(self) -> bool:
        """Whether the score reads best in percent; one that is not known follows the others."""
        return "accuracy" in self.metric and not abs(self.mean) > 1

    def format(self, decimals: int | None = None, sign: str = "") -> str:
        """Return text such as ``"97.3 ± 0.4 %"``.

        Parameters
        ----------
        decimals : int, default=None
            None: as many as the interval makes sense of.
        sign : {"", "+"}, default=""
            "+" also writes the sign of a positive mean.
        """
        scale, unit = (100, " %") if self.is_share else (1, "")
        places = count_decimals([self]) if decimals is None else decimals
        mean = f"{scale * self.mean:{sign}.{places}f}"
        if np.isnan(self.half_width):
            return mean + unit
        return f"{mean} ± {scale * self.half_width:.{places}f}{unit}"

    def __str__(self) -> str:
        plural = "" if self.n_episodes == 1 else "s"
        return f"{self.metric}: {self.format()} ({self.n_episodes} episode{plural})"


class EstimateTable(Sequence[Estimate]):
    """Estimates that print as a table: a row per estimator, a column per metric.

    Parameters
    ----------
    estimates : sequence of Estimate
    title : str
        First line of the table. A mean over fewer episodes than another has their number beside it.
    sign : {"", "+"}, default=""
        "+" also writes the sign of positive means.

    Examples
    --------
    >>> EstimateTable([Estimate("knn", "accuracy", 0.9731, 0.0041, 600)], title="mean ± 95 %")
    mean ± 95 %
         accuracy
    knn  97.3 ± 0.4 %
    """

    def __init__(self, estimates: Sequence[Estimate], *, title: str, sign: str = "") -> None:
        self._estimates = list(estimates)
        self.title = title
        self.sign = sign

    def to_frame(self) -> Any:
        """Return a DataFrame with one row per estimator and metric (needs pandas).

        Returns
        -------
        pandas.DataFrame
            Columns estimator, metric, mean, half_width, low, high, n_episodes.
        """
        pandas = import_optional("pandas", "frame", "EstimateTable.to_frame")
        columns = ["estimator", "metric", "mean", "half_width", "low", "high", "n_episodes"]
        rows = [[getattr(estimate, name) for name in columns] for estimate in self._estimates]
        return pandas.DataFrame(rows, columns=columns)

    @overload
    def __getitem__(self, index: int) -> Estimate: ...
    @overload
    def __getitem__(self, index: slice) -> list[Estimate]: ...
    def __getitem__(self, index: int | slice) -> Estimate | list[Estimate]:
        return self._estimates[index]

    def __len__(self) -> int:
        return len(self._estimates)

    def __repr__(self) -> str:
        names = list(dict.fromkeys(estimate.estimator for estimate in self._estimates))
        columns = [["", *names]]
        for metric in dict.fromkeys(estimate.metric for estimate in self._estimates):
            own = {e.estimator: e for e in self._estimates if e.metric == metric}
            places = count_decimals(list(own.values()))
            cells = [self._cell(own[n], places) if n in own else "" for n in names]
            width = max(len(cell) for cell in cells)
            columns.append([metric, *(cell.rjust(width) for cell in cells)])
        widths = [max(len(cell) for cell in column) for column in columns]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in zip(*columns, strict=True)
        ]
        return "\n".join([self.title, *lines])

    def _cell(self, estimate: Estimate, places: int) -> str:
        """Write a mean, with the number of its episodes where others are of more."""
        most = max(other.n_episodes for other in self._estimates)
        fewer = f" ({estimate.n_episodes})" if estimate.n_episodes < most else ""
        return estimate.format(places, self.sign) + fewer


def mean_interval(values: np.ndarray, confidence: float) -> tuple[float, float, int]:
    r"""Return the mean, the half-width of its confidence interval and the number of values.

    The half-width is :math:`t_{n-1}\, s / \sqrt{n}`, with Student's t and the standard deviation
    :math:`s` of the n values (1.96 s / √n for 95 % and large n). NaN values are left out.

    Parameters
    ----------
    values : ndarray of shape (n_episodes,)
    confidence : float
        In (0, 1).
    """
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return (float(values[0]) if n else np.nan), np.nan, n
    t = stdtrit(n - 1, 0.5 + confidence / 2)
    return float(values.mean()), float(t * values.std(ddof=1) / np.sqrt(n)), n


def _widths(estimates: Sequence[Estimate]) -> list[float]:
    """Return the half-widths that are more than rounding, which equal scores have."""
    return [e.half_width for e in estimates if e.half_width > _ROUNDING * max(1.0, abs(e.mean))]


def count_decimals(estimates: Sequence[Estimate]) -> int:
    """Return how many decimals show the narrowest of some intervals with a leading digit."""
    narrow = _widths(estimates)
    if all(e.is_share for e in estimates):
        return 2 if narrow and 100 * min(narrow) < 0.095 else 1
    if not narrow:
        return 3
    return int(np.clip(1 - np.floor(np.log10(min(narrow))), 0, 6))
