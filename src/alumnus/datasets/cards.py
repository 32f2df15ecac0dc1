"""Playing cards: 52 cards in 30 decks. Drawn pictures, some of them scanned antique prints; the class is the card.

Source: Debian `gnome-cards-data`: one SVG sheet a deck, 13 columns (ace to king) by 5 rows (club, diamond, heart, spade; the jokers' row
is left out). Labels: place on the sheet. KDE's 16 decks are not used: cut out of their SVG files by id, most cards come out a few pixels
wide.

Pitfalls: decks that are recoloured or redrawn from one another count as one family, of which held-out cards keep one. Pip cards of one suit
differ only in a count, and court cards of antique decks in a detail.
"""

from __future__ import annotations

from collections.abc import Iterator

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.raster import SvgFile
from alumnus.packages import Package

SUITS = ("clubs", "diamonds", "hearts", "spades")
RANKS = ("ace", "2", "3", "4", "5", "6", "7", "8", "9", "10", "jack", "queen", "king")
SHEET_ROWS = len(SUITS) + 1
FAMILIES = {
    "anglo_bitmap": "anglo",
    "gnomangelo_bitmap": "gnomangelo",
    "anglo_modern_4_color": "anglo_modern",
    "neoclassical_4_color": "neoclassical",
    "atlasnye_skat": "atlasnye",
    "Атласные": "atlasnye",
}  # deck -> the one that it is made from

INFO = DatasetInfo(
    name="cards",
    title="Playing cards of 30 decks; find the same card of another deck",
    kind="drawn",
    packages=(
        Package(
            "debian",
            "gnome-cards-data",
            "1:3.22.23-1",
            "54ef445826dd7701d3ea83f999fbc8f058d304b714732425b23cde5c632596e0",
            "GPL-3.0-or-later, LGPL-3.0-or-later, GFDL",
        ),
    ),
    classes=52,
    images=1_560,
    notes="Drawn, some decks scanned from antique prints. 52 classes: about 20 of them are scored.",
    needs={"resvg_py": "datasets"},
    near_copy=2.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every card, deck by deck, a deck before those made from it; nothing is random."""
    sheets = (folders["gnome-cards-data"] / "usr/share/aisleriot/cards").glob("*.svgz")
    for sheet in sorted(sheets, key=lambda path: (path.stem in FAMILIES, path.stem)):
        family = FAMILIES.get(sheet.stem, sheet.stem)
        for row, suit in enumerate(SUITS):
            for column, rank in enumerate(RANKS):
                card = SvgFile(sheet, columns=len(RANKS), rows=SHEET_ROWS, column=column, row=row)
                yield Entry(f"{rank}-of-{suit}", sheet.stem, card, family=family)
