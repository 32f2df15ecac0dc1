"""Every picture read once, in several processes: can it be read, how large is it, and what does it look like?

What is kept of a picture: a digest of its pixels for exact copies, two perceptual hashes for finding those that may be copies, and a
thumbnail for making sure. The thumbnails, 7 kB each, lie in a temporary file, so that a million pictures need no memory for them.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.data.read import BadImage, read_image
from alumnus.log import bar

THUMBNAIL_PX = 48
HASHES = (
    2  # pHash (frequencies; stands JPEG and brightness) and dHash (gradients; stands crops and empty grounds)
)
HASH_BYTES = 8
CHUNK = 32  # pictures that a process reads at a time
FEW = 64  # pictures for which starting processes does not pay
LARGE_PX = (
    512  # a picture with both sides at least this is halved to LARGE_PX / 2 before it is hashed, for speed
)


@dataclass(frozen=True, eq=False)
class Scan:
    """N pictures; rows that could not be read are zeros in every array."""

    reasons: dict[int, str]  # row -> why it cannot be read
    digests: NDArray[np.void]  # (N,) 16 bytes: equal if and only if sizes and pixels are
    hashes: NDArray[np.uint8]  # (N, HASHES, HASH_BYTES)
    sizes: NDArray[np.int64]  # (N, 2): width, height in px, upright
    contrast: NDArray[np.float32]  # (N,) standard deviation of the thumbnail's most varied colour, 0-255
    thumbnails: NDArray[
        np.uint8
    ]  # (N, THUMBNAIL_PX, THUMBNAIL_PX, 3): the whole picture, stretched to a square

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(N,)."""
        return self.sizes[:, 0] > 0


class Seen(NamedTuple):
    """One picture, or why not."""

    reason: str
    digest: bytes = b""
    hashes: bytes = b""
    size: tuple[int, int] = (0, 0)
    contrast: float = 0.0
    thumbnail: bytes = b""


def scan(paths: Sequence[str], *, workers: int | None = None) -> Scan:
    """Returns what N pictures are.

    Args:
        paths: files, or whatever else `read_image` reads.
        workers: reading processes; 0 reads in this one, None takes as many as there are cores.
    """
    count = len(paths)
    found = Scan(
        reasons={},
        digests=np.zeros(count, "V16"),
        hashes=np.zeros((count, HASHES, HASH_BYTES), np.uint8),
        sizes=np.zeros((count, 2), np.int64),
        contrast=np.zeros(count, np.float32),
        thumbnails=_on_disk((count, THUMBNAIL_PX, THUMBNAIL_PX, 3)),
    )
    with bar("reading pictures", total=count) as line:
        row = 0
        for chunk in _chunks(paths, count_of_processes(workers)):
            for seen in chunk:
                _put(found, row, seen)
                row += 1
            line.advance(len(chunk))
    return found


def look(path: str) -> Seen:
    """Returns what one picture is."""
    try:
        image = read_image(path)
    except BadImage as error:
        return Seen(error.reason)
    digest = hashlib.blake2b(repr(image.size).encode(), digest_size=16)
    digest.update(image.tobytes())
    small = image
    if min(image.size) >= LARGE_PX:
        small = image.resize((LARGE_PX // 2, LARGE_PX // 2), Image.Resampling.BOX)
    thumbnail = np.asarray(small.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BICUBIC))
    return Seen(
        "",
        digest.digest(),
        _hashes(small),
        image.size,
        float(thumbnail.std((0, 1)).max()),
        thumbnail.tobytes(),
    )


def count_of_processes(workers: int | None) -> int:
    """Returns how many processes are meant: as many as there are cores for None."""
    if workers is not None:
        return workers
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _hashes(image: Image.Image) -> bytes:
    """HASHES times HASH_BYTES bytes."""
    grey = image.convert("L")
    return b"".join(np.packbits(made(grey).hash).tobytes() for made in (imagehash.phash, imagehash.dhash))


def _put(found: Scan, row: int, seen: Seen) -> None:
    if seen.reason:
        found.reasons[row] = seen.reason
        return
    found.digests[row] = np.void(seen.digest)
    found.hashes[row].flat = np.frombuffer(seen.hashes, np.uint8)
    found.sizes[row] = seen.size
    found.contrast[row] = seen.contrast
    found.thumbnails[row].flat = np.frombuffer(seen.thumbnail, np.uint8)


def _on_disk(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array of zeros in a file that has no name and is gone with the array."""
    if not shape[0]:
        return np.zeros(shape, np.uint8)  # no file of 0 bytes can be mapped
    with tempfile.TemporaryFile(prefix="alumnus-") as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _chunks(paths: Sequence[str], workers: int) -> Iterator[list[Seen]]:
    parts = (list(paths[first : first + CHUNK]) for first in range(0, len(paths), CHUNK))
    if workers <= 1 or len(paths) < FEW:
        yield from map(_look_at_all, parts)
        return
    # Forked where that is safe, so that a script without an `if __name__ == "__main__"` can check its pictures.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_look_at_all, parts)


def _look_at_all(paths: Sequence[str]) -> list[Seen]:
    return [look(path) for path in paths]
