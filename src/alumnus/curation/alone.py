"""One command in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alumnus.data.names import printable
from alumnus.errors import DataError
from alumnus.lock import Busy, give_back, take


@contextmanager
def alone(work: Path, out: Path) -> Iterator[None]:
    """Holds the folder in which something grows that becomes `out`; makes it, and removes it if it is still empty at the end.

    Raises:
        DataError: another process holds it.
    """
    try:
        handle = take(work)
    except Busy as busy:
        raise DataError(
            f"another process{busy} writes '{printable(out)}' now; wait until it has ended, or name another folder"
        ) from None
    try:
        yield
    finally:
        give_back(handle, work, out)  # it may have become the other
        with suppress(OSError):  # not empty, or no longer there
            work.rmdir()
