"""The suite of checks that every learner passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import permutations
from typing import get_args
from unittest import SkipTest

from metaest._checks import Kind
from metaest.exceptions import InvalidParameterError, did_you_mean
from metaest.learners import Learner
from metaest.testing import _claims, _invariance, _learning, _manners, _purity

Check = Callable[[Learner, Kind], None]

#: All checks ``check(learner, kind)``, in the order in which to mend a new learner.
CHECKS: tuple[Check, ...] = (
    _manners.check_parameters_are_scikit_learns,
    _manners.check_same_seed_same_weights,
    _claims.check_claims_hold,
    _invariance.check_one_support_row_and_one_query_row,
    _invariance.check_any_ways_and_shots,
    _purity.check_functions_are_pure,
    _invariance.check_absent_classes_have_no_probability,
    _invariance.check_padding_changes_nothing,
    _invariance.check_state_together_equals_state_alone,
    _invariance.check_tasks_together_equal_tasks_alone,
    _invariance.check_order_of_the_support_set_does_not_matter,
    _invariance.check_labels_are_only_names,
    _invariance.check_query_rows_one_at_a_time_equal_together,
    _manners.check_nothing_is_recorded_without_gradients,
    _manners.check_state_does_not_change_with_the_weights,
    _manners.check_meta_training_leaves_no_trace,
    _manners.check_saved_weights_are_all_there_is,
    _manners.check_meta_gradient_is_the_derivative,
    _manners.check_a_gpu_agrees_with_the_cpu,
    _learning.check_save_and_load,
    _learning.check_learning,
)

#: Those about classes.
_CLASSIFICATION_ONLY = (
    _invariance.check_absent_classes_have_no_probability,
    _invariance.check_labels_are_only_names,
)


def learner_checks(learner: Learner) -> Iterator[tuple[str, Callable[[], None]]]:
    """Iterate over the checks of a learner, for each kind of task that it learns.

    Parameters
    ----------
    learner : Learner

    Yields
    ------
    name : str
        Such as ``"check_padding_changes_nothing[regression]"``.
    check : callable
        Without arguments; raises AssertionError (or what the learner raised) on failure and
        :class:`unittest.SkipTest` where the check does not apply.

    Raises
    ------
    InvalidParameterError
        If `learner` is no object of a subclass of Learner.
    AssertionError
        If its `kinds` are not what they can be.

    See Also
    --------
    check_learner : Run them all.
    """
    _check_is_learner(learner)
    for kind in learner.kinds:
        for check in CHECKS:
            if kind == "classification" or check not in _CLASSIFICATION_ONLY:
                yield f"{check.__name__}[{kind}]", partial(check, learner, kind)


def check_learner(
    learner: Learner, *, expected_failures: Mapping[str, str] | None = None
) -> list[str]:
    """Check that a learner keeps the contract of :class:`metaest.learners.Learner`.

    For tests of learners that others write. It builds small networks for rows and for images in
    double precision, and compares predictions, losses and gradients. That takes about 2 seconds of
    CPU time for ``ProtoNet``, more for learners that adapt by gradient steps.

    Parameters
    ----------
    learner : Learner
    expected_failures : mapping of str to str, default=None
        Names of checks that this learner fails by design, with the reason; one that passes
        nevertheless is an error. First-order methods, for instance, fail
        ``check_meta_gradient_is_the_derivative``. A name with its kind of task, such as
        ``check_learning[regression]``, is for that kind only.

    Returns
    -------
    list of str
        Names of the checks that passed.

    Raises
    ------
    AssertionError
        On the first check that fails, with its name.
    InvalidParameterError
        If `learner` is no object of a subclass of Learner, or `expected_failures` names a check
        that it does not have.

    Examples
    --------
    >>> from metaest.learners import ProtoNet
    >>> from metaest.testing import check_learner
    >>> passed = check_learner(ProtoNet())
    >>> "check_padding_changes_nothing[classification]" in passed
    True
    """
    checks = dict(learner_checks(learner))
    expected = dict(expected_failures or {})
    _check_names(expected, checks)
    passed = []
    for name, check in checks.items():
        reason = expected.get(name, expected.get(_without_kind(name)))
        try:
            check()
        except SkipTest:
            continue
        except Exception as error:
            if reason is not None:
                continue
            raise AssertionError(f"{name} failed for {learner!r}: {error}") from error
        if reason is not None:
            raise AssertionError(f"{name} passed for {learner!r}, but should fail: {reason}")
        passed.append(name)
    return passed


def _check_is_learner(learner: Learner) -> None:
    """Raise where the checks would say something else, or where there would be none."""
    if not isinstance(learner, Learner):
        raise InvalidParameterError(
            f"learner must be an object of a subclass of Learner, such as MyLearner(), got "
            f"{learner!r}."
        )
    kinds: object = learner.kinds
    known = get_args(Kind)
    valid = [subset for n in range(1, 1 + len(known)) for subset in permutations(known, n)]
    assert kinds in valid, (
        f"kinds of {type(learner).__name__} must be a tuple of one or both of "
        f"{' and '.join(map(repr, known))}, got {kinds!r}: no estimator takes the learner. Write "
        'kinds = ("classification",), with its comma.'
    )


def _check_names(expected: Iterable[str], checks: Iterable[str]) -> None:
    known = {name for check in checks for name in (check, _without_kind(check))}
    for name in expected:
        if name not in known:
            raise InvalidParameterError(
                "expected_failures must name checks of this learner, with or without the kind of "
                f"task in brackets, got {name!r}.{did_you_mean(name, known)}"
            )


def _without_kind(name: str) -> str:
    return name.partition("[")[0]
