"""Playing cards of unseen decks: 52 cards. Drawn pictures, some of them scanned antique prints; the class is the card.

Source: see `cards` (Debian `gnome-cards-data`). Labels: place on the sheet. Splits by deck: those that share their number cards (measured
on thumbnails) are on one side, so most of the modern decks are for training and most of the old and odd ones for test.

Pitfalls: number cards of one suit differ only in a count, court cards of antique decks in a detail, and some Swiss and Italian decks have
suits of their own. Few decks are held out, so scores depend on which. Held-out near copies of training cards are spare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import cards
from alumnus.datasets.known import Entry, Folders

TRAIN = (
    *(
        "ancient_french",
        "anglo_modern",
        "anglo_modern_4_color",
        "anglo_poker",
        "atlasnye",
        "atlasnye_skat",
        "berlin",
    ),
    *(
        "lattmann",
        "neoclassical",
        "neoclassical_4_color",
        "plastic",
        "simplistic",
        "slavic_costumes",
        "tigullio",
    ),
    "Атласные",
)
VAL = ("orell", "ornamental")  # all others are for test

INFO = replace(
    cards.INFO,
    name="cards_decks",
    title="Playing cards: which of 52, in decks never seen",
    task="classification",
    notes="Drawn, some decks scanned from antique prints.",
    near_copy=3.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every card, deck by deck; nothing is random."""
    for entry in cards.entries(folders, seed=seed):
        split = "train" if entry.style in TRAIN else "val" if entry.style in VAL else "test"
        yield replace(entry, split=split)
