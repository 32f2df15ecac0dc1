"""What the places of images in a folder say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alumnus.data.dataset import open_dataset
from alumnus.data.readers.folders import images_below, split_by_folder
from alumnus.errors import DataError
from tests.data.odd_files import make_odd_files


def _fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def _rows(folder: Path) -> dict[str, tuple[str | None, str]]:
    data = open_dataset(folder)
    labels = [None if label < 0 else data.classes[0][label] for label in data.label]
    return dict(zip(data.file_names, zip(labels, data.split.tolist(), strict=True), strict=True))


def test_images_directly_inside_are_a_flat_folder(tmp_path: Path) -> None:
    """No labels, the folder's name as domain, deeper images included, other files not."""
    folder = _fill(
        tmp_path / "shop", "b.JPG", "a.png", "more/c.webp", "notes.txt", ".hidden.png", ".git/d.png"
    )
    assert _rows(folder) == {
        "a.png": (None, "train"),
        "b.JPG": (None, "train"),
        "more/c.webp": (None, "train"),
    }
    assert open_dataset(folder).domains == ("shop",)


def test_folders_with_images_are_classes(tmp_path: Path) -> None:
    """The first folder is the label, also of deeper images."""
    folder = _fill(tmp_path, "cat/1.png", "cat/old/2.png", "dog/1.png", "empty/readme.md")
    assert _rows(folder) == {
        "cat/1.png": ("cat", "train"),
        "cat/old/2.png": ("cat", "train"),
        "dog/1.png": ("dog", "train"),
    }


def test_split_folders_are_splits(tmp_path: Path) -> None:
    """Each is flat or has classes, whatever the others are."""
    folder = _fill(tmp_path, "train/cat/1.png", "train/dog/2.png", "Valid/cat/3.png", "test/4.png")
    assert _rows(folder) == {
        "Valid/cat/3.png": ("cat", "val"),
        "test/4.png": (None, "test"),
        "train/cat/1.png": ("cat", "train"),
        "train/dog/2.png": ("dog", "train"),
    }


def test_a_class_named_like_a_split_is_a_class_among_others(tmp_path: Path) -> None:
    """Vehicles: a train is one of them."""
    folder = _fill(tmp_path, "train/1.png", "plane/1.png")
    assert _rows(folder) == {"plane/1.png": ("plane", "train"), "train/1.png": ("train", "train")}


@pytest.mark.parametrize("other", ["extra", "index"])
def test_splits_beside_another_folder_are_refused(tmp_path: Path, other: str) -> None:
    """Rather than all of them being classes of a training split; the one that is in the way is named."""
    folder = _fill(tmp_path / "set", "train/x/1.png", "val/x/2.png", "test/x/3.png", f"{other}/x/4.png")
    message = f"'test', 'train', 'val' are named like splits, but '{other}' beside them is not.*metadata.csv"
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(folder)
    assert ("with folders of queries and of an index" in str(caught.value)) == (other == "index")


def test_classes_named_like_splits_are_classes_of_a_lone_split(tmp_path: Path) -> None:
    """What the message says to do with them."""
    folder = _fill(tmp_path, "train/train/1.png", "train/test/2.png", "train/plane/3.png")
    assert {label for label, _ in _rows(folder).values()} == {"train", "test", "plane"}


@pytest.mark.parametrize("place", ["", "images/"])
@pytest.mark.parametrize("splits", [["train", "test"], ["test"], ["query", "gallery"]])
def test_a_picture_beside_splits_is_refused(tmp_path: Path, splits: list[str], place: str) -> None:
    """Rather than every test image becoming an unlabelled one of the training split; the message names the picture."""
    names = [f"{place}{split}/{word}/{split}.png" for split in splits for word in ("cat", "dog")]
    folder = _fill(tmp_path / "set", f"{place}preview.png", *names)
    message = rf"'{place}preview\.png' lies beside '\w+'.*named like .*metadata\.csv"
    with pytest.raises(DataError, match=message):
        open_dataset(folder)


def test_a_picture_beside_a_folder_of_splits_is_refused(tmp_path: Path) -> None:
    """The folder around them is no hiding place."""
    folder = _fill(tmp_path / "set", "preview.png", "images/train/cat/1.png", "images/test/cat/2.png")
    with pytest.raises(DataError, match=r"'preview\.png' lies beside 'test', 'train', which are"):
        open_dataset(folder)


def test_the_folder_of_a_picture_beside_splits_is_named(tmp_path: Path) -> None:
    """It may be a linked one, in which nobody looks for the picture; and there may be others above it."""
    other = _fill(tmp_path / "other", "preview.png", "train/cat/1.png", "test/cat/2.png")
    folder = _fill(tmp_path / "set", "above.png")
    (folder / "link").symlink_to(other)
    with pytest.raises(DataError, match=r"'link/preview\.png' lies beside 'test', 'train'"):
        open_dataset(folder)
    (folder / "above.png").unlink()
    with pytest.raises(DataError, match=r"'link/preview\.png' lies beside 'test', 'train'"):
        open_dataset(folder)


