"""TrueType fonts → entries: which characters a font has, and lines of text drawn with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from alumnus.datasets.known import Folders
from alumnus.packages import Package

AENIGMA = Package(
    "debian",
    "fonts-aenigma",
    "0.0.20080511+dfsg-4",
    "c7f33a4e5932af82a92c81a5a993a1d117c4309b47532cb0d9c3ad34bc54f5a8",
    "redistribution and modification permitted by the author (Brian Kent)",
)
CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
MARGIN = 0.06  # of the side, left white around the text
NO_CHARACTER = (
    "\U000f0000"  # private use: what a font draws for it, it draws for every character that it lacks
)


@dataclass(frozen=True)
class Text:
    """Lines of text, black on white, the ink in the middle of a small margin."""

    font: Path
    text: str  # lines separated by \n
    layout: ImageFont.Layout | None = None  # None for the best that the machine has

    def __call__(self, size: int, /) -> Image.Image:
        """RGB, somewhat larger than asked for, to be made smaller."""
        longest = max(map(len, self.text.split("\n")))
        font = ImageFont.truetype(self.font, size=3 * size // (longest + 1), layout_engine=self.layout)
        measure = ImageDraw.Draw(Image.new("L", (1, 1)))
        left, top, right, bottom = measure.multiline_textbbox((0, 0), self.text, font=font, align="center")
        room = size  # around the box that a font claims, since some draw beyond it
        ink = Image.new("L", (round(right - left) + 2 * room, round(bottom - top) + 2 * room))
        corner = (room - left, room - top)
        ImageDraw.Draw(ink).multiline_text(corner, self.text, fill=255, font=font, align="center")
        ink = ink.crop(ink.getbbox())
        margin = round(MARGIN * max(ink.size))
        image = Image.new("RGB", (ink.width + 2 * margin, ink.height + 2 * margin), "white")
        image.paste("black", (margin, margin), ink)
        return image


def fonts(folders: Folders) -> Iterator[Path]:
    """Yields the fonts that have all 62 letters and digits, in alphabetical order."""
    folder = folders[AENIGMA.name] / "usr/share/fonts/truetype/aenigma"
    yield from (path for path in sorted(folder.glob("*.ttf")) if _is_complete(path))


def drawable(path: Path, characters: str) -> str:
    """Returns those of some characters that a font has, in their order."""
    font = ImageFont.truetype(path, size=24)
    missing = _drawing(font, NO_CHARACTER)
    return "".join(character for character in characters if _drawing(font, character) not in (missing, b""))


def _is_complete(path: Path) -> bool:
    return drawable(path, CHARACTERS) == CHARACTERS


def _drawing(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    return bytes(font.getmask(character))
