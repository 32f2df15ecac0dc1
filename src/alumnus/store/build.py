"""Building: every output that is missing is computed once, one teacher at a time.

Killed at any time, it goes on where it was; several processes may build at once (see claims.py); new images, views or teachers cost
what they add.

Axes: n outputs, S side of the teacher's view in px.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from alumnus.data.dataset import Dataset
from alumnus.data.loader import give_way, handed_over
from alumnus.data.quarantine import Quarantine
from alumnus.data.read import BadImage, read_keyed
from alumnus.data.views import ViewSettings, apply_geometry, draw_view
from alumnus.log import Bar, bar
from alumnus.store.claims import Entries, work_off
from alumnus.store.folder import Folder, Geometry
from alumnus.store.identity import UNREADABLE
from alumnus.store.shard import Rows, Unreadable, write_shard
from alumnus.teachers.targets import trusted_domains
from alumnus.teachers.teacher import Teacher
from alumnus.types import Features

UNIT_BYTES = 32 << 20  # of a shard, at most
UNIT_ROWS = (64, 2048)  # outputs to a shard: what a killed process may lose, against the number of files
BATCH = 64  # images that a teacher sees at once


@dataclass(frozen=True)
class Wanted:
    """Images whose outputs are wanted."""

    data: Dataset
    keys: NDArray[np.int64]  # (N,) from `identify`
    num_views: int  # of each image: view indices 0 to num_views - 1

    def of(self, domains: Sequence[str] | None) -> Entries:
        """Returns the outputs (m, 2) wanted of a teacher that is trusted on some domains: in the order of the data, no image twice."""
        rows = np.flatnonzero(
            trusted_domains(domains, self.data.domains)[self.data.domain] & (self.keys >= 0)
        )
        keys = self.keys[rows]
        keys = keys[np.sort(np.unique(keys, return_index=True)[1])]
        views = np.tile(np.arange(self.num_views), len(keys))
        return np.stack([np.repeat(keys, self.num_views), views], axis=1)


def missing(folder: Folder, wanted: Entries) -> Entries:
    """Returns those of the outputs wanted (m, 2) that are in no shard now and whose image is not known to be unreadable."""
    index = folder.refreshed().index
    absent = index.find(wanted[:, 0], wanted[:, 1]) < 0
    return wanted[absent & ~np.isin(wanted[:, 0], np.array(list(index.bad), np.int64))]


def fill(
    folder: Folder,
    teacher: Teacher,
    wanted: Wanted,
    *,
    quarantine: Quarantine,
    workers: int,
    batch_size: int = BATCH,
) -> None:
    """Computes what is missing of a teacher's outputs.

    Raises:
        TooManyBadImages: see `quarantine`.
        NonFiniteError: the teacher gave NaN or infinite features.
        StoreError: a shard is damaged, or a feature is out of the precision's range.
    """
    entries = wanted.of(teacher.domains)
    paths = {
        int(key): path for key, path in zip(wanted.keys, wanted.data.paths, strict=True) if key != UNREADABLE
    }
    names = dict(zip(wanted.keys.tolist(), wanted.data.file_names, strict=True))
    job = _Job(folder, teacher, paths, workers, batch_size)
    before = missing(folder, entries)
    if not len(before):
        return
    for key, reason in folder.refreshed().index.bad.items():  # a kill may have come between shard and note
        if key in names:
            quarantine.add(names[key], reason)
    with bar(f"store {teacher.name}", total=len(before)) as line:

        def compute(part: Entries) -> bool:
            if not all(int(key) in paths for key in part[:, 0]):
                return False
            for each in job.write(part, line):
                quarantine.add(names[each.key], each.reason)
            return True

        work_off(folder.path, lambda: missing(folder, entries), compute, unit_rows=unit_rows(folder))


def unit_rows(folder: Folder) -> int:
    """Outputs to a shard of this folder."""
    return int(np.clip(UNIT_BYTES // folder.about.row_bytes, *UNIT_ROWS))


class Speed(NamedTuple):
    """What a short trial on a few images says of a build."""

    s_per_image: float  # and view: decoding and teacher, on this machine, now


def trial(teacher: Teacher, wanted: Wanted, geometry: Geometry, *, batch_size: int = BATCH) -> Speed:
    """Returns the time an output takes, measured on one batch; nothing is written."""
    rows = np.flatnonzero(wanted.keys >= 0)[:batch_size]
    if not len(rows):
        return Speed(0.0)
    paths = {int(wanted.keys[row]): wanted.data.paths[row] for row in rows}
    entries = np.array([(int(wanted.keys[row]), 0) for row in rows], np.int64)
    items = _Crops(entries, paths, teacher.size, geometry, batch_size)
    seconds = []
    for _ in range(2):  # the first time, libraries choose their kernels
        start = time.perf_counter()
        crops = items[0].image
        if len(crops):
            _ask(teacher, crops).summary.sum().item()
        seconds.append(time.perf_counter() - start)
    return Speed(min(seconds) / len(rows))


def outputs_of(
    teacher: Teacher,
    entries: Entries,
    paths: Mapping[int, str],
    geometry: Geometry,
    *,
    batch_size: int = BATCH,
) -> Rows:
    """Returns a teacher's outputs for some images and views, computed here and now; unreadable images are left out.

    Args:
        entries: (n, 2), key and view, the views of an image one after another.
        paths: of each key.
    """
    items = _Crops(entries, paths, teacher.size, geometry, batch_size)
    parts = [items[number] for number in range(len(items))]
    parts = [part for part in parts if len(part.key)]
    features = [teacher.silence(), *(_ask(teacher, part.image) for part in parts)]
    key = np.concatenate([np.empty(0, np.int64), *(part.key for part in parts)])
    view = np.concatenate([np.empty(0, np.int64), *(part.view for part in parts)])
    return Rows(key, view, _joined(features))


@dataclass(frozen=True)
class _Job:
    folder: Folder
    teacher: Teacher
    paths: Mapping[int, str]
    workers: int
    batch_size: int

    def write(self, entries: Entries, line: Bar) -> list[Unreadable]:
        """Computes some outputs, writes them as a shard, and returns what could not be read."""
        keys, views = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        found, bad = [self.teacher.silence()], list[Unreadable]()
        for crops in self._crops(entries):
            bad += crops.bad
            if len(crops.key):
                found.append(_ask(self.teacher, crops.image))
                keys.append(crops.key)
                views.append(crops.view)
            line.advance(crops.asked)
        rows = Rows(np.concatenate(keys), np.concatenate(views), _joined(found))
        write_shard(self.folder.path, rows, self.folder.about.precision, bad)
        return bad

    def _crops(self, entries: Entries) -> Iterator[_Part]:
        items = _Crops(entries, self.paths, self.teacher.size, self.folder.about.geometry, self.batch_size)
        yield from DataLoader(
            items,
            batch_size=None,
            collate_fn=handed_over,
            num_workers=min(self.workers, len(items)),
            worker_init_fn=give_way,
            pin_memory=self.teacher.device.type == "cuda",
        )


class _Part(NamedTuple):
    key: NDArray[np.int64]  # (b,)
    view: NDArray[np.int64]  # (b,)
    image: Tensor  # (b, 3, S, S) uint8
    bad: list[Unreadable]
    asked: int  # outputs that this part was to give, the unreadable ones too


class _Crops(TorchDataset[_Part]):
    """Item k holds the views of the k-th images; an image is decoded once for all of its views."""

    def __init__(
        self, entries: Entries, paths: Mapping[int, str], size: int, geometry: Geometry, batch_size: int
    ) -> None:
        self.size, self.geometry = size, geometry
        # scale, ratio and flip alone: photometric change is never part of what a teacher sees
        self.views = ViewSettings(scale=geometry.scale, ratio=geometry.ratio, flip=geometry.flip)
        starts = np.flatnonzero(np.diff(entries[:, 0], prepend=-1))
        images = np.split(entries, starts[1:])
        per_item = max(1, batch_size // max(len(image) for image in images))
        chunks = [images[place : place + per_item] for place in range(0, len(images), per_item)]
        self.chunks = [
            [(paths[int(image[0, 0])], int(image[0, 0]), image[:, 1]) for image in chunk] for chunk in chunks
        ]

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> _Part:
        keys, views, crops, bad, count = (
            list[int](),
            list[int](),
            list[NDArray[np.uint8]](),
            list[Unreadable](),
            0,
        )
        for path, key, wanted in self.chunks[number]:
            count += len(wanted)
            try:
                image, found = read_keyed(path)
            except BadImage as error:
                bad.append(Unreadable(key, error.reason))
                continue
            if found != key:
                bad.append(Unreadable(key, "the file changed while the store was built"))
                continue
            for view in map(int, wanted):
                drawn = draw_view(
                    self.views, seed=self.geometry.seed, key=key, view=view, aspect=image.width / image.height
                )
                crops.append(apply_geometry(image, drawn, size=self.size))
                keys.append(key)
                views.append(view)
        stacked = np.stack(crops) if crops else np.empty((0, 3, self.size, self.size), np.uint8)
        return _Part(
            np.array(keys, np.int64), np.array(views, np.int64), torch.from_numpy(stacked), bad, count
        )


def _ask(teacher: Teacher, image: Tensor) -> Features:
    """Returns a teacher's features of images (n, 3, S, S) uint8, on the CPU."""
    summary, patches = teacher(image.to(teacher.device, non_blocking=True).float().div_(255))
    return Features(summary.cpu(), None if patches is None else patches.cpu())


def _joined(parts: Sequence[Features]) -> Features:
    summary = torch.cat([part.summary.cpu() for part in parts])
    patches = [part.patches.cpu() for part in parts if part.patches is not None]
    return Features(summary, torch.cat(patches) if patches else None)
