"""What tells one meta-training run from another."""

from __future__ import annotations

import functools
import hashlib
import json
import pickle
from dataclasses import asdict
from types import CodeType, FunctionType, MethodType
from typing import Any

import joblib

from metaest.learners import Learner
from metaest.nets import NetSpec
from metaest.tasks import TaskSet
from metaest.training._distill import Distillation
from metaest.training._settings import Settings
from metaest.training._state import MetaState


def run_key(
    learner: Learner,
    spec: NetSpec,
    tasks: TaskSet,
    validation_tasks: TaskSet | None,
    shape: dict[str, Any],
    settings: Settings,
    teaching: Distillation | None,
    start: MetaState | None,
) -> str:
    """Hash what the weights depend on (not the device, nor how progress is shown)."""
    parts = {
        "learner": [type(learner).__name__, learner.get_params()],
        "backbone": _name_of(spec.backbone),
        "tasks": tasks.fingerprint(),
        "augment": _name_of(tasks.augment),
        "validation": None if validation_tasks is None else validation_tasks.fingerprint(),
        "shape": shape,
        "settings": asdict(settings),
    }
    if validation_tasks is not None and validation_tasks.augment is not None:
        parts["validation_augment"] = _name_of(validation_tasks.augment)
    if teaching is not None:
        names = None if tasks.feature_names is None else tasks.feature_names.tolist()
        parts["distill"] = [teaching.fingerprint(), _name_of(teaching.teacher.spec.backbone), names]
    if start is not None:
        weights = {name: value.numpy() for name, value in start.weights.items()}
        parts["start"] = [dict(start.versions), _hash(weights)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def _name_of(part: Any) -> Any:
    """Name a function, a class or an object alike in every process."""
    if part is None or isinstance(part, str):
        return part
    if isinstance(part, FunctionType):
        cells = [cell.cell_contents for cell in part.__closure__ or ()]
        given = [*(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values(), *cells]
        known = [_text_of(v.__code__) if isinstance(v, FunctionType) else _hash(v) for v in given]
        return [part.__qualname__, _text_of(part.__code__), known]
    if isinstance(part, MethodType):
        return [_name_of(part.__func__), _hash(part.__self__)]
    if isinstance(part, functools.partial):
        values = [*part.args, *sorted(part.keywords.items())]
        return [_name_of(part.func), [_hash(value) for value in values]]
    name = getattr(part, "__qualname__", None)
    return name if isinstance(name, str) else _hash(part)


def _hash(value: Any) -> str:
    try:
        return str(joblib.hash(set(value) if isinstance(value, frozenset) else value))
    except (pickle.PicklingError, AttributeError, TypeError):  # a module, an open file
        return type(value).__qualname__


def _text_of(code: CodeType) -> list[Any]:
    """Write what a function does; lambdas all have the same name."""
    inner = [_text_of(c) if isinstance(c, CodeType) else _hash(c) for c in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), inner]
