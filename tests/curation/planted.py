"""A made-up data set with known faults: copies across splits, broken files, and folders that hold another class's pictures.

Pictures of a class share palette and kind of drawing and differ in arrangement, so that looking alike is not enough to be a copy.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

IMAGES_A_CLASS = 20
TRAIN_OF_TEN = 7  # then one of ten is val, two are test
COPIES_A_FOLDER = 3

Colour = tuple[int, int, int]


@dataclass
class Planted:
    """What was hidden; file names are relative to the folder."""

    folder: Path
    leaks: dict[frozenset[str], str] = field(
        default_factory=dict
    )  # a training picture and its copy -> how it was made
    corrupt: set[str] = field(default_factory=set)
    mislabelled: dict[str, str] = field(
        default_factory=dict
    )  # class that holds copies -> class that they are of
    exact: set[frozenset[str]] = field(default_factory=set)


def plant(
    folder: Path, *, images: int, copies: int, corrupt: int, mislabelled: int, seed: int = 0
) -> Planted:
    """Writes `train|val|test/class/name.png` with that many pictures in all, faults included, and returns what is wrong with them."""
    draw = np.random.default_rng(seed)
    planted = Planted(folder)
    honest = images - copies - corrupt - mislabelled * COPIES_A_FOLDER
    names = [_name(number) for number in range(honest)]
    for number, name in enumerate(names):
        _save(picture(number // IMAGES_A_CLASS, draw), folder / name)
    _plant_copies(planted, names, copies, draw)
    _plant_corrupt(planted, corrupt, draw)
    _plant_mislabelled(planted, names, mislabelled, draw)
    return planted


def picture(kind: int, draw: np.random.Generator) -> Image.Image:
    """Returns a random picture of one of any number of kinds, 72 to 200 px wide and high."""
    size = tuple(int(side) for side in draw.integers(72, 200, 2))
    style = np.random.default_rng([kind, 7])
    paint = PAINTERS[kind % len(PAINTERS)]
    return paint((size[0], size[1]), _palette(style), draw)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Returns the picture after JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def resized(image: Image.Image, share: float) -> Image.Image:
    """Returns the picture in another size."""
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))))


def cropped(image: Image.Image, share: float = 0.02) -> Image.Image:
    """Returns the picture without that share of its width and height at every edge."""
    x, y = max(1, round(image.width * share)), max(1, round(image.height * share))
    return image.crop((x, y, image.width - x, image.height - y))


def brightened(image: Image.Image, gain: float) -> Image.Image:
    """Returns the picture brighter or darker; what exceeds white is clipped."""
    return Image.fromarray(np.clip(np.asarray(image).astype(np.float32) * gain, 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "jpeg": lambda image, draw: jpeg(image, int(draw.integers(40, 80))),
    "resized": lambda image, draw: jpeg(resized(image, float(draw.uniform(0.75, 0.95))), 85),
    "cropped": lambda image, draw: jpeg(cropped(image), 85),
    "brightness": lambda image, draw: jpeg(
        brightened(image, float(draw.choice([0.75, 0.85, 1.15, 1.25]))), 85
    ),
}


def _name(number: int) -> str:
    place = number % 10
    split = "train" if place < TRAIN_OF_TEN else "val" if place == TRAIN_OF_TEN else "test"
    return f"{split}/c{number // IMAGES_A_CLASS:03d}/{number:05d}.png"


def _plant_copies(planted: Planted, names: Sequence[str], count: int, draw: np.random.Generator) -> None:
    train = [name for name in names if name.startswith("train/")]
    for place, chosen in enumerate(draw.permutation(len(train))[:count]):
        original = train[int(chosen)]
        change = list(CHANGES)[place % len(CHANGES)]
        copy = original.replace("train/", ("val/", "test/")[place % 2], 1).replace(".png", f"-{change}.png")
        with Image.open(planted.folder / original) as image:
            _save(CHANGES[change](image.convert("RGB"), draw), planted.folder / copy)
        planted.leaks[frozenset((original, copy))] = change


def _plant_corrupt(planted: Planted, count: int, draw: np.random.Generator) -> None:
    buffer = io.BytesIO()
    picture(0, draw).save(buffer, "PNG")
    whole = buffer.getvalue()
    ways = (
        b"",
        whole[: len(whole) // 2],
        b"<html>404</html>",
        draw.bytes(500),
        whole[:100] + draw.bytes(300),
    )
    for number in range(count):
        name = f"train/c{number % 5:03d}/broken-{number}.png"
        (planted.folder / name).write_bytes(ways[number % len(ways)])
        planted.corrupt.add(name)


def _plant_mislabelled(planted: Planted, names: Sequence[str], count: int, draw: np.random.Generator) -> None:
    """Folder 2k holds some pictures of the folder 2k + 1, all of them in training."""
    leaked = {name for pair in planted.leaks for name in pair}  # one fault a picture
    for k in range(count):
        wrong, right = f"c{2 * k:03d}", f"c{2 * k + 1:03d}"
        theirs = [name for name in names if name.startswith(f"train/{right}/") and name not in leaked]
        for chosen in draw.permutation(len(theirs))[:COPIES_A_FOLDER]:
            original = theirs[int(chosen)]
            copy = f"train/{wrong}/copy-{Path(original).name}"
            (planted.folder / copy).write_bytes((planted.folder / original).read_bytes())
            planted.exact.add(frozenset((original, copy)))
        planted.mislabelled[wrong] = right


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=1)


def _palette(style: np.random.Generator) -> list[Colour]:
    hues = style.uniform(0, 1) + np.array([0, 0.08, 0.5, 0.3])
    values = [(0.15, 1.0), (0.5, 0.9), (0.8, 0.6), (0.9, 0.35)]
    colours = [colorsys.hsv_to_rgb(h % 1, s, v) for h, (s, v) in zip(hues, values, strict=True)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]


def _waves(size: tuple[int, int], palette: list[Colour], draw: np.random.Generator) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]] / max(size)
    phase = sum(np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in draw.uniform(-5, 5, (4, 3)))
    share = ((phase + 4) / 8)[..., None]
    return Image.fromarray((share * palette[0] + (1 - share) * palette[3]).astype(np.uint8))


def _shapes(size: tuple[int, int], palette: list[Colour], draw: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", size, palette[0])
    pen = ImageDraw.Draw(image)
    for number in range(9):
        x, y = draw.uniform(0, size[0]), draw.uniform(0, size[1])
        a, b = draw.uniform(5, 40, 2)
        put = pen.ellipse if draw.random() < 0.5 else pen.rectangle
        put((x - a, y - b, x + a, y + b), fill=palette[1 + number % 3])
    return image


def _icon(size: tuple[int, int], palette: list[Colour], draw: np.random.Generator) -> Image.Image:
    """One polygon on white: the emptiest, and so the most alike, of all."""
    image = Image.new("RGB", size, "white")
    turns = np.sort(draw.uniform(0, 2 * np.pi, 7))
    reach = draw.uniform(0.2, 0.48, 7) * min(size)
    points = [
        (size[0] / 2 + r * np.cos(t), size[1] / 2 + r * np.sin(t)) for t, r in zip(turns, reach, strict=True)
    ]
    ImageDraw.Draw(image).polygon(points, fill=palette[2], outline=palette[3])
    return image


def _clouds(size: tuple[int, int], palette: list[Colour], draw: np.random.Generator) -> Image.Image:
    noise = Image.fromarray(draw.integers(0, 256, (size[1] // 8, size[0] // 8)).astype(np.uint8))
    grey = np.asarray(noise.resize(size, Image.Resampling.BICUBIC))[..., None] / 255
    return Image.fromarray((grey * palette[1] + (1 - grey) * palette[3]).astype(np.uint8))


def _photo(size: tuple[int, int], palette: list[Colour], draw: np.random.Generator) -> Image.Image:
    """A lit ground, things upon it, and the grain of a camera."""
    ground = _clouds(size, palette, draw).filter(ImageFilter.GaussianBlur(6))
    things = _shapes(size, palette, draw).filter(ImageFilter.GaussianBlur(1.5))
    pixels = 0.4 * np.asarray(ground, np.float32) + 0.6 * np.asarray(things, np.float32)
    left, right = draw.uniform(0.5, 1.3, 2)
    light = np.linspace(left, right, size[0])[None, :, None]
    grain = draw.normal(0, 6, (size[1], size[0], 1))
    return Image.fromarray(np.clip(pixels * light + grain, 0, 255).astype(np.uint8))


PAINTERS = (_waves, _shapes, _icon, _clouds, _photo)
