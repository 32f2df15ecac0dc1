"""Letters and digits of unseen typefaces: 62 characters. Rendered; the class is the character.

Source: see `glyphs` (Debian `fonts-aenigma`). Labels: the character; capital and small letters are classes of their own. Splits by
typeface: those whose file names begin alike (variants of one design mostly do) are together in training, validation or test.

Pitfalls: letters whose two cases look alike (c, o, s, v, w, x, z) are rightly confused, and in some typefaces both cases have the same
shape. Many typefaces are decorative to the border of legibility: nobody reads all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import glyphs
from alumnus.datasets.known import Entry, Folders
from alumnus.datasets.splits import class_split

BEGINNING = 3  # letters of a file name that variants of a design share

INFO = replace(
    glyphs.INFO,
    name="glyphs_fonts",
    title="Letters and digits: which of 62, in typefaces never seen",
    task="classification",
    notes="Rendered text, black on white. Cases that look alike bound the accuracy.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every character of every font; nothing is random."""
    for entry in glyphs.entries(folders, seed=seed):
        yield replace(entry, split=class_split(entry.style[:BEGINNING].lower()))
