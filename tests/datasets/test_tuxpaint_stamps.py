"""Tux Paint's stamps: categories, captions, and which of them are photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.datasets.tuxpaint_stamps import PACKAGE, STAMPS, photo_stamps, read_stamps, smoothness
from alumnus.errors import DataError


def stamp(folder: Path, name: str, *, noise: int = 60, seed: int = 0, text: str | None = None) -> Path:
    """Writes a cut-out of 40 px: a disc, noisy like a photograph or flat like a drawing."""
    path = folder / STAMPS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(100, 101 + noise, (40, 40, 4)).astype(np.uint8)
    y, x = np.mgrid[:40, :40]
    pixels[..., 3] = np.where(np.hypot(x - 20, y - 20) < 18, 255, 0)
    Image.fromarray(pixels).save(path)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


def test_a_stamp_knows_its_category_and_caption(tmp_path: Path) -> None:
    """The first line is English; `noflip` stands in another file; letters are left out."""
    stamp(tmp_path, "animals/birds/crow.png", text="A crow.\nde.utf8=Eine Krähe.\n").with_suffix(
        ".dat"
    ).write_text("noflip\n")
    stamp(tmp_path, "symbols/alphabets/english/a.png")
    stamp(tmp_path, "food/nuts/pecan.png")
    first, second = read_stamps({PACKAGE.name: tmp_path})
    assert (first.name, first.category, first.caption, first.may_flip) == (
        "crow",
        ("animals", "birds"),
        "A crow.",
        False,
    )
    assert (second.name, second.caption, second.may_flip) == ("pecan", "", True)
    assert len(list(read_stamps({PACKAGE.name: tmp_path}, letters=True))) == 3


def test_photographs_are_told_from_drawings(tmp_path: Path) -> None:
    """By noise and by folder; each photograph comes once."""
    stamp(tmp_path, "food/pecan.png")
    stamp(tmp_path, "food/pecan_again.png")
    stamp(tmp_path, "food/almond.png", seed=1)
    stamp(tmp_path, "food/almond_mirror.png", seed=2)
    stamp(tmp_path, "food/drawn.png", noise=0)
    stamp(tmp_path, "food/cartoon/noisy.png", seed=3)
    assert [each.name for each in photo_stamps({PACKAGE.name: tmp_path})] == ["almond", "pecan"]


def test_smoothness_is_the_share_of_equal_neighbours() -> None:
    """Of opaque ones: by hand, 2 of 4 pairs a row."""
    row = np.array(
        [[0, 0, 0, 255], [0, 0, 0, 255], [9, 0, 0, 255], [9, 0, 0, 255], [0, 0, 0, 255], [0, 0, 0, 0]],
        np.int16,
    )
    assert smoothness(np.tile(row, (20, 1, 1))) == 0.5
    assert smoothness(np.zeros((20, 6, 4), np.int16)) == 1.0


def test_a_package_without_stamps_is_refused(tmp_path: Path) -> None:
    """Rather than giving an empty data set."""
    with pytest.raises(DataError, match="holds no stamps"):
        list(read_stamps({PACKAGE.name: tmp_path}))
