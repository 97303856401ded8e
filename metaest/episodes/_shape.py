"""How many ways, shots and queries an episode has, and which rows it draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metaest._checks import check_int_range
from metaest.exceptions import EpisodeError, InvalidParameterError

#: A fixed number, or an inclusive range to draw from.
IntRange = int | tuple[int, int]


class EpisodeIndices(NamedTuple):
    """Rows of one episode: positions in a task, with labels 0..n_ways-1 (or None)."""

    support: np.ndarray  # (S,)
    query: np.ndarray  # (Q,)
    classes: np.ndarray  # (n_ways,) codes of the drawn classes, in the order of their labels
    support_labels: np.ndarray  # (S,)
    query_labels: np.ndarray  # (Q,)


@dataclass(frozen=True)
class EpisodeShape:
    """How many ways, shots and queries an episode has; draws the rows of one.

    Parameters
    ----------
    n_ways : int, (low, high) or None, default=5
        Classes of an episode; None takes all classes of the task.
    n_shots : int or (low, high), default=5
        Support rows of each class (regression: of the episode). A range is drawn from uniformly.
    n_queries : int or (low, high), default=15
        Query rows of each class (regression: of the episode). Of a range as many are taken as
        the class has left.
    balanced : bool, default=True
        Whether all classes of an episode have the same number of shots; if not, each class
        draws its own from the range `n_shots`.
    described : bool, default=False
        Whether the classes have descriptions, so that they need no support rows.

    Raises
    ------
    InvalidParameterError
        If a number of ways, shots or queries is not allowed, or `balanced` is no truth value.
    """

    n_ways: IntRange | None = 5
    n_shots: IntRange = 5
    n_queries: IntRange = 15
    balanced: bool = True
    described: bool = False

    def __post_init__(self) -> None:
        if self.n_ways is not None:
            check_int_range(self.n_ways, "n_ways", low=2)
        self._shots()
        check_int_range(self.n_queries, "n_queries")
        if not isinstance(self.balanced, (bool, np.bool_)):
            raise InvalidParameterError(f"balanced must be True or False, got {self.balanced!r}.")

    def check(
        self,
        codes: np.ndarray,
        classes: np.ndarray,
        where: str,
        *,
        strict: bool,
        parameter: str | None = None,
    ) -> None:
        """Raise if a classification task cannot give such an episode.

        Parameters
        ----------
        codes : ndarray of int, shape (n_rows,)
        classes : ndarray of shape (n_classes,)
        where : str
            Names the task in the message.
        strict : bool
            Whether fewer classes than asked are an error; otherwise all of them are used.
        parameter : str, default=None
            Of ``TaskSet.from_unlabeled``, which made the classes: how many rows they have.
        """
        need = self._shots()[0]
        need += check_int_range(self.n_queries, "n_queries")[0]
        counts = np.bincount(codes, minlength=len(classes))
        if strict and self.n_ways is not None:
            low = check_int_range(self.n_ways, "n_ways", low=2)[0]
            if low > len(classes):
                raise EpisodeError(
                    f"n_ways={self.n_ways} asks for {low} classes, but {where} has "
                    f"{len(classes)}. Pass n_ways={len(classes)} or less, or None for all."
                )
        if counts.min() < need:
            label = classes[counts.argmin()]
            other = "drop the class"
            if parameter is not None:
                other = f"pass {parameter}={need} to TaskSet.from_unlabeled"
            raise EpisodeError(
                f"class {label!s} of {where} has {_count_rows(counts.min())}, but n_shots "
                f"+ n_queries = {need} are needed. Lower n_shots or n_queries (a range such as "
                f"n_queries=(1, 15) takes what there is), or {other}."
            )

    def check_rows(self, n_rows: int, where: str) -> None:
        """Raise if a regression task of `n_rows` rows cannot give such an episode."""
        need = self._shots()[0]
        need += check_int_range(self.n_queries, "n_queries")[0]
        if n_rows < need:
            raise EpisodeError(
                f"{where} has {_count_rows(n_rows)}, but n_shots + n_queries = {need} are needed. "
                "Lower n_shots or n_queries (a range such as n_queries=(1, 15) takes what there "
                "is)."
            )

    def draw(self, rows_of_class: Sequence[np.ndarray], rng: np.random.Generator) -> EpisodeIndices:
        """Draw one classification episode.

        Parameters
        ----------
        rows_of_class : sequence of n_classes int arrays
            Positions of the rows of each class.
        rng : numpy.random.Generator
        """
        n_classes = len(rows_of_class)
        if self.n_ways is None:
            n_ways = n_classes
        else:
            low, high = (min(n, n_classes) for n in check_int_range(self.n_ways, "n_ways"))
            n_ways = int(rng.integers(low, high, endpoint=True))
        classes = rng.choice(n_classes, size=n_ways, replace=False)
        fewest = min(len(rows_of_class[c]) for c in classes)
        shots = self._draw_shots(fewest, rng)
        support, query = [], []
        for c in classes:
            rows = rng.permutation(rows_of_class[c])
            own = shots if self.balanced else self._draw_shots(len(rows), rng)
            support.append(rows[:own])
            query.append(rows[own : own + self._take_queries(len(rows) - own)])
        labels = np.arange(n_ways)
        return EpisodeIndices(
            np.concatenate(support),
            np.concatenate(query),
            classes,
            np.repeat(labels, [len(rows) for rows in support]),
            np.repeat(labels, [len(rows) for rows in query]),
        )

    def draw_rows(self, n_rows: int, rng: np.random.Generator) -> EpisodeIndices:
        """Draw one regression episode from `n_rows` rows."""
        rows = rng.permutation(n_rows)
        shots = self._draw_shots(n_rows, rng)
        query = rows[shots : shots + self._take_queries(n_rows - shots)]
        empty = np.zeros(0, dtype=int)
        return EpisodeIndices(rows[:shots], query, empty, empty, empty)

    def _shots(self) -> tuple[int, int]:
        return check_int_range(self.n_shots, "n_shots", low=0 if self.described else 1)

    def _draw_shots(self, available: int, rng: np.random.Generator) -> int:
        low, high = self._shots()
        spare = available - check_int_range(self.n_queries, "n_queries")[0]
        return int(rng.integers(low, max(low, min(high, spare)), endpoint=True))

    def _take_queries(self, left: int) -> int:
        return min(left, check_int_range(self.n_queries, "n_queries")[1])


def group_rows(codes: np.ndarray, n_classes: int) -> list[np.ndarray]:
    """Return the positions of each class's rows.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        Class of each row, 0..n_classes-1.
    n_classes : int

    Returns
    -------
    list of n_classes int arrays
        Ascending.
    """
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(n_classes + 1))
    return [order[bounds[c] : bounds[c + 1]] for c in range(n_classes)]


def _count_rows(n: int) -> str:
    return f"{n} row" if n == 1 else f"{n} rows"
