"""Tux Paint's stamps: some 950 named things, drawn or photographed, mostly cut out, each with an English sentence.

Source: Debian `tuxpaint-stamps-default` (GPL-2). A stamp's category is its path below `stamps/` (`animals/birds`), its caption the first
line of the `.txt` beside it (the other lines are translations), and `noflip` in its `.dat` says that it must not be mirrored. Whether a
raster is a photograph is told from its pixels and its folder; the rule was checked by looking at all 638 rasters that are no letters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from alumnus.datasets.known import Folders
from alumnus.errors import DataError
from alumnus.packages import Package

PACKAGE = Package(
    "debian",
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    "GPL-2.0",
)
STAMPS = "usr/share/tuxpaint/stamps"
LETTERS = "alphabets"
# Folders that hold drawings even where they are shaded like photographs, and single ones elsewhere.
DRAWN_FOLDERS = frozenset({"cartoon", "toys", "faces", "easter", "newyears", "hanukkah", "naturalforces"})
DRAWN = frozenset(
    {"button", "hard_candy", "santahat", "school_sign", "stocking", "xing_ped", "xing_school"}
    | {"holiday_candle", "statue"}
)
SMOOTH = 0.40  # share of equal neighbours from which a raster is taken for a drawing
OPAQUE = 250  # of 255
MIN_OPAQUE_PX = 50
EQUAL = 2  # levels, summed over the channels, by which equal neighbours may differ


@dataclass(frozen=True)
class Stamp:
    """One stamp."""

    path: Path  # .png or .svg
    category: tuple[str, ...]  # ("animals", "birds")
    caption: str  # "A blackbird."; "" where there is none
    may_flip: bool

    @property
    def name(self) -> str:
        """Its file's name without the ending, such as "blackbird"."""
        return self.path.stem


def read_stamps(folders: Folders, *, letters: bool = False) -> Iterator[Stamp]:
    """Yields the stamps in alphabetical order of their paths, letters of alphabets only if wanted.

    Raises:
        DataError: the package holds none.
    """
    root = folders[PACKAGE.name] / STAMPS
    paths = sorted(path for path in root.rglob("*") if path.suffix in (".png", ".svg"))
    if not paths:
        raise DataError(f"{root} holds no stamps")
    for path in paths:
        category = path.relative_to(root).parts[:-1]
        if letters or LETTERS not in category:
            yield Stamp(path, category, _caption(path), _may_flip(path))


def photo_stamps(folders: Folders) -> Iterator[Stamp]:
    """Yields the stamps that are photographs, each once: neither mirrored copies nor files that occur twice."""
    seen = set[bytes]()
    for stamp in read_stamps(folders):
        digest = hashlib.sha256(stamp.path.read_bytes()).digest()
        if digest not in seen and not stamp.name.endswith("_mirror") and is_photo(stamp):
            seen.add(digest)
            yield stamp


def is_photo(stamp: Stamp) -> bool:
    """Returns whether a stamp is a photograph rather than a drawing: few neighbouring pixels are equal, and no cartoon's folder."""
    if stamp.path.suffix != ".png" or DRAWN_FOLDERS & set(stamp.category) or stamp.name in DRAWN:
        return False
    with Image.open(stamp.path) as image:
        pixels = np.asarray(image.convert("RGBA")).astype(np.int16)  # (H, W, 4)
    return smoothness(pixels) < SMOOTH


def smoothness(pixels: np.ndarray) -> float:
    """Returns the share of horizontal neighbours that are equal, among opaque pixels of (H, W, 4) int16; 1 if there are few."""
    opaque = pixels[..., 3] >= OPAQUE
    pairs = opaque[:, 1:] & opaque[:, :-1]  # (H, W - 1)
    if pairs.sum() < MIN_OPAQUE_PX:
        return 1.0
    difference = np.abs(pixels[:, 1:, :3] - pixels[:, :-1, :3]).sum(axis=2)
    return float((difference[pairs] <= EQUAL).mean())


def _caption(path: Path) -> str:
    lines = _lines(path.with_suffix(".txt"))
    return lines[0] if lines else ""


def _may_flip(path: Path) -> bool:
    return "noflip" not in _lines(path.with_suffix(".dat"))


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except FileNotFoundError:
        return []
