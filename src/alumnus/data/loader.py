"""Batches from image files: for training by step, for evaluation in order.

A worker process builds whole batches: the item that it is asked for is the number of a step, so a resumed run just starts at another
number. An image that cannot be read never ends a run: for training another row of the same domain takes its place (which one depends only
on seed, row and view), for evaluation it is left out; either way it is reported with its reason.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, default_convert, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from alumnus.data.dataset import Dataset
from alumnus.data.kept import CropsBySide, KeptCrops
from alumnus.data.read import BadImage, read_image, read_keyed
from alumnus.data.sampler import Sampling
from alumnus.data.views import (
    REPLACEMENTS,
    View,
    ViewSettings,
    apply_geometry,
    apply_photometric,
    center_view,
    counter_random,
    draw_size,
    draw_view,
)
from alumnus.errors import ConfigError, DataError
from alumnus.types import Batch

T = TypeVar("T")

REPLACEMENT_TRIES = 32
NO_OUTPUT = "it could not be read when the run began, so that the store has no output of it"
NICENESS = 19  # of reading processes; the lowest priority there is


class Bad(NamedTuple):
    """An image that could not be read."""

    row: int  # or index into the paths given
    reason: str


class Loaded(NamedTuple):
    """A training batch and what could not be read for it."""

    batch: Batch
    bad: list[Bad]


def train_batches(
    dataset: Dataset,
    sampler: Sampling,
    views: ViewSettings,
    *,
    size: int,
    teacher_sizes: Sequence[int],
    start: int,
    steps: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    without: Collection[int] = (),
    kept: KeptCrops | None = None,
) -> Iterator[Loaded]:
    """Yields the batches of steps `start` to `steps` - 1.

    Reading runs ahead of training, within a window of the sampler: what a window's draws depend on is known when it begins, whatever
    the number of reading processes.

    Args:
        size: side of the student's view in px, unless `views` has sizes to draw from.
        teacher_sizes: distinct sides in px of the views that teachers want.
        workers: reading processes; 0 reads in this one.
        rank, world_size: this process's place; it gets every `world_size`-th row of the global batch.
        without: rows that are replaced also if they can be read, for a store has no output of them.
        kept: crops of these views that are on disk; what is missing there is added.
    """
    items = _Steps(
        dataset, sampler, views, size, tuple(teacher_sizes), rank, world_size, frozenset(without), kept
    )
    for window in sampler.windows(start, steps):
        yield from _in_workers(
            items, window, workers
        )  # whose processes have the sampler as it is at the window's start


def center_crop_batches(
    paths: Sequence[str],
    sizes: Sequence[int],
    *,
    batch_size: int = 64,
    workers: int = 2,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[tuple[np.ndarray, dict[int, Tensor], list[Bad]]]:
    """Yields the evaluation view of every image, in order: the centred square of the whole short side.

    Args:
        rank, world_size: of several processes, which share the batches in turn.

    Yields:
        index: (b,) int64, which of the paths these are (unreadable ones are missing).
        images: side in px -> (b, 3, side, side) uint8.
        bad: those that could not be read, with the reason.

    Raises:
        ConfigError: there is no batch of that size, or no such number of workers.
    """
    check_reading(batch_size=batch_size, workers=workers)
    items = _Chunks(paths, tuple(dict.fromkeys(sizes)), batch_size)
    yield from _in_workers(items, range(rank, items.count, world_size), workers)


def check_reading(*, batch_size: int, workers: int = 0) -> None:
    """Refuses numbers with which nothing would be read.

    Raises:
        ConfigError: one of them.
    """
    if batch_size < 1 or workers < 0:
        raise ConfigError(
            f"batch_size={batch_size} and workers={workers}: needed are 1 or more images in a batch, and 0 or more reading processes"
        )


def decoded(image: Image.Image, view: View, sizes: Sequence[int]) -> dict[int, np.ndarray]:
    """Returns one view of an image at several sides, each resampled from the original: side -> (3, side, side) uint8."""
    return {side: apply_geometry(image, view, size=side) for side in dict.fromkeys(sizes)}


class _Steps(TorchDataset[Loaded]):
    """Item t is the batch of step t."""

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampling,
        views: ViewSettings,
        size: int,
        teacher_sizes: tuple[int, ...],
        rank: int,
        world_size: int,
        without: frozenset[int],
        kept: KeptCrops | None,
    ) -> None:
        self.dataset, self.sampler, self.views = dataset, sampler, views
        self.without, self.kept = without, kept
        self.size, self.teacher_sizes, self.rank, self.world_size = size, teacher_sizes, rank, world_size
        self._of_domain = {int(d): np.flatnonzero(dataset.domain == d) for d in np.unique(dataset.domain)}

    def __getitem__(self, step: int) -> Loaded:
        draw = self.sampler.draw(step)
        size = draw_size(self.views, seed=self.sampler.seed, step=step, size=self.size)
        mine = slice(self.rank, None, self.world_size)
        rows, views, bad = draw.rows[mine].copy(), draw.views[mine].copy(), list[Bad]()
        keys = np.empty_like(rows)
        crops = {side: np.empty((len(rows), 3, side, side), np.uint8) for side in {size, *self.teacher_sizes}}
        for place, (row, view) in enumerate(zip(rows.tolist(), views.tolist(), strict=True)):
            into = {side: crop[place] for side, crop in crops.items()}
            rows[place], keys[place] = self._read(row, view, into, bad)
        shared = {side: torch.from_numpy(crop) for side, crop in crops.items()}
        batch = Batch(
            image=self._photometric(crops[size], keys, views) if self.views.is_photometric else shared[size],
            teacher_images={side: shared[side] for side in self.teacher_sizes},
            row=torch.from_numpy(rows),
            key=torch.from_numpy(keys),
            view=torch.from_numpy(views),
            domain=torch.from_numpy(self.dataset.domain[rows].astype(np.int64)),
            label=torch.from_numpy(self.dataset.label[rows].astype(np.int64)),
        )
        return Loaded(batch, bad)

    def _read(self, row: int, view: int, into: CropsBySide, bad: list[Bad]) -> tuple[int, int]:
        """Fills the crops of a row's view and returns row and key; of another row of its domain if its image is not to be had."""
        pool, others = self._of_domain[int(self.dataset.domain[row])], None
        candidate = row
        for _ in range(REPLACEMENT_TRIES):
            try:
                return candidate, self._crop(candidate, view, into)
            except BadImage as error:
                bad.append(Bad(candidate, error.reason))
            others = others or counter_random(self.sampler.seed, REPLACEMENTS, row, view)
            candidate = int(others.choice(pool))
        name = self.dataset.domains[int(self.dataset.domain[row])]
        raise DataError(
            f"{REPLACEMENT_TRIES} draws from the domain {name!r} in a row could not be read (it has {len(pool)} images here); the last: "
            f"{self.dataset.paths[bad[-1].row]!r}, {bad[-1].reason}"
        )

    def _crop(self, row: int, view: int, into: CropsBySide) -> int:
        """Fills the crops of a row's view, and returns its key.

        Raises:
            BadImage: it cannot be read, or is to be left out.
        """
        if self.kept is not None and row not in self.without and self.kept.read(row, view, into):
            return self.kept.key(row)
        path = self.dataset.paths[row]
        image, key = read_keyed(path)
        if row in self.without:
            raise BadImage(path, NO_OUTPUT)
        drawn = self._drawn(key, view, aspect=image.width / image.height)
        for side, crop in into.items():
            crop[...] = apply_geometry(image, drawn, size=side)
        if self.kept is not None:
            self.kept.write(row, view, key, into)
        return key

    def _photometric(self, crops: np.ndarray, keys: np.ndarray, views: np.ndarray) -> Tensor:
        """The student's images (b, 3, S, S). What is drawn for them does not depend on the image's aspect."""
        drawn = [
            self._drawn(key, view, aspect=1.0)
            for key, view in zip(keys.tolist(), views.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(list(map(apply_photometric, crops, drawn))))

    def _drawn(self, key: int, view: int, *, aspect: float) -> View:
        return draw_view(self.views, seed=self.sampler.seed, key=key, view=view, aspect=aspect)


class _Chunks(TorchDataset[tuple[np.ndarray, dict[int, Tensor], list[Bad]]]):
    """Item k is the k-th chunk of paths, in order."""

    def __init__(self, paths: Sequence[str], sizes: tuple[int, ...], batch_size: int) -> None:
        self.paths, self.sizes, self.batch_size = paths, sizes, batch_size
        self.count = -(-len(paths) // batch_size)

    def __getitem__(self, chunk: int) -> tuple[np.ndarray, dict[int, Tensor], list[Bad]]:
        index, crops, bad = list[int](), list[dict[int, np.ndarray]](), list[Bad]()
        first = chunk * self.batch_size
        for place, path in enumerate(self.paths[first : first + self.batch_size], start=first):
            try:
                image = read_image(path)
            except BadImage as error:
                bad.append(Bad(place, error.reason))
                continue
            crops.append(decoded(image, center_view(image.width / image.height), self.sizes))
            index.append(place)
        return np.array(index, np.int64), {side: _stack(crops, side) for side in self.sizes}, bad


def _stack(crops: Sequence[Mapping[int, np.ndarray]], side: int) -> Tensor:
    if not crops:
        return torch.empty((0, 3, side, side), dtype=torch.uint8)
    return torch.from_numpy(np.stack([crop[side] for crop in crops]))


class _Told(TorchDataset):  # type: ignore[type-arg]
    """Items of another; in place of one that ends the run comes its error, without the traceback that torch would put into its message."""

    def __init__(self, items: TorchDataset) -> None:  # type: ignore[type-arg]
        self.items = items

    def __getitem__(self, number: int) -> object:
        try:
            return self.items[number]
        except DataError as error:
            return error


def _in_workers(items: TorchDataset, numbers: range, workers: int) -> Iterator:  # type: ignore[type-arg]
    if not numbers:
        return
    workers = min(workers, len(numbers))
    loader = DataLoader(
        _Told(items),
        batch_size=None,  # an item is a batch already
        sampler=numbers,
        collate_fn=handed_over,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=give_way if workers else None,
    )
    for item in loader:
        if isinstance(item, DataError):
            raise item
        yield item


def handed_over(item: T) -> T:
    """Returns an item as a DataLoader would hand it over, with its tensors in shared memory if it leaves a reading process.

    Here a lack of shared memory is an error that arrives. Later torch only prints it, and whoever waits for the item waits for ever.
    """
    converted: T = default_convert(item)  # type: ignore[no-untyped-call]
    if get_worker_info() is not None:
        _share(converted)
    return converted


def _share(item: object) -> None:
    if isinstance(item, Tensor) and item.numel():
        item.share_memory_()  # type: ignore[no-untyped-call]
    elif isinstance(item, Mapping | list | tuple):
        for each in item.values() if isinstance(item, Mapping) else item:
            _share(each)


def give_way(worker: int) -> None:
    """Lets a reading process run where a step leaves a core idle, and leaves Ctrl-C to the process that it reads for.

    The threads of a step on the CPU wait for one another some hundred times: one that loses its core to a reader for a few milliseconds
    holds up all of them. A reader that is late is waited for, and then has the cores to itself, so it never starves.

    Ctrl-C in a terminal reaches readers too. (So does SIGTERM from many a batch system, but that is how a reader is told to go at the end.)
    """
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
