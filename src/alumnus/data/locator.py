"""Pictures that are no files of their own, and the one place where any picture's bytes are opened.

A locator is a path with two colons: `shards/0003.tar::cats/1.jpg` is a member of a tar, `train/data-00000-of-00002.arrow::image/17` the
cell of row 17 of the column `image` of an Arrow file. It stands wherever a path stands: in `paths`, in lists, in the quarantine. Any
process can read one by itself, at random, for it needs nothing but the file. What follows the colons never touches the file system.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from typing import BinaryIO, NamedTuple

from alumnus.data import arrow_cells, tar_index
from alumnus.data.bad import BadImage

SEPARATOR = "::"
_LOCATOR = re.compile(r"(.+?\.(?:tar|arrow))::(.+)", re.DOTALL | re.IGNORECASE)


class Locator(NamedTuple):
    """A picture inside a file."""

    container: str  # path of the file
    member: str


def parse_locator(path: str) -> Locator | None:
    """Returns the parts of a locator, or None for a plain path.

    >>> parse_locator("a/0.tar::b/c.jpg")
    Locator(container='a/0.tar', member='b/c.jpg')
    """
    if SEPARATOR not in path:
        return None
    found = _LOCATOR.fullmatch(path)
    return Locator(found[1], found[2]) if found else None


def joined_locator(container: str, member: str) -> str:
    """Returns the locator of a picture inside a file."""
    return f"{container}{SEPARATOR}{member}"


def container_of(path: str) -> str:
    """Returns the path of the file in which a picture lies: its own, or that of the container."""
    place = parse_locator(path)
    return place.container if place else path


def open_image_bytes(source: str | os.PathLike[str] | bytes) -> BinaryIO:
    """Returns the bytes of a picture, opened for reading: of a file, of what a locator names, or those given.

    Raises:
        BadImage: there is nothing there that may be opened.
        OSError: it cannot be opened.
    """
    if isinstance(source, bytes):
        return io.BytesIO(_not_empty(source, name_of(source)))
    path = os.fspath(source)
    place = parse_locator(path)
    if place is None:
        check_is_file(path)
        return open(path, "rb")
    check_is_file(place.container, asked=path)
    read = tar_index.read_member if place.container.lower().endswith(".tar") else arrow_cells.read_cell
    return io.BytesIO(_not_empty(read(place.container, place.member), path))


def name_of(source: str | os.PathLike[str] | bytes) -> str:
    """Returns what a message calls a picture."""
    return f"{len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)


def size_in_bytes(path: str) -> int:
    """Returns how many bytes a picture has, without reading them; -1 if it is not there."""
    place = parse_locator(path)
    try:
        if place is None:
            return os.stat(path).st_size
        check_is_file(place.container)
        size = tar_index.member_size if place.container.lower().endswith(".tar") else arrow_cells.cell_size
        return size(place.container, place.member)
    except (OSError, ValueError):  # a DataError is a ValueError too
        return -1


def check_is_file(path: str, *, asked: str | None = None) -> None:
    """Refuses what must not even be opened: opening a pipe would wait forever.

    Args:
        asked: what a message calls it, if not by its path.

    Raises:
        BadImage: it is no regular file, or an empty one.
    """
    asked = path if asked is None else asked
    try:
        info = os.stat(path)
    except OSError as error:
        raise BadImage(asked, _reason_of_stat(path, error)) from None
    except ValueError as error:  # a zero byte or a lone surrogate in the name
        raise BadImage(asked, f"no file can have this name: {error}") from None
    if stat.S_ISDIR(info.st_mode):
        raise BadImage(asked, "a directory, not an image")
    if not stat.S_ISREG(info.st_mode):
        raise BadImage(asked, "not a regular file (a pipe, socket or device)")
    if info.st_size == 0:
        raise BadImage(asked, "empty file (0 bytes)")


def reason_of_os_error(error: OSError) -> str:
    """Returns one line on why the system did not open a file."""
    return f"cannot be opened: {(error.strerror or str(error)).lower()}"


def _reason_of_stat(path: str, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "symbolic links in a loop"
    if isinstance(error, FileNotFoundError):
        return "a symbolic link to nothing" if os.path.lexists(path) else "no such file"
    return reason_of_os_error(error)


def _not_empty(content: bytes, name: str) -> bytes:
    if not content:
        raise BadImage(name, "empty (0 bytes)")
    return content
