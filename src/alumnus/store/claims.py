"""Who computes what: several processes, on one machine or on several that share a file system, divide one build.

A job is a list of missing outputs cut into units. A unit is claimed by a lock on a file, which the system frees when its process ends,
however it ends; so a killed process loses the unit that it was at, and any other process, or the next start, takes it over. Nothing here
holds results: shards do, and what they hold is never computed again.

    .job-HASH/entries.npy     (m, 2) int64: key and view
    .job-HASH/alive           locked (shared) by every process at work
    .job-HASH/0003.lock       locked by the one that computes unit 3
    .job-HASH/0003.done       unit 3 is in a shard
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Entries = NDArray[np.int64]  # (m, 2): key, view

POLL_S = 0.5


def work_off(
    folder: Path, missing: Callable[[], Entries], compute: Callable[[Entries], bool], *, unit_rows: int
) -> None:
    """Computes all that is missing, together with whoever else does; returns when nothing is missing.

    Args:
        missing: the outputs that are wanted and in no shard now.
        compute: writes some outputs as a shard; False if they are none of this process's images, and nothing was done.
        unit_rows: outputs to a unit.
    """
    left = set[str]()
    while True:
        with _joined(folder, missing, unit_rows=unit_rows, left=left) as job:
            if job is None:
                return
            _work(job, missing(), compute, unit_rows=unit_rows)
            left.add(job.name)  # what it did not give is not waited for again


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder of outputs for a moment: no job begins meanwhile, and what is written outside of jobs is written under this lock."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_at_work(folder: Path) -> bool:
    """Whether a process computes outputs of a folder now; to be asked while it is `locked`."""
    return any(not _is_dead(job) for job in folder.glob(".job-*"))


@contextmanager
def _joined(
    folder: Path, missing: Callable[[], Entries], *, unit_rows: int, left: Collection[str]
) -> Iterator[Path | None]:
    """Gives a job that others are at and that was not left before, or a new one, or None if nothing is missing."""
    with locked(folder):
        _clear_dead(folder)
        entries = missing()
        job = _of_others(folder, entries, left)
        if job is None and len(entries):
            job = _new(folder, entries, unit_rows, number=len(left))
        alive = None if job is None else _try_lock(job / "alive", fcntl.LOCK_SH)
    try:
        yield job
    finally:
        if alive is not None:
            os.close(alive)


def _work(job: Path, wanted: Entries, compute: Callable[[Entries], bool], *, unit_rows: int) -> None:
    """Works at the units that hold something wanted here, until they are done, or what is left of them holds images of others too.

    Such units are waited for only while somebody is at one: were the others dead, it would be for ever, for this process itself keeps
    the job alive.
    """
    entries = np.load(job / "entries.npy", allow_pickle=False)
    mine = np.flatnonzero(np.isin(pairs(entries), pairs(wanted)))
    pending = np.unique(mine // unit_rows).tolist()
    start = os.getpid() % max(1, len(pending))  # processes begin at different places
    pending = pending[start:] + pending[:start]
    while pending:
        found = {unit: _try(job, unit, entries, compute, unit_rows) for unit in pending}
        if "done" not in found.values():
            if "taken" not in found.values():
                return
            time.sleep(POLL_S)  # others are at what is left
        if not (job / "entries.npy").exists():
            return  # it was thought dead, when its file system lost the locks: begin again
        pending = [unit for unit in pending if found[unit] != "done" and not _done(job, unit).exists()]


def _try(
    job: Path, unit: int, entries: Entries, compute: Callable[[Entries], bool], unit_rows: int
) -> Literal["done", "taken", "foreign"]:
    """Computes a unit, unless another process is at it, or it holds images that are not of this process."""
    if _done(job, unit).exists():
        return "done"
    claim = _try_lock(job / f"{unit:04d}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    if claim is None:
        return "taken"
    try:
        if _done(job, unit).exists():
            return "done"
        if not compute(entries[unit * unit_rows : (unit + 1) * unit_rows]):
            return "foreign"
        _done(job, unit).touch()
        return "done"
    finally:
        os.close(claim)


def _of_others(folder: Path, missing: Entries, left: Collection[str]) -> Path | None:
    """Returns a job at which somebody is, which has something that is missing here, and which was not left."""
    for job in sorted(folder.glob(".job-*")):
        if job.name in left:
            continue
        entries = np.load(job / "entries.npy", allow_pickle=False)
        if len(np.intersect1d(pairs(entries), pairs(missing))):
            return job
    return None


def pairs(entries: Entries) -> NDArray[np.void]:
    """Returns outputs (m, 2) as (m,) pairs that numpy orders and compares as one: first by key, then by view."""
    found = np.empty(len(entries), dtype=[("key", np.int64), ("view", np.int64)])
    found["key"], found["view"] = entries.T
    return found


def _new(folder: Path, entries: Entries, unit_rows: int, *, number: int) -> Path:
    """Makes a job, the number-th of this process: one of the same outputs may still be there, of which they were not to be had."""
    digest = hashlib.sha256(np.ascontiguousarray(entries).tobytes() + f"{unit_rows} {number}".encode())
    job = folder / f".job-{digest.hexdigest()[:16]}"
    job.mkdir(exist_ok=True)
    np.save(job / "entries.npy", entries, allow_pickle=False)
    return job


def _clear_dead(folder: Path) -> None:
    """Removes jobs at which nobody is; their shards stay."""
    for job in folder.glob(".job-*"):
        if _is_dead(job):
            shutil.rmtree(job)


def _is_dead(job: Path) -> bool:
    """Whether nobody is at a job; nobody begins while the folder is locked."""
    lock = _try_lock(job / "alive", fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is not None:
        os.close(lock)
    return lock is not None


def _done(job: Path, unit: int) -> Path:
    return job / f"{unit:04d}.done"


def _try_lock(path: Path, how: int) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
