"""File names as they are, and as they can be shown.

A Linux file name is any bytes. Python gives bytes that are not UTF-8 as lone surrogates, with which the file can be opened but which no
UTF-8 file, terminal or Parquet column accepts. So names are kept as Python gives them, and `printable` is used wherever one is shown.
"""

from __future__ import annotations

import os

# What a scan takes for an image. Formats that are not read are there so that such files are quarantined with a hint, not passed over.
READ = ".jpg .jpeg .jpe .jfif .mpo .png .apng .gif .webp .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .pfm .ico .avif .jp2 .j2k .jpx .qoi"
NOT_READ = ".svg .heic .heif"
EXTENSIONS = frozenset(f"{READ} {NOT_READ}".split())


def printable(name: str | os.PathLike[str]) -> str:
    r"""Returns a name as valid, one-line text: what cannot be shown becomes an escape.

    >>> printable("caf\udce9\n.jpg")
    'caf\\xe9\\n.jpg'
    """
    return "".join(_shown(char) for char in os.fspath(name))


def byte_order(name: str) -> bytes:
    """Returns the sort key that gives the same order on every machine, whatever its locale."""
    return name.encode("utf-8", "surrogatepass")


def is_below(path: str, root: str | os.PathLike[str]) -> bool:
    """Returns whether a normal absolute path lies inside a folder, by its words alone (links are not followed)."""
    return path.startswith(os.path.join(root, "")) and len(path) > len(os.path.join(root, ""))


def name_below(path: str, root: str | os.PathLike[str]) -> str:
    """Returns a path relative to a folder that it lies in; `os.path.relpath` is ten times slower, which a million rows show.

    >>> name_below("/data/pets/cat/1.png", "/data")
    'pets/cat/1.png'
    """
    return path[len(os.path.join(root, "")) :]


def _shown(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # how Python carries a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
