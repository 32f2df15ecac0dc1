"""Furnished rooms: how far everything is in rooms filled at random with models of furniture. Rendered pictures; there is no class.

Source: see `sweethome3d` (Debian `sweethome3d-furniture`, CC0 and CC BY 3.0), drawn by PyPI `pybullet` (zlib) with its software renderer.
Labels: depth along the view's axis in millimetres, exact but for rounding; the class is none. A room has a floor and three or four walls
with made-up textures, four to eight pieces of furniture that stand apart from each other, and a camera at the height of a person's eyes or
somewhat lower, 50 to 70 degrees high. Unknown, 0: what is beyond the open side of a room. Splits by model: those of training, val and test
rooms are different ones, by the hash of their names.

Pitfalls: rendered, evenly lit, with hard shadows; nothing lies on tables or hangs on walls. Furniture has its true size, so size tells
depth, as it does at home. Rooms are 3.5 to 6.5 m long: a constant guess is not far off, so compare with the mean depth of each pixel's row.
"""

from __future__ import annotations

import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.datasets.bullet import MAX_PARTS, add_body, add_model, load_bullet
from alumnus.datasets.known import DatasetInfo, Folders, Scene
from alumnus.datasets.room_textures import write_texture
from alumnus.datasets.splits import class_split
from alumnus.datasets.sweethome3d import PACKAGE, Model, Part, read_models, write_parts

SCENES = {"train": 540, "val": 90, "test": 270}
INDOORS = ("Bathroom", "Bedroom", "Kitchen", "Living room", "Lights", "Miscellaneous", "Office")
MAX_OBJ_BYTES = 300_000  # larger meshes take too long
CAST, TAKES = 9, 6  # models loaded together, and pictures taken of them, each of some of them in another room
PIECES = (4, 8)
NEAR, FAR = 0.1, 20.0  # m
ASPECT = 4 / 3
WALL = 2.6  # m high
GAP = 0.1  # m between pieces
FREE = 1.1  # m around the camera
SEEN = 15.0  # m; what is farther is no room
BELOW = -50.0  # m; where what is not in the picture waits

INFO = DatasetInfo(
    name="furniture_scenes",
    title="Furnished rooms: depth of made-up rooms with models of furniture",
    kind="rendered",
    task="depth",
    packages=(PACKAGE,),
    classes=0,
    images=sum(SCENES.values()),
    notes="Rendered rooms; the furniture of test rooms is never seen in training. Depth in millimetres.",
    needs={"pybullet": "scenes"},
    size=320,
)


class Pose(NamedTuple):
    """Where a piece stands."""

    x: float  # m
    y: float
    yaw: float  # degrees


AWAY = Pose(0.0, 0.0, 0.0)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields rooms, those of training first; all of them follow from the seed."""
    bullet = load_bullet()
    models = usable(read_models(folders))
    written: dict[str, list[Part]] = {}
    with tempfile.TemporaryDirectory(prefix="furniture-") as scratch:
        for split, wanted in SCENES.items():
            mine = [model for model in models if class_split(model.name) == split]
            count = min(wanted, limit) if limit else wanted
            for start in range(0, count, TAKES):
                draw = random.Random(f"{seed}/{split}/{start}")
                cast = draw.sample(mine, min(CAST, len(mine)))
                for model in cast:
                    if model.name not in written:
                        written[model.name] = write_parts(model, Path(scratch) / model.name)
                cast = [model for model in cast if len(written[model.name]) <= MAX_PARTS]
                with Stage(bullet, cast, written, Path(scratch), size=size) as stage:
                    for take in range(start, min(start + TAKES, count)):
                        image, depth = stage.picture(draw)
                        yield Scene(f"{split}/{take:03d}", "room", split, image, depth=depth)


def usable(models: Sequence[Model]) -> list[Model]:
    """Returns the models that stand on the floor of a room and are neither tiny, flat nor too large for it."""
    return [
        model
        for model in models
        if model.category in INDOORS
        and model.num_bytes <= MAX_OBJ_BYTES
        and model.elevation == 0
        and 0.35 <= max(model.size) <= 2.5
        and min(model.size[:2]) >= 0.15
        and model.size[2] >= 0.25
    ]


def metres(buffer: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns the depth along the view's axis of a depth buffer in [0, 1], as graphics libraries write it."""
    return FAR * NEAR / (FAR - (FAR - NEAR) * np.asarray(buffer, np.float64))


def placed(
    sizes: Sequence[tuple[float, float]],
    room: tuple[float, float],
    camera: tuple[float, float],
    draw: random.Random,
) -> list[Pose | None]:
    """Returns a place for each piece of some width and depth (m) in a room around the origin, or None where there is none left.

    The circles around two pieces may overlap; the boxes along the walls around them may not.
    """
    taken: list[tuple[float, float, float, float]] = []  # x, y, half width, half depth
    found: list[Pose | None] = []
    for width, depth in sizes:
        found.append(None)
        for _ in range(40):
            yaw = draw.choice((0, 90, 180, 270)) + draw.gauss(0, 8)
            cosine, sine = abs(math.cos(math.radians(yaw))), abs(math.sin(math.radians(yaw)))
            half_x, half_y = (width * cosine + depth * sine) / 2, (width * sine + depth * cosine) / 2
            reach = room[0] / 2 - half_x - 0.05, room[1] / 2 - half_y - 0.05
            if min(reach) <= 0:
                break
            x, y = draw.uniform(-reach[0], reach[0]), draw.uniform(-reach[1], reach[1])
            is_free = all(
                abs(x - other[0]) > half_x + other[2] + GAP or abs(y - other[1]) > half_y + other[3] + GAP
                for other in taken
            )
            if is_free and math.hypot(x - camera[0], y - camera[1]) > FREE + max(half_x, half_y):
                taken.append((x, y, half_x, half_y))
                found[-1] = Pose(x, y, yaw)
                break
    return found


