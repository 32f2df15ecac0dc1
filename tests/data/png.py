"""A PNG writer for what Pillow cannot write: 16-bit colour, 16-bit transparency keys, and wrong checksums."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_bytes(values: np.ndarray, *, transparent: int | None = None) -> bytes:
    """Returns a PNG of 16-bit grey (H, W) or RGB (H, W, 3) values."""
    height, width = values.shape[:2]
    lines = values.astype(">u2").reshape(height, -1).view(np.uint8)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)  # filter 0
    key = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
    colour_type = 2 if values.ndim == 3 else 0
    return b"".join(
        [
            SIGNATURE,
            header(width, height, depth=16, colour_type=colour_type),
            key,
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        ]
    )


def header(width: int, height: int, *, depth: int, colour_type: int) -> bytes:
    """Returns the IHDR chunk."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))


def chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
