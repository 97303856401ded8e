"""The parts of the in-context network, each against a plain reference."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import percentileofscore

from metaest.nets import _in_context_parts
from metaest.nets._in_context import InContextNet
from metaest.nets._in_context_additive import AdditiveScores
from metaest.nets._in_context_cells import N_CELL_FEATURES, cell_features, column_statistics
from metaest.nets._in_context_layers import Attention, ColumnBlock, Vote, _attend
from metaest.nets._in_context_parts import predict_in_parts, read_in_parts

DOUBLE = torch.float64


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_cells_are_described_as_by_numpy_and_scipy() -> None:
    x, query = draw(1, 9, 2), draw(1, 4, 2, seed=1)
    x[0, 3, 1] = torch.nan
    mask = torch.ones(1, 9, dtype=torch.bool)
    mask[0, 8] = False  # padded: not among the values
    found = cell_features(query, column_statistics(x, mask), own=0)
    assert found.shape == (1, 2, 4, N_CELL_FEATURES)
    for column in range(2):
        values = x[0, :8, column].numpy()
        values = values[~np.isnan(values)]
        z = (query[0, :, column].numpy() - values.mean()) / values.std()
        ranks = [percentileofscore(values, q, "mean") / 50 - 1 for q in query[0, :, column]]
        np.testing.assert_allclose(found[0, column, :, 0], np.arcsinh(z), rtol=1e-10)
        np.testing.assert_allclose(found[0, column, :, 3], ranks, atol=1e-12)


def test_a_labelled_cell_is_ranked_among_the_others() -> None:
    x = torch.tensor([[[3.0], [1.0], [1.0], [2.0]]], dtype=DOUBLE)
    statistics = column_statistics(x, torch.ones(1, 4, dtype=torch.bool))
    found = cell_features(x, statistics, own=1)[0, 0]
    torch.testing.assert_close(found[:, 3], torch.tensor([1, -2 / 3, -2 / 3, 1 / 3], dtype=DOUBLE))
    torch.testing.assert_close(found[:, 4], torch.tensor([0, 1 / 3, 1 / 3, 0], dtype=DOUBLE))


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_units_of_a_column_do_not_matter(scale: float) -> None:
    x, mask = draw(1, 6, 2), torch.ones(1, 6, dtype=torch.bool)
    expected = cell_features(x, column_statistics(x, mask), own=1)
    found = cell_features(scale * x, column_statistics(scale * x, mask), own=1)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_columns_without_information_are_left_out() -> None:
    x = draw(1, 5, 4)
    x[..., 1], x[..., 2], x[0, 1:, 3] = 7.0, torch.nan, 1.0
    x[0, 0, 3] = torch.inf  # as if missing: the gap is the information
    usable = column_statistics(x, torch.ones(1, 5, dtype=torch.bool))["usable"]
    assert usable.tolist() == [[True, False, False, True]]


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2).double()
    x, context = draw(3, 4, 8), draw(3, 5, 8, seed=1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 0, 1]]).bool()
    scale = torch.tensor([[1.0, 2.0], [0.5, 1.0], [1.0, 1.0]], dtype=DOUBLE)
    key, value = layer.keys_and_values(context).chunk(2, -1)
    query, key, value = (
        t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (layer.query(x), key, value)
    )
    query = query * scale[:, :, None, None]
    mixed = F.scaled_dot_product_attention(query, key, value, mask[:, None, None])
    expected = layer.out(mixed.transpose(1, 2).flatten(2))
    found = layer(x, layer.keys_and_values(context), mask, scale)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n_keys", [5, 100])  # few rows, and enough for torch's own attention
def test_attention_is_the_same_with_and_without_gradients(n_keys: int) -> None:
    torch.manual_seed(0)
    layer = Attention(8, 2).double()
    x, context = draw(3, 4, 8), layer.keys_and_values(draw(3, n_keys, 8, seed=1))
    for mask in (draw(3, n_keys, seed=2) > 0, torch.ones(3, n_keys, dtype=torch.bool)):
        expected = layer(x, context, mask)
        with torch.no_grad():
            torch.testing.assert_close(layer(x, context, mask), expected, rtol=1e-10, atol=1e-12)


def test_votes_are_shares_of_similar_rows() -> None:
    torch.manual_seed(0)
    vote = Vote(6, 0.5).double()
    rows, labelled = draw(1, 2, 6), draw(1, 4, 6, seed=1)
    y, mask = torch.tensor([0, 1, 1, 0]), torch.tensor([[True, True, True, False]])
    members = F.one_hot(y, 3).double() * mask[0, :, None]
    found = vote(rows, vote.keys(labelled), members.unsqueeze(0), mask)[0]
    embed = lambda r: F.normalize(vote.project(vote.norm(r)), dim=-1)  # noqa: E731
    for row in range(2):
        similar = embed(rows[0, row]) @ embed(labelled[0, :3]).T * vote.log_sharpness.exp()
        weights = similar.exp() / similar.exp().sum()
        shares = torch.stack([weights[0], weights[1] + weights[2], 0 * weights[0]])
        torch.testing.assert_close(found[row], vote.weight * (shares + 1e-3).log())


def test_the_mean_of_each_class_is_in_a_columns_summary() -> None:
    torch.manual_seed(0)
    block = ColumnBlock(8, 2, 3, 4).double()
    cells, y = draw(1, 5, 8), torch.tensor([0, 2, 2, 0, 0])
    members = F.one_hot(y, 4).double().unsqueeze(0)
    mask = torch.ones(1, 5, dtype=torch.bool)
    found, kept = block.summary(cells, members, mask, members.sum(1))
    means = [block.class_value(cells[0, y == c].mean(0)) + block.label[c] for c in (0, 2)]
    expected = block.spread.keys_and_values(torch.stack(means))
    torch.testing.assert_close(found[0, [3, 5]], expected)
    assert kept.tolist() == [[True] * 3 + [True, False, True, False]]


def test_additive_scores_are_discriminants_summed_over_columns() -> None:
    torch.manual_seed(0)
    layer = AdditiveScores(3).double()
    features, query = draw(1, 2, 6, N_CELL_FEATURES), draw(1, 2, 1, N_CELL_FEATURES, seed=1)
    y, mask = torch.tensor([0, 1, 1, 0, 2, 0]), torch.ones(1, 6, 1)
    mask[0, 5] = 0  # padded
    members = (F.one_hot(y, 4) * mask).double()
    usable = torch.tensor([[True, True]])
    summary, own_scores = layer.summary(features, members, usable)
    z, weight = layer.project(features)[0, :, :5], summary["weight"][0]  # (F, 5, p)
    z = z - z.mean(1, keepdim=True)

    def score(row: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        mean = rows.mean(1)  # (F, p)
        value = ((row * mean).sum(-1) - mean.square().sum(-1) / 2) * weight
        return 10 * (value.sum() / 10).tanh()

    at_query = (layer.project(query) - summary["center"])[0, :, 0]  # (F, p)
    found = layer(query, summary)[0, 0]
    for c in range(3):
        torch.testing.assert_close(found[c], score(at_query, z[:, y[:5] == c]))
    # A labelled row's own class is its other rows; there is no other row of class 2.
    torch.testing.assert_close(own_scores[0, 0, 0], score(z[:, 0], z[:, [3]]))
    torch.testing.assert_close(own_scores[0, 0, 1], score(z[:, 0], z[:, [1, 2]]))
    assert own_scores[0, 4, 2] == 0


def test_a_column_left_out_adds_nothing() -> None:
    torch.manual_seed(0)
    layer = AdditiveScores(3).double()
    features = draw(1, 2, 5, N_CELL_FEATURES)
    members = F.one_hot(torch.tensor([[0, 1, 1, 0, 1]]), 2).double()
    both, _ = layer.summary(features, members, torch.tensor([[True, False]]))
    single, _ = layer.summary(features[:, :1], members, torch.tensor([[True]]))
    assert both["weight"][0, 1] == 0
    torch.testing.assert_close(layer(features, both), layer(features[:, :1], single))


def test_any_number_of_rows_and_columns() -> None:
    torch.manual_seed(0)
    net = InContextNet(n_classes=3, cell_width=8, row_width=16, n_layers=1)
    for n_rows, n_columns in ((1, 1), (3, 40), (50, 2)):
        x, y = torch.randn(2, n_rows, n_columns), torch.zeros(2, n_rows, dtype=torch.int64)
        used = torch.tensor([[[True, True, False]]] * 2)
        state = net.read(x, y.unsqueeze(1), torch.ones_like(y, dtype=torch.bool), used)
        logits = net(state, torch.randn(2, 5, n_columns))
        assert logits.shape == (2, 1, 5, 3)
        assert logits.isfinite().all()
        assert (logits.softmax(-1)[..., 2] == 0).all()


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("cells", [1, 75, 150, 10**6])  # a pass, two, a task, and all at once
def test_passes_in_parts_are_single_passes(
    cells: int, n_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = InContextNet(n_classes=3, cell_width=8, row_width=16, n_layers=2).double()
    x, query, mask = draw(2, 9, 3), draw(2, 4, 3, seed=1), torch.ones(2, 9, dtype=torch.bool)
    mask[1, 7:] = False
    y = torch.randint(3, (2, 4, 9), generator=torch.Generator().manual_seed(0))
    used = torch.ones(2, 4, 3, dtype=torch.bool)
    singles = [net(net.read(x, y[:, [m]], mask, used[:, [m]]), query) for m in range(4)]
    monkeypatch.setattr(_in_context_parts, "_CELLS_AT_ONCE_ON_CPU", cells)
    monkeypatch.setattr(_in_context_parts, "usable_threads", lambda: n_threads)
    with torch.no_grad():
        state = read_in_parts(net, x, y, mask, used)
        found = predict_in_parts(net, state, query)
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.cat(singles, 1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_keys", [2, 15, 16, 40])
def test_attention_without_gradients_is_the_same(n_keys: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 2, n, 4, dtype=torch.float64) for n in (5, n_keys, n_keys))
    mask = torch.arange(n_keys).expand(3, -1) % 3 != 1
    expected = _attend(100 * query, 10 * key, value, mask)  # scores whose powers are not finite
    with torch.no_grad():
        torch.testing.assert_close(_attend(100 * query, 10 * key, value, mask), expected)
