"""Photographs to measure with: JPEG files of about 256 x 256 px at quality 90, random crops of photographs that are at hand.

Those are the two that scikit-learn ships, the six that scikit-image ships where it is there, and any folders of pictures that are given.
Every source is cut equally often, so decoding is as with other photographs of this size; their variety is not.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

SHIPPED = (
    ("sklearn", "datasets/images", "china.jpg flower.jpg"),
    (
        "skimage",
        "data",
        "astronaut.png chelsea.png coffee.png rocket.jpg hubble_deep_field.jpg retina.jpg",
    ),
)
KINDS = {".jpg", ".jpeg", ".png", ".webp"}
CLASSES, AREA, QUALITY = 30, 256**2, 90


def make_photos(folder: Path, count: int, sources: Sequence[Path] = ()) -> int:
    """Writes JPEG files in 30 class folders; returns of how many photographs they are.

    Args:
        sources: folders of more photographs.
    """
    more = [path for source in sources for path in sorted(source.rglob("*")) if path.suffix.lower() in KINDS]
    photos, draw = [Image.open(path).convert("RGB") for path in [*_shipped(), *more]], random.Random(0)
    for number in range(count):
        photo, side, aspect = draw.choice(photos), draw.randint(180, 420), draw.uniform(0.8, 1.25)
        width = min(photo.width, int(side * aspect**0.5))
        height = min(photo.height, int(side / aspect**0.5))
        x, y = draw.randint(0, photo.width - width), draw.randint(0, photo.height - height)
        scale = (AREA / (width * height)) ** 0.5
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        crop = photo.crop((x, y, x + width, y + height)).resize(size, Image.Resampling.BICUBIC)
        place = folder / f"c{number % CLASSES:02d}"
        place.mkdir(parents=True, exist_ok=True)
        crop.save(place / f"{number:05d}.jpg", quality=QUALITY)
    return len(photos)


def _shipped() -> list[Path]:
    found = list[Path]()
    for package, below, names in SHIPPED:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found += [Path(spec.origin).parent / below / name for name in names.split()]
    return [path for path in found if path.exists()]
