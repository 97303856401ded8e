"""Omniglot's original files, and how their drawings become small images."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from metaest.datasets._fetch import Archive, Arrays
from metaest.exceptions import missing_dependency

_REPOSITORY = "https://github.com/brendenlake/omniglot/raw/master/python/"

#: The official archives; their checksums are the ones that torchvision has.
IMAGES = (
    Archive(f"{_REPOSITORY}images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
    Archive(f"{_REPOSITORY}images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
)
RUNS = (
    Archive(
        f"{_REPOSITORY}one-shot-classification/all_runs.zip", "e8996daecdf12afeeb4a53a179f06b19"
    ),
)


def convert_images(archives: Sequence[zipfile.ZipFile]) -> Arrays:
    """Read images_background.zip and images_evaluation.zip: SET/ALPHABET/characterNN/*_DD.png."""
    rows = []
    for archive in archives:
        for name in archive.namelist():
            path = PurePosixPath(name)
            if path.suffix == ".png" and len(path.parts) == 4:
                folder, script, character, file = path.parts
                numbers = int(character.removeprefix("character")), int(file[-6:-4])
                is_background = folder == "images_background"
                rows.append((script, *numbers, is_background, archive, name))
    rows.sort(key=lambda row: row[:3])
    names, alphabet = np.unique([row[0] for row in rows], return_inverse=True)
    images = [_resize_uint8(_read_png(archive, name), 28) for *_, archive, name in rows]
    return {
        "image": np.stack(images),
        "alphabet": alphabet.astype(np.uint8),
        "alphabet_name": names,
        "character": np.array([row[1] for row in rows], dtype=np.uint8),
        "drawer": np.array([row[2] for row in rows], dtype=np.uint8),
        "background": np.array([row[3] for row in rows]),
    }


def convert_runs(archives: Sequence[zipfile.ZipFile]) -> Arrays:
    """Read all_runs.zip: runNN/{training/classMM.png, test/itemMM.png, class_labels.txt}."""
    (archive,) = archives
    files = [name for name in archive.namelist() if name.endswith("class_labels.txt")]
    train, test, label = [], [], []
    for file in sorted(files):
        root = file.removesuffix("class_labels.txt")
        lines = [line.split() for line in archive.read(file).decode().splitlines()]
        pairs = sorted(
            (PurePosixPath(a).name, PurePosixPath(b).name) for a, b in filter(None, lines)
        )
        classes = sorted(name for _, name in pairs)
        train.append([_read_png(archive, f"{root}training/{name}") for name in classes])
        test.append([_read_png(archive, f"{root}test/{name}") for name, _ in pairs])
        label.append([classes.index(name) for _, name in pairs])
    flat = {"train": np.array(train), "test": np.array(test)}
    packed = {k: np.packbits(v.reshape(*v.shape[:2], -1), axis=-1) for k, v in flat.items()}
    return {**packed, "label": np.array(label, dtype=np.uint8)}


def _read_png(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Return a drawing as (105, 105) of bool, ink True (the files have ink black)."""
    with _pillow().open(io.BytesIO(archive.read(name))) as image:
        return np.asarray(image.convert("L")) < 128


def resize(drawings: np.ndarray, size: int) -> np.ndarray:
    """Resize drawings (..., 105, 105) of 0 and 1 to float32 (..., size, size) in [0, 1]."""
    if size == drawings.shape[-1]:
        return drawings.astype(np.float32)
    flat = drawings.reshape(-1, *drawings.shape[-2:])
    small = np.stack([_resize_uint8(drawing, size) for drawing in flat])
    return small.reshape(*drawings.shape[:-2], size, size).astype(np.float32) / 255


def _resize_uint8(drawing: np.ndarray, size: int) -> np.ndarray:
    """Resize one drawing to uint8, ink 255; black on white, since rounding up has a side."""
    paper = _pillow().fromarray(np.where(drawing, 0, 255).astype(np.uint8))
    return 255 - np.asarray(paper.resize((size, size), _pillow().Resampling.LANCZOS))


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_dependency("pillow", "images", "reading the original images") from error
    return Image
