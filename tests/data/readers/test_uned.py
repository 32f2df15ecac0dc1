"""UnED's info files, made up in their real layout."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from alumnus.data.dataset import open_dataset
from alumnus.data.readers import uned
from alumnus.errors import DataError
from tests.data.shards import picture

DOMAINS = ("cars", "sop", "inshop", "inat", "met", "gldv2", "food2k", "rp2k")
WITH_INDEX = ("inshop", "met", "gldv2")


def _info(folder: Path, domain: str, split: str, rows: list[tuple[str, object]]) -> None:
    path = folder / "info_files" / domain / f"{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"path": name, "class_id": found} for name, found in rows]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight domains; three with an index of their own; Met's index is its training set."""
    for domain in DOMAINS:
        for number, split in enumerate(("train", "val", "test")):
            _info(tmp_path, domain, split, [(f"{domain}/{split}/{i}.jpg", 10 * number + i) for i in (1, 2)])
    for domain in ("inshop", "gldv2"):
        _info(tmp_path, domain, "index", [(f"{domain}/index/1.jpg", 21)])
    _info(tmp_path, "gldv2", "test", [("gldv2/test/1.jpg", [21, 99]), ("gldv2/test/2.jpg", [21])])
    _info(tmp_path, "met", "index", [(f"met/train/{i}.jpg", i) for i in (1, 2)])
    _info(tmp_path, "met", "small_index", [("met/train/1.jpg", 1)])
    (tmp_path / "images" / "cars" / "train").mkdir(parents=True)
    (tmp_path / "images" / "cars" / "train" / "1.jpg").write_bytes(picture(1, "JPEG"))
    return tmp_path


def test_domains_splits_and_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test images are queries where there is an index, else they search one another."""
    data = open_dataset(folder)
    assert data.domains == tuple(sorted(DOMAINS))
    for domain in DOMAINS:
        splits = set(data.select(domains=domain).split)
        assert splits == {"train", "val", *(("query", "index") if domain in WITH_INDEX else ("test",))}
    queries = data.select(split=("query", "test"))
    assert len(queries) == 16
    gldv2 = data.select(split="query", domains="gldv2")
    of_gldv2 = data.classes[data.domains.index("gldv2")]
    assert [of_gldv2[label] for label in gldv2.label] == ["21", "21"]
    assert "gldv2/test.json: 1 images have several classes" in capsys.readouterr().err
    assert data.file_names[0] == "images/cars/train/1.jpg"
    assert data.paths[0] == str(folder / "images/cars/train/1.jpg")


def test_mets_index_is_its_training_set(folder: Path) -> None:
    """The same image is a row of each; the small lists are passed over."""
    data = open_dataset(folder).select(domains="met")
    train, index = (data.select(split=split) for split in ("train", "index"))
    assert train.file_names == index.file_names
    assert train.label.tolist() == index.label.tolist()
    assert len(data) == 8


def test_a_query_in_its_index_is_refused(folder: Path) -> None:
    """It would find itself."""
    _info(folder, "inshop", "index", [("inshop/test/1.jpg", 21)])
    with pytest.raises(DataError, match=r"name the same image 'images/inshop/test/1\.jpg'"):
        open_dataset(folder)


def test_rp2k_names_may_be_escaped_on_disk(folder: Path) -> None:
    """Chinese names, as some programs unpack them."""
    names = ["rp2k/\u4e2d\u6587.jpg", "rp2k/\u4e2d.jpg"]
    _info(folder, "rp2k", "test", [(name, 1) for name in names])
    (folder / "images" / "rp2k").mkdir()
    (folder / "images" / names[1]).write_bytes(picture(1))
    found = open_dataset(folder).select(domains="rp2k", split="test")
    assert found.file_names == ("images/rp2k/#U4e2d#U6587.jpg", "images/rp2k/\u4e2d.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"path": "a.jpg", "class_id": 1}, {"pa', "cannot be read as a JSON list"),
        ('{"path": "a.jpg"}', "does not begin with"),
        ("[3]", "must list objects"),
        ('[{"path": "../../a.jpg", "class_id": 1}]', "leaves the folder"),
        ('[{"path": "a.jpg", "class_id": 1.5}]', "class_id must be a number or a list"),
        ('[{"path": "a.jpg"}]', "class_id must be a number"),
    ],
)
def test_broken_info_files_say_what_is_wrong(folder: Path, content: str, message: str) -> None:
    """With the file."""
    (folder / "info_files" / "sop" / "val.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(folder)
    assert "sop" in str(caught.value)


@pytest.mark.parametrize("chars", [1, 2, 7, 1000])
def test_a_json_list_is_read_piece_by_piece(monkeypatch: pytest.MonkeyPatch, chars: int) -> None:
    """Wherever the pieces end: inside numbers, words and between items."""
    items = [12345, {"a": [1, "x, ]"], "b": None}, "word", -0.5, [], True]
    monkeypatch.setattr(uned, "READ_CHARS", chars)
    for text in (json.dumps(items), json.dumps(items, indent=2), " [ ] "):
        assert list(uned._objects(io.StringIO(text))) == json.loads(text)
    with pytest.raises(ValueError, match=r"Expecting|neither|Unterminated"):
        list(uned._objects(io.StringIO("[1, 2")))
