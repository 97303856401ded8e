"""CLINC150: 22,500 short queries of 150 intents in ten domains."""

from __future__ import annotations

import functools
import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.utils import Bunch

from metaest.datasets._fetch import Archive, Prepare, load_or_fetch
from metaest.exceptions import DatasetError, InvalidParameterError, did_you_mean

_REPOSITORY = "https://raw.githubusercontent.com/clinc/oos-eval/master/data/"

QUERIES = Archive(f"{_REPOSITORY}data_full.json", "30c29dc6ab78edf3b5dfa640be204cde")
DOMAINS = Archive(f"{_REPOSITORY}domains.json", "9beee9d0f36e07e914c1e3a626bdcb4a")

PARTS = ("train", "val", "test")
SUBSETS = ("all", *PARTS)

_DESCR = """\
CLINC150: 22,500 short English queries to a voice assistant, each of one of 150 intents; ten domains
of 15 intents each. 100 queries of each intent are of the part "train", 20 of "val" and 30 of "test"
(Larson et al., An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, EMNLP
2019; CC BY 3.0; https://github.com/clinc/oos-eval). The queries without an intent (out of scope)
are left out.

All three parts have all intents. For few-shot learning divide by domain (or by intent): learn from
some domains how to learn, then test on others.
"""


def fetch_clinc150(
    *,
    subset: Literal["all", "train", "val", "test"] = "all",
    data_home: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load the CLINC150 data set (classification of short texts by intent).

    A copy on this machine is used where there is one: `source`, then a given `data_home`, then the
    folder named by the environment variable ``METAEST_DATA``, then the default cache. Otherwise
    the two official files (2.5 MB) are downloaded and verified. ``METAEST_OFFLINE=1`` forbids any
    download.

    =================   ==================
    Classes             150, in 10 domains
    Samples per class       100 + 20 + 30
    Samples total                    22500
    Features                          text
    =================   ==================

    Parameters
    ----------
    subset : {"all", "train", "val", "test"}, default="all"
        Each part has queries of all 150 intents.
    data_home : path, default=None
        Cache folder. None: the environment variable ``METAEST_CACHE_DIR``, else
        ``~/metaest_data``.
    source : path, default=None
        A local folder that holds ``clinc150.json.gz`` and ``clinc150_domains.json``; nowhere else
        is looked then.
    download_if_missing : bool, default=True
        False: raise an error where the data is not on this machine.
    return_X_y : bool, default=False
        Return ``(text, target)``.
    n_retries : int, default=3
        How often a broken connection is tried again.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        text : ndarray of object, shape (n,)
            The queries: those of "train", then "val", then "test".
        target : ndarray of str, shape (n,)
            Intent of each query, such as ``"pay_bill"``.
        domain : ndarray of str, shape (n,)
            Domain of each query, such as ``"banking"``.
        domain_names : ndarray of str, shape (10,)
            In the order of the official file.
        DESCR : str
            What the data is, and its licence.
    (text, target) : tuple if `return_X_y`

    Raises
    ------
    InvalidParameterError
        If the subset is unknown, or `n_retries` or `delay` is out of its range.
    DatasetError
        If the data is not here and may not or cannot be fetched, or a file is damaged.

    References
    ----------
    Larson et al., An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction,
    EMNLP 2019.

    Examples
    --------
    >>> from metaest.datasets import fetch_clinc150
    >>> clinc = fetch_clinc150(subset="train")  # doctest: +SKIP
    >>> clinc.text[0], clinc.target[0], clinc.domain[0]  # doctest: +SKIP
    ('what expression would i use to say i love you if i were an italian', 'translate', 'travel')
    """
    if subset not in SUBSETS:
        raise InvalidParameterError(
            f"subset={subset!r} is unknown; there are {', '.join(SUBSETS)}."
            f"{did_you_mean(subset, SUBSETS)}"
        )
    load = functools.partial(
        _load,
        source=source,
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
    )
    queries = load("clinc150.json.gz", QUERIES, _compress, _read_compressed)
    domains = load("clinc150_domains.json", DOMAINS, _copy, _read_json)
    bunch = _make_bunch(queries, domains, PARTS if subset == "all" else (subset,))
    return (bunch.text, bunch.target) if return_X_y else bunch


def _load(
    file: str,
    archive: Archive,
    prepare: Prepare,
    read: Callable[[Path], Any],
    *,
    source: str | os.PathLike | None,
    **options: Any,
) -> Any:
    """Load one of the two files; `source` is the folder of both."""
    path = None if source is None else Path(source, file)
    return load_or_fetch(file, [archive], prepare, read, source=path, **options)


def _make_bunch(queries: Any, domains: Any, parts: Sequence[str]) -> Bunch:
    try:
        rows = [row for part in parts for row in queries[part]]
        domain_of = {intent: name for name, intents in domains.items() for intent in intents}
        text, target = zip(*rows, strict=True)
        domain = [domain_of[intent] for intent in target]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            "the files of the data set were not written by metaest "
            f"({type(error).__name__}: {error}): expected lists of [text, intent] named train, val "
            "and test, and the intents of each domain. Delete them to have them fetched again, or "
            "pass source= with another copy."
        ) from error
    return Bunch(
        text=np.array(text, dtype=object),
        target=np.array(target),
        domain=np.array(domain),
        domain_names=np.array(list(domains)),
        DESCR=_DESCR,
    )


def _compress(downloads: Sequence[Path]) -> bytes:
    return gzip.compress(downloads[0].read_bytes(), mtime=0)


def _copy(downloads: Sequence[Path]) -> bytes:
    return downloads[0].read_bytes()


def _read_compressed(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def _read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())
