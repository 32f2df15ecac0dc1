"""Odd files that must be read, with the picture that must come out."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from tests.data.png import png_bytes

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
GREY = (128, 128, 128)
SIZE = (32, 16)
LEFT, RIGHT = (4, 8), (27, 8)  # well inside each half, away from JPEG ringing
CORNERS = {(4, 3): RED, (27, 3): GREEN, (4, 12): BLUE, (27, 12): WHITE}

Pixels = Mapping[tuple[int, int], tuple[int, int, int]]


class Good(NamedTuple):
    """A readable file: how to make it, and what must come out."""

    name: str
    make: Callable[[Path], None]
    size: tuple[int, int]
    pixels: Pixels


def all_good() -> Iterator[Good]:
    """Yields every kind."""
    yield from _containers()
    yield from _depths()
    yield from _transparent()
    yield from _animated()
    yield from _turned()
    yield from _shapes()
    yield from _named()


def corners() -> Image.Image:
    """Returns the picture with a different colour in every corner."""
    width, height = SIZE
    array = np.zeros((height, width, 3), np.uint8)
    array[:8, :16], array[:8, 16:], array[8:, :16], array[8:, 16:] = RED, GREEN, BLUE, WHITE
    return Image.fromarray(array)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """Returns the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _bytes(name: str, data: bytes, pixels: Pixels = CORNERS, size: tuple[int, int] = SIZE) -> Good:
    return Good(name, lambda path: _write(path, data), size, pixels)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _containers() -> Iterator[Good]:
    picture = corners()
    fine = {"quality": 95, "subsampling": 0}
    yield _bytes("plain.jpg", encoded(picture, "JPEG", **fine))
    yield _bytes("progressive.jpg", encoded(picture, "JPEG", progressive=True, **fine))
    yield _bytes("png-named.jpg", encoded(picture, "PNG"))
    yield _bytes("jpeg-named.png", encoded(picture, "JPEG", **fine))
    yield _bytes("picture.webp", encoded(picture, "WEBP", lossless=True))
    yield _bytes("picture.bmp", encoded(picture, "BMP"))
    yield _bytes("picture.tiff", encoded(picture, "TIFF", compression="tiff_lzw"))
    yield _bytes("picture.ppm", encoded(picture, "PPM"))
    yield _bytes("picture.jp2", encoded(picture, "JPEG2000"))
    yield _bytes("stereo.mpo", encoded(picture, "MPO", save_all=True, append_images=[picture], **fine))
    icon = Image.new("RGBA", (32, 32), (*RED, 255))
    yield _bytes("favicon.ico", encoded(icon, "ICO", sizes=[(32, 32)]), {(16, 16): RED}, (32, 32))


def _depths() -> Iterator[Good]:
    picture = corners()
    ink = picture.convert("CMYK")
    yield _bytes("cmyk.jpg", encoded(ink, "JPEG", quality=95))
    yield _bytes("cmyk.tif", encoded(ink, "TIFF"))
    yield _bytes("ycck.jpg", _ycck_red(), {LEFT: RED, RIGHT: RED})
    grey = Image.new("L", SIZE, 128)
    yield _bytes("grey.jpg", encoded(grey, "JPEG"), {LEFT: GREY})
    halves = {LEFT: GREY, RIGHT: WHITE}
    steps = np.full((16, 32), 32896, np.uint16)  # 128 * 257
    steps[:, 16:] = 65535
    yield _bytes("grey-16-bit.png", encoded(Image.fromarray(steps), "PNG"), halves)
    yield _bytes("grey-16-bit.tif", encoded(Image.fromarray(steps), "TIFF"), halves)
    yield _bytes("grey-16-bit.pgm", b"P5 32 16 65535\n" + steps.astype(">u2").tobytes(), halves)
    dark = np.full((16, 32), 300, np.uint16)  # clipping would make it white
    yield _bytes("dark-16-bit.png", encoded(Image.fromarray(dark), "PNG"), {LEFT: (1, 1, 1)})
    colour = np.zeros((16, 32, 3), ">u2")
    colour[..., 0] = 65535
    yield _bytes("colour-16-bit.png", png_bytes(colour), {LEFT: RED})
    floats = np.full((16, 32), 0.5, np.float32)
    floats[:, 16:] = 1
    yield _bytes("float.tif", encoded(Image.fromarray(floats), "TIFF"), halves)
    wide = np.full((16, 32), -1000, np.int32)
    wide[:, 16:] = 70000
    yield _bytes("integers-32-bit.tif", encoded(Image.fromarray(wide), "TIFF"), {LEFT: BLACK, RIGHT: WHITE})
    yield _bytes("palette.png", encoded(picture.quantize(4), "PNG"))
    bits = Image.fromarray(np.arange(32)[None].repeat(16, 0) >= 16)
    yield _bytes("one-bit.png", encoded(bits, "PNG"), {LEFT: BLACK, RIGHT: WHITE})


