"""Layers of the in-context network: attention by plain matrix products, norms, gates.

``scaled_dot_product_attention`` is slow on a CPU for sequences as short as a small table
(backward five times slower than two batched products were measured). It is used where no gradient
is wanted and there are many rows: there it takes a third of the time, and no memory.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaest._torch import MASKED_LOGIT

#: Without gradients, torch attends to at least this many rows.
_MANY = 64

#: torch's softmax over fewer takes six times as long as its parts, and as over four times as many.
_FEW = 16

#: Scores that one vote may hold at once where no gradient is wanted.
_SCORES_AT_ONCE = 2**25

#: Below this share of the votes there is nothing more to say against a class.
_FLOOR = 1e-3


class Attention(nn.Module):
    """Multi-head attention whose keys and values can be made once and kept.

    Parameters
    ----------
    width : int
    n_heads : int
    """

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def keys_and_values(self, source: Tensor) -> Tensor:
        """Return what :meth:`forward` attends to: (..., K, d) -> (..., K, 2 d)."""
        return self.key_value(source)

    def forward(
        self, x: Tensor, keys_and_values: Tensor, mask: Tensor | None, scale: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor of shape (n, L, d)
        keys_and_values : Tensor of shape (n, K, 2 d)
        mask : Tensor of bool, shape (n, K), or None
            False at keys to leave out.
        scale : Tensor of shape (n, n_heads), default=None
            Factors of the scores.

        Returns
        -------
        Tensor of shape (n, L, d)
        """
        n, length, width = x.shape
        heads = (self.n_heads, width // self.n_heads)
        key, value = keys_and_values.unflatten(-1, (2, *heads)).unbind(-3)
        query = self.query(x).unflatten(-1, heads).transpose(1, 2)  # (n, h, L, e)
        key, value = key.transpose(1, 2), value.transpose(1, 2)  # (n, h, K, e)
        query = query * heads[1] ** -0.5
        if scale is not None:
            query = query * scale.to(query.dtype)[:, :, None, None]
        mixed = _attend(query, key, value, mask)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width))


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Mix the values by softmax of the products: (n, h, L, e) and (n, h, K, e) -> (n, h, L, e)."""
    if not torch.is_grad_enabled():
        if mask is not None and bool(mask.all()):
            mask = None
        if key.shape[2] >= _MANY:
            kept = None if mask is None else mask[:, None, None]
            return F.scaled_dot_product_attention(query, key, value, kept, scale=1.0)
    scores = query @ key.transpose(2, 3)  # (n, h, L, K)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], MASKED_LOGIT)
    return _softmax(scores).to(value.dtype) @ value


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis."""
    if torch.is_grad_enabled() or scores.shape[-1] >= _FEW:
        return scores.softmax(-1)
    shares = (scores - scores.amax(-1, keepdim=True)).exp_()
    return shares.div_(shares.sum(-1, keepdim=True))


