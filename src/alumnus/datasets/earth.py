"""Earth: the same piece of land seen by different instruments. Satellite composites and a relief map; the class is a cell of the grid.

Source: npm `three-globe` (MIT), whose example textures are NASA's Blue Marble, a natural-colour map, elevation and a water mask, all
public domain. Labels: cells of 7.5 x 7.5 degrees between 75 degrees north and 67.5 south with at least 30 % land, named by column and row
of the grid. Cells do not overlap, so a held-out place was never seen in training. Every crop is stretched to full contrast.

Pitfalls: blue-marble and day are composited photographs, relief is a map made from measurements: a claim about real photographs should
leave it out (column `style`). A cell is 33 to 85 px wide in the sources, so pictures are blurred above that. Three views a class are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.packages import Package

CELL = 7.5  # degrees
NORTH, SOUTH = 75.0, -67.5  # degrees of latitude; beyond them a cell is a sliver
LAND = 0.3  # share of a cell
VIEWS = {"blue-marble": "earth-blue-marble.jpg", "day": "earth-day.jpg", "relief": "earth-topology.png"}
WATER = "earth-water.png"  # white where there is water
PERCENTILES = (1, 99)
CONTRAST = 8  # grey levels; less than that is not stretched to the full range, since it is noise

INFO = DatasetInfo(
    name="earth",
    title="Places on Earth: two satellite composites and a relief map",
    kind="photo",
    packages=(
        Package(
            "npm",
            "three-globe",
            "2.45.2",
            "f6deff6848980a4bda13b0993e5ebc929b27e791e063a5517c87115ff7e669cb",
            "MIT (package); NASA imagery is in the public domain",
        ),
    ),
    classes=307,
    images=921,
    notes="Satellite composites and a map; neighbouring cells are different classes.",
)


@dataclass(frozen=True)
class Cell:
    """One cell of a world map, stretched to full contrast."""

    path: Path
    box: tuple[float, float, float, float]  # left, top, right, bottom as shares of the map

    def __call__(self, size: int, /) -> Image.Image:
        """RGB, `size` x `size` px."""
        world = _world(self.path)
        left, top, right, bottom = self.box
        box = (left * world.width, top * world.height, right * world.width, bottom * world.height)
        return stretched(world.resize((size, size), Image.Resampling.BICUBIC, box=box))


@lru_cache(maxsize=len(VIEWS))
def _world(path: Path) -> Image.Image:
    """A whole map, decoded once a process: up to 25 MB."""
    with Image.open(path) as world:
        return world.convert("RGB")


def stretched(picture: Image.Image) -> Image.Image:
    """Returns a picture whose 1st to 99th percentile, over all channels together, fill the range."""
    pixels = np.asarray(picture, np.float32)
    low, high = np.percentile(pixels, PERCENTILES)
    full = (pixels - low) / max(high - low, CONTRAST) * 255
    return Image.fromarray(np.clip(full + 0.5, 0, 255).astype(np.uint8))


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields each cell of land in every view; nothing is random."""
    folder = folders["three-globe"] / "example" / "img"
    with Image.open(folder / WATER) as mask:
        land = np.asarray(mask.convert("L")) < 128  # (H, W)
    for name, box in land_cells(land):
        for style, file in VIEWS.items():
            yield Entry(name, style, Cell(folder / file, box))


def land_cells(land: np.ndarray) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Yields the name and box of each cell with enough land, from a world map (H, W) of booleans."""
    height, width = land.shape
    for column in range(int(360 / CELL)):
        for row in range(int((90 - NORTH) / CELL), int((90 - SOUTH) / CELL)):
            left, top = column * CELL / 360, row * CELL / 180
            right, bottom = left + CELL / 360, top + CELL / 180
            cell = land[
                round(top * height) : round(bottom * height), round(left * width) : round(right * width)
            ]
            if cell.mean() >= LAND:
                yield f"cell-{column}-{row}", (left, top, right, bottom)
