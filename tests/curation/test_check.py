"""All planted faults are found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.curation.check import Check, as_json, check
from alumnus.data.dataset import write_dataset
from alumnus.errors import DataError
from tests.curation.planted import Planted, brightened, picture, plant


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """500 images: 40 copies across splits, 10 broken files, 6 folders with another class's pictures."""
    folder = tmp_path_factory.mktemp("planted") / "images"
    return plant(folder, images=500, copies=40, corrupt=10, mislabelled=6, seed=3)


@pytest.fixture(scope="module")
def found(planted: Planted) -> Check:
    """The check of it."""
    return check(planted.folder, workers=0)


def _names(found: Check, *rows: int) -> frozenset[str]:
    return frozenset(found.data.file_names[row] for row in rows)


def test_every_copy_across_splits_is_a_leak_and_nothing_else_is(found: Check, planted: Planted) -> None:
    """None missed, none false."""
    assert {_names(found, leak.train, leak.held_out) for leak in found.leaks} == set(planted.leaks)
    assert not any(leak.is_exact for leak in found.leaks)


def test_every_broken_file_is_named_with_a_reason(found: Check, planted: Planted) -> None:
    """All of them, no others."""
    assert {found.data.file_names[row] for row in found.unreadable} == planted.corrupt
    assert all(found.unreadable.values())


def test_every_mislabelled_folder_is_found(found: Check, planted: Planted) -> None:
    """As equal pixels under two labels."""
    assert {_names(found, *group) for group in found.conflicts} == planted.exact
    folders = {
        name.split("/")[1] for group in found.conflicts for name in _names(found, *group) if "copy-" in name
    }
    assert folders == set(planted.mislabelled)


def test_the_same_pictures_give_the_same_findings(found: Check, planted: Planted, tmp_path: Path) -> None:
    """Byte for byte, with other processes too."""
    again = check(planted.folder, out=tmp_path, workers=2)
    assert json.loads((tmp_path / "check.json").read_text()) == json.loads(json.dumps(as_json(found)))
    check(planted.folder, out=tmp_path / "b", workers=0)
    assert (tmp_path / "check.json").read_bytes() == (tmp_path / "b" / "check.json").read_bytes()
    assert again.faults == found.faults


def test_counts_add_up(found: Check) -> None:
    """By domain, split and class."""
    assert sum(found.per_split["images"].values()) == len(found.data) == 500
    assert sum(found.per_class["images"].values()) == 500
    assert set(found.per_split["images"]) == {"train", "val", "test"}


def _dataset(folder: Path, rows: list[dict[str, object]], pictures: dict[str, Image.Image]) -> Path:
    folder.mkdir()
    for name, image in pictures.items():
        image.save(folder / name)
    write_dataset(rows, folder)
    return folder


def test_what_is_odd_is_named_and_is_no_fault(tmp_path: Path) -> None:
    """Tiny, long and plain pictures."""
    draw = np.random.default_rng(0)
    pictures = {
        "good.png": picture(1, draw),
        "tiny.png": picture(1, draw).resize((9, 60)),
        "long.png": picture(4, draw).resize((200, 30)),
        "plain.png": Image.new("RGB", (50, 50), "red"),
        "plainer.png": Image.new("RGB", (60, 60), "red"),
    }
    rows: list[dict[str, object]] = [{"file_name": name} for name in pictures]
    found = check(_dataset(tmp_path / "set", rows, pictures), workers=0)
    assert found.tiny.tolist() == [1]
    assert found.extreme.tolist() == [1, 2]
    assert found.blank.tolist() == [3, 4]
    assert not any(found.faults.values())


def test_a_picture_listed_for_training_and_index_is_no_leak(tmp_path: Path) -> None:
    """One file in both, as in The Met; another file with the same pixels is one."""
    image = picture(4, np.random.default_rng(0))
    rows: list[dict[str, object]] = [
        {"file_name": "a.png", "split": "train"},
        {"file_name": "a.png", "split": "index"},
    ]
    found = check(_dataset(tmp_path / "one", rows, {"a.png": image}), workers=0)
    assert not found.leaks
    assert not found.exact
    rows.append({"file_name": "b.png", "split": "query"})
    found = check(_dataset(tmp_path / "two", rows, {"a.png": image, "b.png": image}), workers=0)
    assert [(leak.train, leak.held_out, leak.is_exact) for leak in found.leaks] == [(0, 2, True)]


def test_a_leak_that_is_held_out_twice_is_named_twice(tmp_path: Path) -> None:
    """A near copy of a training picture in val, and the same file again in test."""
    image = picture(4, np.random.default_rng(0))
    names = {"a.png": image, "b.png": brightened(image, 1.1), "c.png": brightened(image, 1.1)}
    rows: list[dict[str, object]] = [
        {"file_name": name, "split": split}
        for name, split in zip(names, ("train", "val", "test"), strict=True)
    ]
    found = check(_dataset(tmp_path / "set", rows, names), workers=0)
    assert [(leak.train, leak.held_out) for leak in found.leaks] == [(0, 1), (0, 2)]


def test_labels_of_two_domains_do_not_contradict(tmp_path: Path) -> None:
    """A picture may be an animal here and a dog there; spare pictures leak nowhere."""
    image = picture(4, np.random.default_rng(0))
    rows: list[dict[str, object]] = [
        {"file_name": "a.png", "domain": "coarse", "label": "animal", "split": "train"},
        {"file_name": "b.png", "domain": "fine", "label": "dog", "split": "spare"},
    ]
    found = check(_dataset(tmp_path / "set", rows, {"a.png": image, "b.png": image}), workers=0)
    assert len(found.exact) == 1
    assert not found.conflicts
    assert not found.leaks


def test_a_crowd_of_look_alikes_hides_no_leak(tmp_path: Path) -> None:
    """80 frames of a still scene in training, one held out."""
    scene = picture(4, np.random.default_rng(0))
    draw = np.random.default_rng(1)
    frames = {}
    for number in range(81):
        noise = draw.normal(0, 2, (scene.height, scene.width, 3))
        frames[f"{number:03d}.png"] = Image.fromarray(
            np.clip(np.asarray(brightened(scene, 0.8)) + noise, 0, 255).astype(np.uint8)
        )
    rows: list[dict[str, object]] = [
        {"file_name": name, "split": "test" if name == "080.png" else "train"} for name in frames
    ]
    found = check(_dataset(tmp_path / "set", rows, frames), workers=0)
    assert found.leaks
    assert {leak.held_out for leak in found.leaks} == {80}


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    """By opening it."""
    with pytest.raises(DataError, match="does not exist"):
        check(tmp_path / "nothing")
