"""Hugging Face data sets, saved to disk or by name."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.dense import read_mask
from alumnus.data.read import BadImage, read_image
from alumnus.errors import DataError, MissingExtra
from tests.data.shards import picture, save_arrow, save_mask

FEATURES: dict[str, Any] = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "caption": {"dtype": "string", "_type": "Value"},
    "objects": {
        "bbox": {
            "feature": {"feature": {"dtype": "float32", "_type": "Value"}, "length": 4, "_type": "List"},
            "_type": "List",
        },
        "category": {"feature": {"names": ["ear", "tail"], "_type": "ClassLabel"}, "_type": "List"},
    },
    "mask": {"_type": "Image"},
}
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a split with three rows."""
    mask = save_mask(tmp_path / "m.png", [[4, 255]]).read_bytes()

    def written(folder: Path, split: str = "train", first: int = 0, **changed: object) -> Path:
        columns = {
            "image": [{"bytes": picture(first + i), "path": None} for i in range(3)],
            "label": pa.array([1, 0, -1], pa.int64()),
            "caption": ["one", None, "three"],
            "objects": [
                {"bbox": [[0.0, 0.0, 1.0, 2.0]], "category": [1]},
                {"bbox": [], "category": []},
                None,
            ],
            "mask": [{"bytes": mask, "path": None}, None, None],
            **changed,
        }
        return save_arrow(folder, columns, FEATURES, split)

    return written


def _check(data: Dataset) -> None:
    labels = [None if label < 0 else data.classes[0][label] for label in data.label]
    assert labels == ["dog", "cat", None]
    assert data.text == ("one", None, "three")
    assert data.object_classes == ("ear", "tail")
    assert data.objects is not None
    assert data.objects[0] is not None
    assert data.objects[0].labels.tolist() == [1]
    assert [None if each is None else len(each.labels) for each in data.objects] == [1, 0, None]
    assert data.masks is not None
    assert data.masks[0] is not None
    assert list(data.masks[1:]) == [None, None]
    assert read_mask(data.masks[0]).tolist() == [[4, -1]]


def test_a_saved_set_is_read_in_place(tmp_path: Path, make: Make) -> None:
    """Class numbers become names; images are cells, read at random."""
    data = open_dataset(make(tmp_path / "pets"))
    assert data.domains == ("pets",)
    first, second = (f"data-0000{i}-of-00002.arrow::image/" for i in (0, 1))
    assert data.file_names == (first + "0", first + "1", second + "0")
    assert [np.asarray(read_image(path))[0, 0, 0] for path in data.paths] == [0, 1, 2]
    assert len(data.fingerprint) == 64
    _check(data)


def test_splits_are_folders(tmp_path: Path, make: Make) -> None:
    """A saved dictionary of splits is one dataset."""
    make(tmp_path / "set" / "train")
    make(tmp_path / "set" / "validation", "validation", first=100)
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    data = open_dataset(tmp_path / "set")
    assert data.split.tolist() == ["train"] * 3 + ["val"] * 3
    assert np.asarray(read_image(data.paths[4]))[0, 0, 0] == 101


