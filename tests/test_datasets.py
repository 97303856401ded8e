"""Loaders: local copies, downloads from a server of our own, toys."""

import hashlib
import io
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from metaest._files import data_folder
from metaest.datasets import (
    _omniglot,
    fetch_clinc150,
    fetch_omniglot,
    fetch_omniglot_oneshot_runs,
    load_digit_tasks,
    make_sinusoid_tasks,
)
from metaest.exceptions import DatasetError, InvalidParameterError, MissingDependencyError
from tests.dataset_server import Server, serve

# ------------------------------------------------------------------------------- a tiny Omniglot

ALPHABETS = {"images_background": ["Greek", "Latin"], "images_evaluation": ["Angelic"]}


def _drawing(seed: int) -> np.ndarray:
    drawing = np.zeros((105, 105), dtype=bool)
    top, left = np.random.default_rng(seed).integers(5, 60, size=2)
    drawing[top : top + 40, left : left + 10] = True
    return drawing


def _png(drawing: np.ndarray) -> bytes:
    Image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    Image.fromarray(np.where(drawing, 0, 255).astype(np.uint8)).convert("1").save(stream, "PNG")
    return stream.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _image_zips() -> dict[str, bytes]:
    """Give each alphabet two characters by two drawers, in an order that is not sorted."""
    zips = {}
    for folder, alphabets in ALPHABETS.items():
        files = {f"__MACOSX/{folder}/Greek/character01/._1_01.png": b"not an image"}
        for alphabet in reversed(alphabets):
            for character in (2, 1):
                for drawer in (1, 2):
                    name = f"{folder}/{alphabet}/character{character:02d}/0900_{drawer:02d}.png"
                    files[name] = _png(_drawing(hash_of(alphabet, character, drawer)))
        zips[f"{folder}.zip"] = _zip(files)
    return zips


def hash_of(*parts: object) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:8], 16)


def _fingerprint(image: np.ndarray) -> str:
    return hashlib.md5(image.tobytes()).hexdigest()


def _runs_zip() -> bytes:
    files: dict[str, bytes] = {}
    for run, order in (("run02", [1, 0]), ("run01", [0, 1])):
        for i in range(2):
            files[f"{run}/training/class{i + 1:02d}.png"] = _png(_drawing(hash_of(run, i)))
            files[f"{run}/test/item{i + 1:02d}.png"] = _png(_drawing(hash_of(run, order[i])))
        lines = [
            f"{run}/test/item{i + 1:02d}.png {run}/training/class{c + 1:02d}.png"
            for i, c in reversed(list(enumerate(order)))
        ]
        files[f"{run}/class_labels.txt"] = "\n".join([*lines, ""]).encode()
    return _zip(files)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve tiny archives in place of the official ones."""
    with serve({**_image_zips(), "all_runs.zip": _runs_zip()}) as served:
        names = ["images_background.zip", "images_evaluation.zip"]
        monkeypatch.setattr(_omniglot, "IMAGES", tuple(served.archive(name) for name in names))
        monkeypatch.setattr(_omniglot, "RUNS", (served.archive("all_runs.zip"),))
        yield served


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METAEST_OFFLINE", raising=False)
    monkeypatch.setenv("METAEST_CACHE_DIR", str(tmp_path / "default"))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a cache folder of the test's own, with nothing elsewhere."""
    monkeypatch.delenv("METAEST_DATA", raising=False)
    return tmp_path / "home"


# -------------------------------------------------------------------------------------- downloads


