"""One process in one folder: whoever works there holds a lock that the system frees when its process ends, however it ends.

flock(2) on the file `.lock`, as in store/claims.py, where many work together. What the file says of its holder serves messages alone: one
that a kill left behind keeps nobody out.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from alumnus.log import warn

NAME = ".lock"

_held = set[int]()


class Busy(Exception):
    """Another process holds the folder; the text is ` (process 12 on HOST)`, or empty if that is not known."""


def take(folder: Path) -> int:
    """Makes a folder if it is not there, locks it, and returns the open lock file.

    Raises:
        Busy: another process holds it.
        OSError: it cannot be written.
    """
    path = folder / NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder was renamed or removed just now
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 1000, 0)
            os.close(handle)
            raise Busy(_named(holder)) from None
        except OSError as error:
            warn(
                f"{path} cannot be locked ({error.strerror}); take care that nothing else writes there meanwhile"
            )
            _held.add(handle)
            return handle
        if _is_still(path, handle):  # the holder may have removed it between our opening and our locking
            with suppress(OSError):  # a full disk is told where it does harm
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
            _held.add(handle)
            return handle
        os.close(handle)


def give_back(handle: int, *folders: Path) -> None:
    """Removes the lock file, while it is locked, from whichever of these folders it is in, and frees the lock."""
    for folder in folders:
        if _is_still(folder / NAME, handle):
            (folder / NAME).unlink()
    _held.discard(handle)
    os.close(handle)


def _let_go() -> None:
    """A forked reading process inherits locks, and would hold them for some seconds after its command was killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _named(holder: bytes) -> str:
    try:
        about = json.loads(holder)
        return f" (process {about['pid']} on {about['host']})"
    except (ValueError, KeyError, TypeError):
        return ""
