"""Qt's binary resource bundles (`.rcc`) → the files in them, read in place and without Qt.

Format (as Qt's `rcc` writes it): a header (`qres`, version, where tree, data and names begin), a tree of 14- or 22-byte entries, blocks of
data, and names in UTF-16; all numbers are big-endian. Versions 1 to 3 are read; contents stored as they are or packed with zlib, not with
zstd. Every offset is checked against the file's size and every unpacked size against a limit, since a bundle is somebody else's file.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from alumnus.errors import DataError, nearest

MAGIC = b"qres"
ENTRY_BYTES = {1: 14, 2: 22, 3: 22}  # version -> of one entry of the tree; later ones carry a date
ZLIB, DIRECTORY, ZSTD = 1, 2, 4  # flags of an entry
MAX_BUNDLE_BYTES = 256 << 20
MAX_FILE_BYTES = 64 << 20  # unpacked


@dataclass(frozen=True)
class Resource:
    """One file of a bundle: a small value that can be sent to another process."""

    bundle: Path
    name: str  # inside the bundle, such as "gcompris/src/activities/erase/resource/erase.svg"
    offset: int  # of its bytes in the bundle
    length: int  # as stored
    flags: int = 0

    def read(self) -> bytes:
        """Returns its content, unpacked.

        Raises:
            DataError: it is torn, larger than MAX_FILE_BYTES, or packed with zstd.
        """
        if self.flags & ZSTD:
            raise self._wrong("is packed with zstd, which is not read; only zlib is")
        if self.length > MAX_FILE_BYTES:
            raise self._wrong(f"has {self.length} bytes, of {MAX_FILE_BYTES} allowed")
        with self.bundle.open("rb") as file:
            file.seek(self.offset)
            stored = file.read(self.length)
        if len(stored) != self.length:
            raise self._wrong("is torn")
        return self._unpacked(stored) if self.flags & ZLIB else stored

    def _unpacked(self, stored: bytes) -> bytes:
        if len(stored) < 4:
            raise self._wrong("is torn")
        size = int.from_bytes(stored[:4], "big")
        if size > MAX_FILE_BYTES:
            raise self._wrong(f"claims {size} bytes unpacked, of {MAX_FILE_BYTES} allowed")
        try:
            content = zlib.decompressobj().decompress(stored[4:], size + 1)  # + 1 shows what is too long
        except zlib.error as error:
            raise self._wrong(f"cannot be unpacked: {error}") from error
        if len(content) != size:
            raise self._wrong(
                f"claims {size} bytes unpacked, but has {'more' if len(content) > size else 'less'}"
            )
        return content

    def _wrong(self, what: str) -> DataError:
        return DataError(f"{self.name!r} in {self.bundle} {what}")


@dataclass(frozen=True)
class ResourceImage:
    """A raster image in a bundle, as a data set's picture."""

    resource: Resource

    def __call__(self, size: int, /) -> Image.Image:
        """RGB or RGBA, its own size."""
        with Image.open(io.BytesIO(self.resource.read()), formats=("JPEG", "PNG", "WEBP")) as image:
            is_opaque = image.mode in ("RGB", "L", "CMYK", "YCbCr") and "transparency" not in image.info
            return image.convert("RGB" if is_opaque else "RGBA")


@functools.lru_cache(maxsize=16)
def read_bundle(path: Path) -> Mapping[str, Resource]:
    """Returns the files of a bundle by name, in the order of its tree.

    Raises:
        DataError: it is no such bundle, torn, or its tree points outside it or runs in a circle.
    """
    try:
        if path.stat().st_size > MAX_BUNDLE_BYTES:
            raise DataError(
                f"{path} has more than {MAX_BUNDLE_BYTES} bytes; no bundle of pictures is so large"
            )
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} is no resource bundle that can be read: {error}") from error
    try:
        return _Bundle(path, content).files()
    except struct.error as error:
        raise DataError(f"{path} is torn, or no resource bundle: {error}") from error


def find(files: Mapping[str, Resource], name: str) -> Resource:
    """Returns one file of a bundle by its whole name, or the end of it from a `/` on.

    Raises:
        DataError: none or several are meant.
    """
    found = [each for full, each in files.items() if full == name or full.endswith("/" + name)]
    if len(found) != 1:
        raise DataError(f"{len(found)} files of the bundle are called {name!r}{nearest(name, files)}")
    return found[0]


class _Bundle:
    """A bundle while its tree is walked."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.path, self.content = path, content
        if content[:4] != MAGIC:
            raise DataError(f"{path} is no resource bundle: it begins with {content[:4]!r}, not {MAGIC!r}")
        version, self.tree, self.data, self.names = struct.unpack_from(">4I", content, 4)
        if version not in ENTRY_BYTES:
            raise DataError(f"{path} is a resource bundle of version {version}; known are 1, 2 and 3")
        self.entry_bytes = ENTRY_BYTES[version]

    def files(self) -> dict[str, Resource]:
        """Walks the tree from its root; every entry may be reached once only, so a circle ends it."""
        found: dict[str, Resource] = {}
        seen = set[int]()
        waiting = [(0, "")]
        while waiting:
            index, prefix = waiting.pop()
            if index in seen:
                raise DataError(f"{self.path}: entry {index} of its tree is reached twice")
            seen.add(index)
            name_at, flags, first, second = self._unpack(">IHII", self.tree + index * self.entry_bytes)
            name = prefix + (self._name(name_at) if index else "")
            if flags & DIRECTORY:
                if first > len(self.content) // self.entry_bytes:
                    raise DataError(
                        f"{self.path}: {name!r} claims {first} files, more than the bundle can hold"
                    )
                below = f"{name}/" if index else ""
                waiting += ((second + each, below) for each in reversed(range(first)))
            else:
                found[name] = self._resource(name, flags, self.data + second)
        return found

    def _resource(self, name: str, flags: int, offset: int) -> Resource:
        (length,) = self._unpack(">I", offset)
        if offset + 4 + length > len(self.content):
            raise DataError(f"{self.path}: {name!r} claims {length} bytes, more than the bundle has left")
        return Resource(self.path, name, offset + 4, length, flags)

    def _name(self, at: int) -> str:
        (length,) = self._unpack(">H", self.names + at)
        start = self.names + at + 6  # behind the length and a hash
        raw = self.content[start : start + 2 * length]
        if len(raw) != 2 * length:
            raise DataError(f"{self.path} is torn: a name goes beyond its end")
        return raw.decode("utf-16-be", "replace")

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(form, self.content, offset)
