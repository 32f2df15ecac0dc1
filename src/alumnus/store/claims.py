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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
    while True:
        with _joined(folder, missing, unit_rows=unit_rows) as job:
            if job is None:
                return
            _work(job, compute, unit_rows=unit_rows)


@contextmanager
def _joined(folder: Path, missing: Callable[[], Entries], *, unit_rows: int) -> Iterator[Path | None]:
    """Gives the job that others are at, a new one, or None if nothing is missing."""
    with _locked(folder / ".lock", fcntl.LOCK_EX):
        _clear_dead(folder)
        entries = missing()
        job = _of_others(folder, entries) or (_new(folder, entries, unit_rows) if len(entries) else None)
        alive = None if job is None else _try_lock(job / "alive", fcntl.LOCK_SH)
    try:
        yield job
    finally:
        if alive is not None:
            os.close(alive)


def _work(job: Path, compute: Callable[[Entries], bool], *, unit_rows: int) -> None:
    entries = np.load(job / "entries.npy", allow_pickle=False)
    pending = list(range(-(-len(entries) // unit_rows)))
    start = os.getpid() % len(pending)  # processes begin at different places
    pending = pending[start:] + pending[:start]
    while pending:
        left = [unit for unit in pending if not _done_by_me(job, unit, entries, compute, unit_rows)]
        if len(left) == len(pending):
            time.sleep(POLL_S)  # others are at what is left
        if not (job / "entries.npy").exists():
            return  # it was thought dead, when its file system lost the locks: begin again
        pending = [unit for unit in left if not _done(job, unit).exists()]


def _done_by_me(
    job: Path, unit: int, entries: Entries, compute: Callable[[Entries], bool], unit_rows: int
) -> bool:
    if _done(job, unit).exists():
        return True
    claim = _try_lock(job / f"{unit:04d}.lock", fcntl.LOCK_EX | fcntl.LOCK_NB)
    if claim is None:
        return False
    try:
        if _done(job, unit).exists():
            return True
        if not compute(entries[unit * unit_rows : (unit + 1) * unit_rows]):
            return False
        _done(job, unit).touch()
        return True
    finally:
        os.close(claim)


def _of_others(folder: Path, missing: Entries) -> Path | None:
    """Returns a job at which somebody is and which has something that is missing here."""
    for job in sorted(folder.glob(".job-*")):
        entries = np.load(job / "entries.npy", allow_pickle=False)
        if len(np.intersect1d(pairs(entries), pairs(missing))):
            return job
    return None


def pairs(entries: Entries) -> NDArray[np.void]:
    """Returns outputs (m, 2) as (m,) pairs that numpy orders and compares as one: first by key, then by view."""
    found = np.empty(len(entries), dtype=[("key", np.int64), ("view", np.int64)])
    found["key"], found["view"] = entries.T
    return found


def _new(folder: Path, entries: Entries, unit_rows: int) -> Path:
    digest = hashlib.sha256(np.ascontiguousarray(entries).tobytes() + str(unit_rows).encode())
    job = folder / f".job-{digest.hexdigest()[:16]}"
    job.mkdir(exist_ok=True)
    np.save(job / "entries.npy", entries, allow_pickle=False)
    return job


def _clear_dead(folder: Path) -> None:
    """Removes jobs at which nobody is; their shards stay."""
    for job in folder.glob(".job-*"):
        lock = _try_lock(job / "alive", fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is not None:
            shutil.rmtree(job)
            os.close(lock)


def _done(job: Path, unit: int) -> Path:
    return job / f"{unit:04d}.done"


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _try_lock(path: Path, how: int) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, how)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
