"""Views kept as pixels: after the first epoch an image of which a view was seen is neither decoded nor resized again.

A view is a pure function of `(seed, key of the image, view index)` (see `views`), so where views repeat, their crops do. A folder has them,
before any photometric change:

    keys.bin      int64 each: which image a slot is of; slots are only ever added
    96-3.crops    view 3 at 96 px: of each slot, one after another, a checksum (uint32) and (3, 96, 96) uint8

A file has holes where nothing was written yet. The checksum is over the key too, so that a crop is of its image, whatever became of
keys.bin; what does not match, a half-written crop too, is as good as not there: the image is decoded, and the crop written anew. Any number
of processes read and write at once. All numbers are little-endian.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alumnus.log import warn

KEYS = "keys.bin"
SUFFIX = ".crops"
HEAD_BYTES = 4  # the checksum

CropsBySide = Mapping[int, NDArray[np.uint8]]  # side in px -> (3, side, side)


def record_bytes(side: int) -> int:
    """Returns what one crop takes in its file."""
    return HEAD_BYTES + 3 * side * side


def checksum(key: int, crop: NDArray[np.uint8]) -> bytes:
    """Returns the checksum of the crop (3, side, side) of an image."""
    return zlib.crc32(crop.data, zlib.crc32(key.to_bytes(8, "little"))).to_bytes(HEAD_BYTES, "little")


class KeptCrops:
    """The crops of a dataset's images in a folder."""

    def __init__(self, folder: Path, keys: NDArray[np.int64], slots: NDArray[np.int64]) -> None:
        """Takes the key and the slot of each row, (N,) each; a slot is -1 where an image has no key."""
        self.folder, self.keys, self.slots = folder, keys, slots
        self._is_writing = True

    def key(self, row: int) -> int:
        """Returns the key of a row's image."""
        return int(self.keys[row])

    def read(self, row: int, view: int, into: CropsBySide) -> bool:
        """Fills the crops of a row's view, at every side asked for; False if one is not there, and then they may hold anything."""
        slot, key = int(self.slots[row]), self.key(row)
        return slot >= 0 and all(
            read_crop(self.path(side, view), slot, key, crop) for side, crop in into.items()
        )

    def write(self, row: int, view: int, key: int, crops: CropsBySide) -> None:
        """Keeps the crops of a row's view, if the image with this key is still the row's. Where that fails, a run goes on without."""
        if not self._is_writing or self.slots[row] < 0 or key != self.key(row):
            return
        for side, crop in crops.items():
            path = self.path(side, view)
            try:
                write_crop(path, int(self.slots[row]), key, crop)
            except OSError as error:
                self._is_writing = False
                warn(
                    f"{path} cannot be written ({error.strerror}), so no more crops are kept; the run goes on, and reads images"
                )
                return

    def path(self, side: int, view: int) -> Path:
        """Returns the file of a view at a side."""
        return self.folder / f"{side}-{view}{SUFFIX}"


def read_crop(path: Path, slot: int, key: int, into: NDArray[np.uint8]) -> bool:
    """Fills one crop (3, side, side); False if it is not there or damaged."""
    head = bytearray(HEAD_BYTES)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            count = os.preadv(handle, [head, into.data], slot * record_bytes(into.shape[-1]))
        finally:
            os.close(handle)
    except OSError:
        return False
    return count == HEAD_BYTES + into.nbytes and head == checksum(key, into)


def slots_of(path: Path, side: int, keys: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Returns the slots of a file of crops that hold one, and those whose crop is damaged; the key of each slot is (m,)."""
    there, damaged = list[int](), list[int]()
    size, crop = record_bytes(side), np.empty((3, side, side), np.uint8)
    with path.open("rb") as file:
        for slot, key in enumerate(keys.tolist()):
            head = os.pread(file.fileno(), HEAD_BYTES, slot * size)
            if head.strip(b"\0"):
                (there if read_crop(path, slot, key, crop) else damaged).append(slot)
    return there, damaged


def forget_crop(path: Path, side: int, slot: int) -> None:
    """Makes a crop one that is not there."""
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(HEAD_BYTES), slot * record_bytes(side))


def write_crop(path: Path, slot: int, key: int, crop: NDArray[np.uint8]) -> None:
    """Writes one crop (3, side, side), C-contiguous.

    Raises:
        OSError: as the system says, of a full disk too.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        whole = HEAD_BYTES + crop.nbytes
        if os.pwritev(handle, [checksum(key, crop), crop.data], slot * whole) != whole:
            raise OSError(None, "no space left")  # a disk that is just full takes a part
    finally:
        os.close(handle)
