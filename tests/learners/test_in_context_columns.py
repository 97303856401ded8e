"""Of a wide table the network reads the columns that tell most."""

import numpy as np
import pytest
import torch
from sklearn.feature_selection import f_classif, f_regression

from metaest.episodes import EpisodeBatch, Support
from metaest.learners import InContextTransformer
from metaest.learners._in_context_columns import choose_columns, take_columns
from metaest.testing._runs import build, meta_gradient, predict

SMALL = {"cell_width": 8, "row_width": 16, "n_inducing": 2, "n_layers": 2, "n_row_layers": 1}
KINDS = ["classification", "regression"]


def make_batch(kind: str, n_columns: int = 12) -> EpisodeBatch:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 36, n_columns, dtype=torch.float64, generator=generator)
    z = x[..., 3] - 2 * x[..., 7]
    y = z if kind == "regression" else (z > 0).long() + (z > 1).long()
    mask = torch.ones(2, 36, dtype=torch.bool)
    mask[1, 20:26] = False  # the second task has fewer support rows
    classes = None if kind == "regression" else torch.ones(2, 3, dtype=torch.bool)
    parts = [whole[:, rows] for rows in (slice(26), slice(26, 36)) for whole in (x, y, mask)]
    return EpisodeBatch(*parts, class_mask=classes)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_those_of_the_f_statistic(kind: str) -> None:
    support = make_batch(kind).support
    found = choose_columns(support, 4)
    statistic = f_regression if kind == "regression" else f_classif
    for task in range(2):
        rows = support.mask[task]
        values = statistic(support.x[task][rows].numpy(), support.y[task][rows].numpy())[0]
        assert found[task].tolist() == sorted(np.argsort(-values)[:4].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_gaps_are_left_out(kind: str) -> None:
    support = make_batch(kind).support
    rows = support.mask[1]
    x, y = support.x[1].clone(), support.y[1][rows].numpy()
    x[:9, 7] = torch.nan
    x[:, 3] = torch.inf
    one = Support(x[None], support.y[[1]], support.mask[[1]],
                  None if support.class_mask is None else support.class_mask[[1]])  # fmt: skip
    statistic = f_regression if kind == "regression" else f_classif
    values = np.zeros(12)
    for column in range(12):
        known = x[rows, column].isfinite().numpy()
        if known.any():
            values[column] = statistic(x[rows][known][:, [column]].numpy(), y[known])[0][0]
    for n in (1, 4, 11):
        assert choose_columns(one, n)[0].tolist() == sorted(np.argsort(-values)[:n].tolist())
    assert 3 not in choose_columns(one, 11)[0]


def test_few_columns_are_all_read() -> None:
    support = make_batch("classification").support
    assert choose_columns(support, 12) is None
    assert take_columns(support.x, None) is support.x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("companions", [0.0, 0.6])
def test_neither_order_nor_scale_matters(kind: str, companions: float) -> None:
    learner = InContextTransformer(max_columns=4, companions=companions, n_trees=8, **SMALL)
    batch, module = make_batch(kind), build(learner, kind)
    expected = predict(learner, module, batch)
    columns = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    # Units change the order of columns that trees are drawn by.
    unit = 10.0 ** torch.arange(-6, 6).double() if companions == 0 else 1000.0
    rows = torch.cat([torch.randperm(20, generator=torch.Generator().manual_seed(2)),
                      torch.arange(20, 26)])  # fmt: skip
    other = EpisodeBatch(
        (batch.support_x * unit)[:, rows][..., columns], batch.support_y[:, rows],
        batch.support_mask[:, rows], (batch.query_x * unit)[..., columns], batch.query_y,
        batch.query_mask, class_mask=batch.class_mask,
    )  # fmt: skip
    torch.testing.assert_close(predict(learner, module, other), expected, rtol=1e-6, atol=1e-6)


def test_equal_statistics_are_told_apart_by_cells() -> None:
    """Words that occur once: each tells as much of the classes as the others of its class."""
    words = torch.eye(12, dtype=torch.float64)
    numbers = torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, y = torch.cat([words, numbers], 1)[None], torch.arange(12)[None] % 2
    known, classes = torch.ones(1, 12, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    order = torch.randperm(15, generator=torch.Generator().manual_seed(1))
    found = choose_columns(Support(x, y, known, classes), 7)[0]
    again = choose_columns(Support(x[..., order], y, known, classes), 7)[0]
    assert sorted(order[again].tolist()) == found.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_network_sees_no_other_column(kind: str) -> None:
    learner = InContextTransformer(max_columns=4, companions=0.0, **SMALL)
    batch, module = make_batch(kind), build(learner, kind)
    columns = choose_columns(batch.support, 4)
    narrow = EpisodeBatch(
        take_columns(batch.support_x, columns), batch.support_y, batch.support_mask,
        take_columns(batch.query_x, columns), batch.query_y, batch.query_mask,
        class_mask=batch.class_mask,
    )  # fmt: skip
    torch.testing.assert_close(predict(learner, module, batch), predict(learner, module, narrow))
    found, expected = (meta_gradient(learner, module, one) for one in (batch, narrow))
    torch.testing.assert_close(found, expected)
    assert learner.adapt(module, batch.support)["columns"].shape == (2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_constant_and_huge_columns(kind: str) -> None:
    batch = make_batch(kind)
    batch.support_x[..., 0] = 5.0
    batch.support_x[..., 1] *= 1e300
    batch.support_x[..., 2] = torch.nan
    found = choose_columns(batch.support, 10)
    assert all(column not in found for column in (0, 2))
    assert 7 in choose_columns(batch.support, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_far_from_zero_is_not_constant(kind: str) -> None:
    batch = make_batch(kind)
    expected = choose_columns(batch.support, 4)
    batch.support_x[..., 7] = 1.7e12 + 1e3 * batch.support_x[..., 7]  # milliseconds of a minute
    assert torch.equal(choose_columns(batch.support, 4), expected)
    assert 7 in choose_columns(batch.support, 1)
