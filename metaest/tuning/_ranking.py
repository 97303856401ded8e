"""Ranking the configurations of past searches for a new data set, and saying why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metaest.exceptions import HistoryError
from metaest.tuning._candidates import RatedCandidates, Searches, rate_candidates
from metaest.tuning._configurations import Space
from metaest.tuning._portfolio import greedy_portfolio
from metaest.tuning._similarity import choose_weights, distances_from
from metaest.tuning._suggestion import Suggestion
from metaest.tuning._words import count

#: So many data sets are called similar; the scores on so many are the expected one.
_N_SIMILAR, _N_NEAREST = 10, 5
#: A score is near the best that has come this far, from the worst.
_NEAR = 0.9
#: Weights are those for a portfolio of so many, whatever is asked for: 3 are the first 3 of 5.
_N_WEIGHED = 5
#: What other data sets weigh once there is a search on this very one: they decide between equals.
_OTHERS = 1e-6


class Ranking:
    """Configurations of past searches of one or several models, ranked for a new data set.

    Parameters
    ----------
    searches : sequence of Searches
        Of several models, those data sets count that all of them were searched on.
    meta_features : mapping of str to float, or None
        Of the new data set.
    fingerprint : str or None
    space : mapping of str to optuna distribution, or None
        Configurations are brought into it.

    Raises
    ------
    HistoryError
        If no data set was searched with all models.
    """

    def __init__(
        self,
        searches: Sequence[Searches],
        meta_features: Mapping[str, float] | None,
        fingerprint: str | None,
        space: Space | None,
    ) -> None:
        shared = _shared(searches)
        tasks = [searches[0].sources.tasks[i] for i in shared[0]]
        self._names = [task.name for task in tasks]
        known = searches[0].fingerprints
        self._is_same = np.array(
            [fingerprint is not None and known.get(name) == fingerprint for name in self._names]
        )
        parts = [
            rate_candidates(own, i, self._is_same, space)
            for own, i in zip(searches, shared, strict=True)
        ]
        self._distances = distances_from(tasks, meta_features or {})
        self._mixed = _say_mixed(searches)
        self._columns = [(part, number) for part in parts for number in range(len(part.rows))]
        self._raw = np.concatenate([part.raw for part in parts], axis=1)  # (T, M)
        self._is_measured = np.concatenate([part.is_measured for part in parts], axis=1)
        low = np.min([part.low for part in parts], axis=0)[:, None]
        span = np.max([part.high for part in parts], axis=0)[:, None] - low
        plain = np.concatenate([part.scores for part in parts], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            self._scores = np.where(span > 0, (self._raw - low) / span, plain)

    def suggest(self, n: int, direction: str, metric: str | None) -> list[Suggestion]:
        """Return n suggestions, or fewer if there are no more candidates."""
        weights, how = self._weigh()
        shown = np.ones(len(weights)) if self._is_same.any() else weights
        shares, best = shown / shown.sum(), np.zeros(len(weights))
        found = []
        for rank, column in enumerate(greedy_portfolio(self._scores, n, weights), start=1):
            part, number = self._columns[column]
            task = part.origins[number].task
            added = shares * np.maximum(self._scores[:, column] - best, 0)
            best = np.maximum(best, self._scores[:, column])
            score, error = self._expect(column)
            why = self._say_what_it_adds(added) if rank > 1 else self._say_how(how, column)
            suggestion = Suggestion(
                rank=rank,
                params=part.params(number),
                expected=float(np.average(self._scores[:, column], weights=weights)),
                expected_score=score if score is None or direction == "maximize" else 0.0 - score,
                score_error=error,
                metric=metric,
                estimator=part.model or part.estimators[task],
                task=task,
                distance=self._distance(self._names.index(task)),
                reasons=(self._say_origin(part, number), why, self._say_where_near(column)),
            )
            found.append(suggestion)
        return found

    def _weigh(self) -> tuple[np.ndarray, str]:
        """Return the weights of the data sets, and why the first suggestion is the first."""
        equal = np.ones(len(self._scores))
        if self._is_same.any():
            weights = np.where(self._is_same, 1.0, _OTHERS)
            return weights, "estimated best on this very data set, which was searched before"
        which = count(len(equal), "past data set") + self._mixed
        many = f"estimated best on average over {which}"
        if self._distances is None:
            return equal, many
        to_new, between = self._distances
        weights_found = choose_weights(self._scores, to_new, between, _N_WEIGHED)
        if weights_found is None:
            return equal, f"{many}, all alike: similarity did not help among them"
        return weights_found, f"{many}, where similar ones weigh more"

    def _say_how(self, how: str, column: int) -> str:
        """Say why the first is the first; what was measured is not estimated."""
        is_known = self._is_same.any() and self._is_measured[self._is_same, column].all()
        return how.removeprefix("estimated ") if is_known else how

    def _distance(self, task: int) -> float | None:
        if self._distances is None or not np.isfinite(self._distances[0][task]):
            return None
        return round(float(self._distances[0][task]), 4)

    def _say_origin(self, part: RatedCandidates, number: int) -> str:
        origin = part.origins[number]
        name, task = origin.task, self._names.index(origin.task)
        place = {0: "best", 1: "second best"}.get(origin.place, f"number {origin.place + 1}")
        said = f"{place} of {count(origin.n_trials, 'trial')} on {name}"
        if origin.is_moved:
            said = f"nearest in the new space to the {said}"
        if origin.lost:
            said += f", without its {' and '.join(origin.lost)}"
        if part.model is not None and part.estimators[name] is None:
            said += ", whose model is not recorded"
        if self._is_same[task]:
            return f"{said}, this very data set"
        distance = self._distance(task)
        if distance is None or self._distances is None:
            return said
        nearer = int((self._distances[0] < self._distances[0][task]).sum())
        place_of = f"number {nearer + 1} in similarity of {len(self._names)}"
        return f"{said} (distance {distance:.2f}, {place_of})"

    def _say_what_it_adds(self, added: np.ndarray) -> str:
        """Say on which data sets a configuration is better than all that were named before."""
        most = [self._names[i] for i in np.argsort(-added, kind="stable")[:2] if added[i] > 1e-3]
        if not most:
            return "hardly better than those before it on any past data set"
        return f"better than those before it on data sets such as {' and '.join(most)}"

    def _say_where_near(self, column: int) -> str:
        is_near = self._scores[:, column] >= _NEAR
        n = len(is_near)
        which = "past data sets" if n > 1 else "past data set"
        if self._distances is not None and n > _N_SIMILAR:
            is_near = is_near[np.argsort(self._distances[0], kind="stable")[:_N_SIMILAR]]
            which = "most similar data sets"
        share = f"{is_near.sum()} of the {len(is_near)} {which}"
        return f"at least {_NEAR:.0%} of the way from the worst to the best known on {share}"

    def _expect(self, column: int) -> tuple[float | None, float | None]:
        """Return the mean score on the nearest data sets, and its error among the past ones."""
        raw = self._raw[:, column]
        if self._is_same.any():
            measured = raw[self._is_measured[:, column]]
            return float((measured if len(measured) else raw[self._is_same]).mean()), None
        if self._distances is None:
            return None, None
        to_new, between = self._distances
        known = np.flatnonzero(np.isfinite(to_new))
        if len(known) <= _N_NEAREST:
            return None, None
        raw, to_new = raw[known], to_new[known]
        between = between[np.ix_(known, known)] + np.diag(np.full(len(known), np.inf))
        nearest = np.argsort(between, axis=1, kind="stable")[:, :_N_NEAREST]  # (T, 5)
        error = float(np.abs(raw[nearest].mean(1) - raw).mean())
        others = [np.median(np.delete(raw, i)) for i in range(len(raw))]
        if error >= np.abs(np.array(others) - raw).mean():
            return None, None
        return float(raw[np.argsort(to_new, kind="stable")[:_N_NEAREST]].mean()), error


def _say_mixed(searches: Sequence[Searches]) -> str:
    """Name the models where searches of several are taken for those of one."""
    for own in searches:
        found = {own.estimators[task.name] for task in own.sources.tasks}
        if len(found) > 1:
            return f" (of {' and '.join(sorted(name or 'unknown models' for name in found))})"
    return ""


def _shared(searches: Sequence[Searches]) -> list[list[int]]:
    """Return, for each model, the indices of the searches on data sets that all models have."""
    if len(searches) == 1:
        return [list(range(len(searches[0].sources.tasks)))]
    places = [{task.name: i for i, task in enumerate(own.sources.tasks)} for own in searches]
    names = [name for name in places[0] if all(name in place for place in places)]
    if not names:
        models = ", ".join(str(own.model) for own in searches)
        raise HistoryError(f"no data set was searched with all of {models}; give one estimator.")
    return [[place[name] for name in names] for place in places]
