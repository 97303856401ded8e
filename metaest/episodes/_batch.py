"""Episodes as padded tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Support:
    """The labelled rows of B tasks, padded to the longest.

    Attributes
    ----------
    x : Tensor of shape (B, S, ...)
    y : Tensor of shape (B, S)
        int64 labels 0..n_ways-1, or floating-point targets. 0 where padded.
    mask : Tensor of bool, shape (B, S)
        True at real rows.
    class_mask : Tensor of bool, shape (B, C), or None for regression
        True at classes that the task has.
    class_x : Tensor of shape (B, C, e), or None
        Descriptions of the classes. 0 where padded. With them a class may have no rows.
    categorical : Tensor of bool, shape (B, F), or None
        True at columns of a table that hold codes of categories. None: not known.
    """

    x: Tensor
    y: Tensor
    mask: Tensor
    class_mask: Tensor | None
    class_x: Tensor | None = None
    categorical: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class EpisodeBatch:
    """B episodes as padded tensors.

    Attributes
    ----------
    support_x : Tensor of shape (B, S, ...)
    support_y : Tensor of shape (B, S)
    support_mask : Tensor of bool, shape (B, S)
    query_x : Tensor of shape (B, Q, ...)
    query_y : Tensor of shape (B, Q)
    query_mask : Tensor of bool, shape (B, Q)
    class_mask : Tensor of bool, shape (B, C), or None for regression
    class_ids : Tensor of int64, shape (B, C), or None for regression
        Number of each class in the whole task set; 0 where padded.
    class_x : Tensor of shape (B, C, e), or None
        Descriptions of the classes; 0 where padded.
    """

    support_x: Tensor
    support_y: Tensor
    support_mask: Tensor
    query_x: Tensor
    query_y: Tensor
    query_mask: Tensor
    class_mask: Tensor | None = None
    class_ids: Tensor | None = None
    class_x: Tensor | None = None

    @property
    def support(self) -> Support:
        """The part that a learner adapts to."""
        return Support(
            self.support_x, self.support_y, self.support_mask, self.class_mask, self.class_x
        )

    def __len__(self) -> int:
        return len(self.support_x)

    def map(self, function: Callable[[Tensor], Tensor]) -> EpisodeBatch:
        """Return the batch with `function` applied to every tensor."""
        values: list[Any] = [getattr(self, field.name) for field in fields(self)]
        mapped: list[Any] = [None if v is None else function(v) for v in values]
        return EpisodeBatch(*mapped)

    def to(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> EpisodeBatch:
        """Return the batch on `device`; floating-point tensors also change to `dtype`."""
        return self.map(
            lambda v: v.to(device=device, dtype=dtype if v.is_floating_point() else None)
        )

    def chunks(self, size: int) -> Iterator[EpisodeBatch]:
        """Yield the episodes in parts of at most `size`, each padded to its own longest task.

        Real rows and classes stand before padded ones, as :func:`pad_rows` puts them.
        """
        for start in range(0, len(self), size):
            yield self.map(itemgetter(slice(start, start + size)))._trimmed()

    def _trimmed(self) -> EpisodeBatch:
        s, q = (max(1, int(m.sum(1).max())) for m in (self.support_mask, self.query_mask))
        c = None if self.class_mask is None else int(self.class_mask.sum(1).max())
        return replace(
            self,
            support_x=self.support_x[:, :s],
            support_y=self.support_y[:, :s],
            support_mask=self.support_mask[:, :s],
            query_x=self.query_x[:, :q],
            query_y=self.query_y[:, :q],
            query_mask=self.query_mask[:, :q],
            class_mask=None if self.class_mask is None else self.class_mask[:, :c],
            class_ids=None if self.class_ids is None else self.class_ids[:, :c],
            class_x=None if self.class_x is None else self.class_x[:, :c],
        )


def pad_rows(parts: Sequence[Tensor], length: int | None = None) -> tuple[Tensor, Tensor]:
    """Stack tensors of shapes (n_i, ...) into (B, max n_i, ...), with the mask of real rows.

    Never to no rows at all, which some layers refuse: then there is one, padded.

    Parameters
    ----------
    parts : sequence of B Tensors, each of shape (n_i, ...)
    length : int, default=None
        Rows to pad to; None: those of the longest part.

    Returns
    -------
    stacked : Tensor of shape (B, N, ...)
        0 where padded.
    mask : Tensor of bool, shape (B, N)
    """
    sizes = {len(part) for part in parts}
    length = max(*sizes, 1) if length is None else length
    if sizes == {length}:  # nothing to pad: one copy instead of two per part
        return torch.stack(list(parts)), torch.ones(len(parts), length, dtype=torch.bool)
    stacked = parts[0].new_zeros((len(parts), length, *parts[0].shape[1:]))
    mask = torch.zeros((len(parts), length), dtype=torch.bool)
    for row, part in enumerate(parts):
        stacked[row, : len(part)] = part
        mask[row, : len(part)] = True
    return stacked, mask
