"""Episodes of any size, padded or not, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metaest._checks import Kind
from metaest.episodes import EpisodeBatch

#: Shapes of a row: a table of three columns, and small images.
ROWS, IMAGES = (3,), (1, 8, 8)

#: Classes in the whole set that the episodes stand for.
N_BASE_CLASSES = 20


@dataclass(frozen=True)
class Episode:
    """One unpadded task.

    Parameters
    ----------
    support_x : Tensor of shape (S, ...)
    support_y : Tensor of shape (S,)
    query_x : Tensor of shape (Q, ...)
    query_y : Tensor of shape (Q,)
    classes : Tensor of shape (C,) or None
        The classes' numbers in the whole set; None for a regression.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor
    classes: Tensor | None

    @property
    def n_classes(self) -> int:
        assert self.classes is not None
        return len(self.classes)


def make_episode(
    kind: Kind = "classification",
    *,
    shots: Sequence[int] = (2, 1, 3),
    n_queries: int = 2,
    input_shape: tuple[int, ...] = ROWS,
    seed: int = 0,
) -> Episode:
    """Draw an episode.

    Parameters
    ----------
    kind : {"classification", "regression"}, default="classification"
        Classes are clusters around random centres; the targets of a regression are noise.
    shots : sequence of int, default=(2, 1, 3)
        Support rows of each class (regression: their sum is what counts).
    n_queries : int, default=2
        Query rows for each entry of `shots`.
    input_shape : tuple of int, default=(3,)
        Shape of a row.
    seed : int, default=0

    Returns
    -------
    Episode
        In float64, not padded.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if kind == "regression":
        n_query = n_queries * len(shots)
        support_x, query_x = draw(sum(shots), *input_shape), draw(n_query, *input_shape)
        return Episode(support_x, draw(sum(shots)), query_x, draw(n_query), None)
    labels = torch.arange(len(shots))
    support_y = labels.repeat_interleave(torch.tensor(shots))
    query_y = labels.repeat_interleave(n_queries)
    centers = draw(len(shots), *input_shape)
    classes = torch.randperm(N_BASE_CLASSES, generator=generator)[: len(shots)]
    return Episode(
        centers[support_y] + draw(len(support_y), *input_shape),
        support_y,
        centers[query_y] + draw(len(query_y), *input_shape),
        query_y,
        classes,
    )


def uneven_episodes(kind: Kind, input_shape: tuple[int, ...] = ROWS) -> list[Episode]:
    """Give three tasks that differ in ways, shots and queries.

    Parameters
    ----------
    kind : {"classification", "regression"}
    input_shape : tuple of int, default=(3,)
        Shape of a row.

    Returns
    -------
    list of Episode
    """
    return [
        make_episode(kind, shots=(2, 1, 4), n_queries=2, input_shape=input_shape, seed=1),
        make_episode(kind, shots=(1, 1), n_queries=1, input_shape=input_shape, seed=2),
        make_episode(kind, shots=(1, 2, 1, 2), n_queries=3, input_shape=input_shape, seed=3),
    ]


def collate(
    episodes: Sequence[Episode], extra: tuple[int, int, int] = (0, 0, 0), *, garbage: bool = False
) -> EpisodeBatch:
    """Pad episodes to one batch.

    Parameters
    ----------
    episodes : sequence of Episode
        All of one kind, with rows of one shape.
    extra : tuple of three int, default=(0, 0, 0)
        Padded support rows, query rows and classes to add.
    garbage : bool, default=False
        Whether padded positions hold large random numbers instead of zeros.

    Returns
    -------
    EpisodeBatch
    """
    generator = torch.Generator().manual_seed(99)
    n_support = max(len(e.support_x) for e in episodes) + extra[0]
    n_query = max(len(e.query_x) for e in episodes) + extra[1]
    parts: dict[str, list[Tensor]] = {}

    def put(name: str, rows: Tensor, length: int, high: int = 0) -> None:
        shape = (length, *rows.shape[1:])
        if not garbage:
            padded = torch.zeros(shape, dtype=rows.dtype)
        elif rows.is_floating_point():
            padded = 50 * torch.randn(shape, generator=generator, dtype=rows.dtype)
        else:
            padded = torch.randint(0, high, shape, generator=generator)
        padded[: len(rows)] = rows
        parts.setdefault(name, []).append(padded)
        mask = torch.arange(length) < len(rows)
        parts.setdefault(f"{name.removesuffix('_y')}_mask", []).append(mask)

    regression = episodes[0].classes is None
    n_classes = 0 if regression else max(e.n_classes for e in episodes) + extra[2]
    for episode in episodes:
        put("support_y", episode.support_y, n_support, n_classes)
        put("query_y", episode.query_y, n_query, n_classes)
        put("support_x", episode.support_x, n_support)
        put("query_x", episode.query_x, n_query)
        if episode.classes is not None:
            put("class_ids", episode.classes, n_classes, N_BASE_CLASSES)
    stacked = {name: torch.stack(values) for name, values in parts.items()}
    names = ["support_x", "support_y", "support_mask", "query_x", "query_y", "query_mask"]
    batch = EpisodeBatch(**{name: stacked[name] for name in names})
    if regression:
        return batch
    return replace(batch, class_ids=stacked["class_ids"], class_mask=stacked["class_ids_mask"])