class Stage:
    """Some models, loaded once, and pictures of them in one room after another; to be used in a `with` block.

    Args:
        bullet: the pybullet module.
        cast: the models.
        parts: the meshes of these models (and perhaps others) by name.
        scratch: a folder for textures.
        size: width of the pictures in px.
    """

    def __init__(
        self,
        bullet: Any,
        cast: Sequence[Model],
        parts: Mapping[str, Sequence[Part]],
        scratch: Path,
        *,
        size: int,
    ) -> None:
        self.bullet, self.cast, self.parts, self.scratch = bullet, cast, parts, scratch
        self.width, self.height = size, round(size / ASPECT)
        self.client = -1
        self.bodies: list[int] = []

    def __enter__(self) -> Stage:
        self.client = self.bullet.connect(self.bullet.DIRECT)
        self.bodies = [
            add_model(self.bullet, self.parts[model.name], client=self.client) for model in self.cast
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self.bullet.disconnect(self.client)

    def picture(self, draw: random.Random) -> tuple[Image.Image, NDArray[np.uint16]]:
        """Returns a picture of some of the cast in a new room, and its depth (H, W) in mm; 0 is unknown."""
        room = draw.uniform(3.5, 5.5), draw.uniform(4.0, 6.5)  # m: x, y
        camera = draw.uniform(-0.3, 0.3) * room[0], -room[1] / 2 + 0.15, draw.uniform(1.0, 1.9)
        walls = self._build(room, draw)
        chosen = draw.sample(range(len(self.cast)), min(draw.randint(*PIECES), len(self.cast)))
        poses = placed([self.cast[each].size[:2] for each in chosen], room, camera[:2], draw)
        standing = dict(zip(chosen, poses, strict=True))
        for number, body in enumerate(self.bodies):
            self._move(body, standing.get(number) or AWAY)
        found = self._shot(room, camera, draw)
        for body in walls:
            self.bullet.removeBody(body, physicsClientId=self.client)
        return found

    def _build(self, room: tuple[float, float], draw: random.Random) -> list[int]:
        across, along = room
        floor = write_texture(self.scratch / "floor.png", draw, kinds=("planks", "tiles", "carpet"))
        wall = write_texture(self.scratch / "wall.png", draw, kinds=("plain", "stripes", "carpet"))
        built = [
            self._box((across, along, 0.1), (0, 0, -0.05), floor),
            self._box((across, 0.1, WALL), (0, along / 2 + 0.05, WALL / 2), wall),
            self._box((0.1, along, WALL), (-across / 2 - 0.05, 0, WALL / 2), wall),
        ]
        if draw.random() < 0.75:
            built.append(self._box((0.1, along, WALL), (across / 2 + 0.05, 0, WALL / 2), wall))
        return built

    def _box(self, size: tuple[float, ...], middle: tuple[float, ...], texture: Path) -> int:
        shape = self.bullet.createVisualShape(
            self.bullet.GEOM_BOX, halfExtents=[side / 2 for side in size], physicsClientId=self.client
        )
        return add_body(self.bullet, shape, middle, [texture], client=self.client)

    def _move(self, body: int, pose: Pose) -> None:
        turn = self.bullet.getQuaternionFromEuler([0, 0, math.radians(pose.yaw)])
        place = [pose.x, pose.y, 0 if pose is not AWAY else BELOW]
        self.bullet.resetBasePositionAndOrientation(body, place, turn, physicsClientId=self.client)

    def _shot(
        self, room: tuple[float, float], camera: tuple[float, float, float], draw: random.Random
    ) -> tuple[Image.Image, NDArray[np.uint16]]:
        target = draw.uniform(-0.25, 0.25) * room[0], draw.uniform(0.0, 0.3) * room[1], draw.uniform(0.2, 0.9)
        found = self.bullet.getCameraImage(
            self.width,
            self.height,
            self.bullet.computeViewMatrix(camera, target, [0, 0, 1]),
            self.bullet.computeProjectionMatrixFOV(draw.uniform(50, 70), self.width / self.height, NEAR, FAR),
            lightDirection=[draw.uniform(-1, 1), draw.uniform(-1.5, 0), draw.uniform(1.5, 3)],
            shadow=1,
            renderer=self.bullet.ER_TINY_RENDERER,
            physicsClientId=self.client,
        )
        pixels = np.asarray(found[2], np.uint8).reshape(self.height, self.width, 4)[..., :3]
        depth = metres(np.asarray(found[3], np.float32).reshape(self.height, self.width))
        depth[depth > SEEN] = 0
        return Image.fromarray(np.ascontiguousarray(pixels)), np.round(depth * 1000).astype(np.uint16)
