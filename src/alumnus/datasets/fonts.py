"""Font identification: words in one of some 460 typefaces. Rendered text; the class is the font.

Source: Debian `fonts-aenigma`, 465 TrueType fonts by Brian Kent. Labels: the font's file name. Every picture shows three made-up words of
four or five letters, one a line, which are drawn from the seed; so two pictures of a font rarely share a letter's place.

Pitfalls: many fonts are variants of one design (outlined, slanted, thick): their names differ in the last letters, and telling them
apart is the task. Some have the same shapes for small and capital letters.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.truetype import AENIGMA, Text, fonts

PICTURES = 8  # of each font
LINES = 3
VOWELS, CONSONANTS = "aeiouy", "bcdfghjklmnpqrstvwxz"

INFO = DatasetInfo(
    name="fonts",
    title="Words in 460 typefaces; find the same typeface in other words",
    kind="rendered",
    packages=(AENIGMA,),
    classes=460,
    images=3_700,
    notes="Rendered text, black on white. Many typefaces are variants of one design.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields some pictures of every font; the words come from the seed and differ between fonts."""
    for font in fonts(folders):
        draw = random.Random(f"{seed}/{font.stem}")
        for _ in range(PICTURES):
            words = "\n".join(made_up_word(draw) for _ in range(LINES))
            yield Entry(font.stem, "aenigma", Text(font, words))


def made_up_word(draw: random.Random) -> str:
    """Returns four or five letters, vowels and consonants in turn, sometimes with a capital."""
    start, length = draw.randrange(2), draw.randint(4, 5)
    letters = (draw.choice((CONSONANTS, VOWELS)[(start + place) % 2]) for place in range(length))
    word = "".join(letters)
    return word.capitalize() if draw.random() < 0.5 else word
