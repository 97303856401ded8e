"""With learner="auto", fit_meta never ends behind the pretrained network on held-out tasks."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import accuracy_score, r2_score

from metaest import MetaFewShotClassifier, MetaFewShotRegressor
from metaest.episodes import EpisodeBatch
from metaest.few_shot import _rival
from metaest.learners import InContextTransformer, ProtoNet
from metaest.tasks import as_task_set
from metaest.training._held_out import _relative_error, draw_held_out, score_held_out

ESTIMATORS = {"classification": MetaFewShotClassifier, "regression": MetaFewShotRegressor}
SHAPE = {"n_ways": 2, "n_shots": 5, "n_queries": 8}


def make_tasks(kind: str, common: float, n_tasks: int = 16, n_rows: int = 60, n_columns: int = 5):
    """Linear tasks whose weights have a common part, by which tasks teach each other."""
    rng = np.random.default_rng(0)
    shared = common * rng.normal(size=n_columns)
    tasks = []
    for _ in range(n_tasks):
        X = rng.normal(size=(n_rows, n_columns))
        z = X @ (shared + rng.normal(size=n_columns))
        tasks.append((X, z if kind == "regression" else (z > np.median(z)).astype(int)))
    return tasks


def make(kind: str, **params):
    shape = SHAPE if kind == "classification" else {"n_shots": 20, "n_queries": 8}
    return ESTIMATORS[kind](**({"random_state": 0, "n_episodes": 160} | shape | params))


@pytest.fixture(scope="module", params=ESTIMATORS)
def kept_pretrained(request):
    """Estimators whose tasks have little in common."""
    estimator = make(request.param).fit_meta(make_tasks(request.param, common=0.0))
    return request.param, estimator


def test_pretrained_network_is_kept_where_it_does_better(kept_pretrained):
    kind, estimator = kept_pretrained
    state = estimator.meta_state_
    assert state.source == "pretrained"
    assert state.history[-1]["held_out_pretrained"] > state.history[-1]["held_out"]
    assert "train_loss" in state.history[0]
    X, y = make_tasks(kind, common=0.0, n_tasks=1)[0]
    found = clone(estimator).fit(X[:20], y[:20]).predict(X[20:])
    expected = make(kind).fit(X[:20], y[:20]).predict(X[20:])
    np.testing.assert_array_equal(found, expected)


def test_it_survives_pickle_and_file(kept_pretrained, tmp_path):
    kind, estimator = kept_pretrained
    X, y = make_tasks(kind, common=0.0, n_tasks=1)[0]
    expected = estimator.fit(X, y).predict(X)
    copy = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copy.predict(X), expected)
    estimator.save(tmp_path / "a.metaest")
    loaded = type(estimator).load(tmp_path / "a.metaest")
    assert loaded.meta_state_.source == "pretrained"
    np.testing.assert_allclose(loaded.fit(X, y).predict(X), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_meta_training_is_kept_where_it_does_better(kind):
    n_shots = 2 if kind == "classification" else 5
    estimator = make(kind, n_episodes=1600, n_shots=n_shots)
    estimator.fit_meta(make_tasks(kind, common=4.0, n_columns=12))
    state = estimator.meta_state_
    assert state.source == "fit_meta"
    assert state.history[-1]["held_out"] >= state.history[-1]["held_out_pretrained"]


@pytest.mark.parametrize(
    ("params", "n_columns"),
    [
        ({"learner": ProtoNet()}, 5),
        ({"backbone": "mlp"}, 5),
        ({"validation_fraction": 0.0}, 5),
        ({}, 101),
    ],
    ids=["named learner", "named backbone", "nothing held out", "many columns"],
)
def test_no_comparison(params, n_columns, monkeypatch):
    monkeypatch.delattr(_rival, "score_held_out")  # an error if it is asked for
    estimator = make("classification", **params).set_params(n_episodes=16)
    estimator.fit_meta(make_tasks("classification", common=0.0, n_columns=n_columns))
    assert estimator.meta_state_.source == "fit_meta"


def test_no_comparison_with_many_rows(monkeypatch):
    monkeypatch.delattr(_rival, "score_held_out")
    estimator = make("classification", n_shots=501, n_queries=1).set_params(n_episodes=2)
    estimator.fit_meta(make_tasks("classification", common=0.0, n_rows=1010))
    assert estimator.meta_state_.source == "fit_meta"


def test_no_comparison_with_images_and_teachers(monkeypatch):
    monkeypatch.delattr(_rival, "score_held_out")
    tasks = make_tasks("classification", common=0.0, n_columns=4)
    teacher = make("classification", learner="protonet").fit_meta(tasks)
    make("classification").fit_meta(tasks, distill=teacher)
    images = make("classification", input_shape=(1, 2, 2)).set_params(n_episodes=16)
    assert images.fit_meta(tasks).meta_state_.source == "fit_meta"


def test_interrupt_while_comparing_keeps_what_was_learned(monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_rival, "score_held_out", interrupt)
    estimator = make("classification")
    with pytest.raises(KeyboardInterrupt):
        estimator.fit_meta(make_tasks("classification", common=0.0))
    assert estimator.meta_state_.source == "fit_meta"


def test_it_reads_tables_with_gaps_then():
    estimator = make("classification").fit_meta(make_tasks("classification", common=0.0))
    X = np.array([[0.0, np.nan, 1.0], [1.0, 0.0, np.nan], [0.1, 2.0, 1.0], [0.9, 0.0, 1.0]])
    assert estimator.fit(X, [0, 1, 0, 1]).predict(X).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("learner", ["ridge", InContextTransformer(n_trees=8)], ids=str)
def test_scores_are_those_of_the_estimator(kind, learner):
    tasks = make_tasks(kind, common=1.0, n_rows=40)
    estimator = make(kind, learner=learner).set_params(n_episodes=16).fit_meta(tasks)
    shape = {"n_ways": (2, 2) if kind == "classification" else None, "n_shots": (5, 9)}
    batches = draw_held_out(as_task_set(tasks, kind=kind), {**shape, "n_queries": (2, 8)}, 0, 1)
    found = score_held_out(estimator.meta_state_, batches, torch.device("cpu"))
    scores = []
    metric = accuracy_score if kind == "classification" else r2_score
    for batch in batches:
        for i in range(len(batch)):
            support, query = batch.support_mask[i], batch.query_mask[i]
            estimator.fit(batch.support_x[i][support], batch.support_y[i][support].numpy())
            predicted = estimator.predict(batch.query_x[i][query].numpy())
            scores.append(max(-9, metric(batch.query_y[i][query].numpy(), predicted)))
    assert len(scores) == 24
    # Single precision decides some near ties of the in-context network's companions.
    assert found == pytest.approx(np.mean(scores), abs=1e-4 if learner == "ridge" else 0.01)


def test_constant_targets_have_no_unit():
    tasks = [(X, 0 * y) for X, y in make_tasks("regression", common=4.0)]
    estimator = make("regression", n_episodes=16, validation_fraction=0.0).fit_meta(tasks)
    assert (estimator.fit(*tasks[0]).predict(tasks[0][0]) == 0).all()


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_the_unit_of_the_targets_decides_nothing(unit):
    y = torch.tensor([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0], [1.0, 2.0, 4.0]]) * unit
    known = torch.ones_like(y, dtype=torch.bool)
    batch = EpisodeBatch(y[..., None], y, known, y[..., None], y, known)
    predicted = torch.tensor([[2.0, 2.0, 4.0], [5.0, 5.0, 5.0], [torch.nan, 2.0, 4.0]]) * unit
    found = _relative_error(predicted.double(), batch)
    expected = 1 - r2_score([1.0, 2.0, 4.0], [2.0, 2.0, 4.0])
    # Of equal targets none is better than another; what is not finite is the worst.
    torch.testing.assert_close(
        found, torch.tensor([expected, 1.0, 10.0]).double(), rtol=1e-5, atol=0
    )
