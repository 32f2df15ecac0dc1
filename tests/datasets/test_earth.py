"""Earth: cells tile the map, lie on land, and have full contrast."""

from __future__ import annotations

import numpy as np
from PIL import Image

from alumnus.datasets.earth import land_cells, stretched


def test_only_cells_with_land_are_taken() -> None:
    """A made-up world, two pixels a degree: all water but for one cell at the equator."""
    land = np.zeros((360, 720), bool)
    land[180:195, 360:375] = True
    assert list(land_cells(land)) == [("cell-24-12", (24 / 48, 12 / 24, 25 / 48, 13 / 24))]


def test_cells_do_not_overlap() -> None:
    """So a held-out place was never seen in training."""
    boxes = [box for _, box in land_cells(np.ones((360, 720), bool))]
    assert len({box[:2] for box in boxes}) == len(boxes)
    widths = {(round(right - left, 9), round(bottom - top, 9)) for left, top, right, bottom in boxes}
    assert widths == {(round(1 / 48, 9), round(1 / 24, 9))}


def test_dark_crops_are_stretched_and_flat_ones_are_not() -> None:
    """Relief is nearly black in lowlands; noise must not become a picture."""
    dark = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    flat = Image.new("L", (8, 8), 7)
    assert stretched(dark).getextrema() == (0, 255)
    assert stretched(flat).getextrema() == (0, 0)
