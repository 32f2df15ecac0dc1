"""Processes that build together compute each output once, and take over what a dead one left."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from alumnus.store.claims import Entries, work_off

WANTED = np.stack([np.arange(40), np.zeros(40, np.int64)], axis=1)


def _missing(folder: Path) -> Callable[[], Entries]:
    """Outputs without a file of theirs."""

    def missing() -> Entries:
        there = {int(path.name) for path in folder.glob("[0-9]*")}
        return WANTED[[int(key) not in there for key in WANTED[:, 0]]]

    return missing


def _compute(folder: Path, delay_s: float = 0.0) -> Callable[[Entries], bool]:
    """Writes a file an output, and a line in the log of who did it."""

    def compute(part: Entries) -> bool:
        time.sleep(delay_s)
        with (folder / "log.txt").open("a") as log:
            log.write("".join(f"{key} {os.getpid()}\n" for key in part[:, 0]))
        for key in part[:, 0]:
            (folder / str(key)).touch()
        return True

    return compute


def _build(folder: Path, delay_s: float) -> None:
    work_off(folder, _missing(folder), _compute(folder, delay_s), unit_rows=4)


def _log(folder: Path) -> list[tuple[int, int]]:
    return [
        (int(key), int(who)) for key, who in map(str.split, (folder / "log.txt").read_text().splitlines())
    ]


def test_one_process_computes_all_once_and_leaves_no_job(tmp_path: Path) -> None:
    """And a second call does nothing."""
    _build(tmp_path, 0)
    _build(tmp_path, 0)
    assert sorted(key for key, _ in _log(tmp_path)) == list(range(40))
    assert list(tmp_path.glob(".job-*")) == []


def _build_together(folder: Path, start: Barrier) -> None:
    start.wait()
    _build(folder, 0.1)


@pytest.mark.parametrize("killed", [False, True])
def test_processes_divide_the_work(tmp_path: Path, killed: bool) -> None:
    """Nothing is computed twice; if one is killed, the other one ends with nothing missing."""
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(2)
    both = [fork.Process(target=_build_together, args=(tmp_path, start)) for _ in range(2)]
    for process in both:
        process.start()
    if killed:
        while not (tmp_path / "log.txt").exists():
            time.sleep(0.01)
        os.kill(both[0].pid or 0, signal.SIGKILL)
    for process in both:
        process.join(120)
    assert both[1].exitcode == 0
    assert len(_missing(tmp_path)()) == 0
    done = [key for key, _ in _log(tmp_path)]
    assert sorted(set(done)) == list(range(40))
    if not killed:
        assert len(done) == 40
        assert {who for _, who in _log(tmp_path)} <= {process.pid for process in both}


def test_a_unit_that_failed_is_tried_again_by_the_next_start(tmp_path: Path) -> None:
    """What was done before the failure stays done."""
    calls = 0

    def fails_at_third(part: Entries) -> bool:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("out of memory")
        return _compute(tmp_path)(part)

    with pytest.raises(RuntimeError, match="out of memory"):
        work_off(tmp_path, _missing(tmp_path), fails_at_third, unit_rows=4)
    assert len(_missing(tmp_path)()) == 32
    _build(tmp_path, 0)
    assert len(_log(tmp_path)) == 40


def test_units_of_somebody_elses_images_are_left_to_them(tmp_path: Path) -> None:
    """When they are gone, a job of one's own is made."""
    job = tmp_path / ".job-theirs"
    job.mkdir()
    np.save(job / "entries.npy", np.array([[5, 0], [999, 0]]))
    theirs = os.open(job / "alive", os.O_RDWR | os.O_CREAT)
    fcntl.flock(theirs, fcntl.LOCK_SH)
    asked = list[list[int]]()

    def compute(part: Entries) -> bool:
        asked.append(part[:, 0].tolist())
        if 999 in part[:, 0]:
            os.close(theirs)  # they stop
            (job / "entries.npy").unlink()
            return False
        return _compute(tmp_path)(part)

    work_off(tmp_path, _missing(tmp_path), compute, unit_rows=4)
    assert asked[0] == [5, 999]
    assert sorted(key for key, _ in _log(tmp_path)) == list(range(40))


def _build_more_and_hang(folder: Path) -> None:
    """A build of these images and others that does not end by itself."""
    others = np.stack([np.arange(100), np.zeros(100, np.int64)], axis=1)

    def hang(part: Entries) -> bool:
        (folder / "begun").touch()
        time.sleep(600)
        return True

    work_off(folder, lambda: others, hang, unit_rows=32)


def _build_own(folder: Path) -> None:
    """Units 0 and 1 of the other build's job hold images of this one, and 24 of unit 1 are the other's alone."""
    found = list[Entries]()

    def missing() -> Entries:
        found.append(_missing(folder)())
        if len(found) == 2:  # asked once to join a job, and once more in it
            (folder / "joined").touch()
        return found[-1]

    def compute(part: Entries) -> bool:
        return bool((part[:, 0] < 40).all()) and _compute(folder)(part)

    work_off(folder, missing, compute, unit_rows=32)


@pytest.mark.parametrize("killed_first", [False, True])
def test_a_build_of_other_images_too_that_dies_is_not_waited_for(tmp_path: Path, killed_first: bool) -> None:
    """The one that joined its job keeps that job alive itself, and computes what is left of its own in another one."""
    fork = multiprocessing.get_context("fork")
    larger = fork.Process(target=_build_more_and_hang, args=(tmp_path,))
    own = fork.Process(target=_build_own, args=(tmp_path,))
    larger.start()
    while not (tmp_path / "begun").exists() and larger.is_alive():
        time.sleep(0.01)
    if killed_first:
        larger.kill()
        larger.join()
    own.start()
    if not killed_first:
        while not (tmp_path / "joined").exists() and own.is_alive():
            time.sleep(0.01)
        larger.kill()
        larger.join()
    own.join(60)
    hangs = own.is_alive()
    own.kill()
    assert not hangs
    assert len(_missing(tmp_path)()) == 0
