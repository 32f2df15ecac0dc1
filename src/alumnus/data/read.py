"""One file → one RGB image, or one `BadImage` that says why not; never anything else.

A training set from the world holds truncated downloads, web pages named .jpg, pipes, links to nothing, and files made to exhaust memory.
None of them may end a run, and none may come in as a grey picture that nobody notices. So only the formats listed here are tried (Pillow
would also run PostScript), the size is known before a pixel is decoded, and Pillow is strict about truncation. The same holds for what
lies in a tar or an Arrow file (see `locator`), and for bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple

from PIL import Image, UnidentifiedImageError

from alumnus.data.bad import BadImage
from alumnus.data.locator import name_of, open_image_bytes, reason_of_os_error
from alumnus.data.pixels import to_upright_rgb
from alumnus.data.ppm import decoded_ppm
from alumnus.data.quarantine import Quarantine
from alumnus.data.sniff import describe
from alumnus.data.strict import Strict

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "BadImage",
    "Keyed",
    "Quarantine",
    "Refused",
    "key_of",
    "opened",
    "read_image",
    "read_keyed",
]

MAX_PIXELS = 178_956_970  # where Pillow refuses by default too: 512 MiB of RGB

# Pillow's names; JPEG includes MPO. Left out: formats without a signature (TGA takes any text), and those that run programs (EPS, WMF).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000", "QOI")

_STRICT = Strict()


def read_image(source: str | os.PathLike[str] | bytes, *, min_side: int | None = None) -> Image.Image:
    """Returns the image in a file: mode RGB, upright by EXIF, transparency over white; of an animation the first frame.

    Args:
        source: path of the file, whose name says nothing about its format; a locator; or the file's content.
        min_side: if given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides stay at least this many px, which
            is several times faster for a photograph. Positions relative to the sides stay exact to one px of the result, so a view,
            which is relative, stays the same crop; pixel values differ a little from those of a full decode. For a crop that is a
            fraction f of a side and shall fill S px, ask for S / f.

    Raises:
        BadImage: for whatever reason it cannot be read.
    """
    assert min_side is None or min_side >= 1, min_side
    with opened(source, FORMATS) as image:
        if min_side is not None:
            image.draft(None, (min_side, min_side))  # does nothing but for JPEG
        image.load()
        return to_upright_rgb(image)


class Keyed(NamedTuple):
    """An image and what it is known by."""

    image: Image.Image  # as from `read_image`
    key: int  # in [0, 2^63), of the file's bytes


def read_keyed(source: str | os.PathLike[str] | bytes) -> Keyed:
    """Returns the image in a file, and its key: the same for the same bytes, wherever they lie and whatever they are called.

    63 bits of BLAKE2b (RFC 7693): of ten million different images, two share a key with probability 5e-6.

    Raises:
        BadImage: for whatever reason it cannot be read.
    """
    with _opened(source, FORMATS) as (image, file):
        image.load()
        return Keyed(to_upright_rgb(image), _key(file))


def key_of(source: str | os.PathLike[str] | bytes) -> int:
    """Returns the key that `read_keyed` gives, without decoding: also of a file that holds no image.

    Raises:
        BadImage: its bytes cannot be read.
    """
    try:
        with open_image_bytes(source) as file:
            return _key(file)
    except OSError as error:
        raise BadImage(name_of(source), reason_of_os_error(error)) from error


class Refused(Exception):
    """The file opens, but holds nothing that is wanted; the message is the reason, without the path."""


@contextmanager
def opened(source: str | os.PathLike[str] | bytes, formats: Sequence[str]) -> Iterator[Image.Image]:
    """Gives an image whose header is read and whose size is allowed, for a block that loads its pixels.

    Raises:
        BadImage: for whatever goes wrong here or in the block.
    """
    with _opened(source, formats) as (image, _):
        yield image


@contextmanager
def _opened(
    source: str | os.PathLike[str] | bytes, formats: Sequence[str]
) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    """Gives the file too."""
    with _STRICT.reading():
        try:
            with open_image_bytes(source) as file:
                image = _open(file, formats)
                if image.width * image.height > MAX_PIXELS:
                    size = f"{image.width} x {image.height} px, of {MAX_PIXELS} px allowed"
                    raise Refused(f"decompression bomb: {size}")
                yield image, file
        except BadImage:
            raise
        except Refused as error:
            raise BadImage(name_of(source), str(error)) from None
        except Exception as error:  # decoders raise SyntaxError, struct.error, IndexError, MemoryError, ...
            raise BadImage(name_of(source), _reason(error)) from error


def _open(file: IO[bytes], formats: Sequence[str]) -> Image.Image:
    """Returns the image with its header read; its pixels too if they lie in memory as they are, as in a packed set."""
    if isinstance(file, io.BytesIO) and "PPM" in formats:
        content = file.getvalue()  # not a copy
        plain = decoded_ppm(content) if len(content) < 3 * MAX_PIXELS else None
        if plain is not None:
            return plain
    try:
        return Image.open(file, formats=tuple(formats))
    except Image.DecompressionBombError as error:
        raise Refused(f"decompression bomb: {error}") from None
    except UnidentifiedImageError:
        file.seek(0)
        raise Refused(_why_not(file.read(512), formats)) from None


def _key(file: IO[bytes]) -> int:
    """Returns the key of a file's bytes."""
    file.seek(0)
    digest = hashlib.blake2b(digest_size=8)
    while part := file.read(1 << 20):
        digest.update(part)
    return int.from_bytes(digest.digest(), "big") >> 1


def _why_not(head: bytes, formats: Sequence[str]) -> str:
    found = describe(head)
    if tuple(formats) == FORMATS or "header is broken" not in found:
        return found
    return f"not a {' or '.join(formats)} file" if formats[0] not in found else found


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return reason_of_os_error(error)
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return f"broken image data: {words}"
