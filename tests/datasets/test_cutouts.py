"""Cut-outs on photos: what is held out, that boxes and masks fit the pixels, and that all is the same again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.datasets import cutout_masks, cutout_objects
from alumnus.datasets.cutouts import (
    CATEGORIES,
    GCOMPRIS,
    MATE,
    MIN_VISIBLE,
    WALLPAPERS,
    category_of,
    composites,
    hash_split,
    split_backgrounds,
    split_stamps,
)
from alumnus.datasets.known import Folders
from alumnus.datasets.tuxpaint_stamps import PACKAGE as STAMPS
from alumnus.datasets.tuxpaint_stamps import Stamp
from tests.datasets.test_qt_resource import Tree, bundle
from tests.datasets.test_tuxpaint_stamps import stamp


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Packages with 8 birds, 8 coins and 8 things without a category, on grey backgrounds."""
    for number in range(8):
        for other, category in enumerate(("animals/birds", "symbols/money/euro", "people")):
            stamp(tmp_path / "stamps", f"{category}/{number}.png", seed=10 * number + other)
    for name, folder in (("explore_monuments", "wonders"), ("categorization", "renewable")):
        _write_bundle(tmp_path / "gcompris", name, folder)
    wallpapers = tmp_path / "mate" / "usr/share/backgrounds/mate/nature"
    wallpapers.mkdir(parents=True)
    for name in WALLPAPERS:
        Image.new("RGB", (60, 90), (10, 10, 10)).save(wallpapers / f"{name}.jpg")
    return {
        STAMPS.name: tmp_path / "stamps",
        GCOMPRIS.name: tmp_path / "gcompris",
        MATE.name: tmp_path / "mate",
    }


def _write_bundle(root: Path, name: str, folder: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (120, 80), (10, 10, 10)).save(file, "WEBP", lossless=True)
    pictures: Tree = {f"{number}.webp": file.getvalue() for number in range(5)}
    tree: Tree = {"resource": {"images": {folder: pictures}, folder: pictures, "note.txt": b"no picture"}}
    path = root / "usr/share/gcompris-qt/rcc" / f"{name}.rcc"
    path.parent.mkdir(parents=True, exist_ok=True)
    bundle(path, tree)


def test_a_category_is_that_of_the_longest_folder() -> None:
    """`household/tools` is not `household`; what is in no folder has none."""

    def of(*category: str) -> str | None:
        return category_of(Stamp(Path("a.png"), category, "", True))

    assert of("household", "tools") == "tool"
    assert of("household") == "household thing"
    assert of("animals", "mammals", "cats") == "mammal"
    assert of("people") is None
    assert len(CATEGORIES) == 15


def test_no_part_of_a_short_list_is_empty() -> None:
    """And a name's place does not hang on the order in which names come."""
    for count in range(4, 40):
        names = [str(number) for number in range(count)]
        found = hash_split(names)
        assert all(found.values())
        assert sorted(name for part in found.values() for name in part) == sorted(names)
        assert hash_split(reversed(names)) == found


def test_cut_outs_and_backgrounds_of_test_are_unknown(folders: Folders) -> None:
    """Each is in one split; categories are in all of them."""
    stamps, grounds = split_stamps(folders), split_backgrounds(folders)
    assert all(set(found) == {"bird", "coin"} for found in stamps.values())
    for category in ("bird", "coin"):
        paths = [each.path for found in stamps.values() for each in found[category]]
        assert len(paths) == len(set(paths)) == 8
    names = [each.name for found in grounds.values() for each in found]
    assert len(names) == len(set(names)) > len(WALLPAPERS)


def test_pixels_outside_the_cut_outs_are_background(folders: Folders) -> None:
    """The backgrounds are dark and the cut-outs are not, so every bright pixel must be somebody's."""
    for each in composites(folders, seed=0, size=160, limit=6):
        assert each.image.size == (160, 120)
        owned = np.zeros((120, 160), bool)
        for pasted in each.pasted:
            assert not (owned & pasted.shape).any()
            owned |= pasted.shape
        bright = np.asarray(each.image).max(axis=2)
        assert bright[~owned].max(initial=0) < 115  # softened borders are mixed
        assert np.median(bright[owned]) > 60


def test_nobody_is_hidden_by_more_than_half(folders: Folders) -> None:
    """Every pasted one has pixels, and a disc's visible part is at least half of its smallest possible area."""
    found = [pasted for each in composites(folders, seed=3, size=160, limit=20) for pasted in each.pasted]
    assert len(found) > 60
    assert all(pasted.shape.sum() > 0 for pasted in found)
    assert min(pasted.shape.sum() for pasted in found) >= MIN_VISIBLE * 0.6 * (0.15 * 160) ** 2 * 0.8


def test_boxes_and_masks_are_of_the_same_pictures(folders: Folders) -> None:
    """A box of a category holds pixels of its class in the mask."""
    boxed = cutout_objects.scenes(folders, seed=0, size=160, limit=4)
    masked = cutout_masks.scenes(folders, seed=0, size=160, limit=4)
    for one, other in zip(boxed, masked, strict=True):
        assert one.image.tobytes() == other.image.tobytes()
        assert other.mask is not None
        for box in one.objects or ():
            part = other.mask[box.y : box.y + box.height, box.x : box.x + box.width]
            assert (part == cutout_masks.INFO.mask_classes.index(box.category)).any()


def test_the_seed_decides(folders: Folders) -> None:
    """The same pictures again, others for another seed, and a limit takes the first ones."""

    def pictures(seed: int, limit: int) -> list[bytes]:
        return [each.image.tobytes() for each in composites(folders, seed=seed, size=80, limit=limit)]

    assert pictures(0, 3) == pictures(0, 3)
    assert pictures(0, 3) != pictures(1, 3)
    assert pictures(0, 2)[:2] == pictures(0, 3)[:2]
