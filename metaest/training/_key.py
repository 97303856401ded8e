"""What tells one meta-training run from another."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import joblib

from metaest.learners import Learner
from metaest.nets import NetSpec
from metaest.tasks import TaskSet


def run_key(
    learner: Learner,
    spec: NetSpec,
    tasks: TaskSet,
    validation_tasks: TaskSet | None,
    shape: dict[str, Any],
    settings: dict[str, Any],
) -> str:
    """Hash what the result depends on (not the device, nor how progress is shown)."""
    names = (
        *("n_episodes", "meta_batch_size", "meta_lr", "lr_schedule", "max_grad_norm", "patience"),
        "standardize",
    )
    backbone = spec.backbone
    parts = {
        "learner": [type(learner).__name__, learner.get_params()],
        "backbone": _name_of(backbone),
        "tasks": tasks.fingerprint(),
        "validation": None if validation_tasks is None else validation_tasks.fingerprint(),
        "shape": shape,
        "settings": {name: settings[name] for name in (*names, "random_state")},
    }
    if (teaching := settings["teaching"]) is not None:
        parts["distill"] = teaching.fingerprint()
    if (start := settings["start"]) is not None:
        parts["start"] = dict(start.versions)
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()


def _name_of(backbone: Any) -> str:
    """Name a backbone alike in every process; partial objects have no name of their own."""
    if isinstance(backbone, str):
        return backbone
    return getattr(backbone, "__qualname__", None) or joblib.hash(backbone)
