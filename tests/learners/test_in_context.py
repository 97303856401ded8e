"""The in-context learner: what holds beyond the contract of all learners."""

from dataclasses import replace

import pytest
import torch

from metaest.episodes import EpisodeBatch
from metaest.exceptions import UnsupportedTaskError
from metaest.learners._in_context import InContextTransformer
from metaest.learners._in_context_members import _table, assign_slots, combine
from metaest.testing._episodes import collate, make_episode
from metaest.testing._runs import build, predict

SMALL = {
    "companions": 0.0,
    "cell_width": 8,
    "row_width": 16,
    "n_inducing": 2,
    "n_layers": 2,
    "n_row_layers": 1,
}
LEARNER = InContextTransformer(n_estimators=2, **SMALL)
EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture
def batch() -> EpisodeBatch:
    return collate([make_episode(shots=(4, 3, 5), seed=1), make_episode(shots=(4, 3, 5), seed=2)])


@pytest.fixture
def module() -> torch.nn.Module:
    return build(LEARNER)


def with_columns(batch: EpisodeBatch, change) -> EpisodeBatch:
    return replace(batch, support_x=change(batch.support_x), query_x=change(batch.query_x))


def test_the_order_of_columns_does_not_matter(batch, module) -> None:
    swapped = with_columns(batch, lambda x: x[..., [2, 0, 1]])
    expected = predict(LEARNER, module, batch)
    torch.testing.assert_close(predict(LEARNER, module, swapped), expected, **EXACT)


@pytest.mark.parametrize("value", [0.0, 3e8, torch.nan, torch.inf])
def test_columns_of_one_value_do_not_count(batch, module, value: float) -> None:
    wider = with_columns(batch, lambda x: torch.cat([x, torch.full_like(x, value)], -1))
    expected = predict(LEARNER, module, batch)
    torch.testing.assert_close(predict(LEARNER, module, wider), expected, **EXACT)


def test_units_do_not_matter(batch, module) -> None:
    scale = torch.tensor([1e12, 1e-9, 5.0], dtype=torch.float64)
    rescaled = with_columns(batch, lambda x: x * scale)
    expected = predict(LEARNER, module, batch)
    torch.testing.assert_close(predict(LEARNER, module, rescaled), expected, **EXACT)


def test_any_number_of_columns_with_the_same_weights(batch, module) -> None:
    for n_columns in (1, 2, 40):
        other = with_columns(batch, lambda x, n=n_columns: x.repeat(1, 1, 14)[..., :n] ** 2)
        assert predict(LEARNER, module, other).isfinite().all()


def test_missing_values_are_neither_zero_nor_infinite(batch, module) -> None:
    def lose(x: torch.Tensor, value: float) -> torch.Tensor:
        x = x.clone()
        x[:, ::2, 1] = value
        return x

    missing, infinite, zero = (
        predict(LEARNER, module, with_columns(batch, lambda x, v=value: lose(x, v)))
        for value in (torch.nan, -torch.inf, 0.0)
    )
    assert missing.isfinite().all()
    torch.testing.assert_close(missing, infinite, **EXACT)
    assert (missing - zero).abs().max() > 1e-3


def test_repeated_classes_are_told_apart_by_their_codes() -> None:
    for n_classes in (11, 26, 150):
        codes = _table(n_classes, 1, 10)
        assert len({tuple(code) for code in codes.T}) == n_classes
        assert codes.max() == 9
    assert len(_table(10, 3, 10)) == 3


def test_votes_of_the_passes_find_the_class() -> None:
    # Each pass is sure of the output of class 17.
    ranks, class_mask = torch.arange(30).unsqueeze(0), torch.ones(1, 30, dtype=torch.bool)
    slots, member_mask = assign_slots(ranks, class_mask, 1, 10)
    logits = torch.nn.functional.one_hot(slots[:, :, 17], 10).double().unsqueeze(2) * 5
    assert int(combine(logits, slots, member_mask, class_mask).argmax()) == 17


@pytest.mark.parametrize(("n_classes", "factor"), [(9, 1.0), (10, 1.0), (11, 2.0)])
def test_shared_outputs_are_made_up_for_in_each_task(n_classes: int, factor: float) -> None:
    ranks, class_mask = torch.arange(12).expand(2, 12), torch.arange(12) < n_classes
    class_mask = torch.stack([class_mask, torch.ones(12, dtype=torch.bool)])
    slots, member_mask = assign_slots(ranks, class_mask, 3, 10)
    logits = torch.randn(2, slots.shape[1], 4, 10, dtype=torch.float64)
    found = combine(logits, slots, member_mask, class_mask)[0, :, :n_classes]
    passes = range(int(member_mask[0].sum()))
    logs = [logits[0, m].log_softmax(-1)[:, slots[0, m, :n_classes]] for m in passes]
    torch.testing.assert_close(found, factor * torch.stack(logs).mean(0))


def test_more_passes_average_the_logarithms(batch) -> None:
    many = InContextTransformer(n_estimators=7, **SMALL)
    single = InContextTransformer(n_estimators=1, **SMALL)
    module = build(many)
    assert not torch.allclose(predict(many, module, batch), predict(single, module, batch))
    cooler = InContextTransformer(n_estimators=7, temperature=2.0, **SMALL)
    expected = (predict(many, module, batch) / 2).log_softmax(-1)
    torch.testing.assert_close(predict(cooler, module, batch), expected, **EXACT)


def test_too_many_rows(batch, module) -> None:
    learner = InContextTransformer(max_rows=11, **SMALL)
    with pytest.raises(UnsupportedTaskError, match=r"max_rows=11 labelled rows, got 12.*sample"):
        learner.adapt(module, batch.support)
