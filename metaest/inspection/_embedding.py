"""A picture of a task in the space of learned features."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from sklearn.base import clone, is_classifier

from metaest._optional import import_optional
from metaest._palette import (
    add_named_legend,
    colors_on,
    ink_on,
    legend_columns,
    wrap_name,
    wrapped_lines,
)
from metaest.inspection._labels import check_labels
from metaest.inspection._plane import features_of, project

__all__ = ["EmbeddingDisplay"]

#: More classes than this have no entries of their own in the legend: nobody could match them.
_MOST_ENTRIES = 20


class EmbeddingDisplay:
    """A task in two dimensions: support rows, query rows and class prototypes.

    Made by :meth:`from_estimator`. Support rows are large dots, query rows small ones, in the
    colour of their class; a star is the mean of a class's support rows, its prototype. Query rows
    that were predicted wrongly have a ring.

    Parameters
    ----------
    support : ndarray of shape (S, 2)
        Points of the support rows.
    y_support : ndarray of shape (S,)
        Their classes.
    query : ndarray of shape (Q, 2)
        Points of the query rows.
    y_query : ndarray of shape (Q,), default=None
        Their classes. None: not known, they take the colour of `y_pred`.
    y_pred : ndarray of shape (Q,), default=None
        Predicted classes of the query rows.
    axes : pair of str, default=("", "")
        Names of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    support_, query_, prototypes_ : matplotlib PathCollection
        What was drawn of each.
    wrong_ : matplotlib PathCollection
        The rings.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from metaest import MetaFewShotClassifier
    >>> from metaest.inspection import EmbeddingDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = MetaFewShotClassifier(random_state=0)
    >>> display = EmbeddingDisplay.from_estimator(clf, X[:50], y[:50], X[50:200], y[50:200])
    >>> display.prototypes.shape
    (10, 2)
    """

    def __init__(
        self,
        support: np.ndarray,
        y_support: np.ndarray,
        query: np.ndarray,
        *,
        y_query: np.ndarray | None = None,
        y_pred: np.ndarray | None = None,
        axes: tuple[str, str] = ("", ""),
    ) -> None:
        self.support = support
        self.y_support = y_support
        self.query = query
        self.y_query = y_query
        self.y_pred = y_pred
        self.axes = axes

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X_support: Any,
        y_support: Any,
        X_query: Any,
        y_query: Any = None,
        *,
        projection: Literal["pca", "lda"] = "pca",
        ax: Any = None,
        legend: bool = True,
    ) -> EmbeddingDisplay:
        """Fit a clone on the support rows and draw what it makes of them and of the query rows.

        Parameters
        ----------
        estimator : estimator
            With ``embed`` (metaest's estimators) or ``transform``, or a pipeline that ends with
            one; otherwise the rows are drawn as they are. It is cloned, which keeps
            meta-training; keep a transformer that is fitted already in a
            :class:`~sklearn.frozen.FrozenEstimator`.
        X_support : array-like of shape (S, ...)
        y_support : array-like of shape (S,)
        X_query : array-like of shape (Q, ...)
        y_query : array-like of shape (Q,), default=None
            With it, wrong predictions of a classifier get a ring.
        projection : {"pca", "lda"}, default="pca"
            "pca": the directions in which support and query rows vary most. "lda": those that
            tell the support classes apart best (linear discriminant analysis); with few support
            rows these of a class fall on one point, and only the query rows say how good it is.
        ax : matplotlib Axes, default=None
            None: a new figure.
        legend : bool, default=True

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        InvalidParameterError
            If `projection` is unknown, or there are too few rows or classes for it.
        TaskError
            If the labels cannot be used, are numbers to predict, or of two types, or if there are
            no query rows.
        """
        labels, truth = check_labels(X_support, y_support, X_query, y_query)
        fitted = clone(estimator).fit(X_support, y_support)
        plane = project(
            features_of(fitted, X_support), features_of(fitted, X_query), labels, projection
        )
        predicted = np.asarray(fitted.predict(X_query)) if is_classifier(fitted) else None
        display = cls(
            plane.support, labels, plane.query, y_query=truth, y_pred=predicted, axes=plane.axes
        )
        return display.plot(ax=ax, legend=legend)

    @property
    def classes(self) -> np.ndarray:
        """Classes of support and query rows, sorted."""
        parts = [self.y_support, self.y_query, self.y_pred]
        return np.unique(np.concatenate([part for part in parts if part is not None]))

    @property
    def prototypes(self) -> np.ndarray:
        """Mean support point of each class that has support rows: (n_classes, 2)."""
        y = self.y_support
        return np.stack([self.support[y == label].mean(axis=0) for label in np.unique(y)])

    def to_frame(self) -> Any:
        """Return one row per point (needs pandas).

        Returns
        -------
        pandas.DataFrame
            Columns part ("support", "query" or "prototype"), x, y, label and predicted (of query
            rows); None where it is not known.
        """
        pandas = import_optional("pandas", "frame", "EmbeddingDisplay.to_frame")
        parts = [
            ("support", self.support, self.y_support, None),
            ("query", self.query, self.y_query, self.y_pred),
            ("prototype", self.prototypes, np.unique(self.y_support), None),
        ]
        frames = []
        for part, points, labels, predicted in parts:
            columns = {"part": part, "x": points[:, 0], "y": points[:, 1]}
            for name, values in (("label", labels), ("predicted", predicted)):
                known = [None] * len(points) if values is None else values
                columns[name] = pandas.Series(known, dtype=object)
            frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)

    def plot(self, ax: Any = None, *, legend: bool = True) -> EmbeddingDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None: a new figure.
        legend : bool, default=True

        Returns
        -------
        EmbeddingDisplay
            Itself, with ``ax_``, ``figure_`` and what was drawn.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        plt = import_optional("matplotlib.pyplot", "plot", "EmbeddingDisplay")
        classes = self.classes
        if ax is None:
            _, ax = plt.subplots(figsize=self._figure_size(legend), layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        color = dict(zip(classes.tolist(), colors_on(ax, len(classes)), strict=True))
        ink, paper = ink_on(ax)
        shown = self.y_pred if self.y_query is None else self.y_query
        grey = ["0.6"] * len(self.query)
        self.query_ = ax.scatter(
            *self.query.T,
            s=14,
            c=grey if shown is None else [color[label] for label in shown.tolist()],
            alpha=0.75,
            linewidths=0,
        )
        self.wrong_ = ax.scatter(
            *self.query[self._wrong()].T, s=40, facecolors="none", edgecolors=ink, linewidths=0.9
        )
        own = [color[label] for label in self.y_support.tolist()]
        self.support_ = ax.scatter(*self.support.T, s=90, c=own, edgecolors=paper, linewidths=1.2)
        own = [color[label] for label in np.unique(self.y_support).tolist()]
        self.prototypes_ = ax.scatter(
            *self.prototypes.T, s=210, c=own, marker="*", edgecolors=ink, linewidths=1.1
        )
        self._finish(color, legend)
        return self

    def _wrong(self) -> np.ndarray:
        """Mask of the query rows whose prediction is known to be wrong."""
        if self.y_query is None or self.y_pred is None:
            return np.zeros(len(self.query), dtype=bool)
        return self.y_query != self.y_pred

    def _finish(self, color: dict[Any, Any], legend: bool) -> None:
        ax = self.ax_
        ax.set(xlabel=self.axes[0], ylabel=self.axes[1], xticks=[], yticks=[])
        ax.set_aspect("equal", adjustable="datalim")
        if self.y_query is not None and self.y_pred is not None:
            share = 100 * (1 - self._wrong().mean())
            title = f"{share:.1f} % of {len(self.query)} query rows right"
            ax.set_title(title, loc="left", fontsize="medium")
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
        if legend:
            self._add_legend(color)

    def _figure_size(self, legend: bool) -> tuple[float, float]:
        """Width and height in inches, which leave the axes their room beside the legend."""
        lines = wrapped_lines(self._entries() if legend else [])
        longest = max(len(line) for line in lines)
        return 6.4 + 0.07 * max(0, longest - 17), max(4.8, 1.4 + 0.23 * len(lines))

    def _entries(self) -> list[Any]:
        """Classes that the legend names."""
        classes = self.classes.tolist()
        return classes if len(classes) <= _MOST_ENTRIES else []

    def _add_legend(self, color: dict[Any, Any]) -> None:
        """Name the colours and the marks, to the right of the picture."""
        from matplotlib.lines import Line2D

        ink, paper = ink_on(self.ax_)
        entries = self._entries()
        marks = [(wrap_name(label), "s", 7.0, color[label], color[label]) for label in entries]
        marks += [
            ("support row", "o", 9.5, "0.5", paper),
            ("prototype", "*", 13.0, "0.5", ink),
            ("query row", "o", 4.0, "0.5", "0.5"),
        ]
        if self._wrong().any():
            marks.append(("predicted wrongly", "o", 6.5, "none", ink))
        handles = [
            Line2D([], [], marker=shape, ms=size, mfc=face, mec=edge, linestyle="none")
            for _, shape, size, face, edge in marks
        ]
        names = [label for label, *_ in marks]
        add_named_legend(
            self.ax_,
            handles,
            names,
            title=None if entries else f"{len(color)} classes",
            loc="upper left",
            bbox_to_anchor=(1, 1),
            ncols=legend_columns(self.ax_, names),
        )
