"""Where a head in training finds its input: the cached levels of a frozen model, or a model that is trained along with it.

A frozen model runs once over the training pictures, and once over their mirror images if those are allowed; thousands of steps of the
head then cost only the head. What is large lies in a file that has no name and goes when the array does.

Axes: N training pictures, M = N rows or 2 N with the mirror images (row N + i is the mirror image of i), V numbers of all levels together.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.data.loader import Bad
from alumnus.errors import DataError, NonFiniteError
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.dense.encode import Tunable
from alumnus.evaluation.dense.letterbox import Letterbox
from alumnus.evaluation.dense.pictures import pictures
from alumnus.types import DenseEncode, Grid

IN_MEMORY = 2 << 30  # bytes; what is larger is kept in a file


class Source(Protocol):
    """Training pictures as the levels of a model."""

    @property
    def boxes(self) -> Sequence[Letterbox | None]:
        """(N,) where each picture lies; None for one that could not be read."""
        ...

    @property
    def bad(self) -> Mapping[int, str]:
        """Those that could not be read, with the reason."""
        ...

    @property
    def is_mirrored(self) -> bool:
        """Whether there are mirror images."""
        ...

    def __call__(self, rows: Ids) -> tuple[Tensor, ...]:
        """The levels of some of the M rows, each (b, D, h, w) float32."""
        ...


class LevelCache:
    """The levels of a frozen model; see `cached_levels`."""

    def __init__(
        self,
        values: NDArray[Any],
        grids: tuple[Grid, ...],
        boxes: Sequence[Letterbox | None],
        bad: Mapping[int, str],
        *,
        is_mirrored: bool,
    ) -> None:
        self.values, self.grids = values, grids  # (M, V) float16 or float32
        self.boxes, self.bad, self.is_mirrored = boxes, bad, is_mirrored

    def __call__(self, rows: Ids) -> tuple[Tensor, ...]:
        """Returns the levels of some rows."""
        flat = torch.from_numpy(self.values[rows]).float()
        parts = torch.split(flat, [math.prod(grid) for grid in self.grids], dim=1)
        return tuple(part.view(-1, *grid) for part, grid in zip(parts, self.grids, strict=True))


class LiveLevels:
    """The levels of a model that is being trained, from pictures that were read once; see `live_levels`."""

    def __init__(
        self,
        encoder: Tunable,
        pixels: NDArray[np.uint8],
        boxes: Sequence[Letterbox | None],
        bad: Mapping[int, str],
        *,
        is_mirrored: bool,
    ) -> None:
        self.encoder, self.pixels = encoder, pixels  # (N, 3, S, S)
        self.boxes, self.bad, self.is_mirrored = boxes, bad, is_mirrored

    def __call__(self, rows: Ids) -> tuple[Tensor, ...]:
        """Returns the levels of some rows, with gradients."""
        image = torch.from_numpy(self.pixels[rows % len(self.pixels)])
        mirrored = torch.from_numpy(rows >= len(self.pixels))
        image[mirrored] = image[mirrored].flip(-1)
        return self.encoder.differentiable(image)


def cached_levels(
    encoder: DenseEncode,
    paths: Sequence[str],
    *,
    mirror: bool = False,
    folder: Path | None = None,
    in_memory: int = IN_MEMORY,
    batch_size: int = 32,
    workers: int = 0,
) -> LevelCache:
    """Returns the levels of all pictures, in half precision unless a number is too large for it.

    Args:
        mirror: also those of the mirror images.
        folder: where to keep them if they are more than `in_memory` bytes; the system's place for temporary files by default.
        workers: reading processes; 0 reads in this one.

    Raises:
        DataError: not one picture can be read.
        NonFiniteError: the model gives NaN or infinity.
    """
    count, width = len(paths), sum(math.prod(grid) for grid in encoder.grids)
    shape = (2 * count if mirror else count, width)
    values = _room(shape, np.float16, folder=folder, in_memory=in_memory)
    boxes, bad = list[Letterbox | None]([None] * count), list[Bad]()
    for batch in pictures(
        paths, size=encoder.size, batch_size=batch_size, workers=workers, label=f"features {encoder.name}"
    ):
        bad += batch.bad
        for start, image in [(0, batch.image), (count, batch.image.flip(-1))][: 2 if mirror else 1]:
            if not batch.places:
                continue
            part = _flat(encoder.levels(image))
            _check_finite(part, encoder.name, [paths[place] for place in batch.places])
            if values.dtype == np.float16 and np.abs(part).max(initial=0) > np.finfo(np.float16).max:
                values = _widened(values, folder=folder, in_memory=in_memory)
            values[np.array(batch.places) + start] = part
        for place, box in zip(batch.places, batch.boxes, strict=True):
            boxes[place] = box
    _check_any(boxes, bad)
    return LevelCache(values, encoder.grids, boxes, dict(bad), is_mirrored=mirror)


def live_levels(
    encoder: Tunable,
    paths: Sequence[str],
    *,
    mirror: bool = False,
    folder: Path | None = None,
    in_memory: int = IN_MEMORY,
    workers: int = 0,
) -> LiveLevels:
    """Returns the levels of all pictures as the model gives them at the time of asking; arguments as for `cached_levels`.

    Raises:
        DataError: not one picture can be read.
    """
    shape = (len(paths), 3, encoder.size, encoder.size)
    pixels = _room(shape, np.uint8, folder=folder, in_memory=in_memory)
    boxes, bad = list[Letterbox | None]([None] * len(paths)), list[Bad]()
    for batch in pictures(paths, size=encoder.size, workers=workers, label="read"):
        bad += batch.bad
        pixels[batch.places] = batch.image.numpy()
        for place, box in zip(batch.places, batch.boxes, strict=True):
            boxes[place] = box
    _check_any(boxes, bad)
    return LiveLevels(encoder, pixels, boxes, dict(bad), is_mirrored=mirror)


def _flat(levels: tuple[Tensor, ...]) -> NDArray[np.float32]:
    return torch.cat([level.flatten(1) for level in levels], dim=1).float().cpu().numpy()


def _room(
    shape: tuple[int, ...], dtype: type[np.generic], *, folder: Path | None, in_memory: int
) -> NDArray[Any]:
    """Zeros, in memory or in a nameless file that lives as long as the array."""
    if math.prod(shape) * np.dtype(dtype).itemsize <= in_memory:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, mode="w+", shape=shape)


def _widened(values: NDArray[Any], *, folder: Path | None, in_memory: int) -> NDArray[Any]:
    wide = _room(values.shape, np.float32, folder=folder, in_memory=in_memory)
    step = max(1, (64 << 20) // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        wide[start : start + step] = values[start : start + step]
    return wide


def _check_finite(part: NDArray[np.float32], name: str, paths: Sequence[str]) -> None:
    broken = np.flatnonzero(~np.isfinite(part).all(1))
    if len(broken):
        raise NonFiniteError(f"{name!r} gives NaN or infinity for {paths[broken[0]]!r}")


def _check_any(boxes: Sequence[Letterbox | None], bad: Sequence[Bad]) -> None:
    if all(box is None for box in boxes):
        first = f"; the first: {bad[0].reason}" if bad else ""
        raise DataError(f"of {len(boxes)} training pictures none can be read{first}")
