"""Drawing episodes from a task set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metaest._checks import check_int
from metaest._torch import as_float_tensor
from metaest.episodes._batch import EpisodeBatch, pad_rows
from metaest.episodes._shape import EpisodeIndices, EpisodeShape, IntRange, group_rows
from metaest.exceptions import EpisodeError
from metaest.tasks import TaskSet
from metaest.tasks._task import change_rows


class EpisodeSampler:
    """Draws episodes from a task set, each one a function of the seed and its number.

    Parameters
    ----------
    tasks : TaskSet
    n_ways : int, (low, high) or None, default=5
        Classes of an episode. A task with fewer classes gives all of them; a pool with fewer
        is an error. None: all classes of the task.
    n_shots : int or (low, high), default=5
        Support rows of each class (regression: of the episode). With class descriptions, from 0.
    n_queries : int or (low, high), default=15
        Query rows of each class (regression: of the episode).
    balanced : bool, default=True
        False: each class draws its own number of shots from the range.
    random_state : int, default=0

    Raises
    ------
    InvalidParameterError
        If a number of ways, shots or queries, or `random_state`, is not allowed.
    EpisodeError
        If a class (or task) has fewer rows than the smallest episode needs, or a pool has
        fewer classes.

    Examples
    --------
    >>> import numpy as np
    >>> tasks = TaskSet.from_pool(np.eye(12), np.repeat(["a", "b", "c"], 4))
    >>> sampler = EpisodeSampler(tasks, n_ways=2, n_shots=1, n_queries=3)
    >>> batch = sampler.batch([0, 1])
    >>> batch.support_x.shape, batch.query_x.shape
    (torch.Size([2, 2, 12]), torch.Size([2, 6, 12]))
    """

    def __init__(
        self,
        tasks: TaskSet,
        *,
        n_ways: IntRange | None = 5,
        n_shots: IntRange = 5,
        n_queries: IntRange = 15,
        balanced: bool = True,
        random_state: int = 0,
    ) -> None:
        self.tasks = tasks
        described = tasks.description_size is not None
        self.shape = EpisodeShape(n_ways, n_shots, n_queries, balanced, described)
        self.random_state = check_int(random_state, "random_state", low=0)
        self._rows_of_class: list[list[np.ndarray]] = []
        for number, task in enumerate(tasks):
            is_pool = len(tasks) == 1 and task.name in ("", "pool")  # one is left of two, too
            where = "the pool" if is_pool else f"task {task.name or number}"
            if task.kind == "regression":
                self.shape.check_rows(len(task), where)
            else:
                strict, parameter = len(tasks) == 1, task._size_parameter
                self.shape.check(
                    task.codes, task.classes, where, strict=strict, parameter=parameter
                )
                self._rows_of_class.append(group_rows(task.codes, len(task.classes)))

    def draw(self, number: int) -> tuple[int, EpisodeIndices]:
        """Return the task and the rows of episode `number`."""
        rng = np.random.default_rng([self.random_state, number])
        index = int(rng.integers(len(self.tasks)))
        if self.tasks.kind == "regression":
            return index, self.shape.draw_rows(len(self.tasks[index]), rng)
        return index, self.shape.draw(self._rows_of_class[index], rng)

    def batch(self, numbers: Sequence[int] | range) -> EpisodeBatch:
        """Return the episodes of these numbers, padded to one shape.

        Returns
        -------
        EpisodeBatch
            With float32 rows.

        Raises
        ------
        EpisodeError
            If the tasks of the batch differ in the shape of a row.
        """
        drawn = [self.draw(number) for number in numbers]
        numbered = list(zip(drawn, numbers, strict=True))
        # Parts from 1: a seed sequence with a zero at its end is the one without it, that of draw.
        support_x = [self._rows(t, e.support, n, part=1) for (t, e), n in numbered]
        query_x = [self._rows(t, e.query, n, part=2) for (t, e), n in numbered]
        shapes = {tuple(x.shape[1:]) for x in support_x}
        if len(shapes) > 1:
            raise EpisodeError(
                f"the tasks differ in their columns: rows of shapes {sorted(shapes)}. Give all "
                "tasks the same columns, in the same order."
            )
        sx, sm = pad_rows(support_x)
        qx, qm = pad_rows(query_x)
        if self.tasks.kind == "regression":
            sy, _ = pad_rows([as_float_tensor(self.tasks[t].y[e.support]) for t, e in drawn])
            qy, _ = pad_rows([as_float_tensor(self.tasks[t].y[e.query]) for t, e in drawn])
            return EpisodeBatch(sx, sy, sm, qx, qy, qm)
        sy, _ = pad_rows([torch.from_numpy(e.support_labels) for _, e in drawn])
        qy, _ = pad_rows([torch.from_numpy(e.query_labels) for _, e in drawn])
        offsets = self.tasks.class_offsets
        ids, class_mask = pad_rows([torch.from_numpy(e.classes + offsets[t]) for t, e in drawn])
        return EpisodeBatch(sx, sy, sm, qx, qy, qm, class_mask, ids, self._descriptions(drawn))

    def _descriptions(self, drawn: Sequence[tuple[int, EpisodeIndices]]) -> Tensor | None:
        """Describe the classes of episodes: (B, C, e)."""
        parts = []
        for task, episode in drawn:
            table = self.tasks[task].class_descriptions
            if table is None:  # then in all tasks
                return None
            parts.append(as_float_tensor(table[episode.classes]))
        return pad_rows(parts)[0]

    def _rows(self, task: int, rows: np.ndarray, number: int, part: int) -> Tensor:
        x = as_float_tensor(self.tasks[task].X[rows])
        if self.tasks.augment is None:
            return x
        generator = torch.Generator().manual_seed(
            int(np.random.default_rng([self.random_state, number, part]).integers(2**62))
        )
        return change_rows(self.tasks.augment, x, generator)
