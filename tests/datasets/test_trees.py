"""Aerial trees: tiles cover a picture, and crowns keep their place in them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.datasets.known import Box
from alumnus.datasets.trees import PICTURES, TILE, crowns_inside, read_crowns, scenes, tile_corners

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
VOC = f"<annotation><object><name>Tree</name>{BOX}</object></annotation>"


@pytest.mark.parametrize("size", [(400, 400), (2299, 2472), (1249, 1035), (256, 256), (100, 300)])
def test_tiles_reach_all_borders(size: tuple[int, int]) -> None:
    """They begin at 0, end at the picture's end, and leave gaps of a few px at most."""
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in tile_corners(size)})
        assert starts[0] == 0
        assert starts[-1] + TILE == max(size[axis], TILE)
        assert all(after - before <= TILE * 1.05 for before, after in pairwise(starts))


def test_a_crown_is_moved_and_scaled() -> None:
    """By hand: a crown at (300, 20) in a tile from (256, 0), enlarged twice."""
    assert crowns_inside([(300, 20, 340, 50)], (256, 0, 512, 256), scale=2) == [Box(88, 40, 80, 60, "tree")]


def test_a_crown_on_the_border_is_cut_or_dropped() -> None:
    """By how much of it is inside."""
    tile = (0.0, 0.0, 256.0, 256.0)
    assert crowns_inside([(236, 10, 266, 40)], tile, scale=1) == [Box(236, 10, 20, 30, "tree")]
    assert crowns_inside([(246, 10, 276, 40)], tile, scale=1) == []
    assert crowns_inside([(253, 10, 257, 40)], tile, scale=1) == []  # a sliver


def test_scenes_of_a_made_up_package(tmp_path: Path) -> None:
    """Four pictures, each in its split, boxes where the crown is painted."""
    folder = tmp_path / "deepforest" / "data"
    folder.mkdir(parents=True)
    for name in PICTURES:
        pixels = np.zeros((256, 512, 3), np.uint8)
        pixels[40:80, 300:350] = 255
        Image.fromarray(pixels).save(folder / f"{name}.png")
        (folder / f"{name}.xml").write_text(VOC.format(300, 40, 350, 80))
    found = list(scenes({"deepforest": tmp_path}, seed=0, size=256, limit=0))
    assert [scene.split for scene in found] == ["train"] * 2 + ["val"] * 2 + ["test"] * 2 + ["spare"] * 2
    assert [len(scene.objects or ()) for scene in found] == [0, 1] * 4
    box = (found[1].objects or ())[0]
    inside = np.asarray(found[1].image)[box.y : box.y + box.height, box.x : box.x + box.width]
    assert inside.mean() > 250
    assert np.asarray(found[1].image).sum() == inside.sum()
    assert len(list(scenes({"deepforest": tmp_path}, seed=0, size=256, limit=1))) == 4


def test_boxes_are_read(tmp_path: Path) -> None:
    """All of a file, whatever their name."""
    (tmp_path / "a.xml").write_text(VOC.format(1, 2, 3.5, 4).replace("Tree", "Dead"))
    assert read_crowns(tmp_path / "a.xml") == [(1, 2, 3.5, 4)]
