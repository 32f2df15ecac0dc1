"""A curated set holds what was asked for, opens like any other, and leaves the old one as it was."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alumnus.curation.check import check
from alumnus.curation.curate import curate
from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.errors import ConfigError, DataError
from tests.curation.planted import Planted, jpeg, picture, plant, resized


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """240 images with every fault."""
    folder = tmp_path_factory.mktemp("planted") / "images"
    return plant(folder, images=240, copies=16, corrupt=5, mislabelled=3, seed=1)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of 40 and 10 training pictures of 5 classes each, 6 test pictures; cheap and all different."""
    folder = tmp_path_factory.mktemp("parts") / "set"
    folder.mkdir()
    draw = np.random.default_rng(0)
    rows = []
    for domain, count, split in (("big", 40, "train"), ("small", 10, "train"), ("big", 6, "test")):
        for number in range(count):
            name = f"{domain}-{split}-{number}.png"
            colour = (255, 60, 60) if number % 4 == 0 else (60, 60, 255)
            pixels = draw.integers(0, 60, (24, 24, 3)) + np.array(colour) * 0.7
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            rows.append({"file_name": name, "domain": domain, "label": str(number % 5), "split": split})
    write_dataset(rows, folder)
    (folder / "dataset.json").write_text(json.dumps({"licence": "CC0"}))
    return folder


def test_a_curated_set_has_no_fault_left(planted: Planted, tmp_path: Path) -> None:
    """And of every leak the held-out copy stays."""
    out = curate(planted.folder, tmp_path / "new", workers=0)
    found = check(out, workers=0)
    assert not any(found.faults.values())
    kept = set(found.data.file_names)
    for pair in planted.leaks:
        assert {name for name in pair if name in kept} == {
            name for name in pair if not name.startswith("train/")
        }
    assert not planted.corrupt & kept
    before = 240 - 16 - 5 - 9  # each fault costs one picture
    assert len(kept) == before


def test_what_was_left_out_is_named_with_its_reason(planted: Planted, tmp_path: Path) -> None:
    """Broken files and copies; and the folder says what it was made of."""
    out = curate(planted.folder, tmp_path / "new", workers=0)
    lines = [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]
    reasons = {line["file_name"]: line["reason"] for line in lines}
    assert planted.corrupt <= set(reasons)
    for pair in planted.leaks:
        (train,) = (name for name in pair if name.startswith("train/"))
        assert reasons[train] == f"a copy of {next(iter(pair - {train}))}"
    facts = json.loads((out / "dataset.json").read_text())
    assert facts["counts"] == {"images": 240, "unreadable": 5, "copies": 25, "not chosen": 0, "kept": 210}


def test_exact_only_leaves_near_copies(planted: Planted, tmp_path: Path) -> None:
    """For those who want every frame."""
    out = curate(planted.folder, tmp_path / "new", drop_duplicates="exact", workers=0)
    assert len(open_dataset(out)) == 240 - 5 - 9


def test_links_take_no_space_and_copies_do(parts: Path, tmp_path: Path) -> None:
    """Both open as a folder; the list opens as a list, and refers to the pictures in place."""
    settings: dict[str, Any] = {"drop_duplicates": False, "workers": 0}
    linked = open_dataset(curate(parts, tmp_path / "a", files="link", **settings))
    copied = open_dataset(curate(parts, tmp_path / "b", files="copy", **settings))
    listed = open_dataset(curate(parts, tmp_path / "c", files="list", **settings))
    assert Path(linked.paths[0]).stat().st_ino == (parts / linked.file_names[0]).stat().st_ino
    assert Path(copied.paths[0]).stat().st_ino != (parts / copied.file_names[0]).stat().st_ino
    assert list(listed.paths) == list(open_dataset(parts).paths)
    for each in (linked, copied, listed):
        assert list(each.file_names) == list(open_dataset(parts).file_names)
        assert each.split.tolist() == open_dataset(parts).split.tolist()
        assert each.classes == open_dataset(parts).classes


def test_fractions_are_nested_stratified_and_spare_the_test_set(parts: Path, tmp_path: Path) -> None:
    """Of 8 a class, 2 and 4; of 2 a class, at least one."""
    names = {}
    for fraction in (0.01, 0.25, 0.5, 1.0):
        out = curate(parts, tmp_path / str(fraction), fraction=fraction, drop_duplicates=False, workers=0)
        data = open_dataset(out)
        names[fraction] = set(data.file_names)
        assert (data.split == "test").sum() == 6
        counts = Counter(
            zip(data.domain[data.split == "train"], data.label[data.split == "train"], strict=True)
        )
        assert len(counts) == 10, "no class of either domain is lost"
        assert {counts[0, label] for label in range(5)} == {max(1, round(8 * fraction))}
    assert names[0.01] < names[0.25] < names[0.5] < names[1.0]


def _train_counts(out: Path) -> dict[str, int]:
    data = open_dataset(out).select(split="train")
    return {name: int((data.domain == d).sum()) for d, name in enumerate(data.domains)}


