"""Sentence embedding: against the vectors themselves, offline, in scikit-learn's tools."""

import logging
import socket
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from metaest import MetaFewShotClassifier, text
from metaest.datasets import fetch_clinc150
from metaest.exceptions import InvalidParameterError, MissingDependencyError
from metaest.text import SentenceEmbedder

TEXTS = ["freeze my card", "block the account", "will it rain today", "is a storm coming", ""]


@pytest.fixture
def fresh_model() -> None:
    """Have the model loaded again."""
    text._load_model.cache_clear()


def _vectors(sentence: str) -> np.ndarray:
    """Return the vector of each token, from the files of the package."""
    wordllama = pytest.importorskip("wordllama", reason="needs the extra text")
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    folder = Path(wordllama.__file__).parent
    weights = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    file = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokens = Tokenizer.from_file(str(file)).encode(sentence, add_special_tokens=False)
    return weights[tokens.ids].astype(np.float64)


def test_rows_are_the_mean_of_the_vectors() -> None:
    own = np.stack([_vectors(sentence).mean(axis=0) for sentence in TEXTS[:-1]])
    rows = SentenceEmbedder(normalize=False).fit_transform(TEXTS)
    assert rows.shape == (5, 256)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[:-1], own, rtol=1e-4, atol=1e-6)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    np.testing.assert_allclose(SentenceEmbedder().transform(TEXTS)[:-1], own, rtol=1e-4, atol=1e-6)


def test_empty_texts_are_zero_and_no_texts_are_no_rows() -> None:
    pytest.importorskip("wordllama", reason="needs the extra text")
    np.testing.assert_array_equal(SentenceEmbedder().transform(["", "a"])[0], 0)
    assert SentenceEmbedder().transform([]).shape == (0, 256)


def test_a_row_does_not_depend_on_the_others() -> None:
    pytest.importorskip("wordllama", reason="needs the extra text")
    together = SentenceEmbedder().transform(TEXTS)
    alone = np.vstack([SentenceEmbedder().transform([one]) for one in TEXTS])
    np.testing.assert_allclose(alone, together, atol=1e-7)


def test_meaning_counts_where_no_word_is_shared() -> None:
    pytest.importorskip("wordllama", reason="needs the extra text")
    card, account, rain, storm, _ = SentenceEmbedder().transform(TEXTS)
    assert card @ account > max(card @ rain, card @ storm)
    assert rain @ storm > max(account @ rain, account @ storm)


def test_opens_no_socket_and_leaves_logging_alone(
    fresh_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wordllama", reason="needs the extra text")
    for name in [name for name in sys.modules if name.split(".")[0] == "wordllama"]:
        monkeypatch.delitem(sys.modules, name)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    assert SentenceEmbedder().transform(TEXTS).shape == (5, 256)
    assert logging.getLogger().handlers == []


def test_missing_package_names_the_extra(
    fresh_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    with pytest.raises(MissingDependencyError, match=r"'wordllama'.*metaest\[text\]"):
        SentenceEmbedder().transform(TEXTS)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("freeze my card", "got one text"),
        (["freeze my card", None], "got None of type NoneType in row 1"),
        (pd.DataFrame({"text": TEXTS}), "one column of texts, got 2 dimensions"),
        ([["freeze"], ["block"]], "of type list in row 0"),
    ],
    ids=["one text", "missing", "frame", "nested"],
)
def test_what_is_no_list_of_texts_is_refused(X: object, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        SentenceEmbedder().transform(X)


def test_in_scikit_learns_tools() -> None:
    pytest.importorskip("wordllama", reason="needs the extra text")
    embedder = clone(SentenceEmbedder(normalize=False))
    assert embedder.get_params() == {"normalize": False}
    names = embedder.get_feature_names_out()
    assert len(names) == 256
    assert names[0] == "sentenceembedder0"
    frame = embedder.set_output(transform="pandas").transform(pd.Series(TEXTS, index=range(5, 10)))
    assert list(frame.columns) == list(names)
    np.testing.assert_array_equal(frame, SentenceEmbedder(normalize=False).transform(TEXTS))
    with pytest.raises(ValueError, match="normalize"):
        SentenceEmbedder(normalize="l2").fit(TEXTS)


def test_few_shot_intents(data_dir: Path) -> None:
    pytest.importorskip("wordllama", reason="needs the extra text")
    clinc = fetch_clinc150(subset="test", source=data_dir)
    rows = np.flatnonzero(np.isin(clinc.target, ["pay_bill", "vaccines", "play_music"]))
    support = [rows[clinc.target[rows] == name][0] for name in np.unique(clinc.target[rows])]
    clf = MetaFewShotClassifier("protonet", standardize=False, random_state=0)
    pipeline = make_pipeline(SentenceEmbedder(), clf)
    pipeline.fit(clinc.text[support], clinc.target[support])
    assert pipeline.score(clinc.text[rows], clinc.target[rows]) > 0.8
