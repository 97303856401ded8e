"""What a search is about, to refuse to resume another one."""

from __future__ import annotations

import functools
import inspect
import pickle
import re
from collections.abc import Collection, Mapping
from types import FunctionType, MethodType
from typing import Any

import joblib
import numpy as np

from metaest._sklearn import name_of_score, parts_of_score
from metaest._warn import warn
from metaest.exceptions import HistoryError, InvalidParameterError, SearchWarning, TaskError
from metaest.meta_features._fingerprint import fingerprint
from metaest.tuning._callables import code_of, digest
from metaest.tuning._record import PREFIX

IDENTITY_KEY = PREFIX + "search"
#: Parts that studies of older versions do not have.
_LATER = ("refit metric", "scoring code", "estimator code", "folds")
#: Parameters that do not change what is searched.
_FREE = ("n_jobs", "verbose", "random_state", "memory", "warm_start", "verbose_feature_names_out")
#: Letters of a parameter's description; a longer one is shortened to its code.
_LONGEST = 200


def data_name(X: Any, y: Any) -> str:
    """Name the contents of a data set, whatever it is."""
    if y is not None:
        try:
            return fingerprint(X, y)
        except (TaskError, TypeError, ValueError):
            pass  # texts, sparse matrices, several targets: no table that it can read
    return str(joblib.hash((X, y)))


def metric_name(scoring: Any, objective: str | None, estimator: Any) -> str:
    """Return the name of what a trial's value is; scores that differ must not share one."""
    if isinstance(scoring, Mapping) and objective in scoring:
        scoring, objective = scoring[objective], None
    elif objective is not None and not callable(scoring):
        return objective
    parts = [name_of_score(scoring, estimator)]
    code = _code(scoring)
    parts += [] if code is None else [code]
    parts += [] if objective is None else [objective]
    return ":".join(parts)


def describe_search(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    cv: Any,
    splits: list[tuple[Any, Any]],
    scoring: Any,
    space: Mapping[str, str],
    params: Mapping[str, Any],
    objective: str | None = None,
) -> dict[str, Any]:
    """Describe a search as plain JSON; the same search has the same description.

    Rows in another order, or in another container, are the same data set; but where `cv` puts
    them into other folds, the scores are not comparable.
    """
    fixed_splits = "CVIterable" in type(cv).__name__  # splits that were given as such
    given = {name: value for name, value in params.items() if value is not None}
    return {
        "data set": data_name(X, y),
        "space": dict(space),
        "cv": f"{joblib.hash(splits) if fixed_splits else _text(cv)}, {len(splits)} splits",
        "scoring": _scoring(scoring),
        "estimator": _estimator(estimator, space),
        "fit parameters": {name: str(joblib.hash(value)) for name, value in sorted(given.items())},
        "refit metric": objective,
        "scoring code": _codes(scoring),
        "estimator code": _estimator_codes(estimator, space),
        "folds": str(joblib.hash([[np.asarray(rows) for rows in split] for split in splits])),
    }


