"""Texts as rows of numbers, for the estimators that take tables."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.preprocessing import normalize

from metaest._optional import import_optional
from metaest._sklearn import fit_context
from metaest.exceptions import InvalidParameterError

__all__ = ["SentenceEmbedder"]


class SentenceEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn short texts into rows of 256 columns by what their words mean.

    A row is the mean of the pretrained vectors of a text's tokens (WordLlama, MIT licence, for
    English). So "freeze my card" and "block the account" are near each other although they share
    no word, which counts where a class has one example. The vectors come with the package
    ``wordllama`` (``pip install 'metaest[text]'``): nothing is ever downloaded.

    The transformer is stateless: nothing is learned in `fit`.

    Parameters
    ----------
    normalize : bool, default=True
        Whether rows have length 1, so that distances are those between directions. The row of
        an empty text is zero in either case.

    See Also
    --------
    sklearn.feature_extraction.text.TfidfVectorizer : Rows by which words there are.

    Notes
    -----
    The columns share a scale that matters: pass ``standardize=False`` to the estimators of metaest.

    References
    ----------
    Miller, WordLlama: Recycled Token Embeddings from Large Language Models, 2024,
    https://github.com/dleemiller/wordllama.

    Examples
    --------
    >>> from metaest.text import SentenceEmbedder
    >>> texts = ["freeze my card", "block the account", "will it rain today"]
    >>> X = SentenceEmbedder().transform(texts)  # doctest: +SKIP
    >>> X.shape, X[0] @ X[1] > X[0] @ X[2]  # doctest: +SKIP
    ((3, 256), True)
    """

    _n_features_out: ClassVar[int] = 256
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {"normalize": ["boolean"]}

    def __init__(self, *, normalize: bool = True) -> None:
        self.normalize = normalize

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X : iterable of str
            Not looked at.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        return self

    def transform(self, X: Iterable[str]) -> np.ndarray:
        """Embed texts.

        Parameters
        ----------
        X : iterable of str, length n

        Returns
        -------
        ndarray of float32, shape (n, 256)
            A text's row does not depend on the other texts.

        Raises
        ------
        InvalidParameterError
            If X is one text, or holds what is no text.
        MissingDependencyError
            If the package ``wordllama`` is not installed.
        """
        texts = _check_texts(X)
        rows = _load_model().embed(texts)  # (n, 256)
        return normalize(rows, copy=False) if self.normalize and len(rows) else rows

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.requires_fit = False
        return tags


def _check_texts(X: Any) -> list[str]:
    """Return the texts as a list, as WordLlama wants them."""
    if isinstance(X, str):
        raise InvalidParameterError("X must hold texts, got one text. Pass a list of it: [text].")
    if getattr(X, "ndim", 1) != 1:
        raise InvalidParameterError(
            f"X must be one column of texts, got {X.ndim} dimensions. Pass one column, such as "
            "X['text'], or name it in a ColumnTransformer as a string."
        )
    texts = list(X)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidParameterError(
                f"X must hold texts, got {text!r} of type {type(text).__name__} in row {i}. Drop "
                "such rows, or fill them with ''."
            )
    return [str(text) for text in texts]


@functools.cache
def _load_model() -> Any:
    """Load the vectors that the package ships, which it would look for elsewhere otherwise."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        wordllama = import_optional("wordllama", "text", "SentenceEmbedder")
    finally:  # importing it sets up the logging of the whole program
        root.handlers[:] = handlers
        root.setLevel(level)
    shipped = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=shipped, disable_download=True)