def test_download_converts_sorts_and_then_works_offline(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = fetch_omniglot(data_home=home)
    assert data.images.shape == (12, 1, 28, 28)
    assert data.images.dtype == np.float32
    assert data.data.shape == (12, 784)
    np.testing.assert_array_equal(data.target, np.repeat(np.arange(6), 2))
    assert list(data.target_names[:3]) == [
        "Angelic/character01",
        "Angelic/character02",
        "Greek/character01",
    ]
    np.testing.assert_array_equal(data.drawer, np.tile([1, 2], 6))
    np.testing.assert_array_equal(data.background, np.repeat([False, True], [4, 8]))
    assert [path.name for path in home.iterdir()] == ["omniglot28.npz"]
    # Ink is 1: the drawing's 400 pixels of 11025 keep their share.
    assert data.images.mean() == pytest.approx(400 / 11025, rel=0.02)
    bounds = float(data.images.min()), float(data.images.max())
    assert bounds == (0.0, 1.0)

    served = server.requests
    monkeypatch.setenv("METAEST_OFFLINE", "1")
    again = fetch_omniglot(data_home=home, download_if_missing=False)
    np.testing.assert_array_equal(again.images, data.images)
    assert server.requests == served


def test_download_of_the_runs(server: Server, home: Path) -> None:
    runs = fetch_omniglot_oneshot_runs(data_home=home)
    assert runs.train.shape == runs.test.shape == (2, 2, 1, 105, 105)
    np.testing.assert_array_equal(runs.label, [[0, 1], [1, 0]])
    for run in range(2):
        np.testing.assert_array_equal(runs.test[run], runs.train[run][runs.label[run]])
    np.testing.assert_array_equal(runs.train[0, 1, 0], _drawing(hash_of("run01", 1)))


def test_default_cache_is_the_environments(server: Server, home: Path, tmp_path: Path) -> None:
    assert data_folder() == tmp_path / "default"
    fetch_omniglot()
    assert (tmp_path / "default" / "omniglot28.npz").is_file()


def test_default_cache_without_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAEST_CACHE_DIR")
    assert data_folder() == Path.home() / "metaest_data"


def test_wrong_checksum_leaves_nothing(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = _omniglot.IMAGES[1]._replace(md5="0" * 32)
    monkeypatch.setattr(_omniglot, "IMAGES", (_omniglot.IMAGES[0], wrong))
    with pytest.raises(DatasetError, match=r"md5 checksum [0-9a-f]{32}, expected 0{32}"):
        fetch_omniglot(data_home=home)
    assert list(home.iterdir()) == []


def test_broken_connection_is_tried_again(server: Server, home: Path) -> None:
    server.broken = 2
    assert len(fetch_omniglot(data_home=home, delay=0.0).images) == 12
    assert server.requests == 4


def test_broken_connection_for_good_leaves_nothing(server: Server, home: Path) -> None:
    server.broken = 100
    with pytest.raises(DatasetError, match=r"could not download .*bytes.*source="):
        fetch_omniglot(data_home=home, n_retries=1, delay=0.0)
    assert server.requests == 2
    assert list(home.iterdir()) == []


def test_missing_file_on_the_server_is_not_tried_again(server: Server, home: Path) -> None:
    del server.files["images_background.zip"]
    with pytest.raises(DatasetError, match=r"could not download .*404"):
        fetch_omniglot(data_home=home)
    assert server.requests == 1


def test_interrupt_while_converting_leaves_nothing(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(archives: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_omniglot, "convert_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_omniglot(data_home=home)
    assert list(home.iterdir()) == []


def test_interrupt_while_writing_leaves_nothing(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stream: io.BufferedWriter, **arrays: np.ndarray) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch_omniglot(data_home=home)
    assert list(home.iterdir()) == []


def test_two_at_once(server: Server, home: Path) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(len(fetch_omniglot(data_home=home).images)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [12, 12, 12]
    assert [path.name for path in home.iterdir()] == ["omniglot28.npz"]


def test_without_pillow_the_extra_is_named(
    server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependencyError, match=r"metaest\[images\]"):
        fetch_omniglot(data_home=home)
    assert list(home.iterdir()) == []


# ------------------------------------------------------------------------------------ local copies


@pytest.mark.parametrize("fetch", [fetch_omniglot, fetch_omniglot_oneshot_runs])
def test_missing_and_no_download(fetch, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match=r"download_if_missing=False.*METAEST_DATA"):
        fetch(data_home=home, download_if_missing=False)
    monkeypatch.setenv("METAEST_OFFLINE", "1")
    with pytest.raises(DatasetError, match=r"METAEST_OFFLINE is set.*source="):
        fetch(data_home=home)
    assert not home.exists()


def test_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"does not exist or holds no omniglot28\.npz"):
        fetch_omniglot(source=tmp_path)
    with pytest.raises(DatasetError, match=r"source='.*none.npz'"):
        fetch_omniglot(source=tmp_path / "none.npz")


def test_damaged_file_is_named(tmp_path: Path, home: Path) -> None:
    home.mkdir()
    (home / "omniglot28.npz").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(
        DatasetError, match=r"omniglot28\.npz cannot be read: it is damaged or no .*Delete it"
    ):
        fetch_omniglot(data_home=home)
    with (home / "omniglot28.npz").open("wb") as stream:
        np.savez_compressed(stream, image=np.arange(10_000))
    content = bytearray((home / "omniglot28.npz").read_bytes())
    content[1000] ^= 255
    (home / "omniglot28.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"omniglot28\.npz cannot be read.*Delete it"):
        fetch_omniglot(data_home=home)
    np.savez(tmp_path / "other.npz", image=np.zeros((2, 28, 28)))
    with pytest.raises(
        DatasetError, match=r"lacks alphabet, alphabet_name.* not written by metaest"
    ):
        fetch_omniglot(source=tmp_path / "other.npz")


def test_unwritable_cache(home: Path) -> None:
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file, not a folder")
    with pytest.raises(DatasetError, match=r"cannot write to .*data_home="):
        fetch_omniglot(data_home=home)


def test_order_of_the_places(
    server: Server, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_omniglot(data_home=home)
    other = tmp_path / "other"
    other.mkdir()
    with np.load(home / "omniglot28.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(other / "omniglot28.npz", **{**arrays, "image": arrays["image"] * 0})
    monkeypatch.setenv("METAEST_DATA", str(other))
    assert fetch_omniglot().images.max() == 0
    assert fetch_omniglot(data_home=home).images.max() == 1
    assert fetch_omniglot(source=home / "omniglot28.npz").images.max() == 1
    assert fetch_omniglot(source=other, data_home=home).images.max() == 0
    assert fetch_omniglot(data_home=tmp_path / "empty").images.max() == 0


def test_unknown_subset() -> None:
    with pytest.raises(
        InvalidParameterError, match=r"subset='backgrund'.*Did you mean 'background'"
    ):
        fetch_omniglot(subset="backgrund")


@pytest.mark.parametrize("fetch", [fetch_omniglot, fetch_omniglot_oneshot_runs, fetch_clinc150])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_retries": -1}, "n_retries must be an int >= 0, got -1"),
        ({"n_retries": 1.5}, r"n_retries must be an int >= 0, got 1\.5"),
        ({"delay": -1.0}, r"delay must be seconds >= 0, got -1\.0"),
        ({"delay": float("nan")}, "delay must be seconds >= 0, got nan"),
        ({"delay": "1"}, "delay must be seconds >= 0, got '1'"),
    ],
)
def test_bad_retries(fetch, home: Path, options: dict, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        fetch(data_home=home, **options)


@pytest.mark.parametrize("image_size", [0, 106, 28.5, "28"])
def test_bad_image_size(image_size: object) -> None:
    with pytest.raises(InvalidParameterError, match="image_size must be an int"):
        fetch_omniglot_oneshot_runs(image_size=image_size)


@pytest.mark.parametrize(
    ("subset", "n_alphabets", "n_classes"),
    [
        ("all", 50, 1623),
        ("background", 30, 964),
        ("evaluation", 20, 659),
        ("small1", 5, 136),
        ("small2", 5, 156),
    ],
)
def test_real_omniglot(data_dir: Path, subset, n_alphabets: int, n_classes: int) -> None:
    data = fetch_omniglot(subset=subset, source=data_dir)
    assert data.images.shape == (20 * n_classes, 1, 28, 28)
    assert len(np.unique(data.alphabet)) == n_alphabets
    assert len(data.target_names) == n_classes
    np.testing.assert_array_equal(np.bincount(data.target), 20)
    name, row = data.target_names[data.target[777]], 777
    assert name == f"{data.alphabet[row]}/character{data.character[row]:02d}"
    # Bytes of [0, 255] survive the scaling.
    whole = data.images[:50] * 255
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-4)


def test_small_sets_agree_with_the_file(data_dir: Path) -> None:
    with np.load(data_dir / "omniglot28.npz") as file:
        masks = {name: file[name] for name in ("small1", "small2")}
        alphabets = file["alphabet_name"][file["alphabet"]]
    for name, mask in masks.items():
        assert set(alphabets[mask]) == set(_omniglot.SMALL[name])


def test_return_X_y(data_dir: Path) -> None:
    X, y = fetch_omniglot(subset="small1", source=data_dir, return_X_y=True)
    assert X.shape == (2720, 1, 28, 28)
    assert y.shape == (2720,)


def test_conversion_is_the_shared_files(data_dir: Path) -> None:
    # The runs are evaluation drawings in their original size: resized by our rule, each is found
    # again, to the last bit.
    pytest.importorskip("PIL")
    runs = fetch_omniglot_oneshot_runs(image_size=28, source=data_dir)
    small = fetch_omniglot(subset="evaluation", source=data_dir)
    known = {_fingerprint(image) for image in small.images}
    assert runs.train.shape == (20, 20, 1, 28, 28)
    for part in (runs.train, runs.test):
        assert all(_fingerprint(image) in known for image in part.reshape(400, 784))


def test_real_runs_are_one_class_each(data_dir: Path) -> None:
    pytest.importorskip("PIL")
    runs = fetch_omniglot_oneshot_runs(image_size=28, source=data_dir)
    small = fetch_omniglot(subset="evaluation", source=data_dir)
    class_of = dict(zip(map(_fingerprint, small.images), small.target, strict=True))
    for run in range(20):
        train = np.array([class_of[_fingerprint(image)] for image in runs.train[run]])
        test = np.array([class_of[_fingerprint(image)] for image in runs.test[run]])
        np.testing.assert_array_equal(train[runs.label[run]], test)


# -------------------------------------------------------------------------------------------- toys


def test_sinusoids_are_sinusoids() -> None:
    tasks = make_sinusoid_tasks(50, n_rows=30, random_state=3)
    assert len(tasks) == 50
    assert tasks.kind == "regression"
    for task in tasks:
        x, y = task.X[:, 0], task.y
        assert len(x) == 30
        assert np.abs(x).max() <= 5
        # A linear fit on sin and cos is exact, and gives amplitude and phase.
        design = np.stack([np.sin(x), np.cos(x)], axis=1)
        (s, c), *_ = np.linalg.lstsq(design, y)
        np.testing.assert_allclose(design @ [s, c], y, atol=1e-10)
        height, shift = np.hypot(s, c), np.arctan2(-c, s)
        assert 0.1 <= height <= 5
        assert -1e-6 <= shift <= np.pi + 1e-6
        assert task.name == f"{height:.2f} sin(x - {abs(shift):.2f})"


def test_sinusoids_ranges_noise_and_seed() -> None:
    options = {"amplitude": (2.0, 2.0), "phase": (0.0, 0.0), "x_range": (0.0, 1.0)}
    exact = make_sinusoid_tasks(4, n_rows=200, random_state=0, **options)
    noisy = make_sinusoid_tasks(4, n_rows=200, noise=0.1, random_state=0, **options)
    np.testing.assert_allclose(exact[0].y, 2 * np.sin(exact[0].X[:, 0]))
    residual = np.concatenate([task.y - 2 * np.sin(task.X[:, 0]) for task in noisy])
    assert residual.std() == pytest.approx(0.1, rel=0.1)
    again = make_sinusoid_tasks(4, n_rows=200, noise=0.1, random_state=0, **options)
    assert again.fingerprint() == noisy.fingerprint()
    other = make_sinusoid_tasks(4, n_rows=200, random_state=1, **options)
    assert other.fingerprint() != exact.fingerprint()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_tasks": 0}, "n_tasks must be an int >= 1, got 0"),
        ({"n_rows": 2.5}, "n_rows must be an int >= 1, got 2.5"),
        ({"amplitude": (5.0, 0.1)}, "amplitude must be an ascending pair"),
        ({"phase": 1.0}, "phase must be an ascending pair"),
        ({"noise": -1.0}, "noise must be at least 0"),
    ],
)
def test_sinusoids_refuse(options: dict, message: str) -> None:
    with pytest.raises(InvalidParameterError, match=message):
        make_sinusoid_tasks(**{"n_tasks": 2, **options})


def test_digits_have_disjoint_classes() -> None:
    digits = load_digit_tasks()
    assert len(digits.test_classes) == 5
    assert set(digits.y_train) == set(digits.train_classes)
    assert set(digits.y_test) == set(digits.test_classes)
    assert not set(digits.train_classes) & set(digits.test_classes)
    assert digits.X_train.shape[1:] == (64,)
    assert len(digits.X_train) + len(digits.X_test) == 1797
    assert digits.X_train.min() == 0
    assert digits.X_train.max() == 1
    assert digits.tasks.kind == "classification"
    assert len(digits.tasks[0].classes) == 5
    np.testing.assert_array_equal(load_digit_tasks().test_classes, digits.test_classes)


def test_digits_as_images_are_the_same_pixels() -> None:
    X, y = load_digits(return_X_y=True)
    digits = load_digit_tasks(test_classes=[8, 9], images=True)
    np.testing.assert_array_equal(digits.X_test.reshape(-1, 64) * 16, X[y >= 8])
    assert digits.tasks.input_shape == (1, 8, 8)
    np.testing.assert_array_equal(digits.test_classes, [8, 9])


def test_digits_draw_by_seed() -> None:
    drawn = {tuple(load_digit_tasks(test_classes=3, random_state=i).test_classes) for i in range(5)}
    assert len(drawn) > 1
    assert all(len(classes) == 3 for classes in drawn)


@pytest.mark.parametrize("test_classes", [1, 9, [3], [3, 3], [3, 11], range(9)])
def test_digits_refuse(test_classes: object) -> None:
    with pytest.raises(InvalidParameterError, match=r"test_classes must .*2 to 8"):
        load_digit_tasks(test_classes=test_classes)
