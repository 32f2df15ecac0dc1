"""Tiny pictures that a colour-aware encoder solves and a colour-blind one cannot: rectangles of two colours on grey."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from alumnus.data.objects import Objects
from alumnus.evaluation.dense.encode import CallableDense
from alumnus.evaluation.dense.training import Budget, Setup

WIDTH, HEIGHT, STEP = 64, 48, 8  # px; not square, so that the filling of the letterbox takes part
COLOURS = ((60, 60, 60), (200, 60, 60), (60, 60, 200))  # of the ground, the first and the second class
METRES = (1.0, 2.0, 4.0)  # of the same
SIDE = 32  # px of the encoders below


class Shapes(NamedTuple):
    """Pictures and everything that is known of them."""

    paths: list[str]
    masks: list[str]
    depths: list[str]
    objects: list[Objects]


def draw_shapes(folder: Path, count: int, *, seed: int) -> Shapes:
    """Writes pictures of 64 x 48 px with 0 to 2 rectangles; every third has none, the left edge has no mask and no depth."""
    folder.mkdir()
    random, shapes = np.random.default_rng(seed), Shapes([], [], [], [])
    for number in range(count):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        boxes, labels = list[tuple[int, int, int, int]](), list[int]()
        for half in () if number % 3 == 2 else range(2):
            x, y = STEP * int(random.integers(4 * half, 4 * half + 2)), STEP * int(random.integers(0, 4))
            box, label = (x, y, 2 * STEP, 2 * STEP), int(random.integers(2))
            mask[y : y + box[3], x : x + box[2]] = label + 1
            boxes.append(box)
            labels.append(label)
        stem = str(folder / str(number))
        Image.fromarray(np.array(COLOURS, np.uint8)[mask]).save(f"{stem}.png")
        depth = (1000 * np.array(METRES)[mask]).astype(np.uint16)
        mask[:, :2], depth[:, :2] = 255, 0
        Image.fromarray(mask).save(f"{stem}-mask.png")
        Image.fromarray(depth).save(f"{stem}-depth.png")
        shapes.paths.append(f"{stem}.png")
        shapes.masks.append(f"{stem}-mask.png")
        shapes.depths.append(f"{stem}-depth.png")
        shapes.objects.append(objects(boxes, labels))
    return shapes


def objects(boxes: list[tuple[int, int, int, int]], labels: list[int]) -> Objects:
    """Boxes as x, y, width, height in px."""
    corners: NDArray[np.float32] = np.array(boxes, np.float32).reshape(-1, 4)
    return Objects(corners, np.array(labels, np.int64))


def colour_encoder(*, cell: int = 2) -> CallableDense:
    """The mean colour of cells of `cell` px."""
    return CallableDense(
        lambda image: functional.avg_pool2d(image.float() / 255, cell), name="colour", size=SIDE
    )


def constant_encoder(*, cell: int = 2) -> CallableDense:
    """The same for every image."""
    side = SIDE // cell
    return CallableDense(lambda image: torch.ones(len(image), 3, side, side), name="constant", size=SIDE)


def setup(steps: int = 80, **changes: object) -> Setup:
    """A budget of seconds."""
    settings: dict[str, object] = {"budget": Budget(steps=steps, batch_size=8, lr=2e-2), "workers": 0}
    return Setup(**(settings | changes))  # type: ignore[arg-type]
