"""Masks of class indices and depth maps: PNG files, read as exactly as pictures are read strictly.

Nothing is guessed: a mask with three channels, or saved as JPEG, has lost its indices, and is refused instead of converted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from alumnus.data.folder_facts import MILLIMETRES
from alumnus.data.read import BadImage, Refused, opened
from alumnus.errors import DataError

IGNORE = -1
_BLANKS = {8: 255, 16: 65535}  # bits -> what stands for "ignore" in the file
_SCALED = ("L;2", "L;4")  # Pillow stretches grey of few bits to 0..255, which are no indices any more


def read_mask(path: str | os.PathLike[str] | bytes) -> NDArray[np.int64]:
    """Returns the class index of each pixel, (H, W) int64; -1 where the file says ignore (255 in 8 bit, 65535 in 16 bit).

    Args:
        path: of an 8- or 16-bit PNG of one channel, grey or with a palette (whose indices count, not its colours); or a locator.

    Raises:
        BadImage: it cannot be read, or is not such a PNG.
    """
    values, blank = _indices(path)
    values[values == blank] = IGNORE
    return values


def read_depth(path: str | os.PathLike[str] | bytes, *, unit: str = MILLIMETRES) -> NDArray[np.float32]:
    """Returns the depth of each pixel, (H, W) float32, in metres; 0 where it is not known.

    Args:
        path: of a 16-bit grey PNG; or a locator.
        unit: of one step of the file (`Dataset.depth_unit`). For "mm" the result is in metres, for any other it is in that unit.

    Raises:
        BadImage: it cannot be read, or is not such a PNG.
    """
    with opened(path, ("PNG",)) as image:
        if not image.mode.startswith("I;16"):
            raise Refused(f"a PNG of mode {image.mode}; depth must be a 16-bit PNG of one channel")
        image.load()
        values = np.asarray(image).astype(np.float32)
    return values / np.float32(1000) if unit == MILLIMETRES else values


def highest_class(paths: Iterable[str]) -> int:
    """Returns the highest index in some masks, or -1 if there is none; masks that cannot be read are passed over."""
    highest = -1
    for path in paths:
        try:
            highest = max(highest, int(read_mask(path).max(initial=-1)))
        except BadImage:
            continue  # whoever learns from it says so, with the reason
    return highest


def check_two_classes(paths: Iterable[str]) -> None:
    """Refuses masks with fewer than two classes, of which every answer is right; reads no further than the second.

    Masks that cannot be read are passed over, and no mask at all is nobody's fault here.

    Raises:
        DataError: says what they hold.
    """
    classes, blanks = set[int](), set[int]()
    for path in paths:
        try:
            values, blank = _indices(path)
        except BadImage:
            continue
        seen = set(np.unique(values).tolist())
        classes, blanks = classes | (seen - {blank}), blanks | (seen & {blank})
        if len(classes) > 1:
            return
    if classes or blanks:
        held = " and ".join([*map(str, classes), *(f"{blank} (= ignore)" for blank in sorted(blanks))])
        binary = classes == {0} and bool(blanks)
        wanted = "write foreground as 1" if binary else "needed are two classes at least, numbered from 0"
        raise DataError(f"masks hold only {held}; {wanted}")


def _indices(path: str | os.PathLike[str] | bytes) -> tuple[NDArray[np.int64], int]:
    """Returns the values of a mask file (H, W), and which of them says ignore."""
    with opened(path, ("PNG",)) as image:
        bits = _mask_bits(image)
        image.load()
        return np.asarray(image).astype(np.int64), _BLANKS[bits]


def _mask_bits(image: Image.Image) -> int:
    if image.mode.startswith("I;16"):
        return 16
    if image.mode not in ("L", "P", "1"):
        raise Refused(f"a PNG of mode {image.mode}; a mask must have one channel of class indices")
    if isinstance(image, ImageFile.ImageFile) and any(_raw_mode(tile) in _SCALED for tile in image.tile):
        raise Refused("a grey PNG of 2 or 4 bits; save the mask with 8 or 16 bits")
    return 8


def _raw_mode(tile: ImageFile._Tile) -> object:
    return tile.args[0] if isinstance(tile.args, tuple) else tile.args
