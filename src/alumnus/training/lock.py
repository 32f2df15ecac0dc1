"""One run in one folder: whoever works there holds a lock that the system frees when its process ends, however it ends.

flock(2) on the file `.lock`, as in store/claims.py. What the file says of its holder serves the message alone: one that a kill left behind
keeps nobody out.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alumnus.errors import ConfigError
from alumnus.log import warn

NAME = ".lock"

_held = set[int]()


def _let_go() -> None:
    """A reading process inherits the lock by fork, and would hold it for some seconds after the run was killed."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a run's folder while a block runs; makes it if it is not there, and removes it if it is still empty then.

    Raises:
        ConfigError: another run holds it, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out={folder} is a file; give a folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = _locked(folder)
    except OSError as error:
        raise ConfigError(
            f"out={folder} cannot be written: {(error.strerror or str(error)).lower()}; choose another folder"
        ) from error
    _held.add(handle)
    try:
        yield
    finally:
        (folder / NAME).unlink(missing_ok=True)  # while it is locked: see `_locked`
        _held.discard(handle)
        os.close(handle)
        with suppress(OSError):  # not empty: the run began
            for path in made:
                path.rmdir()


def _locked(folder: Path) -> int:
    """Returns the open lock file. The holder may remove it between our opening and our locking: then there is another to be had."""
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 1000, 0)
            os.close(handle)
            raise ConfigError(
                f"out={folder} is in use by {_named(holder)}; wait until it has ended, or choose another folder"
            ) from None
        except OSError as error:
            warn(f"{path} cannot be locked ({error.strerror}); take care that no second run works there")
            return handle
        if _is_still(path, handle):
            with suppress(OSError):  # a full disk is told where it does harm
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
            return handle
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _named(holder: bytes) -> str:
    try:
        about = json.loads(holder)
        return f"another run (process {about['pid']} on {about['host']})"
    except (ValueError, KeyError, TypeError):
        return "another run"
