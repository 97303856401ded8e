"""Class descriptions that are given to ``fit``."""

from __future__ import annotations

from typing import Any

import numpy as np

from metaest.exceptions import ArchitectureMismatchError, TaskError, UnsupportedTaskError
from metaest.learners import LEARNERS, Learner
from metaest.tasks._descriptions import check_descriptions, described_classes
from metaest.training import MetaState


def check_describes(learner: Learner, description_size: int | None) -> None:
    """Raise if there are class descriptions that the learner cannot use.

    Raises
    ------
    UnsupportedTaskError
    """
    if description_size is not None and not learner.describes:
        able = ", ".join(repr(name) for name, cls in LEARNERS.items() if cls.describes)
        raise UnsupportedTaskError(
            f"{type(learner).__name__} cannot use class descriptions. Leave class_descriptions "
            f"out, or use a learner that can: {able}."
        )


def read_descriptions(
    class_descriptions: Any, learner: Learner, meta: MetaState | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes (C,) and their descriptions (C, e).

    Raises
    ------
    TaskError
        If there are fewer than 2 classes, or no finite vectors of one length.
    UnsupportedTaskError
        If the learner cannot use them.
    ArchitectureMismatchError
        If they have another length than those of meta-training.
    """
    classes = described_classes(class_descriptions)
    if len(classes) < 2:
        raise TaskError(f"class_descriptions must have at least 2 classes, got {classes.tolist()}.")
    class_x = check_descriptions(class_descriptions, classes, "fit")
    size = class_x.shape[1]
    check_describes(learner, size)
    if meta is not None and meta.spec.description_size not in (None, size):
        raise ArchitectureMismatchError(
            f"class_descriptions have {size} values each, those of meta-training had "
            f"{meta.spec.description_size}. Make them alike, or call fit_meta again with tasks "
            "like these."
        )
    return classes, class_x


def codes_of(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the number of each label among the described classes.

    Raises
    ------
    TaskError
        If a label has no description.
    """
    described = set(classes.tolist())
    missing = [label for label in np.unique(y).tolist() if label not in described]
    if missing:
        raise TaskError(
            f"class_descriptions lack {len(missing)} of the classes in y: {missing[:5]}. Add a "
            "vector for each."
        )
    return np.searchsorted(classes, y)


def forget_columns(estimator: Any, input_shape: tuple[int, ...], names: Any) -> np.ndarray:
    """Return no rows, and set the columns that ``predict`` expects then.

    Parameters
    ----------
    estimator : MetaFewShotClassifier
    input_shape : tuple of int
        Of a row. How images will come (flat or not) is not known.
    names : ndarray of str or None
        Columns of the tables of meta-training.
    """
    # What an earlier fit knew.
    for name in ("n_features_in_", "feature_names_in_", "categories_", "_dates"):
        estimator.__dict__.pop(name, None)
    if len(input_shape) == 1:
        estimator.n_features_in_ = input_shape[0]
        if names is not None and all(isinstance(name, str) for name in names):
            estimator.feature_names_in_ = names
    return np.zeros((0, *input_shape))
