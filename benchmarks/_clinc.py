"""CLINC150: intents of five domains to meta-train on, of the other five to test on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import Normalizer

from metaest.datasets import fetch_clinc150

N_TRAIN_DOMAINS, N_VALIDATION_DOMAINS = 5, 2


class Texts(NamedTuple):
    """Queries with their intents and domains."""

    text: np.ndarray  # (n,)
    intent: np.ndarray  # (n,)
    domain: np.ndarray  # (n,), the position of the domain in the file

    def of(self, domains: range) -> Texts:
        rows = np.isin(self.domain, domains)
        return Texts(self.text[rows], self.intent[rows], self.domain[rows])


def load_texts() -> Texts:
    """Load the 22,500 queries of the 150 intents."""
    clinc = fetch_clinc150()
    number = {name: i for i, name in enumerate(clinc.domain_names)}
    return Texts(clinc.text, clinc.target, np.array([number[name] for name in clinc.domain]))


def split(validate: bool) -> tuple[range, range]:
    """Return the domains to meta-train on and those to test on.

    With `validate` both are among the five that the report trains on.
    """
    if validate:
        cut = N_TRAIN_DOMAINS - N_VALIDATION_DOMAINS
        return range(cut), range(cut, N_TRAIN_DOMAINS)
    return range(N_TRAIN_DOMAINS), range(N_TRAIN_DOMAINS, 10)


def make_features(random_state: int = 0):
    """Words and parts of words, weighted by TF-IDF, reduced to 384 columns of unit rows."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    reduce = TruncatedSVD(384, random_state=random_state)
    return make_pipeline(make_union(words, parts), reduce, Normalizer())


def tfidf_features(texts: Texts, folder: Path) -> np.ndarray:
    """Return the features of all texts, made without their intents and kept in `folder`."""
    path = folder / "clinc-features.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make_features().fit_transform(texts.text).astype(np.float32))
        partial.replace(path)
    return np.load(path)


def load_features(
    folder: Path, validate: bool
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
    """Return rows and intents to meta-train on, and those to test on."""
    texts = load_texts()
    X = tfidf_features(texts, folder)
    train, test = (np.isin(texts.domain, domains) for domains in split(validate))
    return (X[train], texts.intent[train]), X[test], texts.intent[test]
