"""Furniture from several sides: some 700 models of furniture, eight views of each. Rendered pictures; the class is the model.

Source: see `sweethome3d` (Debian `sweethome3d-furniture`, CC0 and CC BY 3.0), drawn by PyPI `pybullet` (zlib) with its software renderer.
Labels: the model's name, such as `scopia/bed1`; the caption is its title. Each view has its own direction (all around, 5 to 45 degrees
from above) and light, drawn from the seed; the background is white. Left out: models whose mesh has more than a megabyte
or more than 16 materials.

Pitfalls: rendered without shadows or ground. Some models are variants of others (a kitchen cabinet with two doors or three), and round
things look the same from all sides. Every model fills the picture, so size tells nothing.
"""

from __future__ import annotations

import functools
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alumnus.datasets.bullet import add_model, load_bullet
from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.sweethome3d import PACKAGE, Model, read_models, write_parts

VIEWS = 8  # of each model
PITCH = (5.0, 45.0)  # degrees above the horizon
FIELD = 30.0  # degrees; far away and narrow, as products are photographed
ROOM = 1.05  # around the model
FINER = 2  # times larger than wanted, to be made smaller without steps at edges
MAX_OBJ_BYTES = 1_000_000  # larger meshes take too long

INFO = DatasetInfo(
    name="furniture",
    title="Furniture: find the same model from another side",
    kind="rendered",
    packages=(PACKAGE,),
    classes=734,
    images=734 * VIEWS,
    notes="Rendered on white. Some models are variants of others.",
    needs={"pybullet": "scenes"},
)


@dataclass(frozen=True)
class View:
    """A model seen from somewhere."""

    model: Model
    yaw: float  # degrees around the upright axis; 0 from the front
    pitch: float  # degrees from above
    light: tuple[float, float, float]  # where it comes from

    def __call__(self, size: int, /) -> Image.Image:
        """RGB, `FINER` times `size` px square, on white."""
        bullet, client = _session()
        middle, radius = _show(self.model)
        side = FINER * size
        distance = ROOM * radius / math.sin(math.radians(FIELD / 2))
        found = bullet.getCameraImage(
            side,
            side,
            bullet.computeViewMatrixFromYawPitchRoll(middle, distance, self.yaw, -self.pitch, 0, 2),
            bullet.computeProjectionMatrixFOV(FIELD, 1.0, distance - radius, distance + radius),
            lightDirection=self.light,
            shadow=0,
            renderer=bullet.ER_TINY_RENDERER,
            physicsClientId=client,
        )
        pixels = np.asarray(found[2], np.uint8).reshape(side, side, 4)[..., :3].copy()
        pixels[np.asarray(found[4]).reshape(side, side) < 0] = 255
        return Image.fromarray(pixels)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the views of each model, model by model; directions and lights come from the seed."""
    for model in small_models(folders):
        for view in views(model, VIEWS, seed=seed):
            yield Entry(model.name, "view", view, text=model.title)


def small_models(folders: Folders) -> list[Model]:
    """Returns the models whose meshes are not too large."""
    return [model for model in read_models(folders) if model.num_bytes <= MAX_OBJ_BYTES]


def views(model: Model, count: int, *, seed: int) -> Sequence[View]:
    """Returns views of a model, spread all around it."""
    draw = random.Random(f"{seed}/{model.name}")
    start = draw.uniform(0, 360)
    return [
        View(
            model,
            (start + (number + draw.uniform(-0.3, 0.3)) * 360 / count) % 360,
            draw.uniform(*PITCH),
            (draw.uniform(-1, 1), draw.uniform(-1, 1), draw.uniform(1, 2)),
        )
        for number in range(count)
    ]


@functools.cache
def _session() -> tuple[Any, int]:
    """The renderer, started once a process."""
    bullet = load_bullet()
    return bullet, bullet.connect(bullet.DIRECT)


@functools.lru_cache(maxsize=1)
def _show(model: Model) -> tuple[tuple[float, float, float], float]:
    """Puts a model, instead of the one before, into the renderer; returns the middle and radius (m) of the ball around it."""
    bullet, client = _session()
    bullet.resetSimulation(physicsClientId=client)
    with tempfile.TemporaryDirectory(prefix="furniture-") as scratch:
        add_model(bullet, write_parts(model, Path(scratch) / "model"), client=client)
    return (0.0, 0.0, model.size[2] / 2), math.hypot(*model.size) / 2