def _transparent() -> Iterator[Good]:
    over_white = {LEFT: RED, RIGHT: WHITE}
    alpha = np.zeros((16, 32, 4), np.uint8)
    alpha[:, :16] = (*RED, 255)  # the right half is transparent black
    layer = Image.fromarray(alpha)
    yield _bytes("transparent.png", encoded(layer, "PNG"), over_white)
    yield _bytes("transparent.webp", encoded(layer, "WEBP", lossless=True), over_white)
    half = Image.new("RGBA", SIZE, (*BLACK, 127))
    yield _bytes("half-transparent.png", encoded(half, "PNG"), {LEFT: GREY})
    indices = Image.fromarray((np.arange(32)[None].repeat(16, 0) >= 16).astype(np.uint8)).convert("P")
    indices.putpalette([*RED, *BLACK])
    yield _bytes("palette-transparent.png", encoded(indices, "PNG", transparency=1), over_white)
    yield _bytes(
        "palette-half-transparent.png",
        encoded(indices, "PNG", transparency=bytes([255, 127])),
        {LEFT: RED, RIGHT: GREY},
    )
    yield _bytes("transparent.gif", encoded(indices, "GIF", transparency=1), over_white)
    grey_alpha = Image.new("LA", SIZE, (0, 0))
    yield _bytes("grey-alpha.png", encoded(grey_alpha, "PNG"), {LEFT: WHITE})
    keyed = corners()
    yield _bytes("colour-key.png", encoded(keyed, "PNG", transparency=BLUE), {(4, 12): WHITE, (4, 3): RED})
    deep = np.full((16, 32), 500, np.uint16)
    yield _bytes("grey-key-16-bit.png", png_bytes(deep.astype(">u2"), transparent=500), {LEFT: WHITE})


def _animated() -> Iterator[Good]:
    first, second = Image.new("RGB", SIZE, RED), Image.new("RGB", SIZE, BLUE)
    moving: dict[str, object] = {"save_all": True, "append_images": [second], "duration": 100}
    yield _bytes("animated.gif", encoded(first, "GIF", **moving), {LEFT: RED})
    yield _bytes("animated.webp", encoded(first, "WEBP", lossless=True, **moving), {LEFT: RED})
    yield _bytes("animated.png", encoded(first, "PNG", **moving), {LEFT: RED})
    yield _bytes("pages.tif", encoded(first, "TIFF", save_all=True, append_images=[second]), {LEFT: RED})


def _turned() -> Iterator[Good]:
    """Yields the same upright picture, stored in each of the eight ways that a camera can be held."""
    stored = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_90,  # readers turn it clockwise by 90 degrees, so it lies turned the other way
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_270,
    }
    for orientation, turn in stored.items():
        exif = Image.Exif()
        exif[274] = orientation
        picture = corners().transpose(turn)
        jpeg = encoded(picture, "JPEG", exif=exif.tobytes(), quality=95, subsampling=0)
        yield _bytes(f"turned-{orientation}.jpg", jpeg)
    yield _bytes("turned-8.png", encoded(picture, "PNG", exif=exif.tobytes()))
    yield _bytes("turned-8.webp", encoded(picture, "WEBP", exif=exif.tobytes(), lossless=True))
    yield _bytes("turned-8.tif", encoded(picture, "TIFF", tiffinfo={274: 8}))
    torn = b"Exif\0\0MM\0*" + struct.pack(">I", 8) + b"\xff" * 40
    yield _bytes("broken-exif.jpg", encoded(corners(), "JPEG", exif=torn, quality=95, subsampling=0))


def _shapes() -> Iterator[Good]:
    yield _bytes("1x1.png", encoded(Image.new("RGB", (1, 1), RED), "PNG"), {(0, 0): RED}, (1, 1))
    for size in ((1, 5000), (5000, 1)):
        thin = encoded(Image.new("RGB", size, RED), "PNG")
        yield _bytes(f"{size[0]}x{size[1]}.png", thin, {(0, 0): RED}, size)


def _named() -> Iterator[Good]:
    data = encoded(corners(), "PNG")
    yield _bytes("UPPER CASE and spaces.PNG", data)
    yield _bytes("two\nlines.png", data)
    yield _bytes("\N{RED APPLE}\N{ZERO WIDTH JOINER}\N{FIRE}.png", data)
    yield _bytes("cafe\N{COMBINING ACUTE ACCENT} na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve.png", data)
    yield _bytes("-rf \"'$(x)%00;.png", data)
    yield _bytes(os.fsdecode(b"latin-\xe9\xff.png"), data)
    yield _bytes("long" * 62 + ".png", data)  # 252 of at most 255 bytes
    yield Good("link.png", lambda path: path.symlink_to("plain.jpg"), SIZE, CORNERS)


def _ycck_red() -> bytes:
    """Returns an Adobe YCCK JPEG, which Pillow cannot write: a CMYK one whose four planes hold inverted YCCK of red ink."""
    planes = Image.new("CMYK", SIZE, (76, 84, 255, 0))  # 255 - (Y 179, Cb 171, Cr 0, K 255), BT.601 of cyan
    data = encoded(planes, "JPEG", quality=95, subsampling=0)
    adobe = data.index(b"Adobe")
    return data[: adobe + 11] + b"\x02" + data[adobe + 12 :]  # transform: 0 CMYK, 2 YCCK