def test_pictures_and_folders_named_like_splits_are_images_of_a_lone_split(tmp_path: Path) -> None:
    """What the message says to do to train on all of them."""
    folder = _fill(tmp_path, "train/preview.png", "train/train/1.png", "train/test/2.png")
    assert set(_rows(folder).values()) == {(None, "train")}


@pytest.mark.parametrize("place", ["", "train/"])
def test_a_picture_beside_class_folders_is_named(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folders are no classes then, as in unlabelled sets of several depths, and the console says so."""
    names = [f"{place}{name}" for name in ("cat/1.png", "dog/2.png", "stray[1].png")]
    assert set(_rows(_fill(tmp_path / "set", *names)).values()) == {(None, "train")}
    said = f"set: names of folders are not taken as classes, because '{place}stray[1].png' lies beside them"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "names", [["1.png", "2.png"], ["cat/1.png", "dog/2.png"], ["train/1.png", "test/a/2.png"]]
)
def test_folders_without_strays_are_read_in_silence(
    tmp_path: Path, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Flat ones, classes, and splits of which one is flat."""
    open_dataset(_fill(tmp_path, *names))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("place", ["", "images/"])
@pytest.mark.parametrize("loose", [[], ["stray.png"]])
@pytest.mark.parametrize("splits", [["train", "val"], ["Test"], ["query", "gallery"]])
def test_splits_below_several_folders_are_refused(
    tmp_path: Path, splits: list[str], loose: list[str], place: str
) -> None:
    """Data sets side by side, whose test images would all be learnt from; the message says how to give them."""
    names = [f"{name}/{split}/cat/1.png" for name in ("pets", "small") for split in splits]
    folder = _fill(tmp_path / "set", *(f"{place}{name}" for name in [*names, "flat/1.png", *loose]))
    each = ", ".join(str(folder / place / name) for name in ("flat", "pets", "small"))
    with pytest.raises(DataError, match=rf"lie below 'pets', 'small'.*each folder as a source: \[{each}\]"):
        open_dataset(folder)


def test_what_the_message_says_of_splits_below_classes_works(tmp_path: Path) -> None:
    """Everything in one folder `train`, and the sources by themselves."""
    names = [f"{name}/{split}/cat/1.png" for name in ("pets", "small") for split in ("train", "val")]
    folder = _fill(tmp_path / "set", *(f"train/{name}" for name in names))
    assert {*_rows(folder).values()} == {("pets", "train"), ("small", "train")}
    both = open_dataset([folder / "train" / "pets", folder / "train" / "small"])
    assert both.split.tolist() == ["train", "val"] * 2


def test_a_class_may_have_a_folder_named_like_a_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One class alone; it is told. A lone index is no split."""
    folder = _fill(tmp_path / "set", "toys/train/1.png", "toys/car/1.png", "pets/1.png", "pets/index/1.png")
    assert {*_rows(folder).values()} == {("toys", "train"), ("pets", "train")}
    said = " ".join(capsys.readouterr().err.split())
    assert f"'{folder / 'toys'}': the images in 'train' are for training like all others" in said
    assert "'index'" not in said


def test_a_lone_folder_is_a_wrapper(tmp_path: Path) -> None:
    """images/ around class folders is no class."""
    assert _rows(_fill(tmp_path / "x", "images/cat/1.png", "images/dog/1.png"))["images/cat/1.png"] == (
        "cat",
        "train",
    )
    assert _rows(_fill(tmp_path / "y", "images/1.png", "images/2.png"))["images/1.png"] == (None, "train")


def test_a_folder_without_images_says_what_was_looked_for(tmp_path: Path) -> None:
    """The message lists the endings."""
    with pytest.raises(DataError, match=r"holds no image.*metadata\.parquet.*\.jpg"):
        open_dataset(_fill(tmp_path, "notes.txt", ".hidden/a.png"))


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    """A linked folder is read; one that leads back up is not."""
    folder = _fill(tmp_path / "here", "a/1.png")
    _fill(tmp_path / "there", "2.png")
    (folder / "b").symlink_to(tmp_path / "there")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "a" / "self").symlink_to(folder / "a" / "self")
    assert images_below(folder) == ["a/1.png", "b/2.png"]


def test_order_is_that_of_the_bytes_of_the_names(tmp_path: Path) -> None:
    """Not of the locale or the file system."""
    names = [
        "b.png",
        "B.png",
        "a/z.png",
        "a.png",
        "\N{LATIN SMALL LETTER A WITH DIAERESIS}.png",
        "10.png",
        "9.png",
    ]
    assert images_below(_fill(tmp_path, *names)) == sorted(names, key=os.fsencode)


def test_every_odd_file_is_found(tmp_path: Path) -> None:
    """What is broken must reach the quarantine, not be passed over."""
    odd = make_odd_files(tmp_path / "odd")
    data = open_dataset(tmp_path / "odd")
    assert set(data.file_names) == {each.name for each in odd}
    assert len(data.fingerprint) == 64


NAMES = st.text(
    st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=5
)


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=10))
def test_split_by_folder_only_takes_folders_off(names: list[str]) -> None:
    """What remains is the end of each name and never empty."""
    rest, splits = split_by_folder(names)
    assert len(rest) == len(splits) == len(names)
    assert all(end and name.endswith(end) for name, end in zip(names, rest, strict=True))
