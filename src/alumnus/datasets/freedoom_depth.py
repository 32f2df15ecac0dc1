"""Freedoom's rooms: how far everything is in views of a game's levels. Rendered pictures with depth; there is no class.

Source: see `freedoom` (Debian `freedoom`, BSD-3-Clause, drawn by PyPI `vizdoom`). Labels: depth along the view's axis, in the game's map
units (a person is 56 of them tall, so 32 are about a metre); the class is none. Walls and ceilings come from the engine's buffer, in steps
of 7.4 units; things from their position, exactly; floors from the ground plan, exactly, for the engine's own values are wrong there
(`freedoom_sectors`). Unknown, 0: the sky, what is 1,870 units away or farther, and floor pixels that no floor fits (1 to 2 %). Splits by
level: 19 levels train, 4 val, 6 test. Aspect 4:3, 90 degrees wide, always level.

Pitfalls: rendered without shadows, with square textures; things are flat and face the viewer. Near walls, below 70 units, the steps of the
buffer are more than 10 %. The camera is always 41 units above its floor, so the row of a floor's pixel tells most of its depth: compare
with a baseline that knows the row only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.datasets.freedoom import NEEDS, PACKAGE, View, levels, views
from alumnus.datasets.known import DatasetInfo, Folders, Scene

STEP = 7.37  # map units of one step of the engine's buffer; fitted to 516 things at known distances, within 0.5 % from 300 units on
SKY = 127  # of the buffer, where there is neither wall nor thing
FARTHEST = 255
PIXEL_ASPECT = 1.2  # pixels of this game's pictures are drawn taller than wide
INFO = DatasetInfo(
    name="freedoom_depth",
    title="Freedoom's rooms: depth of views in levels of a game",
    kind="rendered",
    task="depth",
    packages=(PACKAGE,),
    classes=0,
    images=1_160,
    notes="Rendered by a game engine of 1993, always at eye height and level. Depth in the game's map units (32 are about a metre).",
    needs=NEEDS,
    size=320,
    depth_unit="map unit",
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields views of each level; which ones follows from the seed."""
    for level, split, count in levels(limit):
        for number, view in enumerate(views(folders, level, count=count, seed=seed, size=size)):
            height = round(size * view.labels.shape[0] / view.labels.shape[1])
            image = Image.fromarray(view.pixels).resize((size, height), Image.Resampling.BOX)
            depth = Image.fromarray(view_depth(view)).resize((size, height), Image.Resampling.NEAREST)
            yield Scene(f"{level}/{number:02d}", level, split, image, depth=np.asarray(depth))


def view_depth(view: View) -> NDArray[np.uint16]:
    """Returns the depth of each pixel of a view, (H, W) in map units; 0 where it is not known."""
    depth = (view.depth + 0.5) * STEP
    depth[(view.depth == SKY) | (view.depth == FARTHEST)] = 0
    floors = view.labels == 1
    floors[: len(floors) // 2] = False  # above eye height only ceilings are seen, which the buffer has right
    across = view.labels.shape[1] / 2  # 90 degrees
    found = view.grid.floor_depth(
        floors,
        view.sectors,
        eye=(view.x, view.y, view.z),
        angle=view.angle,
        focal=(across, across * PIXEL_ASPECT),
    )
    depth[floors] = found[floors]
    for thing in view.things:
        depth[view.labels == thing.value] = max(thing.distance, 1.0)
    depth[depth > (FARTHEST - 1) * STEP] = 0
    return np.round(depth).astype(np.uint16)
