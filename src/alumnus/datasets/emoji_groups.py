"""Groups of unseen emoji: eight, such as food or objects. Drawn pictures; the class is Unicode's group of the emoji.

Source: see `emoji` (npm), nine styles; groups from npm `emojibase-data`. Labels: the group, "component" and flags left out. Splits by
emoji: all drawings of one are together, and so are those that differ in a person's sex only and all clock faces.

Pitfalls: groups are about meaning: a picture of a bus belongs to `travel and places`, one of a microscope to `objects`, and `symbols`
holds what is left. Styles are the same in training and test. The usual limit takes some of each group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import emoji
from alumnus.datasets.known import Entry, Folders
from alumnus.datasets.splits import class_split

LEFT_OUT = ("", "component", "flags")
PERSON = re.compile(r"(?<![a-z])(?:wo)?m[ae]n(?![a-z])|(?<![a-z])(?:person|people|male|female)(?![a-z])")
CLOCK = re.compile(r".*(?:o-?clock|-thirty)$")

INFO = replace(
    emoji.INFO,
    name="emoji_groups",
    title="Emoji: which of eight groups, for emoji never seen",
    task="classification",
    classes=8,
    images=4_800,
    version=1,
    notes="Drawn, not photographed. Groups are about meaning, so no model gets all right.",
    limit_per_class=600,
    near_copy=0.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the emoji that have a group, set by set; nothing is random."""
    meanings = emoji.meanings(folders)
    for entry in emoji.entries(folders, seed=seed):
        group = meanings[entry.label].group if entry.label in meanings else ""
        if group not in LEFT_OUT:
            yield replace(entry, label=group, split=class_split(motif(entry.label)))


def motif(name: str) -> str:
    """Returns an emoji's name without what only tells its near copies apart.

    >>> motif("woman-cook"), motif("man-cook"), motif("ten-oclock"), motif("snowman")
    ('cook', 'cook', 'clock', 'snowman')
    """
    if CLOCK.fullmatch(name):
        return "clock"
    return re.sub("-+", "-", PERSON.sub("", name)).strip("-") or name
