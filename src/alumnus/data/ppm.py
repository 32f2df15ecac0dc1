"""Pixels as they are, in a file that any program opens: binary PPM of 8 bits, the form in which packed pictures lie in their shards.

`decoded_ppm` is the short way in: it takes the bytes of exactly the form that `encoded_ppm` writes, and leaves everything else (comments,
16 bits, a length that does not fit) to Pillow, which knows all of PPM and says what is wrong. It takes half of Pillow's time at 128 px
(docs/lab/2026-11-27-data-speed.md); the pixels are the same, which the tests hold.
"""

from __future__ import annotations

import re

from PIL import Image

_HEADER = re.compile(rb"P6\n([1-9]\d{0,5}) ([1-9]\d{0,5})\n255\n")


def encoded_ppm(image: Image.Image) -> bytes:
    """Returns the file of an image of mode RGB."""
    assert image.mode == "RGB", image.mode
    return b"P6\n%d %d\n255\n" % image.size + image.tobytes()


def decoded_ppm(content: bytes | memoryview) -> Image.Image | None:
    """Returns the image in the bytes of a file that `encoded_ppm` wrote, or None if they are anything else."""
    header = _HEADER.match(content)
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    if len(content) != header.end() + 3 * width * height:
        return None
    return Image.frombytes("RGB", (width, height), content[header.end() :])
