"""Files that must not be read, with a part of the reason that must be given."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.data.odd_good import encoded
from tests.data.png import SIGNATURE, chunk, header


class Bad(NamedTuple):
    """An unreadable file: how to make it, and a part of the reason."""

    name: str
    make: Callable[[Path], None]
    reason: str


def all_bad() -> Iterator[Bad]:
    """Yields every kind."""
    yield from _torn()
    yield from _corrupted()
    yield from _something_else()
    yield from _not_files()


def _bytes(name: str, data: bytes, reason: str) -> Bad:
    return Bad(name, lambda path: _write(path, data), reason)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def _torn() -> Iterator[Bad]:
    for kind, name in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("TIFF", "tif"), ("BMP", "bmp")):
        data = encoded(_noise(), kind)
        yield _bytes(f"torn.{name}", data[: len(data) // 2], "truncated")
    webp = encoded(_noise(), "WEBP", lossless=True)
    yield _bytes("torn.webp", webp[: len(webp) // 2], "")
    progressive = encoded(_noise(), "JPEG", progressive=True)
    yield _bytes("torn-progressive.jpg", progressive[: len(progressive) // 2], "truncated")
    yield _bytes("header-only.png", encoded(_noise(), "PNG")[:33], "")
    yield _bytes("empty.jpg", b"", "empty file (0 bytes)")
    yield _bytes("zeros.jpg", bytes(1000), "nothing but zero bytes")


def _corrupted() -> Iterator[Bad]:
    data = encoded(_noise(), "PNG")
    yield _bytes("bad-stream.png", _flipped(data, len(data) // 2), "broken data stream")
    yield _bytes("bad-checksum.png", _flipped(data, len(data) - 18), "broken data stream")
    yield _bytes("bad-header.png", _flipped(data, 18), "PNG whose header is broken")
    yield _bytes("bad-header.jpg", b"\xff\xd8\xff" + bytes(range(200)), "JPEG whose header is broken")
    yield _bytes("random.jpg", np.random.default_rng(1).bytes(2000), "not in an image format")
    lines = chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb = SIGNATURE + header(60000, 60000, depth=8, colour_type=2) + lines + chunk(b"IEND", b"")
    yield _bytes("bomb.png", bomb, "decompression bomb")
    yield _bytes("real-bomb.png", _real_bomb(), "decompression bomb")


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def _real_bomb() -> bytes:
    """Returns a few kilobytes that decode, without any fault, to 400 million pixels."""
    line = bytes(1 + 20000 // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(line * 1000) for _ in range(20)) + packer.flush()
    start = SIGNATURE + header(20000, 20000, depth=1, colour_type=0)
    return start + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _something_else() -> Iterator[Bad]:
    yield _bytes("text.jpg", "not an image, caf\N{LATIN SMALL LETTER E WITH ACUTE}\n".encode(), "text")
    yield _bytes("page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "HTML page")
    yield _bytes("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>', "SVG")
    yield _bytes("drawing.png", b'<?xml version="1.0"?>\n<svg width="8" height="8"/>', "SVG")
    yield _bytes("document.jpg", b"%PDF-1.7\n", "PDF")
    yield _bytes("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript")
    yield _bytes("phone.heic", b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC")
    yield _bytes("pointer.png", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a")
    yield _bytes("archive.png", packed.getvalue(), "zip archive")


def _not_files() -> Iterator[Bad]:
    yield Bad("folder.jpg", lambda path: path.mkdir(), "directory")
    yield Bad("to-nothing.jpg", lambda path: path.symlink_to("no such file.jpg"), "symbolic link to nothing")
    yield Bad("loop.jpg", lambda path: path.symlink_to("loop.jpg"), "loop")
    yield Bad("loop-a.jpg", lambda path: path.symlink_to("loop-b.jpg"), "loop")
    yield Bad("loop-b.jpg", lambda path: path.symlink_to("loop-a.jpg"), "loop")
    yield Bad("pipe.jpg", os.mkfifo, "not a regular file")
    yield Bad("forbidden.jpg", _forbidden, "permission denied")


def _forbidden(path: Path) -> None:
    if os.geteuid() == 0:
        raise NotImplementedError("the superuser reads everything")
    path.write_bytes(encoded(_noise(), "PNG"))
    path.chmod(0)
