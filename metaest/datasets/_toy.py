"""Small data sets that need no download."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state

from metaest._checks import check_int
from metaest.exceptions import InvalidParameterError
from metaest.tasks import Task, TaskSet

_DIGITS_DESCR = """\
scikit-learn's handwritten digits (load_digits: 1797 images of 8 x 8 pixels), scaled to [0, 1] and
divided by class: the digits to meta-train on and the digits to test on are disjoint.
"""


def make_sinusoid_tasks(
    n_tasks: int = 100,
    n_rows: int = 20,
    *,
    amplitude: tuple[float, float] = (0.1, 5.0),
    phase: tuple[float, float] = (0.0, np.pi),
    x_range: tuple[float, float] = (-5.0, 5.0),
    noise: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
) -> TaskSet:
    r"""Make sinusoid regression tasks, the toy problem of MAML.

    Each task is :math:`y = a \sin(x - \varphi)` with an amplitude :math:`a` and a phase
    :math:`\varphi` of its own, all drawn uniformly.

    Parameters
    ----------
    n_tasks : int, default=100
    n_rows : int, default=20
        Rows of each task.
    amplitude, phase, x_range : (low, high)
        Ranges to draw from.
    noise : float, default=0.0
        Standard deviation of Gaussian noise on the targets.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    TaskSet
        Regression tasks with X of shape (n_rows, 1), named after their function.

    Raises
    ------
    InvalidParameterError
        If a number is too small or a range not ascending.

    References
    ----------
    Finn, Abbeel and Levine, Model-Agnostic Meta-Learning, ICML 2017, section 5.1.

    Examples
    --------
    >>> from metaest.datasets import make_sinusoid_tasks
    >>> tasks = make_sinusoid_tasks(3, n_rows=10, random_state=0)
    >>> tasks
    TaskSet(3 tasks, regression, input_shape=(1,))
    >>> tasks[0].name
    '2.79 sin(x - 1.71)'
    """
    check_int(n_tasks, "n_tasks")
    check_int(n_rows, "n_rows")
    for name, pair in (("amplitude", amplitude), ("phase", phase), ("x_range", x_range)):
        _check_ascending(pair, name)
    if noise < 0:
        raise InvalidParameterError(f"noise must be at least 0, got {noise!r}.")
    rng = check_random_state(random_state)
    heights, shifts = rng.uniform(*amplitude, size=n_tasks), rng.uniform(*phase, size=n_tasks)
    tasks = []
    for a, shift in zip(heights, shifts, strict=True):
        x = rng.uniform(*x_range, size=(n_rows, 1))
        y = a * np.sin(x[:, 0] - shift)
        if noise:
            y = y + rng.normal(scale=noise, size=n_rows)
        tasks.append(Task(x, y, kind="regression", name=f"{a:.2f} sin(x - {shift:.2f})"))
    return TaskSet(tasks)


def load_digit_tasks(
    *,
    test_classes: int | Iterable[int] = 5,
    images: bool = False,
    random_state: int | np.random.RandomState | None = 0,
) -> Bunch:
    """Load scikit-learn's digits with disjoint classes to meta-train and to test on.

    Parameters
    ----------
    test_classes : int or iterable of int, default=5
        The digits to test on, or how many (2 to 8) to draw.
    images : bool, default=False
        Rows of shape (1, 8, 8) instead of 64 columns.
    random_state : int, RandomState instance or None, default=0
        Draws the test classes.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        X_train, X_test : ndarray of shape (n, 64) or (n, 1, 8, 8)
            In [0, 1].
        y_train, y_test : ndarray of int, shape (n,)
            The digits.
        train_classes, test_classes : ndarray of int
            Sorted.
        tasks : TaskSet
            The training rows as one pool of classes.
        DESCR : str
            What the data is.

    Raises
    ------
    InvalidParameterError
        If fewer than two classes would be left on either side.

    Examples
    --------
    >>> from metaest.datasets import load_digit_tasks
    >>> digits = load_digit_tasks(test_classes=[7, 8, 9], images=True)
    >>> digits.tasks
    TaskSet(1 task, classification, input_shape=(1, 8, 8))
    >>> digits.test_classes
    array([7, 8, 9])
    """
    held_out = _held_out_digits(test_classes, check_random_state(random_state))
    X, y = load_digits(return_X_y=True)
    X = X.reshape(-1, 1, 8, 8) / 16 if images else X / 16
    is_test = np.isin(y, held_out)
    X_train, y_train = X[~is_test], y[~is_test]
    return Bunch(
        X_train=X_train,
        y_train=y_train,
        X_test=X[is_test],
        y_test=y[is_test],
        train_classes=np.setdiff1d(np.arange(10), held_out),
        test_classes=held_out,
        tasks=TaskSet.from_pool(X_train, y_train, kind="classification"),
        DESCR=_DIGITS_DESCR,
    )


def _held_out_digits(test_classes: int | Iterable[int], rng: np.random.RandomState) -> np.ndarray:
    if isinstance(test_classes, (int, np.integer)):
        if not 2 <= test_classes <= 8:
            raise InvalidParameterError(
                f"test_classes must be 2 to 8 digits (at least 2 are for training), got "
                f"{test_classes!r}."
            )
        return np.sort(rng.permutation(10)[:test_classes])
    digits = np.unique(np.asarray(list(test_classes)))
    if not 2 <= len(digits) <= 8 or not np.isin(digits, np.arange(10)).all():
        raise InvalidParameterError(
            "test_classes must name 2 to 8 of the digits 0..9 (at least 2 are for training), got "
            f"{test_classes!r}."
        )
    return digits


def _check_ascending(pair: Any, name: str) -> None:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not pair[0] <= pair[1]:
        raise InvalidParameterError(f"{name} must be an ascending pair, got {pair!r}.")
