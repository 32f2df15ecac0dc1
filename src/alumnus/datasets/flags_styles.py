"""Flags in unseen styles: some 250 countries and territories. Drawn pictures; the class is the country or territory.

Source: see `flags` (npm). Labels: the ISO 3166-1 code. Splits by style: `flag` (each flag in two shapes), `flagpack` and `cif` are for
training, `twemoji` for validation, `circle-flags` (round) and `openmoji` (outlined) for test. Codes with fewer than two training pictures
are left out.

Pitfalls: some flags differ by a shade only (Romania and Chad, Indonesia and Monaco). With three or four pictures of a class, a label
fraction of 1 % or 10 % means one of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import flags
from alumnus.datasets.known import Entry, Folders

SPLITS = {
    "flag": "train",
    "flagpack": "train",
    "cif": "train",
    "twemoji": "val",
    "circle-flags": "test",
    "openmoji": "test",
}  # of each style

INFO = replace(
    flags.INFO,
    name="flags_styles",
    title="Flags: which country or territory, in styles never seen",
    task="classification",
    notes="Drawn, not photographed. Some flags differ by a shade only; three or four pictures to learn each from.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the flags of codes with enough training pictures, set by set; nothing is random."""
    found = [replace(entry, split=SPLITS[entry.style]) for entry in flags.entries(folders, seed=seed)]
    drawn = Counter(entry.label for entry in found if entry.split == "train")
    yield from (entry for entry in found if drawn[entry.label] > 1)
