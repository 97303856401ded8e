"""Attention blocks: against torch's own attention, plain loops and the paper's equations."""

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn

from metaest.nets._attention import MAB, SAB, MultiheadAttention, start_small

D, HEADS, SIZE = 5, 2, 3


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _make(block: type[nn.Module], *args: int, **options: bool) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return block(*args, n_heads=HEADS, head_size=SIZE, **options).double()


def _loops(attention: MultiheadAttention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention of one set, a head and a query row at a time."""
    parts = [attention.query(q), attention.key(k), attention.value(v)]
    queries, keys, values = (part.detach().numpy() for part in parts)
    out = np.zeros((len(q), HEADS * SIZE))
    for head in range(HEADS):
        own = slice(head * SIZE, (head + 1) * SIZE)
        for row in range(len(q)):
            scores = keys[mask.numpy()][:, own] @ queries[row, own] / SIZE**0.5
            out[row, own] = softmax(scores) @ values[mask.numpy()][:, own]
    return attention.out(torch.from_numpy(out))


def test_attention_is_plain_loops() -> None:
    attention = _make(MultiheadAttention, 4, D, 2, 7)
    q, k, v = _draw(3, 4), _draw(6, D, seed=1), _draw(6, 2, seed=2)
    mask = torch.tensor([True, False, True, True, False, True])
    found = attention(q, k, v, mask.unsqueeze(0))
    assert found.shape == (3, 7)
    torch.testing.assert_close(found, _loops(attention, q, k, v, mask), rtol=1e-10, atol=1e-10)


def test_attention_is_torchs() -> None:
    width = HEADS * SIZE
    own = _make(MultiheadAttention, width, width, width, width)
    other = nn.MultiheadAttention(width, HEADS, batch_first=True).double()
    parts = (own.query, own.key, own.value)
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        other.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        other.out_proj.load_state_dict(own.out.state_dict())
    x, y = _draw(2, 3, width), _draw(2, 4, width, seed=1)
    mask = torch.tensor([[True, True, False, True], [True, False, False, False]])
    bias = _draw(2, HEADS, 3, 4, seed=2)
    merged = bias.masked_fill(~mask[:, None, None], -torch.inf).flatten(0, 1)
    expected, _ = other(x, y, y, attn_mask=merged)
    torch.testing.assert_close(own(x, y, y, mask.unsqueeze(1), bias), expected)


def test_mab_is_the_papers_equation() -> None:
    block = _make(MAB, D, 4)
    x, y = _draw(3, D), _draw(6, 4, seed=1)

    def norm(rows: Tensor) -> Tensor:  # its gain starts at 1 and its shift at 0
        centred = rows - rows.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()

    everything = torch.ones(len(y), dtype=torch.bool)
    hidden = norm(x + _loops(block.attention, x, y, y, everything))
    expected = norm(hidden + block.feedforward(hidden))
    torch.testing.assert_close(block(x, y), expected, rtol=1e-10, atol=1e-10)


def test_a_set_attends_to_itself() -> None:
    x, sab = _draw(2, 6, D), _make(SAB, D)
    torch.testing.assert_close(sab(x), sab.block(x, x))


def test_order_and_padding() -> None:
    module, x = _make(SAB, D), _draw(1, 4, D)
    expected = module(x)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(module(x[:, order]), expected[:, order])
    padded = torch.cat([x, 50 * _draw(1, 3, D, seed=1)], 1)
    mask = torch.arange(7).unsqueeze(0) < 4
    torch.testing.assert_close(module(padded, mask)[:, :4], expected, rtol=1e-10, atol=1e-10)


def test_identity_start() -> None:
    x, y = _draw(3, D), _draw(6, 4, seed=1)
    change = _make(MAB, D, 4, identity_start=True)(x, y) - x
    assert 0 < change.abs().max() < 0.05
    assert (_make(MAB, D, 4)(x, y) - x).abs().max() > 0.2


def test_start_small() -> None:
    layer = nn.Linear(3, 2)
    before = layer.weight.detach().clone()
    start_small(layer)
    torch.testing.assert_close(layer.weight, 0.01 * before)
    assert not layer.bias.any()


def test_second_derivatives() -> None:
    module = _make(SAB, D)
    parameters = list(module.parameters())
    first = torch.autograd.grad(module(_draw(4, D)).square().sum(), parameters, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), parameters)
    assert all(g.isfinite().all() for g in second)
    assert any(g.abs().max() > 0 for g in second)
