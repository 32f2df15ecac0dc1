"""Glyphs: 62 letters and digits in some 460 typefaces. Rendered; the class is the character.

Source: Debian `fonts-aenigma`, 465 TrueType fonts by Brian Kent. Labels: the character; capital and small letters are classes of their own.
Each one is drawn as large as fits, so size does not tell C from c.

Pitfalls: nearest neighbours follow the typeface, not the character: even pretrained networks are near chance, and pixels are better.
Letters whose two cases look alike (c, o, s, v, w, x, z) are rightly confused. Where a font draws both cases with the same pixels, the
second picture is spare.
"""

from __future__ import annotations

from collections.abc import Iterator

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.truetype import AENIGMA, CHARACTERS, Text, fonts

INFO = DatasetInfo(
    name="glyphs",
    title="Letters and digits in 460 typefaces; find the same character in another typeface",
    kind="rendered",
    packages=(AENIGMA,),
    classes=62,
    images=28_700,
    notes="Rendered text, black on white. Typeface outweighs character: scores are low.",
    limit_per_class=200,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every character of every font; nothing is random."""
    for font in fonts(folders):
        for character in CHARACTERS:
            yield Entry(character, font.stem, Text(font, character))
