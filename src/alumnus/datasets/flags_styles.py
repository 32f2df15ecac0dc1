"""Flags in unseen styles: some 250 countries and territories. Drawn pictures; the class is the country or territory.

Source: see `flags` (npm). Labels: the ISO 3166-1 code. Splits by style: `flag` (each flag in two shapes), `flagpack` and `cif` are for
training, `twemoji` for validation, `circle-flags` (round) and `openmoji` (outlined) for test. Codes with fewer than two training pictures
are left out. Validation and test hold the held-out classes of `flags` only, about half of the codes that are learnt: a student that was
trained on `flags` has seen all styles of the others.

Pitfalls: some flags differ by a shade only (Romania and Chad, Indonesia and Monaco). With three or four pictures of a class, a label
fraction of 1 % or 10 % means one of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import flags
from alumnus.datasets.known import Entry, Folders
from alumnus.datasets.splits import class_split

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
    images=1_310,
    version=4,  # up to 3, half of the test pictures were among the training pictures of `flags`
    notes="Drawn, not photographed. Some flags differ by a shade only; three or four pictures to learn each from.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the flags of codes with enough training pictures, set by set; nothing is random."""
    found = [replace(entry, split=SPLITS[entry.style]) for entry in flags.entries(folders, seed=seed)]
    drawn = Counter(entry.label for entry in found if entry.split == "train")
    for entry in found:
        is_unseen = entry.split == "train" or class_split(entry.label) != "train"
        if drawn[entry.label] > 1 and is_unseen:
            yield entry
