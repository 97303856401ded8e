"""Scores over episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metaest._optional import import_optional
from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.model_selection._display import EpisodeScoresDisplay
from metaest.model_selection._estimate import Estimate, EstimateTable, mean_interval

if TYPE_CHECKING:
    from metaest.model_selection._run import Episode

__all__ = ["EpisodeScores"]


class EpisodeScores:
    """The scores of estimators on the same episodes.

    Returned by :func:`cross_validate_episodes`.

    Parameters
    ----------
    scores : dict of estimator name to dict of metric name to ndarray of shape (n_episodes,)
    episodes : list of (support, query)
        Row positions of each episode.
    describe : dict of column name to ndarray of shape (n_episodes,)
        What :meth:`to_frame` says of each episode.
    fit_times, score_times : dict of estimator name to ndarray of shape (n_episodes,)
        Seconds.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Attributes
    ----------
    scores, episodes, fit_times, score_times, confidence
        As given.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from metaest.model_selection import EpisodicSplit, cross_validate_episodes
    >>> X, y = np.arange(40.0).reshape(-1, 1), np.repeat(["a", "b"], 20)
    >>> cv = EpisodicSplit(30, n_ways=2, n_shots=1, random_state=0)
    >>> result = cross_validate_episodes(KNeighborsClassifier(1), X, y, cv=cv)
    >>> result
    accuracy: 93.7 ± 2.0 % (30 episodes)
    >>> result.scores["KNeighborsClassifier"]["accuracy"][:3]
    array([1.   , 0.867, 0.867])
    >>> result.to_frame().columns.tolist()
    ['estimator', 'episode', 'n_ways', 'n_shots', 'n_queries', 'accuracy', 'fit_time', 'score_time']
    """

    def __init__(
        self,
        scores: Mapping[str, Mapping[str, np.ndarray]],
        episodes: list[Episode],
        *,
        describe: Mapping[str, np.ndarray],
        fit_times: Mapping[str, np.ndarray],
        score_times: Mapping[str, np.ndarray],
        confidence: float = 0.95,
    ) -> None:
        self.scores = scores
        self.episodes = episodes
        self.fit_times = fit_times
        self.score_times = score_times
        self.confidence = confidence
        self._describe = describe

    @property
    def estimators(self) -> list[str]:
        """Names of the estimators."""
        return list(self.scores)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return list(dict.fromkeys(metric for own in self.scores.values() for metric in own))

    def summary(self) -> EstimateTable:
        """Return the mean over episodes and its confidence interval.

        Returns
        -------
        EstimateTable
            One :class:`Estimate` per estimator and metric; prints as a table, and its
            ``to_frame`` gives a DataFrame.
        """
        estimates = [
            Estimate(name, metric, *mean_interval(values, self.confidence))
            for name, own in self.scores.items()
            for metric, values in own.items()
        ]
        return EstimateTable(estimates, title=self._title("EpisodeScores", estimates))

    def compare(self, baseline: str) -> EstimateTable:
        """Return each estimator's mean difference to another, over the same episodes.

        The differences are paired, so their interval is narrower than those of the two means.

        Parameters
        ----------
        baseline : str
            Name of the estimator that is subtracted.

        Returns
        -------
        EstimateTable
            One :class:`Estimate` per other estimator and metric.

        Raises
        ------
        InvalidParameterError
            If there is no such estimator, or no other one.
        """
        base = self.scores[self._check_name(baseline, self.estimators, "estimator")]
        if len(self.scores) == 1:
            raise InvalidParameterError(
                f"there is only {baseline!r}; pass cross_validate_episodes a dict of estimators."
            )
        estimates = [
            Estimate(name, metric, *mean_interval(values - base[metric], self.confidence))
            for name, own in self.scores.items()
            if name != baseline
            for metric, values in own.items()
            if metric in base
        ]
        title = self._title(f"difference to {baseline}", estimates)
        return EstimateTable(estimates, title=title, sign="+")

    def to_frame(self) -> Any:
        """Return one row per estimator and episode (needs pandas).

        Returns
        -------
        pandas.DataFrame
            Columns estimator, episode, group (where groups were given), n_ways (not for
            regression), n_shots and n_queries (per class; a mean where classes differ), one per
            metric, fit_time and score_time in seconds.
        """
        pandas = import_optional("pandas", "frame", "EpisodeScores.to_frame")
        frames = [
            pandas.DataFrame(
                {
                    "estimator": name,
                    **self._describe,
                    **own,
                    "fit_time": self.fit_times[name],
                    "score_time": self.score_times[name],
                }
            )
            for name, own in self.scores.items()
        ]
        return pandas.concat(frames, ignore_index=True)

    def plot(
        self, metric: str | None = None, *, ax: Any = None, color: Any = None
    ) -> EpisodeScoresDisplay:
        """Draw each estimator's mean with its interval, over the spread of its episodes.

        Names and numbers stand on both sides of the axes; for a row of such pictures make the
        figure with ``plt.subplots(1, 2, layout="constrained")``.

        Parameters
        ----------
        metric : str, default=None
            None: the first.
        ax : matplotlib Axes, default=None
            None: a new figure.
        color : matplotlib color, default=None

        Returns
        -------
        EpisodeScoresDisplay
            Its ``ax_`` and ``figure_`` are what was drawn.

        Raises
        ------
        InvalidParameterError
            If there is no such metric.
        MissingDependencyError
            If matplotlib is not installed.
        """
        metrics = self.metrics
        metric = metrics[0] if metric is None else self._check_name(metric, metrics, "metric")
        scores = {name: own[metric] for name, own in self.scores.items() if metric in own}
        display = EpisodeScoresDisplay(
            scores, metric=metric, confidence=self.confidence, chance=self._chance(metric)
        )
        return display.plot(ax=ax, color=color)

    def _chance(self, metric: str) -> float | None:
        """Return the accuracy of guessing, where it is one number."""
        ways = np.unique(self._describe.get("n_ways", []))
        if metric not in ("accuracy", "balanced_accuracy") or len(ways) != 1:
            return None
        return float(1 / ways[0])

    def _title(self, what: str, estimates: list[Estimate]) -> str:
        most = max((estimate.n_episodes for estimate in estimates), default=len(self))
        number = str(most) if most == len(self) else f"{most} of {len(self)}"
        level = f"{100 * self.confidence:g} %"
        return f"{what} ({number} episodes): mean ± {level} interval"

    @staticmethod
    def _check_name(name: str, known: list[str], what: str) -> str:
        if name not in known:
            raise InvalidParameterError(
                f"there is no {what} {name!r}, only {', '.join(map(repr, known))}."
                + did_you_mean(name, known)
            )
        return name

    def __len__(self) -> int:
        return len(self.episodes)

    def __repr__(self) -> str:
        table = self.summary()
        return "\n".join(map(str, table)) if len(self.scores) == 1 else repr(table)
