"""CLINC150: local copies, downloads from a server of our own, damaged files."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from metaest.datasets import _clinc150, fetch_clinc150
from metaest.exceptions import DatasetError, InvalidParameterError
from tests.dataset_server import Server, serve

INTENTS = {"banking": ["pay_bill", "routing"], "travel": ["vaccines"]}
QUERIES = {
    "oos_train": [["how much has the dow changed today", "oos"]],
    "val": [["pay my água bill", "pay_bill"], ["do i need shots", "vaccines"]],
    "train": [["what is my routing number", "routing"], ["pay it", "pay_bill"]],
    "test": [["which vaccines for peru", "vaccines"]],
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("METAEST_OFFLINE", "METAEST_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("METAEST_CACHE_DIR", str(tmp_path / "default"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve tiny files in place of the official ones."""
    files = {"data_full.json": QUERIES, "domains.json": INTENTS}
    with serve({name: json.dumps(file).encode() for name, file in files.items()}) as served:
        monkeypatch.setattr(_clinc150, "QUERIES", served.archive("data_full.json"))
        monkeypatch.setattr(_clinc150, "DOMAINS", served.archive("domains.json"))
        yield served


def test_download_then_works_offline(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinc = fetch_clinc150(data_home=tmp_path / "home")
    rows = [*QUERIES["train"], *QUERIES["val"], *QUERIES["test"]]
    assert list(zip(clinc.text, clinc.target, strict=True)) == [tuple(row) for row in rows]
    assert clinc.domain.tolist() == ["banking", "banking", "banking", "travel", "travel"]
    assert clinc.domain_names.tolist() == ["banking", "travel"]
    assert server.requests == 2
    files = sorted(path.name for path in (tmp_path / "home").iterdir())
    assert files == ["clinc150.json.gz", "clinc150_domains.json"]

    monkeypatch.setenv("METAEST_OFFLINE", "1")
    text, target = fetch_clinc150(subset="val", data_home=tmp_path / "home", return_X_y=True)
    assert text.tolist() == ["pay my água bill", "do i need shots"]
    assert target.tolist() == ["pay_bill", "vaccines"]
    # Both files can be handed on as they lie.
    again = fetch_clinc150(subset="test", source=tmp_path / "home")
    assert again.text.tolist() == ["which vaccines for peru"]
    assert server.requests == 2


def test_wrong_checksum_leaves_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["data_full.json"] += b" "
    with pytest.raises(DatasetError, match=r"data_full\.json has the md5 checksum"):
        fetch_clinc150(data_home=tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []


def test_missing_and_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match=r"clinc150\.json\.gz is not on .*download_if_missing"):
        fetch_clinc150(download_if_missing=False)
    monkeypatch.setenv("METAEST_OFFLINE", "1")
    with pytest.raises(DatasetError, match=r"METAEST_OFFLINE is set.*source="):
        fetch_clinc150()
    with pytest.raises(DatasetError, match=r"does not exist or holds no clinc150\.json\.gz"):
        fetch_clinc150(source=tmp_path)


def _write(folder: Path, queries: object, intents: object) -> None:
    (folder / "clinc150.json.gz").write_bytes(gzip.compress(json.dumps(queries).encode()))
    (folder / "clinc150_domains.json").write_text(json.dumps(intents))


@pytest.mark.parametrize(
    "content",
    # No time in the file: it would be in the test's name, and the workers' names would differ.
    [b"", b"no gzip", gzip.compress(b"{", mtime=0)[:-3], gzip.compress(b"{", mtime=0)],
)
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    _write(tmp_path, QUERIES, INTENTS)
    (tmp_path / "clinc150.json.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"clinc150\.json\.gz cannot be read"):
        fetch_clinc150(source=tmp_path)


@pytest.mark.parametrize(
    ("queries", "intents", "message"),
    [
        ({"train": []}, INTENTS, "not written by metaest .*'val'"),
        (QUERIES, {"banking": ["pay_bill"]}, "not written by metaest .*'routing'"),
        ([], INTENTS, "not written by metaest"),
        (QUERIES | {"train": [["text alone"]]}, INTENTS, "not written by metaest"),
    ],
    ids=["no part", "no domain", "no dict", "no intent"],
)
def test_other_files_are_refused(
    tmp_path: Path, queries: object, intents: object, message: str
) -> None:
    _write(tmp_path, queries, intents)
    with pytest.raises(DatasetError, match=message):
        fetch_clinc150(source=tmp_path)


def test_unknown_subset() -> None:
    with pytest.raises(InvalidParameterError, match=r"subset='tain'.*Did you mean 'train'"):
        fetch_clinc150(subset="tain")


@pytest.mark.parametrize(("subset", "n"), [("all", 150), ("train", 100), ("val", 20), ("test", 30)])
def test_real_clinc150(data_dir: Path, subset, n: int) -> None:
    clinc = fetch_clinc150(subset=subset, source=data_dir)
    intents, counts = np.unique(clinc.target, return_counts=True)
    assert len(intents) == 150
    np.testing.assert_array_equal(counts, n)
    assert "oos" not in intents
    pairs = np.unique(np.stack([clinc.domain, clinc.target]), axis=1)
    names, sizes = np.unique(pairs[0], return_counts=True)
    assert set(names) == set(clinc.domain_names)
    np.testing.assert_array_equal(sizes, np.full(10, 15))
    assert clinc.domain[clinc.target == "pay_bill"][0] == "banking"
    assert all(isinstance(text, str) and text.strip() for text in clinc.text)


def test_real_clinc150_is_the_official_file(data_dir: Path) -> None:
    # Rewritten as the official files are, with ", " at the ends of lines in the one, the copies
    # have the checksums of the downloads.
    queries = gzip.decompress((data_dir / "clinc150.json.gz").read_bytes())
    domains = (data_dir / "clinc150_domains.json").read_bytes()
    for archive, content, comma in (
        (_clinc150.QUERIES, queries, ", "),
        (_clinc150.DOMAINS, domains, ","),
    ):
        official = json.dumps(json.loads(content), indent=4, separators=(comma, ": "))
        assert hashlib.md5(official.encode()).hexdigest() == archive.md5
