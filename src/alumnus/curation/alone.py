"""One command in one folder: whoever writes there holds a lock, flock(2) on its `.lock`, which the system frees when the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alumnus.data.names import printable
from alumnus.errors import DataError
from alumnus.log import warn

NAME = ".lock"

_held = set[int]()


def _let_go() -> None:
    """A forked process inherits the lock, and would hold it after the command was killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def alone(work: Path, out: Path) -> Iterator[None]:
    """Holds the folder in which something grows that becomes `out`; makes it, and removes it if it is still empty at the end.

    Raises:
        DataError: another process holds it.
    """
    handle = _locked(work, out)
    _held.add(handle)
    try:
        yield
    finally:
        for folder in (work, out):  # it may have become the other
            if _is_file(folder / NAME, handle):
                (folder / NAME).unlink()  # while it is locked: see `_locked`
        _held.discard(handle)
        os.close(handle)
        with suppress(OSError):  # not empty, or no longer there
            work.rmdir()


def _locked(work: Path, out: Path) -> int:
    """Returns the open lock file. The holder may remove it between our opening and our locking: then there is another to be had."""
    while True:
        work.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(work / NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder became what it should
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise DataError(
                f"another process writes '{printable(out)}' now; wait until it has ended, or name another folder"
            ) from None
        except OSError as error:
            warn(
                f"{work / NAME} cannot be locked ({error.strerror}); take care that no second command writes there"
            )
            return handle
        if _is_file(work / NAME, handle):
            return handle
        os.close(handle)


def _is_file(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
