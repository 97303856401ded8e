"""Suggestion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Suggestion:
    """A configuration that is worth a try, and why.

    Nothing is run: all numbers are estimates from past searches, but for what one of them measured
    on this very data set.

    Parameters
    ----------
    rank : int
        From 1, in the order in which to try them.
    params : dict of str to value
        The active parameters.
    expected : float
        Estimated score, on average over the past data sets (weighted, where that helps): from 0,
        the worst that was seen on a data set, to 1, the best.
    expected_score : float or None, default=None
        A cautious estimate in the metric's own units: the mean over the five data sets that are
        most similar to the new one, or of this very one where it was searched before (measured,
        if the configuration was tried there). None where such means say nothing: for the past data
        sets, the median of all others is as near.
    score_error : float or None, default=None
        Mean absolute error of such means on the past data sets.
    metric : str or None, default=None
    estimator : str or None, default=None
        Name of the class, where it is known.
    task : str, default=""
        The past search that the configuration is from.
    distance : float or None, default=None
        Of that search's data set from the new one: 0 is nearest, and there is no upper limit;
        None if either is unknown.
    reasons : tuple of str, default=()

    Examples
    --------
    >>> from metaest.tuning import Suggestion
    >>> print(
    ...     Suggestion(
    ...         rank=1,
    ...         params={"C": 12.34567, "kernel": "rbf"},
    ...         expected=0.981,
    ...         estimator="SVC",
    ...         task="iris",
    ...         reasons=("the best of 50 trials on iris",),
    ...     )
    ... )
    1. SVC(C=12.35, kernel='rbf')
       expected 0.98 of the way from the worst to the best known
       - the best of 50 trials on iris
    """

    rank: int
    params: dict[str, Any]
    expected: float
    expected_score: float | None = None
    score_error: float | None = None
    metric: str | None = None
    estimator: str | None = None
    task: str = ""
    distance: float | None = None
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return {**asdict(self), "reasons": list(self.reasons)}

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={_short(value)}" for name, value in self.params.items())
        lines = [
            f"{self.rank}. {self.estimator or ''}({inside})",
            f"   expected {self._expected()}",
        ]
        return "\n".join([*lines, *(f"   - {reason}" for reason in self.reasons)])

    def _expected(self) -> str:
        text = f"{self.expected:.2f} of the way from the worst to the best known"
        if self.expected_score is None:
            return text
        return f"{self.metric or 'score'} {_score(self)}, {text}"


def format_suggestions(suggestions: Sequence[Suggestion]) -> str:
    """Return a table of suggestions, and below it the reasons."""
    first = suggestions[0]
    rows = [["", "model", f"expected {first.metric or 'score'}", "of the best", "parameters"]]
    for own in suggestions:
        share = f"{own.expected:.0%}"
        rows.append([str(own.rank), own.estimator or "", _score(own), share, _inside(own)])
    kept = [i for i in range(5) if any(row[i] for row in rows[1:])]
    widths = {i: max(len(row[i]) for row in rows) for i in kept}
    lines = ["  ".join(row[i].ljust(widths[i]) for i in kept).rstrip() for row in rows]
    lines += ["", "Why:"]
    for own in suggestions:
        head = f"{own.rank}. "
        reasons = f"\n{' ' * len(head)}".join(own.reasons)
        lines += [head + reasons] if reasons else []
    return "\n".join(lines)


def _score(suggestion: Suggestion) -> str:
    if suggestion.expected_score is None:
        return ""
    error = suggestion.score_error
    return f"{suggestion.expected_score:.3f}" + ("" if error is None else f" ± {error:.3f}")


def _inside(suggestion: Suggestion) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in suggestion.params.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
