"""Telling callables apart that have no name of their own."""

from __future__ import annotations

import functools
import hashlib
import inspect
import pickle
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

import joblib

#: Of functions within functions; what refers to itself has no end.
_MAX_DEPTH = 4
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))


def code_of(value: Any) -> str | None:
    """Return a short code of what a lambda, a closure, a partial or an object does.

    The same code in another session has the same one. None: `value` is not callable, or has a
    name that stands for it.
    """
    return None if not callable(value) or _is_named(value) else digest(value)


def digest(value: Any) -> str:
    """Return a short code of what a value holds, the same in another session."""
    return hashlib.sha256(repr(_describe(value, _MAX_DEPTH)).encode()).hexdigest()[:12]


def _is_named(value: Any) -> bool:
    if not str(getattr(value, "__name__", "")).isidentifier():
        return False
    if inspect.ismethod(value):
        return inspect.isclass(value.__self__)
    own = isinstance(value, FunctionType) and "<locals>" in value.__qualname__
    return not (own and (value.__closure__ or value.__defaults__ or value.__kwdefaults__))


def _describe(value: Any, depth: int) -> Any:
    """Describe by nested tuples of plain values, which are written the same in every session."""
    if isinstance(value, _PLAIN) or depth == 0:
        return repr(value) if isinstance(value, _PLAIN) else _name(value)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, [_describe(own, depth) for own in value]
    if isinstance(value, (set, frozenset)):
        return "set", sorted(repr(_describe(own, depth)) for own in value)
    if isinstance(value, Mapping):
        return "dict", [(_describe(k, depth), _describe(v, depth)) for k, v in value.items()]
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return "partial", [_describe(own, depth - 1) for own in parts]
    if inspect.isclass(value) or (callable(value) and _is_named(value)):
        return _name(value)
    if inspect.ismethod(value):
        return _name(value), _describe(value.__self__, depth - 1)
    if isinstance(value, FunctionType):
        return _describe_function(value, depth - 1)
    if isinstance(value, CodeType):
        # The constants hold the code of inner functions.
        return value.co_code.hex(), value.co_names, _describe(value.co_consts, depth)
    try:
        return _name(value), joblib.hash(value)
    except (TypeError, ValueError, AttributeError, pickle.PicklingError):
        return _name(value), _describe(vars(value) if hasattr(value, "__dict__") else (), depth - 1)


def _describe_function(value: FunctionType, depth: int) -> Any:
    used = {name: value.__globals__.get(name) for name in value.__code__.co_names}
    return (
        _describe(value.__code__, depth),
        _describe((value.__defaults__, value.__kwdefaults__), depth),
        [_describe(_content(cell), depth) for cell in value.__closure__ or ()],
        # As in a loop of a notebook; other globals are modules and functions with names.
        [(name, repr(own)) for name, own in used.items() if isinstance(own, _PLAIN)],
    )


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _name(value: Any) -> str:
    own = value if hasattr(value, "__qualname__") else type(value)
    return f"{own.__module__}.{own.__qualname__}"
