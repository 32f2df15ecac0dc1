"""Aerial trees: crowns in pictures taken from an aeroplane. Real photographs; what is boxed is a tree, and that is the only class.

Source: the sample data inside PyPI `deepforest` (MIT; pictures by the US National Ecological Observatory Network, 0.1 m a px, with boxes
drawn by hand). Labels: boxes of crowns; the class is always "tree" (one picture tells living from dead ones; that is dropped). Pictures
are cut into tiles of 256 px, which are stored enlarged. A crown that a tile's border cuts keeps its box if half of it is inside. Splits by
picture: train the large one of Yellowstone, test another one of Yellowstone, val one of the Ordway-Swisher reserve in Florida.

Pitfalls: four pictures, so nothing is said about other places or cameras. The test picture is from the same flight as the training one.
The fourth picture (Soaproot Saddle) has boxes mainly for dead trees, so most living ones count as background: it is spare. Boxes are loose,
some by 10 px, and small crowns in dense stands are boxed unevenly, which limits AP at high overlap. One training tile in eight is empty
meadow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from alumnus.data.read import read_image
from alumnus.datasets.known import Box, DatasetInfo, Folders, Scene
from alumnus.packages import Package

PICTURES = {
    "2019_YELL_2_528000_4978000_image_crop2": "train",
    "OSBS_029": "val",
    "2019_YELL_2_541000_4977000_image_crop": "test",
    "SOAP_061": "spare",
}
TILE = 256  # px of a picture
MIN_INSIDE = 0.5  # share of a crown's box
MIN_SIDE = 4  # px of a picture, of what is inside
CATEGORY = "tree"

Corners = tuple[float, float, float, float]  # left, top, right, bottom in px

INFO = DatasetInfo(
    name="trees",
    title="Aerial trees: boxes of crowns in four pictures from the air",
    kind="photo",
    task="detection",
    packages=(
        Package(
            "pypi",
            "deepforest",
            "2.1.0",
            "8c2798d8e9be7f0004b194fe207b76c1d9fff6e711b3db67b9508dcd5d00ae54",
            "MIT",
        ),
    ),
    classes=1,
    images=118,
    notes="Real photographs, but four of them: no claim about other places, seasons or cameras.",
    size=320,
    object_classes=(CATEGORY,),
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields the tiles of each picture, row by row; nothing is random."""
    folder = folders["deepforest"] / "deepforest" / "data"
    for name, split in PICTURES.items():
        picture, crowns = read_image(folder / f"{name}.png"), read_crowns(folder / f"{name}.xml")
        for number, (left, top) in enumerate(tile_corners(picture.size)):
            if limit and number >= limit:
                break
            tile = picture.crop((left, top, left + TILE, top + TILE))
            boxes = crowns_inside(crowns, (left, top, left + TILE, top + TILE), scale=size / TILE)
            image = tile.resize((size, size), Image.Resampling.BICUBIC)
            yield Scene(f"{name}/{number:03d}", name, split, image, objects=boxes)


def read_crowns(path: Path) -> list[Corners]:
    """Returns the boxes of a Pascal VOC file, in px of its picture."""
    boxes = ElementTree.parse(path).iter("bndbox")
    return [tuple(float(box.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax")) for box in boxes]  # type: ignore[misc]


def tile_corners(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns left and top of the tiles of a picture: evenly laid to its borders, so neighbours may overlap or leave out a few px.

    >>> tile_corners((512, 300))
    [(0, 0), (256, 0), (0, 44), (256, 44)]
    """
    across, down = (_evenly(side) for side in size)
    return [(left, top) for top in down for left in across]


def crowns_inside(crowns: Sequence[Corners], tile: Corners, *, scale: float) -> list[Box]:
    """Returns the crowns of which enough lies in a tile, cut at its border, in whole px of the tile enlarged by `scale`."""
    found = []
    for crown in crowns:
        left, top = (max(crown[each], tile[each]) for each in (0, 1))
        right, bottom = (min(crown[each], tile[each]) for each in (2, 3))
        area = (crown[2] - crown[0]) * (crown[3] - crown[1])
        if min(right - left, bottom - top) < MIN_SIDE or (right - left) * (bottom - top) < MIN_INSIDE * area:
            continue
        x, y, end_x, end_y = (
            round((value - origin) * scale)
            for value, origin in zip((left, top, right, bottom), tile[:2] * 2, strict=True)
        )
        found.append(Box(x, y, end_x - x, end_y - y, CATEGORY))
    return found


def _evenly(side: int) -> list[int]:
    count = max(1, math.ceil(side / TILE - 0.05))  # a border narrower than that is left out in gaps
    return [int(start) for start in np.linspace(0, max(0, side - TILE), count).round()]
