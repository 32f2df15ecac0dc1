"""The idx format, against files made by hand."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.datasets.idx import class_splits, official, read_entries, read_idx
from alumnus.datasets.known import Entry
from alumnus.errors import DataError


def _idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of 2 x 3 px for training, one for testing."""
    for start, count in (("train", 3), ("t10k", 1)):
        images = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
        (tmp_path / f"{start}-images-idx3-ubyte").write_bytes(_idx(images))
        (tmp_path / f"{start}-labels-idx1-ubyte").write_bytes(_idx(np.arange(count, dtype=np.uint8)))
    return tmp_path


def test_pictures_labels_and_official_splits_arrive(folder: Path) -> None:
    """Training first."""
    entries = list(read_entries(folder, ending="", classes="abc", style="made up"))
    assert [entry.label for entry in entries] == ["a", "b", "c", "a"]
    assert [entry.official_split for entry in entries] == ["train"] * 3 + ["test"]
    assert np.asarray(entries[1].picture(99)).tolist() == [[6, 7, 8], [9, 10, 11]]


def test_compressed_files_are_read(tmp_path: Path) -> None:
    """As Debian ships them."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(_idx(np.array([4, 5], np.uint8))))
    assert read_idx(tmp_path / "a.gz").tolist() == [4, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"PNG!", "no idx file"), (_idx(np.zeros((2, 3), np.uint8))[:-1], "torn"), (b"", "no idx file")],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """Before their numbers are believed."""
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "a")


def test_no_split_is_empty() -> None:
    """Ten classes: five, one and four."""
    splits = list(class_splits("0123456789").values())
    assert [splits.count(split) for split in ("train", "val", "test")] == [5, 1, 4]


def test_the_official_split_is_kept_but_for_validation() -> None:
    """Every sixth training picture."""
    entries = [
        Entry("a", "s", lambda size: Image.new("L", (size, size)), official_split=split)
        for split in ["train"] * 12 + ["test"] * 7
    ]
    splits = [entry.split for entry in official(entries)]
    assert splits == [*(["train"] * 5 + ["val"]) * 2, *["test"] * 7]
