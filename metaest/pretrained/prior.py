"""Synthetic classification tasks on which an in-context learner is pretrained.

A network that has seen enough tasks of a prior predicts as the posterior of that prior would, so
the prior holds what is believed of real tables. Each task draws its own

- family: additive models, structural causal models (random networks with noise at their nodes),
  sums of trees, lookup tables over levels, clouds of rows, prototypes;
- labels: a noisy score cut at random quantiles or into scattered intervals, or the largest of
  several scores by a sharp or blunt softmax, then flips: from almost sure to almost unknowable;
- table: columns that tell nothing, noisy copies, units from 0.01 to 1,000, skewed, heavy-tailed,
  rounded, zero-inflated or binary columns, 2 to 20 categories coded in any order, outliers, values
  missing at random or by their size. In most tasks the label moves some columns, too.

Strengths and noise are set so that linear models and trees find the tasks about as hard as small
real tables: at 50 rows both reach a mean area under the ROC curve of about 0.83.

References
----------
.. [1] Müller et al. (2022). Transformers can do Bayesian inference. ICLR.
.. [2] Hollmann et al. (2023). TabPFN: a transformer that solves small tabular classification
   problems in a second. ICLR. Section 4: structural causal models as a prior.
.. [3] Hollmann et al. (2025). Accurate predictions on small data with a tabular foundation model.
   Nature 637.
.. [4] Qu et al. (2025). TabICL: a tabular foundation model for in-context learning on large data.
   ICML. Section 4: tree-based structural causal models.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metaest._checks import check_int
from metaest.exceptions import InvalidParameterError
from metaest.pretrained._columns import observe, respond
from metaest.pretrained._draws import Integers, choose
from metaest.pretrained._families import FAMILIES, Family, clusters
from metaest.pretrained._labels import label, most_told, tidy

__all__ = ["TaskBatch", "sample_tasks"]

#: How often a task has 2, 3, ..., 10 classes.
_CLASSES = (42, 18, 10, 8, 6, 5, 4, 3, 4)
#: Values of one array of a chunk: small enough for a processor's cache.
_CHUNK = 200_000


class TaskBatch(NamedTuple):
    """Tasks of one size, columns padded.

    Attributes
    ----------
    x : Tensor of shape (B, N, F)
        Single precision; NaN where a value is missing, codes 0, 1, ... in categorical columns, 0
        in columns beyond a task's own.
    y : Tensor of shape (B, N)
        Classes 0, ..., n_classes - 1, each of them among the support rows.
    n_columns : Tensor of shape (B,)
    n_classes : Tensor of shape (B,)
    categorical : Tensor of shape (B, F)
        True for columns of codes.
    """

    x: Tensor
    y: Tensor
    n_columns: Tensor
    n_classes: Tensor
    categorical: Tensor


def sample_tasks(
    n_tasks: int,
    n_rows: int,
    n_columns_max: int,
    *,
    rng: np.random.Generator,
    n_classes_max: int = 10,
    n_support: int | None = None,
) -> TaskBatch:
    """Draw tasks from the prior.

    Parameters
    ----------
    n_tasks : int
    n_rows : int
        Rows of each task, support and query together; 4 at least.
    n_columns_max : int
        Most columns a task may have; 2 at least.
    rng : numpy.random.Generator
        Fixes the result.
    n_classes_max : int, default=10
        Between 2 and 10.
    n_support : int, default=None
        The first rows, which hold each class; half of the rows by default. A task has no more
        classes than that.

    Returns
    -------
    tasks : TaskBatch

    Raises
    ------
    InvalidParameterError
        If a size is not an int, or out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from metaest.pretrained.prior import sample_tasks
    >>> tasks = sample_tasks(4, 60, 8, rng=np.random.default_rng(0))
    >>> tasks.x.shape
    torch.Size([4, 60, 8])
    """
    n_support = _check(n_tasks, n_rows, n_columns_max, n_classes_max, n_support)
    # From few columns to many, about uniform in the logarithm.
    widths = 2.0 * ((n_columns_max + 1) / 2.0) ** (rng.random(n_tasks) ** 0.6)
    n_columns = widths.astype(np.int64).clip(2, n_columns_max)
    most = min(n_classes_max, n_support)
    n_classes = 2 + choose(rng, _CLASSES[: most - 1], (n_tasks,))
    families = choose(rng, [weight for _, weight in FAMILIES], (n_tasks,))
    x = np.zeros((n_tasks, n_rows, n_columns_max), dtype=np.float32)
    y = np.empty((n_tasks, n_rows), dtype=np.int64)
    categorical = np.zeros((n_tasks, n_columns_max), dtype=np.bool_)
    for number, (family, _) in enumerate(FAMILIES):
        chosen = np.flatnonzero(families == number)
        chosen = chosen[n_columns[chosen].argsort(kind="stable")]  # chunks of like widths
        while len(chosen):
            size = min(64, max(1, _CHUNK // int(n_rows * n_columns[chosen[-1]])))
            part, chosen = chosen[-size:], chosen[:-size]
            width = int(n_columns[part].max())
            x[part, :, :width], y[part], categorical[part, :width] = _draw(
                rng, family, n_columns[part], n_classes[part], n_rows, n_support
            )
    return TaskBatch(
        torch.from_numpy(x),
        torch.from_numpy(y),
        torch.from_numpy(n_columns),
        torch.from_numpy(y.max(1) + 1),
        torch.from_numpy(categorical),
    )


def _draw(
    rng: np.random.Generator,
    family: Family,
    n_columns: Integers,
    n_classes: Integers,
    n_rows: int,
    n_support: int,
) -> tuple[np.ndarray, Integers, np.ndarray]:
    """Draw tasks of one family: x (B, N, F), y (B, N), categorical (B, F)."""
    own = np.arange(n_columns.max()) < n_columns[:, None]  # (B, F)
    columns, scores = family(rng, own, n_classes, n_rows)
    given = family is clusters
    if not given:
        scores = most_told(rng, columns, scores, own, int(n_classes.max()))
    labels = label(rng, scores, n_classes, given=given)
    same = labels.min(1) == labels.max(1)
    labels[same, ::2] = 1 - np.minimum(labels[same, ::2], 1)  # a task needs two classes
    if not given:
        columns = respond(rng, columns, labels)
    table, categorical = observe(rng, columns)
    order, y = tidy(rng, labels, n_support)
    places = np.where(own, rng.random(own.shape), 2.0).argsort(1)  # no place tells anything
    task = np.arange(len(own))[:, None]
    x = table[task[..., None], places[:, None], order[..., None]]  # (B, N, F)
    return np.where(own[:, None], x, 0.0), y, categorical[task, places] & own


def _check(
    n_tasks: int, n_rows: int, n_columns_max: int, n_classes_max: int, n_support: int | None
) -> int:
    """Return the number of support rows."""
    check_int(n_tasks, "n_tasks")
    check_int(n_rows, "n_rows", low=4)
    check_int(n_columns_max, "n_columns_max", low=2)
    n_support = n_rows // 2 if n_support is None else n_support
    for name, value, high in [
        ("n_classes_max", n_classes_max, len(_CLASSES) + 1),
        ("n_support", n_support, n_rows),
    ]:
        if check_int(value, name, low=2) > high:
            raise InvalidParameterError(f"{name} must be between 2 and {high}, got {value}.")
    return n_support
