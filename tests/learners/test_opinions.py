"""What classical classifiers say of rows that they were not fitted to."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import beta
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler

from metaest import MetaFewShotClassifier
from metaest.episodes import Support
from metaest.learners import InContextTransformer
from metaest.learners._companions import _order_columns, fit_companions, predict_companions
from metaest.learners._opinions import FROM_ROWS, UP_TO_CLASSES, as_columns, folds, weigh

OPINIONS = "row_opinions"


def support_of(X: np.ndarray, y: np.ndarray) -> Support:
    x, labels = torch.from_numpy(X).unsqueeze(0), torch.from_numpy(y).unsqueeze(0)
    class_mask = torch.ones(1, int(y.max()) + 1, dtype=torch.bool)
    return Support(x, labels, torch.ones_like(labels, dtype=torch.bool), class_mask)


def make_task(n: int = 120, n_classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    return rng.normal(size=(n, 4)) + rng.normal(size=(n_classes, 4))[y], y


def test_folds_share_out_each_class_evenly() -> None:
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 23, 7]))
    parts = list(folds(y))
    assert sorted(np.concatenate([own for own, _ in parts])) == list(range(len(y)))
    counts = np.array([np.bincount(y[own], minlength=3) for own, _ in parts])
    assert (np.ptp(counts, axis=0) <= 1).all()
    for own, other in parts:
        assert not set(own) & set(other)
        assert len(own) + len(other) == len(y)


def test_opinions_know_nothing_of_the_row_itself() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 20)), rng.integers(2, size=400)  # nothing to learn
    state = fit_companions(support_of(X, y), 64)
    for opinion in state[OPINIONS][0].unbind(1):  # of each row: (n, C)
        assert (opinion.argmax(1).numpy() == y).mean() == pytest.approx(0.5, abs=0.08)
    inside = predict_companions(state, torch.from_numpy(X).unsqueeze(0)).bagged[0]
    assert (inside.argmax(1).numpy() == y).mean() > 0.95


def test_the_forests_are_out_of_bag() -> None:
    X, y = make_task()
    scaled = StandardScaler().fit_transform(X)
    X = X[:, _order_columns(scaled, np.zeros(X.shape[1], dtype=bool))]
    order = np.lexsort((y, *X.T))
    forest = RandomForestClassifier(16, min_samples_leaf=2, oob_score=True, random_state=0)
    with np.errstate(invalid="ignore"):
        expected = forest.fit(X[order].astype(np.float32), y[order]).oob_decision_function_
    state = fit_companions(support_of(X, y), 32)
    found = state[OPINIONS][0, :, 1].numpy()
    known = expected.sum(1) > 0
    np.testing.assert_allclose(found[order][known], expected[known])
    assert np.isnan(found[order][~known]).all()
    voices = predict_companions(state, torch.from_numpy(X).unsqueeze(0))
    bagged = forest.predict_proba(X.astype(np.float32))
    np.testing.assert_allclose(voices.bagged[0], bagged, atol=1e-8)


def test_rows_that_are_padded_have_none() -> None:
    X, y = make_task()
    alone = support_of(X, y)
    mask = torch.arange(130) % 13 != 5  # 120 of 130 rows are real
    x = torch.full((1, 130, 4), 9.0, dtype=torch.float64)
    labels = torch.zeros(1, 130, dtype=torch.int64)
    x[0, mask], labels[0, mask] = alone.x[0], alone.y[0]
    padded = Support(x, labels, mask.unsqueeze(0), alone.class_mask)
    found = fit_companions(padded, 8)[OPINIONS][0]
    torch.testing.assert_close(
        found[mask], fit_companions(alone, 8)[OPINIONS][0], equal_nan=True, rtol=0, atol=0
    )
    assert found[~mask].isnan().all()


@pytest.mark.parametrize(
    ("n", "n_classes", "asked"),
    [(FROM_ROWS - 1, 3, False), (FROM_ROWS, 3, True), (120, UP_TO_CLASSES + 1, False)],
)
def test_who_is_asked(n: int, n_classes: int, asked: bool) -> None:
    state = fit_companions(support_of(*make_task(n, n_classes)), 8)
    assert bool(state["asked"].item()) is asked
    assert bool(state[OPINIONS].isfinite().any()) is asked


def test_columns_are_centered_logarithms_in_the_order_of_ranks() -> None:
    shares = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]], dtype=torch.float64)
    opinions = shares.expand(1, 5, 2, 3)  # two classifiers
    ranks, mask = torch.tensor([[2, 0, 1]]), torch.ones(1, 3, dtype=torch.bool)
    found = as_columns(opinions, ranks, mask, torch.tensor([True]))
    assert found.shape == (1, 5, 6)
    logs = np.log([0.3, 0.5, 0.2])
    np.testing.assert_allclose(found[0, 0, :3], logs - logs.mean(), atol=1e-6)
    assert found.isfinite().all()


def test_of_two_classes_the_difference_of_logarithms() -> None:
    opinions = torch.tensor([0.2, 0.8, 0.0], dtype=torch.float64).expand(1, 4, 2, 3)
    mask, asked = torch.tensor([[True, True, False]]), torch.tensor([True])
    one = as_columns(opinions, torch.tensor([[0, 1, 2]]), mask, asked)
    other = as_columns(opinions, torch.tensor([[1, 0, 2]]), mask, asked)
    assert one.shape == (1, 4, 2)
    np.testing.assert_allclose(one, np.log(4), atol=1e-6)
    np.testing.assert_allclose(other, -np.log(4), atol=1e-6)


def test_tasks_that_are_not_asked_have_gaps_or_no_columns() -> None:
    opinions = torch.full((2, 4, 2, 3), 1 / 3, dtype=torch.float64)
    ranks, mask = torch.tensor([[0, 1, 2]] * 2), torch.ones(2, 3, dtype=torch.bool)
    some = as_columns(opinions, ranks, mask, torch.tensor([True, False]))
    assert some[0].isfinite().all()
    assert some[1].isnan().all()
    assert as_columns(opinions, ranks, mask, torch.tensor([False, False])).shape == (2, 4, 0)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_neither_rows_nor_names_of_classes_matter(n_classes: int) -> None:
    X, y = make_task(90, n_classes)
    test_X = make_task(20, n_classes, seed=0)[0]
    learner = InContextTransformer(n_trees=16)
    found = MetaFewShotClassifier(learner).fit(X, y).predict_proba(test_X)
    order = np.random.default_rng(1).permutation(len(X))
    again = MetaFewShotClassifier(learner).fit(X[order], y[order]).predict_proba(test_X)
    np.testing.assert_allclose(again, found, atol=1e-5)
    renamed = MetaFewShotClassifier(learner).fit(X, n_classes - 1 - y).predict_proba(test_X)
    np.testing.assert_allclose(renamed[:, ::-1], found, atol=1e-5)


@pytest.mark.parametrize("favoured", [0, 1])
def test_parts_are_the_likeliest(favoured: int) -> None:
    rng = np.random.default_rng(favoured)
    said = rng.uniform(0.1, 1, size=(60, 2))
    said[:, favoured] = said[:, favoured] ** 0.5
    said = np.concatenate([said, [[np.nan, 0.9], [0.2, np.nan]]])

    def negative(part: float) -> float:
        known = said[:-2] @ [part, 1 - part]
        return -np.log(known).sum() - beta(5, 5).logpdf(part)

    best = minimize_scalar(negative, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    assert weigh(said) == pytest.approx(best.x, abs=1e-5)
    assert (weigh(said) > 0.5) == (favoured == 0)
    assert weigh(said[-2:]) == 0.5


@pytest.mark.parametrize("rule", ["line", "crossed"])
def test_who_tells_the_classes_counts(rule: str) -> None:
    X = np.random.default_rng(0).uniform(-1, 1, size=(600, 6))
    y = (X[:, 0] > X[:, 1]) if rule == "line" else (X[:, 0] > 0) ^ (X[:, 1] > 0)
    state = fit_companions(support_of(X[:200], y[:200].astype(int)), 64)
    voices = predict_companions(state, torch.from_numpy(X[200:]).unsqueeze(0))
    rows = torch.arange(400), torch.from_numpy(y[200:].astype(int))
    equal = (voices.regression + voices.forest)[0][rows].div(2).log().mean()
    assert voices.mean[0][rows].log().mean() > equal + 0.02
    assert (voices.part.item() > 0.7) if rule == "line" else (voices.part.item() < 0.3)


def test_the_network_reads_them() -> None:
    # A rule that trees find and the network alone does not.
    X = np.random.default_rng(0).uniform(-1, 1, size=(800, 3))
    y = (np.abs(X[:, 0]) < 0.5) ^ (np.abs(X[:, 1]) < 0.5)
    alone, reading = InContextTransformer(companions=0.0), InContextTransformer(companions=1e-9)
    scores = [  # the second has companions that have no vote
        MetaFewShotClassifier(learner).fit(X[:400], y[:400]).score(X[400:], y[400:])
        for learner in (alone, reading)
    ]
    assert scores[1] > scores[0] + 0.15
