"""Photo cut-outs laid on photos: the pictures that two data sets, of boxes and of masks, are made of.

Source: cut-outs are the photographs among Tux Paint's stamps (`tuxpaint_stamps`, GPL-2), by their own folders merged into 15 categories of
at least eight; backgrounds are photographs of buildings and landscapes: GCompris's monuments and power stations (GPL-3+, CC BY-SA 4.0 or
public domain by file) and some of MATE's wallpapers (GPL-2+). Backgrounds with animals, fruit or flowers are left out, for what is on them
has no label.

Splits: cut-outs and backgrounds are both split by a hash of their names, half train, a tenth val, the rest test, so a test picture shows
known categories by unknown cut-outs in unknown places. No cut-out is hidden by more than half.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from alumnus.data.read import read_image
from alumnus.datasets.known import Folders
from alumnus.datasets.qt_resource import ResourceImage, read_bundle
from alumnus.datasets.tuxpaint_stamps import PACKAGE as STAMPS
from alumnus.datasets.tuxpaint_stamps import Stamp, photo_stamps
from alumnus.packages import Package

GCOMPRIS = Package(
    "debian",
    "gcompris-qt-data",
    "3.1-2",
    "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    "GPL-3.0-or-later, CC-BY-SA-4.0 and public domain by file",
)
MATE = Package(
    "debian",
    "mate-backgrounds",
    "1.26.0-1",
    "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
    "GPL-2.0-or-later",
)
PACKAGES = (STAMPS, GCOMPRIS, MATE)
BUNDLES = {"explore_monuments": "/resource/", "categorization": "/images/renewable/"}  # and the folder in it
WALLPAPERS = ("Aqua", "Blinds", "Dune", "GreenMeadow", "RainDrops", "Storm", "Wood")
FOLDERS = {
    "animals/mammals": "mammal",
    "animals/marsupials": "mammal",
    "animals/birds": "bird",
    "animals/fish": "sea animal",
    "animals/shellfish": "sea animal",
    "animals/insects": "insect",
    "food/fruit": "fruit or nut",
    "food/nuts": "fruit or nut",
    "food/vegetables": "vegetable",
    "plants/mushrooms": "vegetable",
    "plants/flowers": "flower",
    "household/tools": "tool",
    "household/arttools": "tool",
    "household/dishes": "household thing",
    "household": "household thing",
    "hobbies/music": "musical instrument",
    "symbols/money": "coin",
    "space/planets": "planet",
    "space/moon": "planet",
    "vehicles": "vehicle",
    "military/vehicles": "vehicle",
    "sports": "sports thing",
    "seasonal/halloween": "gravestone",
}  # the longest one that a stamp's category begins with counts
CATEGORIES = tuple(dict.fromkeys(FOLDERS.values()))
PICTURES = {"train": 700, "val": 100, "test": 300}
ASPECT = 4 / 3
OBJECTS = (1, 6)
SIDES = (0.15, 0.5)  # longer side of a cut-out, of the picture's width
TILT = 20.0  # degrees
MAX_ENLARGED = 1.5
MIN_VISIBLE = 0.5  # share of a cut-out
TRIES = 10
SOLID = 128  # of 255; less is not counted as the object's pixel


class Pasted(NamedTuple):
    """One cut-out in a picture."""

    category: str
    shape: NDArray[np.bool_]  # (H, W), its visible pixels


class Composite(NamedTuple):
    """A picture and its cut-outs."""

    name: str
    split: str
    background: str
    image: Image.Image
    pasted: Sequence[Pasted]


@dataclass(frozen=True)
class Background:
    """A photograph to lay things on."""

    name: str
    picture: ResourceImage | Path

    def load(self) -> Image.Image:
        """RGB, its own size."""
        return read_image(self.picture) if isinstance(self.picture, Path) else self.picture(0).convert("RGB")


def composites(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Composite]:
    """Yields pictures, `size` px wide, those of training first; all of them follow from the seed."""
    stamps, grounds = split_stamps(folders), split_backgrounds(folders)
    for split, wanted in PICTURES.items():
        for number in range(min(wanted, limit) if limit else wanted):
            draw = random.Random(f"{seed}/{split}/{number}")
            ground = draw.choice(grounds[split])
            canvas = _crop(ground.load(), draw, (size, round(size / ASPECT)))
            pasted = _fill(canvas, stamps[split], draw)
            yield Composite(f"{split}/{number:03d}", split, ground.name, canvas, pasted)


def category_of(stamp: Stamp) -> str | None:
    """Returns the category of a stamp by its folder, or None."""
    for depth in range(len(stamp.category), 0, -1):
        found = FOLDERS.get("/".join(stamp.category[:depth]))
        if found:
            return found
    return None


def split_stamps(folders: Folders) -> dict[str, dict[str, list[Stamp]]]:
    """Returns the cut-outs of each split and category."""
    by_category: Mapping[str, list[Stamp]] = defaultdict(list)
    for stamp in photo_stamps(folders):
        category = category_of(stamp)
        if category is not None:
            by_category[category].append(stamp)
    found: dict[str, dict[str, list[Stamp]]] = {split: {} for split in PICTURES}
    for category, stamps in sorted(by_category.items()):
        named = {f"{'/'.join(stamp.category)}/{stamp.name}": stamp for stamp in stamps}
        for split, names in hash_split(named).items():
            found[split][category] = [named[name] for name in names]
    return found


def split_backgrounds(folders: Folders) -> dict[str, list[Background]]:
    """Returns the backgrounds of each split."""
    known = {each.name: each for each in _backgrounds(folders)}
    return {split: [known[name] for name in names] for split, names in hash_split(known).items()}


def hash_split(names: Iterable[str]) -> dict[str, list[str]]:
    """Returns names in the order of their hashes: the first half for training, a tenth (at least one) for val, the others for test.

    Unlike a split by the last digit of the hash, it leaves no part of a short list empty.
    """
    order = sorted(names, key=lambda name: hashlib.sha1(name.encode(), usedforsecurity=False).digest())
    first = len(order) // 2
    second = first + max(1, round(len(order) / 10))
    return {"train": order[:first], "val": order[first:second], "test": order[second:]}


def _backgrounds(folders: Folders) -> Iterator[Background]:
    bundles = folders[GCOMPRIS.name] / "usr/share/gcompris-qt/rcc"
    for bundle, folder in BUNDLES.items():
        for name, resource in read_bundle(bundles / f"{bundle}.rcc").items():
            if folder in name and name.endswith(".webp"):
                yield Background(f"{bundle}/{name.rpartition(folder)[2]}", ResourceImage(resource))
    for name in WALLPAPERS:
        yield Background(
            f"mate/{name}", folders[MATE.name] / "usr/share/backgrounds/mate/nature" / f"{name}.jpg"
        )


def _crop(ground: Image.Image, draw: random.Random, size: tuple[int, int]) -> Image.Image:
    """A part of a background with the aspect of `size`, at least half of what is possible each way."""
    scale = min(ground.width / size[0], ground.height / size[1]) * draw.uniform(0.5, 1.0)
    width, height = size[0] * scale, size[1] * scale
    left, top = draw.uniform(0, ground.width - width), draw.uniform(0, ground.height - height)
    cut = ground.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else cut


def _fill(canvas: Image.Image, stamps: Mapping[str, Sequence[Stamp]], draw: random.Random) -> list[Pasted]:
    """Lays some cut-outs on a canvas, categories equally often; one that would hide another too much is tried elsewhere."""
    owner = np.zeros(
        (canvas.height, canvas.width), np.int64
    )  # number of the cut-out seen in each pixel; 0: none
    areas, categories = [0], [""]
    for _ in range(draw.randint(*OBJECTS)):
        category = draw.choice(sorted(stamps))
        cut = _cut_out(draw.choice(stamps[category]), draw, canvas.width)
        for _ in range(TRIES):
            corner = (_start(cut.width, canvas.width, draw), _start(cut.height, canvas.height, draw))
            shape = _solid(cut, corner, canvas.size)
            number = len(areas)
            changed = np.where(shape, number, owner)
            seen = np.bincount(changed.ravel(), minlength=number + 1)
            if shape.any() and all(seen[each] >= MIN_VISIBLE * areas[each] for each in range(1, number)):
                owner = changed
                areas.append(int(shape.sum()))
                categories.append(category)
                canvas.paste(cut, corner, cut)
                break
    return [Pasted(categories[each], owner == each) for each in range(1, len(areas))]


def _cut_out(stamp: Stamp, draw: random.Random, width: int) -> Image.Image:
    """A stamp without its margin, turned, mirrored, made larger or smaller and lighter or darker: RGBA."""
    with Image.open(stamp.path, formats=("PNG",)) as file:
        cut = file.convert("RGBA")
    cut = _trimmed(cut)
    side = min(draw.uniform(*SIDES) * width, MAX_ENLARGED * max(cut.size))
    scale = side / max(cut.size)
    cut = cut.resize(
        (max(1, round(cut.width * scale)), max(1, round(cut.height * scale))), Image.Resampling.LANCZOS
    )
    is_mirrored = draw.random() < 0.5
    if is_mirrored and stamp.may_flip:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    cut = _trimmed(cut.rotate(draw.uniform(-TILT, TILT), Image.Resampling.BICUBIC, expand=True))
    light = ImageEnhance.Brightness(cut.convert("RGB")).enhance(draw.uniform(0.8, 1.2))
    light.putalpha(cut.getchannel("A"))
    return light


def _trimmed(cut: Image.Image) -> Image.Image:
    solid = cut.getchannel("A").point(lambda value: 255 * (value >= SOLID))
    return cut.crop(solid.getbbox())


def _start(inner: int, outer: int, draw: random.Random) -> int:
    """Where a cut-out begins on one axis, so that nine tenths of it at least are in the picture."""
    return round(draw.uniform(-0.1 * inner, outer - 0.9 * inner))


def _solid(cut: Image.Image, corner: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixels of a picture of `size` a cut-out covers, (H, W)."""
    plane = Image.new("L", size)
    plane.paste(cut.getchannel("A"), corner)
    return np.asarray(plane) >= SOLID
