"""Pictures of how much an estimator gains from more shots, or from more steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from sklearn.base import clone

from metaest._optional import import_optional
from metaest._palette import add_grid
from metaest.model_selection._curve_drawing import (
    add_legend,
    draw_curve,
    figure_size,
    set_ticks,
    spread,
)
from metaest.model_selection._curve_points import (
    check_values,
    find_steps,
    score_points,
    with_seed,
    with_shots,
)
from metaest.model_selection._estimate import Estimate, EstimateTable
from metaest.model_selection._scoring import Scoring
from metaest.model_selection._split import EpisodicSplit
from metaest.model_selection._validation import check_estimators

__all__ = ["AdaptationCurveDisplay"]


class AdaptationCurveDisplay:
    """Mean scores over episodes against shots or against steps, with their intervals.

    Made by :meth:`against_shots` and :meth:`against_steps`. All points share the draw of classes
    and of the order of their rows, so that a curve is about shots (or steps) and not about luck.

    Parameters
    ----------
    values : sequence of int
        Positions on the horizontal axis, ascending.
    curves : dict of estimator name to sequence of Estimate
        An estimate for each value.
    along : {"shots", "steps"}
        What the values count.
    confidence : float, default=0.95
        Confidence level of the intervals.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per estimator.
    fill_between_ : list of matplotlib PolyCollection
        The intervals, one band per estimator.

    See Also
    --------
    cross_validate_episodes : The scores of one point of the curve.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.svm import SVC
    >>> from metaest.model_selection import AdaptationCurveDisplay, EpisodicSplit
    >>> X, y = load_digits(return_X_y=True)
    >>> models = {"svm": SVC(), "1-nn": KNeighborsClassifier(1)}
    >>> cv = EpisodicSplit(20, random_state=0)
    >>> display = AdaptationCurveDisplay.against_shots(models, X, y, shots=(1, 5), cv=cv)
    >>> [round(estimate.mean, 2) for estimate in display.curves["1-nn"]]
    [0.69, 0.9]
    """

    def __init__(
        self,
        values: Sequence[int],
        curves: Mapping[str, Sequence[Estimate]],
        *,
        along: Literal["shots", "steps"],
        confidence: float = 0.95,
    ) -> None:
        self.values = values
        self.curves = curves
        self.along = along
        self.confidence = confidence

    @classmethod
    def against_shots(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        shots: Iterable[int] = (1, 2, 5, 10),
        groups: Any = None,
        cv: EpisodicSplit | None = None,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        confidence: float = 0.95,
        ax: Any = None,
    ) -> AdaptationCurveDisplay:
        """Score estimators with more and more support rows, and draw.

        Parameters
        ----------
        estimator : estimator or dict of name to estimator
            Any scikit-learn classifiers or regressors.
        X : array-like, DataFrame or sparse matrix of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
        shots : iterable of int, default=(1, 2, 5, 10)
            Support rows of each class (regression: of the episode).
        groups : array-like of shape (n_rows,), default=None
            The task of each row.
        cv : EpisodicSplit, default=None
            Its `n_shots` is replaced. None: ``EpisodicSplit()``.
        scoring : str or callable, default=None
            One score. None: the estimator's ``score``.
        n_jobs : int, default=None
            Workers of joblib.
        confidence : float, default=0.95
            Confidence level of the intervals.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        AdaptationCurveDisplay

        Raises
        ------
        EpisodeError
            If a class has too few rows for so many shots.
        InvalidParameterError
            If a parameter has a value that is not allowed.
        """
        named, values = check_estimators(estimator), check_values(shots, "shots", low=1)
        cv = with_seed(cv, named)
        curves = score_points(
            [(named, with_shots(cv, n)) for n in values],
            X,
            y,
            groups=groups,
            scoring=scoring,
            n_jobs=n_jobs,
            confidence=confidence,
        )
        return cls(values, curves, along="shots", confidence=confidence).plot(ax=ax)

    @classmethod
    def against_steps(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        steps: Iterable[int] = (0, 1, 3, 5, 10),
        parameter: str | None = None,
        groups: Any = None,
        cv: EpisodicSplit | None = None,
        scoring: Scoring = None,
        n_jobs: int | None = None,
        confidence: float = 0.95,
        ax: Any = None,
    ) -> AdaptationCurveDisplay:
        """Score estimators that adapt by more and more steps, and draw.

        Parameters
        ----------
        estimator : estimator or dict of name to estimator
            Meta-trained ones whose learner is an object, such as ``MAML()``, so that its
            parameters can be set; pipelines with them, or anything with a number of steps.
        X : array-like, DataFrame or sparse matrix of shape (n_rows, ...)
        y : array-like of shape (n_rows,)
        steps : iterable of int, default=(0, 1, 3, 5, 10)
        parameter : str, default=None
            Name of the number of steps. None: the learner's ``adapt_steps``, else its
            ``inner_steps``, else its ``head_steps``.
        groups : array-like of shape (n_rows,), default=None
            The task of each row.
        cv : EpisodicSplit, default=None
            None: ``EpisodicSplit()``.
        scoring : str or callable, default=None
            One score. None: the estimator's ``score``.
        n_jobs : int, default=None
            Workers of joblib.
        confidence : float, default=0.95
            Confidence level of the intervals.
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        AdaptationCurveDisplay

        Raises
        ------
        EpisodeError
            If the episodes cannot be drawn.
        InvalidParameterError
            If an estimator has no such parameter, or a value is not allowed.
        """
        named, values = check_estimators(estimator), check_values(steps, "steps", low=0)
        cv = with_seed(cv, named)
        found = {name: find_steps(name, each, parameter) for name, each in named.items()}

        def with_steps(n: int) -> dict[str, Any]:
            return {k: clone(each).set_params(**{found[k]: n}) for k, each in named.items()}

        curves = score_points(
            [(with_steps(n), cv) for n in values],
            X,
            y,
            groups=groups,
            scoring=scoring,
            n_jobs=n_jobs,
            confidence=confidence,
        )
        return cls(values, curves, along="steps", confidence=confidence).plot(ax=ax)

    def to_frame(self) -> Any:
        """Return one row per estimator and value (needs pandas).

        Returns
        -------
        pandas.DataFrame
            Columns shots or steps, then those of :meth:`EstimateTable.to_frame`.
        """
        pandas = import_optional("pandas", "frame", "AdaptationCurveDisplay.to_frame")
        frames = []
        for curve in self.curves.values():
            frame = EstimateTable(curve, title="").to_frame()
            frame.insert(0, self.along, list(self.values))
            frames.append(frame)
        return pandas.concat(frames, ignore_index=True)

    def plot(self, ax: Any = None) -> AdaptationCurveDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.

        Returns
        -------
        AdaptationCurveDisplay
            Itself, with ``ax_``, ``figure_``, ``lines_`` and ``fill_between_``.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        plt = import_optional("matplotlib.pyplot", "plot", "AdaptationCurveDisplay")
        if ax is None:
            _, ax = plt.subplots(figsize=figure_size(list(self.curves)), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_, self.fill_between_ = [], []
        estimates = [estimate for curve in self.curves.values() for estimate in curve]
        scale = 100 if all(estimate.is_share for estimate in estimates) else 1
        for number, (name, curve) in enumerate(self.curves.items()):
            places = spread(self.values, number, len(self.curves))
            line, band = draw_curve(ax, places, curve, scale, number)
            line.set_label(name)
            self.lines_.append(line)
            self.fill_between_.append(band)
        n_episodes = max(estimate.n_episodes for estimate in estimates)
        ax.set(
            xlabel="shots" if self.along == "shots" else "steps of adaptation",
            ylabel=f"{estimates[0].metric}{' (%)' if scale == 100 else ''}",
        )
        title = f"Mean and {100 * self.confidence:g} % interval, over {n_episodes} episodes"
        ax.set_title(title, loc="left", fontsize="medium")
        set_ticks(ax, self.values, log=self.along == "shots")
        add_legend(ax, self.lines_)
        add_grid(ax, "y")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        return self