def test_domains_are_balanced(parts: Path, tmp_path: Path) -> None:
    """By the smallest, or as far as a limit and the small one's size allow."""
    settings: dict[str, Any] = {"drop_duplicates": False, "workers": 0}
    out = curate(parts, tmp_path / "a", balance="domain", **settings)
    assert _train_counts(out) == {"big": 10, "small": 10}
    out = curate(parts, tmp_path / "b", balance="domain", limit=30, **settings)
    assert _train_counts(out) == {"big": 20, "small": 10}
    out = curate(parts, tmp_path / "c", limit=30, seed=1, **settings)
    assert sum(_train_counts(out).values()) == 30


def test_clusters_are_balanced(parts: Path, tmp_path: Path) -> None:
    """A quarter of the pictures is red, the others blue; ten of each are asked for."""
    out = curate(
        parts, tmp_path / "new", balance="cluster", clusters=2, limit=20, drop_duplicates=False, workers=0
    )
    data = open_dataset(out).select(split="train")
    is_red = [np.asarray(Image.open(path))[..., 0].mean() > 100 for path in data.paths]
    assert sum(is_red) == 10
    assert len(is_red) == 20


def test_classes_are_capped(parts: Path, tmp_path: Path) -> None:
    """Three of eight, two of two."""
    out = curate(parts, tmp_path / "new", per_class=3, drop_duplicates=False, workers=0)
    assert _train_counts(out) == {"big": 15, "small": 10}


def test_of_two_training_copies_the_larger_stays(tmp_path: Path) -> None:
    """Whatever their order."""
    folder = tmp_path / "set"
    folder.mkdir()
    image = picture(4, np.random.default_rng(0))
    resized(image, 0.7).save(folder / "a.png")
    jpeg(image, 80).save(folder / "b.png")
    resized(image, 0.8).save(folder / "c.png")
    assert list(open_dataset(curate(folder, tmp_path / "new", workers=0)).file_names) == ["b.png"]


def test_query_and_index_may_show_the_same(tmp_path: Path) -> None:
    """A benchmark's lists are not thinned against each other."""
    folder = tmp_path / "set"
    folder.mkdir()
    image = picture(4, np.random.default_rng(0))
    for name in ("q.png", "i.png"):
        image.save(folder / name)
    write_dataset(
        [{"file_name": "q.png", "split": "query"}, {"file_name": "i.png", "split": "index"}], folder
    )
    assert len(open_dataset(curate(folder, tmp_path / "new", workers=0))) == 2


def test_captions_objects_and_masks_come_along(tmp_path: Path) -> None:
    """With the files and the names of their classes."""
    folder = tmp_path / "set"
    (folder / "masks").mkdir(parents=True)
    for number in range(2):
        picture(4, np.random.default_rng(number)).save(folder / f"{number}.png")
        Image.new("L", (9, 9), number).save(folder / "masks" / f"{number}.png")
    boxes = {"bbox": [[1.0, 2.0, 3.0, 4.0]], "categories": ["cat"]}
    write_dataset(
        [
            {"file_name": "0.png", "text": ["one", "two"], "objects": boxes, "mask": "masks/0.png"},
            {
                "file_name": "1.png",
                "text": None,
                "objects": {"bbox": [], "categories": []},
                "mask": "masks/1.png",
            },
        ],
        folder,
    )
    (folder / "dataset.json").write_text(json.dumps({"mask_classes": ["ground", "cat"], "licence": "CC0"}))
    old = open_dataset(folder)
    for files in ("link", "list"):
        new = open_dataset(curate(folder, tmp_path / files, files=files, workers=0))
        assert new.text is not None
        assert new.objects is not None
        assert new.masks is not None
        assert list(new.text) == ["one\ntwo", None] == list(old.text or ())
        assert new.objects[0] is not None
        assert new.objects[0].boxes.tolist() == [[1, 2, 3, 4]]
        assert new.object_classes == ("cat",)
        assert new.mask_classes == ("ground", "cat")
        assert [Image.open(str(path)).getpixel((0, 0)) for path in new.masks] == [0, 1]
        assert json.loads((tmp_path / files / "dataset.json").read_text())["licences"] == {"set": "CC0"}


def test_out_must_be_free(parts: Path, tmp_path: Path) -> None:
    """Neither full nor inside the source; nothing half-made stays."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DataError, match="not empty"):
        curate(parts, tmp_path / "full")
    with pytest.raises(DataError, match="lies inside"):
        curate(parts, parts / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": 10}, "such as 0.1 for 10 %"),
        ({"limit": 0}, "at least 1"),
        ({"seed": -1}, "negative"),
        ({"balance": "cluster"}, "needs limit"),
        ({"clusters": 5}, "no effect"),
    ],
)
def test_contradictions_are_refused(
    parts: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=message):
        curate(parts, tmp_path / "new", **settings)


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    """All files broken."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="nothing is left"):
        curate(tmp_path / "set", tmp_path / "new", workers=0)


def test_pictures_that_are_not_read_are_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a search for copies nobody looks which are broken, and nobody says there are none."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"no picture")
    curate(tmp_path / "set", tmp_path / "out", drop_duplicates=False, workers=0)
    said = " ".join(capsys.readouterr().err.split())
    assert "unreadable ones were not looked for" in said
    assert "0 unreadable" not in said
