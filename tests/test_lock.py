"""A lock on a folder: who is told, what is left behind, and a folder that is renamed while it is held. Runs: training/test_lock.py."""

from __future__ import annotations

import multiprocessing
import os
import socket
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from alumnus import lock
from alumnus.lock import NAME, Busy, give_back, take


def test_the_second_is_told_who_is_there(tmp_path: Path) -> None:
    """Process and host; afterwards the folder is free, and no file is left."""
    handle = take(tmp_path / "new" / "folder")
    with pytest.raises(Busy) as caught:
        take(tmp_path / "new" / "folder")
    assert str(caught.value) == f" (process {os.getpid()} on {socket.gethostname()})"
    give_back(handle, tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    give_back(take(tmp_path), tmp_path)


def test_what_a_kill_left_keeps_nobody_out(tmp_path: Path) -> None:
    """Whatever it says."""
    (tmp_path / NAME).write_text('{"pid": 1, "host": "elsewhere"}')
    give_back(take(tmp_path), tmp_path)


def _live_on(runs: Event) -> None:
    runs.set()
    time.sleep(60)


def test_a_forked_process_keeps_no_lock(tmp_path: Path) -> None:
    """It may outlive a command that was killed, which leaves the file, and the same command must go on."""
    fork, handle = multiprocessing.get_context("fork"), take(tmp_path)
    runs = fork.Event()
    process = fork.Process(target=_live_on, args=(runs,))
    process.start()
    try:
        assert runs.wait(60)
        os.close(handle)  # as the system does it; nothing is removed
        lock._held.discard(handle)
        give_back(take(tmp_path), tmp_path)
    finally:
        process.kill()
        process.join()


def test_a_folder_may_get_its_name_while_it_is_held(tmp_path: Path) -> None:
    """The lock is removed where it is then, and another's at the old place is not."""
    handle = take(tmp_path / "work")
    (tmp_path / "work").rename(tmp_path / "out")
    other = take(tmp_path / "work")
    give_back(handle, tmp_path / "work", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob(NAME)] == [NAME]
    with pytest.raises(Busy):
        take(tmp_path / "work")
    give_back(other, tmp_path / "work")
