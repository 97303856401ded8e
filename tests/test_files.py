"""Files are written as a whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from metaest._files import keep_file, replace_file, scratch_folder, why_no_download
from metaest.exceptions import DatasetError


def _full(*args: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "some scratch file")


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250)
    replace_file(path, b"one")
    replace_file(path, memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="has no such permissions")
def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    replace_file(tmp_path / "file", b"")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, _full)
    with pytest.raises(OSError, match=r"No space left on device: '.*file'$") as raised:
        replace_file(path, b"new")
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == str(path)
    with pytest.raises(DatasetError, match=r"cannot write to .*No space.*METAEST_CACHE_DIR"):
        keep_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_is_about_the_file_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"/nowhere/file'$"):
        replace_file(tmp_path / "nowhere" / "file", b"")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"/file/inside'$"):
        replace_file(tmp_path / "file" / "inside", b"")


def test_kept_files_have_their_folders_made(tmp_path: Path) -> None:
    keep_file(tmp_path / "a" / "b" / "file", b"1")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"1"
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"cannot write to .*Pass data_home="):
        keep_file(tmp_path / "file" / "inside", b"1")


def test_the_scratch_folder_is_inside_and_goes_away(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with scratch_folder(home) as folder:
        assert Path(folder).parent == home
        Path(folder, "download").touch()
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("offline", "if_missing", "reason"),
    [
        ("", True, ""),
        ("0", True, ""),
        ("0", False, "download_if_missing=False"),
        ("1", True, "METAEST_OFFLINE is set"),
        ("1", False, "METAEST_OFFLINE is set"),
    ],
)
def test_why_no_download(
    monkeypatch: pytest.MonkeyPatch, offline: str, if_missing: bool, reason: str
) -> None:
    monkeypatch.setenv("METAEST_OFFLINE", offline)
    assert why_no_download(if_missing) == reason
