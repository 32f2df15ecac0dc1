"""Where the members of a tar lie, by reading its headers and nothing else; a damaged tar gives what is whole in it."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alumnus.data.names import printable
from alumnus.errors import DataError

BLOCK = 512  # bytes, to which everything in a tar is rounded up
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Member(NamedTuple):
    """A regular file in a tar."""

    name: str  # bytes that are not UTF-8 are lone surrogates
    offset: int  # of its first byte in the tar
    size: int  # bytes


class Scan(NamedTuple):
    """The members of a tar, and what is wrong with it."""

    members: list[Member]
    damage: str  # one line; "" if it is whole


def scan_tar(path: Path) -> Scan:
    """Returns the regular files in an uncompressed tar: no links, no holes, nothing else that a tar may hold.

    A broken header is stepped over, and what follows is found again; tars that were simply joined are read to the end.

    Raises:
        DataError: it is no tar, or a compressed one, in which nothing can be reached at random.
    """
    _check_is_tar(path)
    members, damage, end = list[Member](), "", 0
    try:
        with tarfile.open(path, "r:", ignore_zeros=True) as tar:
            try:
                for info in _infos(tar):
                    damage = damage or _gap(path, end, info.offset, members)
                    end = tar.offset  # of the next header; a sparse member's size is not what it takes here
                    if info.isreg() and info.sparse is None:
                        members.append(Member(info.name, info.offset_data, info.size))
            except (tarfile.TarError, OSError, ValueError, OverflowError, EOFError) as error:
                damage = damage or f"it ends badly after {len(members)} members ({error})"
    except tarfile.TarError as error:
        raise DataError(f"{printable(path)} is no tar ({error})") from error
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}") from error
    size = path.stat().st_size
    if members and members[-1].offset + members[-1].size > size:
        damage = damage or f"it ends inside its last member, '{printable(members[-1].name)}'"
    elif end <= size:
        damage = damage or _end(path, end, members)
    return Scan(members, damage)


def _infos(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    end = -1
    while (info := tar.next()) is not None:
        if info.size < 0 or info.offset_data <= end:  # else a crafted size would send us back for ever
            raise tarfile.ReadError(f"a member with the size {info.size}")
        end = info.offset_data
        tar.members.clear()  # type: ignore[attr-defined]  # else it keeps every header in memory
        yield info


def _gap(path: Path, end: int, start: int, members: list[Member]) -> str:
    """Returns what is wrong if between two members lies anything but zeros."""
    if start <= end:
        return ""
    with path.open("rb") as file:
        file.seek(end)
        is_empty = not file.read(min(start - end, 1 << 20)).strip(b"\0")
    return "" if is_empty else f"a header is broken after {len(members)} members, and something is lost there"


def _end(path: Path, end: int, members: list[Member]) -> str:
    """Returns what is wrong if the last member is not followed by a block of zeros; what comes after that is no part of a tar."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(BLOCK)
    if block.strip(b"\0"):
        return f"it ends badly after {len(members)} members, inside a header or with something else"
    return "" if len(block) == BLOCK else f"it ends after {len(members)} members without a tar's end mark"


def _check_is_tar(path: Path) -> None:
    """Looks at the first block, so that other files are not searched to their end for a header."""
    try:
        with path.open("rb") as file:
            head = file.read(BLOCK)
    except OSError as error:
        raise DataError(f"{printable(path)} cannot be read: {error.strerror}") from error
    packed = next((kind for start, kind in COMPRESSED.items() if head.startswith(start)), None)
    is_header = head[257:262] == b"ustar" or not head.strip(b"\0") or _is_old_header(head)
    if packed and not is_header:
        raise DataError(
            f"{printable(path)} is compressed with {packed}; unpack it to a plain .tar, in which members can be reached"
        )
    if not is_header:
        raise DataError(f"{printable(path)} is no tar")


def _is_old_header(head: bytes) -> bool:
    """Returns whether a block's checksum is right, as in tars older than the word ustar."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
