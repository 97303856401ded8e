"""Attention between sets of rows: the blocks of the Set Transformer.

Attention is written as plain products: ``scaled_dot_product_attention`` has no second derivative
on a CPU, which learners with an inner loop need, and for a few rows it is not quicker.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Score of a row that must not be attended to: finite, so that no gradient becomes NaN.
_MASKED = -1e9

#: Factor of the last layer of a branch that starts small.
_SMALL = 0.01


def start_small(*layers: Tensor | nn.Module) -> None:
    """Make the first results of linear layers small beside what they are added to."""
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            layer.weight.mul_(_SMALL)
            if layer.bias is not None:
                layer.bias.zero_()


class MultiheadAttention(nn.Module):
    r"""Attention with several heads: each query row takes a mean of the values, by its scores.

    .. math:: \mathrm{softmax}\bigl( (X W_q)(K W_k)^\top / \sqrt{p} \bigr)\, V W_v

    in each head, of p features; the heads side by side pass through one more linear layer.

    Parameters
    ----------
    n_queries, n_keys, n_values : int
        Features of the queries, keys and values.
    n_out : int
        Features of the result.
    n_heads : int
    head_size : int
        Features p of a head.

    References
    ----------
    Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.2.
    """

    def __init__(
        self,
        n_queries: int,
        n_keys: int,
        n_values: int,
        n_out: int,
        *,
        n_heads: int = 4,
        head_size: int = 16,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        width = n_heads * head_size
        self.query = nn.Linear(n_queries, width)
        self.key = nn.Linear(n_keys, width)
        self.value = nn.Linear(n_values, width)
        self.out = nn.Linear(width, n_out)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Attend from each query row to the rows with keys and values.

        Parameters
        ----------
        queries : Tensor of shape (..., n, n_queries)
        keys : Tensor of shape (..., m, n_keys)
        values : Tensor of shape (..., m, n_values)
        mask : Tensor of bool, shape (..., n or 1, m), default=None
            True where a row may be attended to; each query row should have one such row.
        bias : Tensor of shape (..., n_heads, n, m), default=None
            Added to the scores.

        Returns
        -------
        Tensor of shape (..., n, n_out)
        """
        q, k, v = self._split(self.query(queries)), self._split(self.key(keys)), self.value(values)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (..., h, n, m)
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            scores = torch.where(mask.unsqueeze(-3), scores, _MASKED)
        heads = scores.softmax(-1) @ self._split(v)  # (..., h, n, p)
        return self.out(heads.transpose(-2, -3).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        """(..., n, h p) -> (..., h, n, p)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(-2, -3)


class MAB(nn.Module):
    r"""Multi-head attention block: the rows of X attend to those of Y.

    .. math::

        \mathrm{MAB}(X, Y) = \mathrm{LN}(H + \mathrm{rFF}(H)), \qquad
        H = \mathrm{LN}(X + \mathrm{Multihead}(X, Y, Y))

    Parameters
    ----------
    n_features : int
        Features of a row of X and of the result.
    n_others : int
        Features of a row of Y.
    n_heads, head_size : int
        See :class:`MultiheadAttention`.
    identity_start : bool, default=False
        Normalise what enters the two branches instead of what leaves the block, and start the
        branches small: the block starts close to X itself.

    References
    ----------
    Lee et al., Set Transformer, ICML 2019, eq. 6-7.
    """

    def __init__(
        self,
        n_features: int,
        n_others: int,
        *,
        n_heads: int = 4,
        head_size: int = 16,
        identity_start: bool = False,
    ) -> None:
        super().__init__()
        self.identity_start = identity_start
        sizes = {"n_heads": n_heads, "head_size": head_size}
        self.attention = MultiheadAttention(n_features, n_others, n_others, n_features, **sizes)
        self.feedforward = _feedforward(n_features, n_heads * head_size)
        self.norms = nn.ModuleList([nn.LayerNorm(n_features), nn.LayerNorm(n_features)])
        if identity_start:
            self.norms.append(nn.LayerNorm(n_others))
            start_small(self.attention.out, self.feedforward[-1])

    def forward(
        self, x: Tensor, y: Tensor, mask: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """(..., n, n_features) and (..., m, n_others) -> (..., n, n_features).

        `mask` and `bias` are those of :meth:`MultiheadAttention.forward`.
        """
        first, second = self.norms[:2]
        if self.identity_start:
            y = self.norms[2](y)
            hidden = x + self.attention(first(x), y, y, mask, bias)
            return hidden + self.feedforward(second(hidden))
        hidden = first(x + self.attention(x, y, y, mask, bias))
        return second(hidden + self.feedforward(hidden))


class SAB(nn.Module):
    """Set attention block: the rows of a set attend to one another, ``MAB(X, X)``.

    Parameters
    ----------
    n_features : int
    n_heads, head_size, identity_start
        See :class:`MAB`.

    References
    ----------
    Lee et al., Set Transformer, ICML 2019, eq. 8.
    """

    def __init__(
        self,
        n_features: int,
        *,
        n_heads: int = 4,
        head_size: int = 16,
        identity_start: bool = False,
    ) -> None:
        super().__init__()
        self.block = MAB(
            n_features,
            n_features,
            n_heads=n_heads,
            head_size=head_size,
            identity_start=identity_start,
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(..., n, n_features) -> the same; `mask` (..., n) is True at real rows."""
        return self.block(x, x, _as_keys(mask))


def _feedforward(n_features: int, n_hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_features)
    )


def _as_keys(mask: Tensor | None) -> Tensor | None:
    """Mask of rows (..., m) as that of attention (..., 1, m)."""
    return None if mask is None else mask.unsqueeze(-2)
