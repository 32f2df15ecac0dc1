"""NIfTI-1 volumes (`.nii.gz`), as brain atlases come in → arrays. Only what those need: three dimensions, whole numbers or floats.

Own code instead of nibabel: the header's few fields that are needed stand at fixed places, and every size is checked before it is believed.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alumnus.errors import DataError

HEADER_BYTES = 348
KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 512: "u2"}  # the format's code -> numpy's
MAX_SIDE = 1024
MAX_BYTES = 512 << 20
GZIP = 31  # zlib's word for a gzip header and the largest window


def read_volume(path: Path) -> NDArray[np.generic]:
    """Returns the values of a volume, (X, Y, Z) in the file's own order and type; its scale factors must be none.

    Raises:
        DataError: it is no such file, torn, or larger than MAX_BYTES.
    """
    try:
        content = _unpacked(path.read_bytes())
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} is no volume that can be read: {error}") from error
    if len(content) < HEADER_BYTES + 4 or content[344:347] != b"n+1":
        raise DataError(f"{path} is no NIfTI-1 file of one piece")
    order = "<" if struct.unpack_from("<i", content)[0] == HEADER_BYTES else ">"
    dimensions, *shape = struct.unpack_from(order + "8h", content, 40)
    (code,) = struct.unpack_from(order + "h", content, 70)
    start, slope, shift = struct.unpack_from(order + "3f", content, 108)
    sides = shape[:3]
    if dimensions < 3 or any(side > 1 for side in shape[3:dimensions]) or code not in KINDS:
        raise DataError(
            f"{path} has {dimensions} dimensions of {shape} and type {code}; known are 3 and {list(KINDS)}"
        )
    if not all(0 < side <= MAX_SIDE for side in sides) or not HEADER_BYTES <= start <= len(content):
        raise DataError(f"{path} claims {sides} values from byte {start} on, which cannot be")
    if (slope, shift) not in ((1, 0), (0, 0)):
        raise DataError(f"{path} scales its values by {slope} and {shift}, which is not read")
    kind = np.dtype(order + KINDS[code])
    count = int(np.prod(sides))
    if len(content) < int(start) + count * kind.itemsize:
        raise DataError(
            f"{path} is torn: it claims {sides} values and has {(len(content) - int(start)) // kind.itemsize}"
        )
    return np.frombuffer(content, kind, count, int(start)).reshape(sides, order="F")


def _unpacked(packed: bytes) -> bytes:
    content = zlib.decompressobj(GZIP).decompress(packed, MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise zlib.error(f"more than {MAX_BYTES} bytes unpacked")
    return content
