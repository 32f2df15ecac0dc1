"""What a file is that no image reader accepts, in words that help a person to mend it."""

from __future__ import annotations

_STARTS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the image itself; run git lfs pull"),
    (b"\xff\xd8\xff", "a JPEG whose header is broken"),
    (b"\x89PNG", "a PNG whose header is broken"),
    (b"GIF8", "a GIF whose header is broken"),
    (b"BM", "a BMP whose header is broken"),
    (b"II*\0", "a TIFF whose header is broken"),
    (b"MM\0*", "a TIFF whose header is broken"),
    (b"%PDF", "a PDF document, not an image"),
    (b"%!PS", "a PostScript program, which is never run; convert it to PNG"),
    (b"8BPS", "a Photoshop document; export it as PNG"),
    (b"PK\x03\x04", "a zip archive, not an image"),
    (b"\x1f\x8b", "a gzip archive, not an image"),
)
_MARKUP = (
    (b"<svg", "an SVG drawing; render it to PNG"),
    (b"<html", "an HTML page, not an image; perhaps a download that failed"),
    (b"<!doctype html", "an HTML page, not an image; perhaps a download that failed"),
    (b"<?xml", "an XML document, not an image"),
)


def describe(head: bytes) -> str:
    """Returns what a file seems to be, from its first bytes (512 are enough).

    >>> describe(b"PK\\x03\\x04...")
    'a zip archive, not an image'
    """
    for start, words in _STARTS:
        if head.startswith(start):
            return words
    for tag, words in _MARKUP:
        if tag in head.lower():
            return words
    return _by_content(head)


def _by_content(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "a WebP whose header is broken"
    if head[4:8] == b"ftyp":
        brand = head[8:12].decode("latin-1")
        return f"an ISO media file of brand {brand!r} (HEIC, AVIF, video) that cannot be read; convert it to JPEG or PNG"
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    if _is_text(head):
        return "text, not an image"
    return "not in an image format that is read"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")  # ignore: the cut may fall inside a character
    shown = sum(char.isprintable() or char.isspace() for char in text)
    return shown == len(text) and len(text.encode()) >= len(head) - 3