def describe_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Describe parameters with all that they hold; the same ones have the same description.

    Those that do not change what is searched are left out.
    """
    return {str(name): describe_value(own) for name, own in params.items() if not _is_free(name)}


def describe_value(value: Any) -> str:
    """Describe a parameter with all that it holds: functions by code, estimators by parameters."""
    try:
        text = _value(value, is_whole=True)
    except Exception:  # it may be anything
        return _class_name(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}... {digest(text)}"


def check_same_search(found: Any, expected: Mapping[str, Any], study_name: str) -> None:
    """Compare a stored description with that of the search at hand.

    Raises
    ------
    HistoryError
        If there is none, or it differs.
    """
    remedy = "Give another study_name, or delete that study with optuna.delete_study."
    if not isinstance(found, dict):
        raise HistoryError(
            f"study {study_name!r} has trials that no MetaSearchCV made, so it cannot be resumed "
            f"(add it to a History instead, to learn from it). {remedy}"
        )
    for part, mine in expected.items():
        stored = found.get(part)
        if stored == mine or (part in _LATER and part not in found):
            continue
        if part == "folds":
            remedy = f"If cv shuffles, give it a random_state. {remedy}"
        if isinstance(stored, dict) and isinstance(mine, Mapping):
            names = [n for n in {**stored, **mine} if stored.get(n) != mine.get(n)]
            stored = {name: stored[name] for name in names if name in stored}
            mine = {name: mine[name] for name in names if name in mine}
        raise HistoryError(
            f"study {study_name!r} cannot be resumed: it was a search with another {part}. "
            f"There: {stored}; here: {mine}. {remedy}"
        )


def warn_about_chance(cv: Any, study_name: str) -> None:
    """Warn, before the work is done, that a splitter will split otherwise in the next session."""
    shuffles = getattr(cv, "shuffle", True) and hasattr(cv, "random_state")
    if shuffles and cv.random_state is None:
        warn(
            f"cv={cv!r} shuffles without a random_state, so study {study_name!r} cannot be resumed "
            "later: the scores would be of other folds. Give it a random_state.",
            SearchWarning,
        )


def check_n_trials(n_trials: int | None, timeout: float | None) -> None:
    """Raise InvalidParameterError for a search without an end."""
    if n_trials is None and timeout is None:
        raise InvalidParameterError(
            "n_trials and timeout are both None, so the search would never end; give one of them."
        )


def _text(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # addresses change


def _scoring(scoring: Any) -> Any:
    if scoring is None or isinstance(scoring, str):
        return str(scoring)
    if isinstance(scoring, Mapping):
        return {str(name): _scoring(scorer) for name, scorer in scoring.items()}
    if isinstance(scoring, (list, tuple)):
        return [_scoring(scorer) for scorer in scoring]
    return getattr(scoring, "__qualname__", None) or _text(scoring)


def _codes(scoring: Any) -> dict[str, str]:
    """Return the codes of the scorers that their names do not tell apart."""
    scorers = scoring if isinstance(scoring, Mapping) else {"": scoring}
    codes = {str(name): _code(own) for name, own in scorers.items()}
    return {name: code for name, code in codes.items() if code is not None}


def _code(scoring: Any) -> str | None:
    function, others = parts_of_score(scoring)
    return None if code_of(function) is None else code_of(functools.partial(function, **others))


def _estimator(estimator: Any, searched: Collection[str]) -> dict[str, str]:
    found = {"": _class_name(estimator)}
    for name, value in estimator.get_params(deep=True).items():
        if name not in searched and not _is_free(name):
            found[name] = _value(value)
    return found


def _estimator_codes(estimator: Any, searched: Collection[str]) -> dict[str, list[str]]:
    """Return the codes of the functions in parameters that their names do not tell apart."""
    params = estimator.get_params(deep=True).items()
    codes = {n: _unnamed(own) for n, own in params if n not in searched and not _is_free(n)}
    return {name: own for name, own in codes.items() if own}


def _unnamed(value: Any) -> list[str]:
    if type(value) in (list, tuple, dict):
        inner = value.values() if type(value) is dict else value
        return [code for own in inner for code in _unnamed(own)]
    is_function = isinstance(value, (FunctionType, MethodType, functools.partial))
    code = code_of(value) if is_function else None
    return [] if code is None else [code]


def _is_free(name: str) -> bool:
    return name.rsplit("__", 1)[-1] in _FREE


def _value(value: Any, is_whole: bool = False) -> str:
    """Describe a parameter; of estimators the class, for their own parameters have names, too.

    As a whole, these are part of it; and 3 is 3.0, for so a float is read back that was enqueued.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if is_whole and type(value) is int and abs(value) < 2**53:
        return repr(float(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if type(value) in (list, tuple):
        return f"({', '.join(_value(own, is_whole) for own in value)})"
    if type(value) is dict:
        pairs = (f"{_value(k, is_whole)}: {_value(own, is_whole)}" for k, own in value.items())
        return f"{{{', '.join(pairs)}}}"
    if hasattr(value, "get_params") or hasattr(value, "__qualname__"):
        return _class_name(value) + (_inside(value) if is_whole else "")
    try:
        return f"{_class_name(value)} {joblib.hash(value)}"
    except (TypeError, ValueError, AttributeError, pickle.PicklingError):
        # A lock, or a function without a name.
        return _class_name(value) + (f" {digest(value)}" if is_whole else "")


def _inside(value: Any) -> str:
    if inspect.isclass(value):
        return ""
    if hasattr(value, "get_params"):
        return f" {digest(describe_params(value.get_params(deep=False)))}"
    code = code_of(value)
    return "" if code is None else f" {code}"


def _class_name(value: Any) -> str:
    own = value if hasattr(value, "__qualname__") else type(value)
    return f"{own.__module__}.{own.__qualname__}"
