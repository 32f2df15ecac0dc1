"""The idx format of MNIST and its kin → entries: 28-pixel grey pictures with ten labels and an official split."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from alumnus.datasets.known import Entry
from alumnus.errors import DataError

FILES = {"train": "train", "test": "t10k"}  # official split -> how its files begin
VAL_EVERY = 6  # 10,000 of 60,000
# Ten classes are too few for the hash rule, so the publisher's order decides, in the same proportion.
SPLIT_OF_CLASS = ("train",) * 5 + ("val",) + ("test",) * 4


@dataclass(frozen=True)
class Grey:
    """A grey picture that is in memory already."""

    pixels: bytes  # row by row
    width: int

    def __call__(self, size: int, /) -> Image.Image:
        """Grey, its own size."""
        return Image.frombytes("L", (self.width, len(self.pixels) // self.width), self.pixels)


def class_splits(classes: Sequence[str]) -> dict[str, str]:
    """Returns the splits of ten classes: the first five train, the sixth val, the last four test."""
    return dict(zip(classes, SPLIT_OF_CLASS, strict=True))


def official(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yields entries with the publisher's split as their own; every sixth of his training pictures is for validation."""
    for number, entry in enumerate(entries):
        is_val = entry.official_split == "train" and number % VAL_EVERY == VAL_EVERY - 1
        yield replace(entry, split="val" if is_val else entry.official_split)


def read_entries(folder: Path, *, ending: str, classes: Sequence[str], style: str) -> Iterator[Entry]:
    """Yields the pictures of both official splits, train first.

    Args:
        ending: of the file names, "" or ".gz".
        classes: names of labels 0, 1, …
    """
    for split, start in FILES.items():
        images = read_idx(folder / f"{start}-images-idx3-ubyte{ending}")
        labels = read_idx(folder / f"{start}-labels-idx1-ubyte{ending}")
        if len(images) != len(labels):
            raise DataError(f"{folder}: {len(images)} {split} images, but {len(labels)} labels")
        for image, label in zip(images, labels, strict=True):
            picture = Grey(image.tobytes(), image.shape[1])
            yield Entry(classes[label], style, picture, official_split=split)


def read_idx(path: Path) -> np.ndarray:
    """Returns the array of an idx file of bytes: images (N, H, W) or labels (N,), uint8.

    Raises:
        DataError: it is missing, torn or of another type.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        raise DataError(f"{path} is no idx file of bytes: it begins with {content[:4]!r}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4").astype(int)
    if len(content) != start + int(shape.prod()):
        raise DataError(f"{path} is torn: {len(content)} bytes for an array of {tuple(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
