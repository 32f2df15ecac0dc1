"""Entries → PNG files, in several processes. A picture that cannot be drawn is skipped and counted, never the end."""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from alumnus.datasets.known import Entry
from alumnus.datasets.raster import square
from alumnus.log import progress

THUMBNAIL_PX = 16
FEW = 256  # pictures for which starting processes does not pay
CHUNK = 16  # pictures sent to a process at once
PNG_EFFORT = 3  # of 9: twice as fast as 6, files 4 % larger


class Drawn(NamedTuple):
    """A file that was written, or why not."""

    file_name: str  # relative to the dataset folder
    digest: bytes  # of the pixels
    thumbnail: bytes  # THUMBNAIL_PX ** 2 * 3 values
    reason: str = ""  # why there is no file


def draw_all(
    entries: Sequence[Entry], folder: Path, *, size: int, workers: int | None, label: str
) -> list[Drawn]:
    """Draws every entry into `folder/images/`, and returns what came of each, in order.

    Args:
        size: side of the square pictures in px.
        workers: processes; 0 draws in this one, None takes as many as there are cores.
        label: for the progress bar.
    """
    names = [_file_name(entry, index) for index, entry in enumerate(entries)]
    for parent in {folder / Path(name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    draw = functools.partial(draw_one, folder=folder, size=size)
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if workers <= 1 or len(entries) < FEW:
        return list(progress(map(draw, entries, names), label, total=len(entries)))
    return list(progress(_in_processes(draw, entries, names, workers), label, total=len(entries)))


def draw_one(entry: Entry, file_name: str, *, folder: Path, size: int) -> Drawn:
    """Writes one picture as PNG."""
    try:
        image = square(entry.picture(size), size)
        image.save(folder / file_name, compress_level=PNG_EFFORT)
    except Exception as error:  # whatever a decoder raises on one odd picture, the others are still wanted
        return Drawn(file_name, b"", b"", reason=f"{type(error).__name__}: {error}")
    tiny = image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    return Drawn(file_name, hashlib.sha256(image.tobytes()).digest(), tiny.tobytes())


def thumbnails(drawn: Sequence[Drawn]) -> np.ndarray:
    """Returns the thumbnails of N pictures: (N, 768) uint8."""
    return np.stack([np.frombuffer(each.thumbnail, np.uint8) for each in drawn])


def _in_processes(
    draw: functools.partial[Drawn], entries: Sequence[Entry], names: Sequence[str], workers: int
) -> Iterator[Drawn]:
    # Processes, since the SVG renderer holds Python's lock. Forked where that is safe, so that a script without
    # an `if __name__ == "__main__"` can ask for a data set.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_stdout_alone) as pool:
        yield from pool.map(draw, entries, names, chunksize=CHUNK)


def _leave_stdout_alone() -> None:
    """Sends what a renderer prints to stderr; stdout is for results."""
    os.dup2(2, 1)


def _file_name(entry: Entry, index: int) -> str:
    return f"images/{_safe(entry.label)}/{_safe(entry.style)}-{index}.png"


def _safe(name: str) -> str:
    """Letters, digits and -_ only: right on every file system."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name) or "_"