class Block(nn.Module):
    """A transformer layer from `x` and a context to `x`: attention, then a small network.

    Parameters
    ----------
    width : int
    n_heads : int
    expansion : int, default=2
        Width of the hidden layer, in widths.
    idle : bool, default=False
        Start as a layer that changes nothing.
    """

    def __init__(self, width: int, n_heads: int, *, expansion: int = 2, idle: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.attention = Attention(width, n_heads)
        self.norm_hidden = nn.LayerNorm(width, bias=False)
        self.hidden = nn.Linear(width, expansion * width)
        self.shrink = nn.Linear(expansion * width, width)
        nn.init.zeros_(self.shrink.bias)
        if idle:
            nn.init.zeros_(self.attention.out.weight)
            nn.init.zeros_(self.shrink.weight)

    def keys_and_values(self, context: Tensor) -> Tensor:
        """Return what the layer attends to: (n, K, d) -> (n, K, 2 d)."""
        return self.attention.keys_and_values(self.norm(context))

    def forward(
        self,
        x: Tensor,
        keys_and_values: Tensor,
        mask: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return x after the layer: (n, L, d) -> (n, L, d)."""
        x = x + self.attention(self.norm(x), keys_and_values, mask, scale)
        return x + self.shrink(F.relu(self.hidden(self.norm_hidden(x))))


class ColumnBlock(nn.Module):
    """Let each cell know its column: a summary of the labelled cells, read by all cells.

    The summary has two parts, both linear in the number of rows: inducing points that attend
    to the labelled cells, and the mean of each class's cells.

    Parameters
    ----------
    width : int
    n_heads : int
    n_inducing : int
    n_classes : int

    References
    ----------
    Lee et al., Set Transformer, ICML 2019 (inducing points).
    """

    def __init__(self, width: int, n_heads: int, n_inducing: int, n_classes: int) -> None:
        super().__init__()
        self.label = nn.Parameter(0.5 * torch.randn(n_classes, width))
        self.inducing = nn.Parameter(0.5 * torch.randn(n_inducing, width))
        self.gather = Block(width, n_heads)
        self.class_value = nn.Linear(width, width, bias=False)
        self.spread = Block(width, n_heads)

    def summary(
        self, cells: Tensor, members: Tensor, mask: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Summarise the labelled cells of each column.

        Parameters
        ----------
        cells : Tensor of shape (n, S, d)
        members : Tensor of shape (n, S, C)
            One-hot labels; all zero at rows that are padded.
        mask : Tensor of bool, shape (n, S)
        present : Tensor of shape (n, C)
            Labelled rows of each class.

        Returns
        -------
        keys_and_values : Tensor of shape (n, m + C, 2 d)
        mask : Tensor of bool, shape (n, m + C)
        """
        labelled = cells + members @ self.label.to(members.dtype)  # (n, S, d)
        points = self.inducing.expand(len(cells), -1, -1)
        points = self.gather(points, self.gather.keys_and_values(labelled), mask)  # (n, m, d)
        means = members.transpose(1, 2) @ self.class_value(cells).to(members.dtype)
        means = means / present.clamp(min=1).unsqueeze(-1) + self.label  # (n, C, d)
        points = torch.cat([points, means], 1)
        kept = torch.ones_like(mask[:, :1]).expand(-1, self.inducing.shape[0])
        return self.spread.keys_and_values(points), torch.cat([kept, present > 0], 1)

    def forward(self, cells: Tensor, keys_and_values: Tensor, mask: Tensor) -> Tensor:
        """Let cells read the summary: (n, N, d) -> (n, N, d)."""
        return self.spread(cells, keys_and_values, mask)


class Vote(nn.Module):
    """Let labelled rows vote for their classes by their similarity with a row.

    Parameters
    ----------
    width : int
    weight : float
        Of the vote, at the start.
    """

    def __init__(self, width: int, weight: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, width // 2, bias=False)
        self.log_sharpness = nn.Parameter(torch.tensor(2.0))
        self.weight = nn.Parameter(torch.tensor(weight))

    def keys(self, rows: Tensor) -> Tensor:
        """Return what rows are compared by: (B, S, r) -> (B, S, r / 2)."""
        return F.normalize(self.project(self.norm(rows)), dim=-1)

    def forward(self, rows: Tensor, keys: Tensor, members: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted log of each class's share of the votes.

        Parameters
        ----------
        rows : Tensor of shape (B, Q, r)
        keys : Tensor of shape (B, S, r / 2)
        members : Tensor of shape (B, S, C)
            One-hot labels; all zero at rows that are padded.
        mask : Tensor of bool, shape (B, S)

        Returns
        -------
        Tensor of shape (B, Q, C)
        """
        step = max(1, _SCORES_AT_ONCE // (len(rows) * keys.shape[1]))
        shares = []
        for part in rows.split(step, 1):
            scores = self.keys(part) @ keys.transpose(1, 2) * self.log_sharpness.exp()  # (B, q, S)
            weights = scores.masked_fill(~mask.unsqueeze(1), MASKED_LOGIT).softmax(-1)
            shares.append(weights.to(members.dtype) @ members)  # (B, q, C)
        return self.weight * (torch.cat(shares, 1) + _FLOOR).log()
