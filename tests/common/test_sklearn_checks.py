"""Every scikit-learn check, for every learner, untrained and meta-trained.

scikit-learn's checks fit tables of 1 to 10 columns, but a meta-trained network is for the columns
of its tasks. So there are three modes:

- "fresh": no meta-training.
- "meta": a subclass whose `fit` first takes the weights that were meta-trained for the number of
  columns at hand. Nothing else differs, so every check runs on meta-trained weights.
- "meta, 3 columns": the class itself, meta-trained on 3 columns. Checks that fit other tables
  fail as they should; each is listed with its reason, and a listed one that passes is a failure.

``python -m benchmarks.sklearn_checks`` prints the counts.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.few_shot._base import BaseMetaFewShot
from metaest.learners import LEARNERS
from metaest.tasks import TaskSet
from metaest.training import MetaState

CLASSES: tuple[type[BaseMetaFewShot], ...] = (MetaFewShotClassifier, MetaFewShotRegressor)
PAIRS = [(cls, name) for cls in CLASSES for name in LEARNERS if cls._kind in LEARNERS[name].kinds]
#: The columns' number does not depend on the learner, so one of each kind is enough here.
FIXED_PAIRS = [(MetaFewShotClassifier, "protonet"), (MetaFewShotRegressor, "ridge")]
N_FIXED = 3

_OTHER = f"fits tables of other than the {N_FIXED} meta-trained columns: ArchitectureMismatchError"
EXPECTED_FAILURES: dict[str, dict[str, str]] = {
    "both": dict.fromkeys(
        [
            "check_array_api_input",  # runs where SCIPY_ARRAY_API=1
            "check_dtype_object",
            "check_estimators_dtypes",
            "check_estimators_fit_returns_self",
            "check_estimators_overwrite_params",
            "check_fit2d_1feature",
            "check_fit_check_is_fitted",
            "check_fit_idempotent",
            "check_n_features_in",
            "check_n_features_in_after_fitting",
            "check_positive_only_tag_during_fit",
            "check_readonly_memmap_input",
        ],
        _OTHER,
    ),
    "classification": dict.fromkeys(
        [
            "check_classifier_data_not_an_array",
            "check_classifiers_classes",
            "check_classifiers_train",
        ],
        _OTHER,
    ),
    "regression": {
        **dict.fromkeys(
            [
                "check_regressor_data_not_an_array",
                "check_regressors_int",
                "check_regressors_no_decision_function",
                "check_regressors_train",
            ],
            _OTHER,
        ),
        # Of a classifier the check accepts the error about one class that comes before.
        "check_fit2d_1sample": _OTHER,
    },
}


def make_tasks(kind: str, n_columns: int) -> TaskSet:
    """Make tasks on the scale of the checks' own data."""
    rng = np.random.default_rng(n_columns)
    if kind == "classification":
        centres = rng.normal(size=(8, n_columns))
        X = np.repeat(centres, 12, axis=0) + rng.normal(scale=0.2, size=(96, n_columns))
        return TaskSet.from_pool(X, np.repeat(np.arange(8), 12))
    tasks = []
    for _ in range(30):
        X = rng.normal(size=(80, n_columns))
        tasks.append((X, X @ rng.normal(scale=n_columns**-0.5, size=n_columns)))
    return TaskSet.from_datasets(tasks)


@functools.cache
def meta_state(cls: type[BaseMetaFewShot], name: str, n_columns: int) -> MetaState:
    """Meta-train for a moment: the checks ask for good manners, and for little skill."""
    estimator = cls(name, validation_fraction=0, random_state=0)
    if cls is MetaFewShotClassifier:
        estimator.set_params(n_ways=4, n_shots=4, n_queries=8, n_episodes=48)
    elif name == "in_context":  # goes on from the shipped weights
        estimator.set_params(n_shots=20, n_queries=10, n_episodes=32)
    else:
        # These tasks are linear, and a default MLP would take minutes to learn them. Of 10 columns
        # is the one table whose score is checked.
        estimator.set_params(n_shots=40, n_queries=20, meta_lr=0.03, backbone="residual")
        estimator.set_params(n_episodes=1280 if n_columns == 10 else 160)
    return estimator.fit_meta(make_tasks(cls._kind, n_columns)).meta_state_


class _AnyColumns:
    """Takes, before `fit`, the weights that were meta-trained for this number of columns."""

    plain: type[BaseMetaFewShot]

    def fit(self, X: Any, y: Any) -> Any:
        shape = np.asarray(X).shape
        if len(shape) == 2 and shape[1] > 0:
            self._meta = meta_state(self.plain, self.learner, shape[1])
        return super().fit(X, y)


class AnyColumnsClassifier(_AnyColumns, MetaFewShotClassifier):
    plain = MetaFewShotClassifier


class AnyColumnsRegressor(_AnyColumns, MetaFewShotRegressor):
    plain = MetaFewShotRegressor


def make_estimator(cls: type[BaseMetaFewShot], name: str, mode: str) -> BaseMetaFewShot:
    """Make the estimator that the checks start from, with the weights it has before `fit`."""
    any_columns = {MetaFewShotClassifier: AnyColumnsClassifier}.get(cls, AnyColumnsRegressor)
    estimator = any_columns(name) if mode == "meta" else cls(name)
    if cls is MetaFewShotRegressor and mode != "fresh":
        estimator.set_params(backbone="residual")
    if mode != "fresh":
        estimator._meta = meta_state(cls, name, N_FIXED)
    return estimator


def cases() -> Iterator[tuple[type[BaseMetaFewShot], str, str]]:
    for mode in ("fresh", "meta"):
        for cls, name in PAIRS:
            yield cls, name, mode
    for cls, name in FIXED_PAIRS:
        yield cls, name, f"meta, {N_FIXED} columns"


def expected_failures(cls: type[BaseMetaFewShot], name: str, mode: str) -> dict[str, str]:
    """Return the checks that must fail, with the reason."""
    if mode.endswith("columns"):
        return EXPECTED_FAILURES["both"] | EXPECTED_FAILURES[cls._kind]
    return {}


def _params() -> Iterator[Any]:
    for cls, name, mode in cases():
        bare = make_estimator(cls, name, "fresh")  # weights are made when the test runs
        for number, (_, check) in enumerate(estimator_checks_generator(bare)):
            check_name = check.func.__name__
            reason = expected_failures(cls, name, mode).get(check_name)
            marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
            marks += [pytest.mark.slow] if mode == "meta" else []  # all of them together are
            test_id = f"{cls._kind}-{name}-{mode}-{check_name}-{number}"
            yield pytest.param(cls, name, mode, check, id=test_id, marks=marks)


@pytest.mark.parametrize(("cls", "name", "mode", "check"), list(_params()))
def test_scikit_learn_check(
    cls: type[BaseMetaFewShot], name: str, mode: str, check: Callable[[Any], None]
) -> None:
    check(make_estimator(cls, name, mode))


@pytest.mark.parametrize(("cls", "name"), PAIRS)
def test_meta_mode_checks_meta_trained_weights(cls: type[BaseMetaFewShot], name: str) -> None:
    estimator = clone(make_estimator(cls, name, "meta"))
    assert estimator.meta_state_.source == "fit_meta"
    estimator.fit([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [0, 1, 1])
    assert estimator.meta_state_.source == "fit_meta"
    assert estimator._adapted_from is meta_state(cls, name, 2)
