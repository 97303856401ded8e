"""The shipped weights of the in-context learner."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import roc_auc_score

from metaest.episodes import Support
from metaest.exceptions import MetaestError
from metaest.learners import InContextTransformer, LearnerNet
from metaest.nets import NetSpec
from metaest.pretrained import _in_context
from metaest.pretrained._in_context import load_in_context, write_in_context

SMALL = {"cell_width": 8, "row_width": 16, "n_layers": 1}


def build(
    parameters: dict[str, int], n_columns: int = 3
) -> tuple[InContextTransformer, LearnerNet]:
    learner = InContextTransformer(**parameters)
    return learner, learner.build(NetSpec((n_columns,)), np.random.default_rng(0))


def test_written_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data" / "weights.safetensors"
    _, module = build(SMALL)
    facts = {"name": "test", "date": "2020-01-01", "training": "none"}
    write_in_context(module.network.state_dict(), SMALL, facts, path)
    monkeypatch.setattr(_in_context, "FILE", path)
    load_in_context.cache_clear()
    try:
        found = load_in_context()
        assert found is load_in_context()
    finally:
        load_in_context.cache_clear()
    assert found.parameters == SMALL
    assert facts.items() <= found.metadata.items()
    assert found.metadata["licence"] == "BSD-3-Clause"
    _, other = build(found.parameters)
    other.load_state_dict(dict(found.weights))
    for name, value in module.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_in_context, "FILE", tmp_path / "weights.safetensors")
    remedy = r"pretrain_in_context\.py --checkpoint FOLDER --export"  # a command that is complete
    with pytest.raises(MetaestError, match=f"not in this installation.*{remedy}"):
        load_in_context.__wrapped__()


@pytest.mark.parametrize(("load", "least"), [(load_iris, 0.95), (load_wine, 0.97)])
def test_shipped_weights_learn_a_table_of_ten_rows_a_class(load, least: float) -> None:
    shipped = load_in_context()
    X, y = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = torch.from_numpy(X[order]), torch.from_numpy(y[order])
    learner, module = build(dict(shipped.parameters), X.shape[1])
    module.load_state_dict(dict(shipped.weights))
    rows = torch.ones(1, 30, dtype=torch.bool)
    support = Support(X[None, :30], y[None, :30], rows, torch.ones(1, 3, dtype=torch.bool))
    with torch.no_grad():
        logits = learner.predict(module, learner.adapt(module, support), X[None, 30:])
    found = roc_auc_score(y[30:], logits[0].softmax(-1), multi_class="ovo")
    assert found > least
    assert shipped.metadata["name"]