def test_cells_without_bytes_are_bad_images(tmp_path: Path, make: Make) -> None:
    """A path in a cell is never followed: it may name any file of this machine."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = pa.array([{"bytes": None, "path": "/etc/hostname"}, None, {"bytes": b"no", "path": None}], kind)
    data = open_dataset(make(tmp_path / "set", image=cells))
    for path, reason in zip(
        data.paths, ("holds no bytes", "holds no bytes", "text, not an image"), strict=True
    ):
        with pytest.raises(BadImage, match=reason):
            read_image(path)


def test_locators_that_name_nothing(tmp_path: Path, make: Make) -> None:
    """No such row, column, or number."""
    path = open_dataset(make(tmp_path / "set")).paths[0]
    for wrong in ("image/9", "label/0", "image/-1", "image/x", "/0", "none/0"):
        with pytest.raises(BadImage, match="no such"):
            read_image(path.replace("image/0", wrong))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("state.json", '{"_data_files": [{"filename": "../x.arrow"}]}', "no name of a file"),
        ("state.json", '{"_data_files": [{"filename": "x.arrow"}]}', "is not there"),
        ("state.json", "{", "cannot be read as JSON"),
        ("dataset_info.json", "[]", "must hold an object"),
        ("dataset_info.json", "{}", "no features"),
        ("data-00000-of-00002.arrow", "torn", "no whole Arrow file"),
    ],
)
def test_broken_folders_say_what_is_wrong(
    tmp_path: Path, make: Make, name: str, content: str, message: str
) -> None:
    """With the file."""
    folder = make(tmp_path / "set")
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


def test_a_set_without_images_is_refused(tmp_path: Path) -> None:
    """Text alone."""
    with pytest.raises(DataError, match="no column of images; its columns are 'caption'"):
        open_dataset(save_arrow(tmp_path / "set", {"caption": ["a", "b"]}, {}, "train"))


def _package(monkeypatch: pytest.MonkeyPatch, load: Callable[..., object]) -> None:
    module = ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_set_by_name_is_read_from_the_packages_cache(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package fetches; its Arrow files are read here."""
    folder = make(tmp_path / "cache" / "pets")
    files = [{"filename": str(path)} for path in sorted(folder.glob("*.arrow"))]
    one = SimpleNamespace(cache_files=files, features=SimpleNamespace(to_dict=lambda: FEATURES))

    def load(name: str, split: str | None) -> object:
        assert name == "owner/pets"
        return {"test": one} if split is None else one

    _package(monkeypatch, load)
    assert set(open_dataset("hf:owner/pets").split) == {"test"}
    data = open_dataset("hf:owner/pets:validation")
    assert (set(data.split), data.domains) == ({"val"}, ("pets",))
    _check(data)


def _named_split(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, word: str) -> set[str]:
    files = [{"filename": str(path)} for path in sorted(make(tmp_path / "pets").glob("*.arrow"))]
    one = SimpleNamespace(cache_files=files, features=SimpleNamespace(to_dict=lambda: FEATURES))
    _package(monkeypatch, lambda name, split: {"extra": one} if split is None else one)
    return set(open_dataset(f"hf:owner/pets{word}").split)


@pytest.mark.parametrize(
    ("word", "split"),
    [(":extra", "train"), (":test", "test"), (":validation", "val"), (":train+test", "train")],
)
def test_a_split_that_the_user_names_is_read(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch, word: str, split: str
) -> None:
    """As what its name says, or to be learnt from."""
    assert _named_split(tmp_path, make, monkeypatch, word) == {split}


def test_a_split_that_nobody_named_must_be_known(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to write instead is said."""
    with pytest.raises(DataError, match=r"'extra' is none of train.*hf:owner/name:split"):
        _named_split(tmp_path, make, monkeypatch, "")


def test_a_part_of_a_split_is_refused(tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's Arrow files hold the whole split, so what would be trained on was to be tested on."""
    with pytest.raises(DataError, match=r"part of a split.*save_to_disk"):
        _named_split(tmp_path, make, monkeypatch, ":train[:80%]")


def test_objects_as_a_list_of_structs_are_turned_round(tmp_path: Path, make: Make) -> None:
    """`List({...})` of the package's version 4, with class numbers."""
    struct = {"bbox": FEATURES["objects"]["bbox"], "category": FEATURES["objects"]["category"]["feature"]}
    cells = [[{"bbox": [0.0, 0.0, 1.0, 2.0], "category": 1}], [], None]
    folder = make(tmp_path / "pets", objects=cells)
    features = {**FEATURES, "objects": {"feature": struct, "_type": "List"}}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    _check(open_dataset(folder))


def test_a_set_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own words are passed on."""

    def load(name: str, split: str | None) -> object:
        raise FileNotFoundError(f"no {name}\nanywhere")

    _package(monkeypatch, load)
    with pytest.raises(DataError, match="'hf:a/b' could not be had: FileNotFoundError: no a/b anywhere"):
        open_dataset("hf:a/b")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only by name is it needed."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"alumnus\[hf\]"):
        open_dataset("hf:owner/pets")


def test_what_the_package_itself_saves_is_read(tmp_path: Path) -> None:
    """Where it is installed."""
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [{"bytes": picture(i), "path": None} for i in range(4)], "label": [1, 0, 0, 1]}
    whole = datasets.Dataset.from_dict(rows, features=kinds)
    datasets.DatasetDict(train=whole, test=whole).save_to_disk(
        tmp_path / "set", num_shards={"train": 2, "test": 1}
    )
    data = open_dataset(tmp_path / "set")
    assert [data.classes[0][label] for label in data.label] == ["dog", "cat", "cat", "dog"] * 2
    assert [np.asarray(read_image(path))[0, 0, 0] for path in data.paths] == [0, 1, 2, 3] * 2
