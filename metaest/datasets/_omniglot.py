"""Omniglot: 1623 handwritten characters of 50 alphabets, each drawn by 20 people."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

import numpy as np
from sklearn.utils import Bunch

from metaest.datasets._fetch import Arrays, load_or_fetch, prepares_npz, read_npz
from metaest.datasets._omniglot_files import IMAGES, RUNS, convert_images, convert_runs, resize
from metaest.exceptions import DatasetError, InvalidParameterError, did_you_mean

#: The alphabets of the two official "minimal" training sets.
SMALL = {
    "small1": ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
    "small2": ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog"),
}
SUBSETS = ("all", "background", "evaluation", *SMALL)

_DESCR = """\
Omniglot: 1623 handwritten characters of 50 alphabets, each drawn once by 20 people
(Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic program
induction, Science 350, 2015; MIT licence; https://github.com/brendenlake/omniglot).

Images are 28 x 28 with ink = 1 on 0: the original 105 x 105 drawings, resized by Pillow's Lanczos
filter. "background" (30 alphabets, 964 characters) is meant for training, "evaluation" (20
alphabets, 659 characters) for testing; "small1" and "small2" are the official small background
sets of 5 alphabets each.
"""

_RUNS_DESCR = """\
The 20 official one-shot classification runs of Omniglot: in each, 20 characters of one evaluation
alphabet, one training image of each by one drawer and one test image of each by another. The error
over all 400 test images is the "one-shot classification error" of Lake et al. 2015 (people: 4.5 %).
"""


def fetch_omniglot(
    *,
    subset: Literal["all", "background", "evaluation", "small1", "small2"] = "all",
    data_home: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load the Omniglot data set (classification, one-shot).

    A copy on this machine is used where there is one: `source`, then a given `data_home`, then the
    folder named by the environment variable ``METAEST_DATA``, then the default cache. Otherwise
    the two official archives (15 MB) are downloaded, verified and converted, which needs Pillow
    (``pip install 'metaest[images]'``). ``METAEST_OFFLINE=1`` forbids any download.

    =================   ==================
    Classes                1623 (964 + 659)
    Samples per class                    20
    Samples total                     32460
    Dimensionality              1 x 28 x 28
    Features              real, in [0, 1]
    =================   ==================

    Parameters
    ----------
    subset : {"all", "background", "evaluation", "small1", "small2"}, default="all"
        "background" is meant for training, "evaluation" for testing; "small1" and "small2" are
        the official small background sets of 5 alphabets.
    data_home : path, default=None
        Cache folder. None: the environment variable ``METAEST_CACHE_DIR``, else
        ``~/metaest_data``.
    source : path, default=None
        A local ``omniglot28.npz`` or the folder that holds it; nowhere else is looked then.
    download_if_missing : bool, default=True
        False: raise an error where the data is not on this machine.
    return_X_y : bool, default=False
        Return ``(images, target)``.
    n_retries : int, default=3
        How often a broken connection is tried again.
    delay : float, default=1.0
        Seconds between two tries.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        images : ndarray of float32, shape (n, 1, 28, 28)
            Ink is 1, paper 0. Sorted by alphabet, character and drawer.
        data : ndarray of float32, shape (n, 784)
            The same, flat (a view).
        target : ndarray of int64, shape (n,)
            Class of each image, 0..n_classes-1 within the subset.
        target_names : ndarray of str, shape (n_classes,)
            Such as ``"Greek/character01"``.
        alphabet : ndarray of str, shape (n,)
            Of each image.
        character, drawer : ndarray of int64, shape (n,)
            From 1. A character's number counts within its alphabet.
        background : ndarray of bool, shape (n,)
            Whether an image is of the background set.
        DESCR : str
            What the data is, and its licence.
    (images, target) : tuple if `return_X_y`

    Raises
    ------
    InvalidParameterError
        If the subset is unknown, or `n_retries` or `delay` is out of its range.
    DatasetError
        If the data is not here and may not or cannot be fetched, or a file is damaged.
    MissingDependencyError
        If a download must be converted and Pillow is not installed.

    References
    ----------
    Lake, Salakhutdinov and Tenenbaum, Human-level concept learning through probabilistic program
    induction, Science 350 (2015).

    Examples
    --------
    >>> from metaest.datasets import fetch_omniglot
    >>> omniglot = fetch_omniglot(subset="background")  # doctest: +SKIP
    >>> omniglot.images.shape  # doctest: +SKIP
    (19280, 1, 28, 28)
    """
    if subset not in SUBSETS:
        raise InvalidParameterError(
            f"subset={subset!r} is unknown; there are {', '.join(SUBSETS)}."
            f"{did_you_mean(subset, SUBSETS)}"
        )
    arrays = load_or_fetch(
        "omniglot28.npz",
        IMAGES,
        prepares_npz(convert_images),
        read_npz,
        source=source,
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
    )
    _check_names(
        arrays, ("image", "alphabet", "alphabet_name", "character", "drawer", "background")
    )
    bunch = _make_bunch(arrays, subset)
    return (bunch.images, bunch.target) if return_X_y else bunch


def fetch_omniglot_oneshot_runs(
    *,
    image_size: int = 105,
    data_home: str | os.PathLike | None = None,
    source: str | os.PathLike | None = None,
    download_if_missing: bool = True,
    n_retries: int = 3,
    delay: float = 1.0,
) -> Bunch:
    """Load the 20 official one-shot classification runs of Omniglot.

    Looks where :func:`fetch_omniglot` looks, for ``omniglot_oneshot_runs.npz``.

    Parameters
    ----------
    image_size : int, default=105
        Height and width. 105 is the original; 28 gives the images of :func:`fetch_omniglot`
        (resizing needs Pillow: ``pip install 'metaest[images]'``).
    data_home, source, download_if_missing, n_retries, delay
        As in :func:`fetch_omniglot`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        train, test : ndarray of float32, shape (20, 20, 1, image_size, image_size)
            Run, image. Ink is 1, paper 0.
        label : ndarray of int64, shape (20, 20)
            For each test image the index of the training image of the same character.
        DESCR : str
            What the data is, and its licence.

    Raises
    ------
    InvalidParameterError
        If `image_size`, `n_retries` or `delay` is out of its range.
    DatasetError
        If the data is not here and may not or cannot be fetched, or a file is damaged.
    MissingDependencyError
        If Pillow is needed, to convert a download or to resize, and is not installed.

    Examples
    --------
    >>> from metaest.datasets import fetch_omniglot_oneshot_runs
    >>> runs = fetch_omniglot_oneshot_runs(image_size=28)  # doctest: +SKIP
    >>> runs.train.shape, runs.label.shape  # doctest: +SKIP
    ((20, 20, 1, 28, 28), (20, 20))
    """
    if image_size not in range(1, 106):
        raise InvalidParameterError(f"image_size must be an int in 1..105, got {image_size!r}.")
    arrays = load_or_fetch(
        "omniglot_oneshot_runs.npz",
        RUNS,
        prepares_npz(convert_runs),
        read_npz,
        source=source,
        data_home=data_home,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
    )
    _check_names(arrays, ("train", "test", "label"))
    images = {}
    for part in ("train", "test"):
        drawings = np.unpackbits(arrays[part], axis=-1)[..., : 105 * 105]  # (runs, images, pixels)
        drawings = drawings.reshape(*drawings.shape[:2], 1, 105, 105)
        images[part] = resize(drawings, int(image_size))
    label = arrays["label"].astype(np.int64)
    return Bunch(train=images["train"], test=images["test"], label=label, DESCR=_RUNS_DESCR)


def _make_bunch(arrays: Arrays, subset: str) -> Bunch:
    names = arrays["alphabet_name"].astype(str)
    if subset == "all":
        keep = np.ones(len(arrays["image"]), dtype=bool)
    elif subset in SMALL:
        keep = np.isin(names[arrays["alphabet"]], SMALL[subset])
    else:
        keep = arrays["background"] == (subset == "background")
    alphabet, character = arrays["alphabet"][keep], arrays["character"][keep].astype(np.int64)
    pairs = np.stack([alphabet, character], axis=1)
    classes, target = np.unique(pairs, axis=0, return_inverse=True)
    images = (arrays["image"][keep].astype(np.float32) / 255)[:, None]  # (n, 1, 28, 28)
    return Bunch(
        images=images,
        data=images.reshape(len(images), -1),
        target=target.reshape(-1).astype(np.int64),
        target_names=np.array([f"{names[a]}/character{c:02d}" for a, c in classes]),
        alphabet=names[alphabet],
        character=character,
        drawer=arrays["drawer"][keep].astype(np.int64),
        background=arrays["background"][keep],
        DESCR=_DESCR,
    )


def _check_names(arrays: Arrays, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in arrays]
    if missing:
        raise DatasetError(
            f"the file of the data set lacks {', '.join(missing)}: it was not written by metaest. "
            "Delete it to have it fetched again, or pass source= with another copy."
        )
