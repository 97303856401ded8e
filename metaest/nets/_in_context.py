"""A network that learns a table while it reads it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._torch import mask_logits, select
from metaest.nets._in_context_additive import AdditiveScores
from metaest.nets._in_context_cells import N_CELL_FEATURES, cell_features, column_statistics
from metaest.nets._in_context_layers import Block, ColumnBlock, Vote

_M = TypeVar("_M", bound=nn.Module)

#: What the names of the state's tensors begin with that all passes share.
SHARED = ("column_", "mask", "log_rows")


class InContextNet(nn.Module):
    """Predict rows of a table from its labelled rows, in one forward pass.

    1. *Columns.* Each cell, described by its place among the labelled cells of its column,
       reads a summary of how these go with the labels.
    2. *Rows.* A few learned tokens attend to the cells of each row and become its vector.
    3. *Context.* Transformer layers over rows: labelled rows attend to labelled rows, and the
       others to them.
    4. *Head.* Class scores of a small network, plus scores that add up over the columns, plus the
       vote of the labelled rows by similarity.

    The order of rows and columns does not matter, and any number of them will do. Columns with
    one value only (or none) are left out.

    Parameters
    ----------
    n_classes : int, default=10
        Class slots.
    cell_width, row_width : int, default=32, 128
        Sizes of the vectors of a cell and of a row.
    n_inducing : int, default=2
        Points that summarise a column.
    n_column_blocks, n_row_layers, n_layers : int, default=1, 2, 6
        Layers of the three stages.
    n_tokens : int, default=4
        Tokens of a row.
    n_heads : int, default=4
        Heads of each attention.

    References
    ----------
    Hollmann et al., TabPFN, ICLR 2023.
    Qu et al., TabICL, ICML 2025 (columns, then rows, then context).
    """

    def __init__(
        self,
        *,
        n_classes: int = 10,
        cell_width: int = 32,
        row_width: int = 128,
        n_inducing: int = 2,
        n_column_blocks: int = 1,
        n_row_layers: int = 2,
        n_layers: int = 6,
        n_tokens: int = 4,
        n_heads: int = 4,
    ) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.cell = nn.Sequential(
            nn.Linear(N_CELL_FEATURES, 2 * cell_width), nn.ReLU(),
            nn.Linear(2 * cell_width, cell_width),
        )  # fmt: skip
        self.columns = _stack(
            ColumnBlock(cell_width, n_heads, n_inducing, n_classes) for _ in range(n_column_blocks)
        )
        self.tokens = nn.Parameter(0.5 * torch.randn(n_tokens, cell_width))
        self.row_layers = _stack(Block(cell_width, n_heads) for _ in range(n_row_layers))
        self.row = nn.Linear(n_tokens * cell_width, row_width)
        self.label = nn.Parameter(0.5 * torch.randn(n_classes, row_width))
        self.layers = _stack(Block(row_width, n_heads, idle=True) for _ in range(n_layers))
        # How sharper attention gets with more rows, per layer and head.
        self.sharpening = nn.Parameter(torch.zeros(n_layers, n_heads))
        self.norm = nn.LayerNorm(row_width, bias=False)
        scores = nn.Linear(2 * row_width, n_classes)
        nn.init.zeros_(scores.weight)
        nn.init.zeros_(scores.bias)
        self.head = nn.Sequential(nn.Linear(row_width, 2 * row_width), nn.ReLU(), scores)
        # What learns from the first step: scores by column, and votes by similarity before the
        # context. Those after it wait for it.
        self.additive = AdditiveScores()
        self.additive_weight = nn.Parameter(torch.tensor(1.0))
        self.scores = nn.Linear(n_classes, row_width, bias=False)
        self.votes = _stack(Vote(row_width, weight) for weight in (0.3, 0.0))

    def read(self, x: Tensor, y: Tensor, mask: Tensor, class_mask: Tensor) -> dict[str, Tensor]:
        """Read the labelled rows of B tables, each in M passes with other labels.

        Parameters
        ----------
        x : Tensor of shape (B, S, F)
            Not finite: missing.
        y : Tensor of int64, shape (B, M, S)
            Class slots.
        mask : Tensor of bool, shape (B, S)
        class_mask : Tensor of bool, shape (B, M, C)
            Slots in use.

        Returns
        -------
        dict of Tensor
            What :meth:`forward` needs: of shape (B, ...) the `SHARED` ones, else (B, M, ...).
        """
        n_passes, n_columns = y.shape[1], x.shape[2]
        statistics = column_statistics(x, mask)
        shared = {f"column_{k}": v for k, v in statistics.items()}
        shared |= {"mask": mask, "log_rows": (mask.sum(1).clamp(min=1) / 64).log()}
        features, cells, usable = self._cells(x, statistics, 1, n_passes)
        mask, log_rows = _repeat(mask, n_passes), _repeat(shared["log_rows"], n_passes)
        # From here on, of each pass: B M in all.
        members = F.one_hot(y.flatten(0, 1), self.n_classes).to(features.dtype)
        members = members * mask.unsqueeze(-1)  # (B M, S, C)
        additive, scores = self.additive.summary(features, members, usable)
        per_column = [_repeat(t, n_columns) for t in (members, mask, members.sum(1))]
        state = {f"additive_{k}": v for k, v in additive.items()}
        for number, block in enumerate(self.columns):
            found, kept = block.summary(cells, *per_column)
            cells = block(cells, found, kept)
            state[f"summary_{number}"] = found.unflatten(0, (-1, n_columns))
            state[f"summary_mask_{number}"] = kept.unflatten(0, (-1, n_columns))
        rows = self._rows(cells.unflatten(0, (-1, n_columns)), usable)  # (B M, S, r)
        state["keys_0"] = self.votes[0].keys(rows)
        hidden = rows + self.scores(scores) + members @ self.label  # (B M, S, r)
        for number, layer in enumerate(self.layers):
            context = layer.keys_and_values(hidden)  # (B M, S, 2 r)
            state[f"context_{number}"] = context
            hidden = layer(hidden, context, mask, self._sharpen(number, log_rows))
        state["keys_1"] = self.votes[1].keys(hidden)
        state |= {"members": members, "class_mask": class_mask.flatten(0, 1)}
        return shared | {k: v.unflatten(0, (-1, n_passes)) for k, v in state.items()}

    def forward(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        """Predict rows of B tables that were read in M passes.

        Parameters
        ----------
        state : dict of Tensor
            From :meth:`read`.
        x : Tensor of shape (B, Q, F)

        Returns
        -------
        Tensor of shape (B, M, Q, C)
            Logits; far below all others for classes that are not there.
        """
        n_passes = state["class_mask"].shape[1]
        features, cells, usable = self._cells(x, select(state, "column_"), 0, n_passes)
        mask, log_rows = (_repeat(state[name], n_passes) for name in ("mask", "log_rows"))
        state = {k: v.flatten(0, 1) for k, v in state.items() if not k.startswith(SHARED)}
        scores = self.additive(features, select(state, "additive_"))  # (B M, Q, C)
        for number, block in enumerate(self.columns):
            found, kept = state[f"summary_{number}"], state[f"summary_mask_{number}"]
            cells = block(cells, found.flatten(0, 1), kept.flatten(0, 1))
        rows = self._rows(cells.unflatten(0, (-1, x.shape[2])), usable)  # (B M, Q, r)
        hidden = rows + self.scores(scores)
        voters = state["members"], mask
        logits = self.additive_weight * scores + self.votes[0](rows, state["keys_0"], *voters)
        for number, layer in enumerate(self.layers):
            scale = self._sharpen(number, log_rows)
            hidden = layer(hidden, state[f"context_{number}"], mask, scale)
        logits = logits + self.votes[1](hidden, state["keys_1"], *voters)
        logits = logits + self.head(self.norm(hidden))
        return mask_logits(logits, state["class_mask"]).unflatten(0, (-1, n_passes))

    def _cells(
        self, x: Tensor, statistics: dict[str, Tensor], own: int, n_passes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Describe cells once for all passes: features, vectors, and which columns count.

        (B, N, F) -> (B M, F, N, k), (B M F, N, d) and (B M, F).
        """
        features = cell_features(x, statistics, own).to(self.tokens.dtype)  # (B, F, N, k)
        parts = features, self.cell(features), statistics["usable"]
        features, cells, usable = (_repeat(part, n_passes) for part in parts)
        return features, cells.flatten(0, 1), usable

    def _rows(self, cells: Tensor, usable: Tensor) -> Tensor:
        """Turn rows of cells into vectors: (B, F, N, d) -> (B, N, r)."""
        n_tasks, _, n_rows, width = cells.shape
        n_tokens = len(self.tokens)
        tokens = self.tokens.to(cells.dtype).expand(n_tasks, n_rows, -1, -1)
        x = torch.cat([tokens, cells.transpose(1, 2)], 2).flatten(0, 1)  # (B N, T + F, d)
        mask = torch.cat([torch.ones_like(usable[:, :1]).expand(-1, n_tokens), usable], 1)
        mask = _repeat(mask, n_rows)
        for layer in self.row_layers:
            context = layer.keys_and_values(x)
            last = layer is self.row_layers[-1]
            x = layer(x[:, :n_tokens] if last else x, context, mask)
        return self.row(x.reshape(n_tasks, n_rows, n_tokens * width))

    def _sharpen(self, layer: int, log_rows: Tensor) -> Tensor:
        """Factors of the scores of a layer, per task and head: (B,) -> (B, h)."""
        return (self.sharpening[layer] * log_rows.unsqueeze(-1)).exp()


def _stack(modules: Iterable[_M]) -> list[_M]:
    """Hold modules in a list that registers them; torch's own forgets their type."""
    return cast("list[_M]", nn.ModuleList(modules))


def _repeat(values: Tensor, times: int) -> Tensor:
    """Give each of `times` passes, columns or rows its task's values: B -> B times."""
    return values.unsqueeze(1).expand(-1, times, *values.shape[1:]).flatten(0, 1)
