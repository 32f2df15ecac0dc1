"""One file → one RGB image, or one `BadImage` that says why not; never anything else.

A training set from the world holds truncated downloads, web pages named .jpg, pipes, links to nothing, and files made to exhaust memory.
None of them may end a run, and none may come in as a grey picture that nobody notices. So only the formats listed here are tried (Pillow
would also run PostScript), the size is known before a pixel is decoded, and Pillow is strict about truncation.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO

from PIL import Image, UnidentifiedImageError

from alumnus.data.names import printable
from alumnus.data.pixels import to_upright_rgb
from alumnus.data.quarantine import Quarantine
from alumnus.data.sniff import describe
from alumnus.data.strict import Strict
from alumnus.errors import DataError

__all__ = ["FORMATS", "MAX_PIXELS", "BadImage", "Quarantine", "read_image"]

MAX_PIXELS = 178_956_970  # where Pillow refuses by default too: 512 MiB of RGB

# Pillow's names; JPEG includes MPO. Left out: formats without a signature (TGA takes any text), and those that run programs (EPS, WMF).
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000", "QOI")

_STRICT = Strict()


class BadImage(DataError):
    """A file that cannot be read as an image.

    Args:
        path: as it was asked for.
        reason: one line, without the path.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"'{printable(path)}': {reason}")
        self.path, self.reason = os.fspath(path), reason

    def __reduce__(self) -> tuple[type[BadImage], tuple[str, str]]:
        """Lets a worker process send it."""
        return BadImage, (self.path, self.reason)


def read_image(path: str | os.PathLike[str], *, min_side: int | None = None) -> Image.Image:
    """Returns the image in a file: mode RGB, upright by EXIF, transparency over white; of an animation the first frame.

    Args:
        path: the file. Its name says nothing about its format.
        min_side: if given, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides stay at least this many px, which
            is several times faster for a photograph. Positions relative to the sides stay exact to one px of the result, so a view,
            which is relative, stays the same crop; pixel values differ a little from those of a full decode. For a crop that is a
            fraction f of a side and shall fill S px, ask for S / f.

    Raises:
        BadImage: for whatever reason it cannot be read.
    """
    assert min_side is None or min_side >= 1, min_side
    _check_is_file(path)
    with _STRICT.reading():
        try:
            with open(path, "rb") as file:
                return _decode(file, min_side)
        except _Refused as error:
            raise BadImage(path, str(error)) from None
        except Exception as error:  # decoders raise SyntaxError, struct.error, IndexError, MemoryError, ...
            raise BadImage(path, _reason(error)) from error


class _Refused(Exception):
    """The file opens, but holds nothing that we decode."""


def _decode(file: IO[bytes], min_side: int | None) -> Image.Image:
    image = _open(file)
    if image.width * image.height > MAX_PIXELS:
        raise _Refused(f"decompression bomb: {image.width} x {image.height} px, of {MAX_PIXELS} px allowed")
    if min_side is not None:
        image.draft(None, (min_side, min_side))  # does nothing but for JPEG
    image.load()
    return to_upright_rgb(image)


def _open(file: IO[bytes]) -> Image.Image:
    """Returns the image with its header read, not its pixels."""
    try:
        return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _Refused(f"decompression bomb: {error}") from None
    except UnidentifiedImageError:
        file.seek(0)
        raise _Refused(describe(file.read(512))) from None


def _check_is_file(path: str | os.PathLike[str]) -> None:
    """Refuses what must not even be opened: opening a pipe would wait forever."""
    try:
        info = os.stat(path)
    except OSError as error:
        raise BadImage(path, _reason_of_stat(path, error)) from None
    except ValueError as error:  # a zero byte or a lone surrogate in the name
        raise BadImage(path, f"no file can have this name: {error}") from None
    if stat.S_ISDIR(info.st_mode):
        raise BadImage(path, "a directory, not an image")
    if not stat.S_ISREG(info.st_mode):
        raise BadImage(path, "not a regular file (a pipe, socket or device)")
    if info.st_size == 0:
        raise BadImage(path, "empty file (0 bytes)")


def _reason_of_stat(path: str | os.PathLike[str], error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "symbolic links in a loop"
    if isinstance(error, FileNotFoundError):
        return "a symbolic link to nothing" if os.path.lexists(path) else "no such file"
    return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be opened: {error.strerror.lower()}"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    words = " ".join(str(error).split())[:200] or type(error).__name__
    return f"broken image data: {words}"
