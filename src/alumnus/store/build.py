"""Building: every output that is missing is computed once, one teacher at a time.

Killed at any time, it goes on where it was; several processes may build at once (see claims.py); new images, views or teachers cost
what they add.

Axes: n outputs, S side of the teacher's view in px.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from alumnus.data.dataset import Dataset
from alumnus.data.loader import give_way, handed_over
from alumnus.data.names import printable
from alumnus.data.quarantine import Quarantine
from alumnus.data.read import BadImage, key_of
from alumnus.log import Bar, bar, warn
from alumnus.memory import keep_freed_memory
from alumnus.store.claims import Entries, work_off
from alumnus.store.crops import Crops, Part
from alumnus.store.folder import About, Folder, Geometry, Index
from alumnus.store.identity import Files
from alumnus.store.shard import Rows, Unreadable, write_shard
from alumnus.teachers.targets import trusted_domains
from alumnus.teachers.teacher import Teacher
from alumnus.types import Features

UNIT_BYTES = 32 << 20  # of a shard, at most
UNIT_ROWS = (64, 2048)  # outputs to a shard: what a killed process may lose, against the number of files
BATCH = 64  # images that a teacher sees at once
TRIES = 2  # of an image that could not be read, for a reason that may pass
NOT_THEN = "its bytes could not be read when images were identified"
LEAST_COSINE = (
    0.99  # of a feature and what is kept of it; below it is said that the precision does not suit the teacher
)


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

    def lacking(self, folder: Folder, domains: Sequence[str] | None) -> frozenset[int]:
        """Returns the rows in such domains of which a folder lacks outputs, though none of them is known as one that cannot be decoded."""
        keys = np.unique(_absent(folder.index, self.of(domains))[:, 0])
        is_trusted = trusted_domains(domains, self.data.domains)[self.data.domain]
        return frozenset(np.flatnonzero(is_trusted & ((self.keys < 0) | np.isin(self.keys, keys))).tolist())


def missing(folder: Folder, wanted: Entries) -> Entries:
    """Returns those of the outputs wanted (m, 2) that are in no shard now and whose image is not known to be unreadable."""
    return _absent(folder.refreshed().index, wanted)


def _absent(index: Index, wanted: Entries) -> Entries:
    absent = index.find(wanted[:, 0], wanted[:, 1]) < 0
    return wanted[absent & ~np.isin(wanted[:, 0], np.array(list(index.bad), np.int64))]


def note_undecodable(
    folder: Folder, domains: Sequence[str] | None, wanted: Wanted, quarantine: Quarantine
) -> None:
    """Notes which of the images wanted of a teacher that is trusted on some domains cannot be decoded, as its folder says.

    Raises:
        TooManyBadImages: see `quarantine`.
    """
    bad = folder.refreshed().index.bad
    if not bad:
        return
    files = Files(wanted.keys, wanted.data.paths)
    keys = np.unique(wanted.of(domains)[:, 0])
    quarantine.add_all((files.of(key)[0], bad[key]) for key in keys.tolist() if key in bad)


def note_unopened(wanted: Wanted, quarantine: Quarantine) -> None:
    """Notes the images of which not even the bytes could be read, so that nothing is computed of them.

    Raises:
        TooManyBadImages: see `quarantine`.
    """
    paths = [wanted.data.paths[row] for row in np.flatnonzero(wanted.keys < 0).tolist()]
    quarantine.add_all((path, _why_unopened(path)) for path in paths)


def _why_unopened(path: str) -> str:
    try:
        key_of(path)
    except BadImage as error:
        return error.reason
    return NOT_THEN


def fill(
    folder: Folder,
    teacher: Teacher,
    wanted: Wanted,
    *,
    quarantine: Quarantine,
    workers: int,
    batch_size: int = BATCH,
) -> None:
    """Computes what is missing of a teacher's outputs. What cannot be read now, though it may be later, stays missing: that is said.

    Raises:
        TooManyBadImages: see `quarantine`.
        NonFiniteError: the teacher gave NaN or infinite features.
        StoreError: a shard is damaged, or a feature is out of the precision's range.
    """
    keep_freed_memory()
    entries = wanted.of(teacher.domains)
    files = Files(wanted.keys, wanted.data.paths)
    job = _Job(folder, teacher, files, workers, batch_size)
    before = missing(folder, entries)
    if not len(before):
        return
    tries, left = Counter[int](), dict[int, str]()
    with bar(f"store {teacher.name}", total=len(before)) as line:

        def lacking() -> Entries:
            found = missing(folder, entries)
            return found[~np.isin(found[:, 0], np.array(list(left), np.int64))]

        def compute(part: Entries) -> bool:
            if not all(int(key) in files for key in part[:, 0]):
                return False
            bad, passing = job.write(part, line)
            tries.update(each.key for each in passing)
            gone = [each for each in passing if tries[each.key] >= TRIES]
            left.update(gone)
            quarantine.add_all((files.of(each.key)[0], each.reason) for each in (*bad, *gone))
            return True

        work_off(folder.path, lacking, compute, unit_rows=unit_rows(folder.about))
    if left:
        _say_what_is_left(teacher, left, files)
    _warn_of_loss(folder.refreshed(), teacher)


def _say_what_is_left(teacher: Teacher, left: Mapping[int, str], files: Files) -> None:
    key, reason = next(iter(left.items()))
    first = f"'{printable(files.of(key)[0])}': {reason}"
    warn(
        f"store: {len(left):,} images could not be read, so that outputs of {teacher.name} stay missing; the first "
        f"is {first}. Mend or remove them; the next build or run tries them again"
    )


def _warn_of_loss(folder: Folder, teacher: Teacher) -> None:
    """Small features vanish in float16, and int8 takes one range for all rows: what was measured says it."""
    least = min((shard.loss.cosine_min for shard in folder.shards if len(shard)), default=1.0)
    if least < LEAST_COSINE:
        warn(
            f"store: {folder.about.precision} does not suit {teacher.name}: of one of its features, what is kept has a "
            f"cosine of {least:.3f} with what it said (`alumnus cache info` has the mean); precision=float32 keeps all of it"
        )


def unit_rows(about: About) -> int:
    """Outputs to a shard of such a folder."""
    return int(np.clip(UNIT_BYTES // about.row_bytes, *UNIT_ROWS))


class Speed(NamedTuple):
    """What a short trial on a few images says of a build."""

    s_per_image: float  # and view: decoding and teacher, on this machine, now


def trial(teacher: Teacher, wanted: Wanted, geometry: Geometry, *, batch_size: int = BATCH) -> Speed:
    """Returns the time an output takes, measured on one batch; nothing is written."""
    keep_freed_memory()  # as in `fill`, whose time this is to tell
    rows = np.flatnonzero(wanted.keys >= 0)[:batch_size]
    if not len(rows):
        return Speed(0.0)
    files = Files(wanted.keys[rows], [wanted.data.paths[row] for row in rows])
    entries = np.array([(int(wanted.keys[row]), 0) for row in rows], np.int64)
    items = Crops(entries, files, teacher.size, geometry, batch_size)
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
    files: Files,
    geometry: Geometry,
    *,
    batch_size: int = BATCH,
) -> Iterator[Rows]:
    """Yields a teacher's outputs for some images and views, computed here and now, part by part; unreadable images are left out.

    Args:
        entries: (n, 2), key and view, the views of an image one after another.
        files: of all keys.
    """
    items = Crops(entries, files, teacher.size, geometry, batch_size)
    for number in range(len(items)):
        part = items[number]
        if len(part.key):
            yield Rows(part.key, part.view, _ask(teacher, part.image))


@dataclass(frozen=True)
class _Job:
    folder: Folder
    teacher: Teacher
    files: Files
    workers: int
    batch_size: int

    def write(self, entries: Entries, line: Bar) -> tuple[list[Unreadable], list[Unreadable]]:
        """Computes some outputs, writes them as a shard, and returns what cannot be decoded and what could not be read this time."""
        keys, views = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        found, bad, passing = [self.teacher.silence()], list[Unreadable](), list[Unreadable]()
        for crops in self._crops(entries):
            bad += crops.bad
            passing += crops.passing
            if len(crops.key):
                found.append(_ask(self.teacher, crops.image))
                keys.append(crops.key)
                views.append(crops.view)
            line.advance(crops.asked)
        rows = Rows(np.concatenate(keys), np.concatenate(views), _joined(found))
        if len(rows.key) or bad:
            write_shard(self.folder.path, rows, self.folder.about.precision, bad)
        return bad, passing

    def _crops(self, entries: Entries) -> Iterator[Part]:
        items = Crops(entries, self.files, self.teacher.size, self.folder.about.geometry, self.batch_size)
        yield from DataLoader(
            items,
            batch_size=None,
            collate_fn=handed_over,
            num_workers=min(self.workers, len(items)),
            worker_init_fn=give_way,
            pin_memory=self.teacher.device.type == "cuda",
        )


def _ask(teacher: Teacher, image: Tensor) -> Features:
    """Returns a teacher's features of images (n, 3, S, S) uint8, on the CPU."""
    summary, patches = teacher(image.to(teacher.device, non_blocking=True).float().div_(255))
    return Features(summary.cpu(), None if patches is None else patches.cpu())


def _joined(parts: Sequence[Features]) -> Features:
    summary = torch.cat([part.summary.cpu() for part in parts])
    patches = [part.patches.cpu() for part in parts if part.patches is not None]
    return Features(summary, torch.cat(patches) if patches else None)
