"""Groups of unseen emoji: eight, such as food or objects. Drawn pictures; the class is Unicode's group of the emoji.

Source: see `emoji` (npm), nine styles; groups from npm `emojibase-data`. Labels: the group, "component" and flags left out. Splits are
those of `emoji`, so that a student that was trained on it has seen nothing of the test part: all drawings of one emoji are together, and
emoji that differ in a person's sex only, and all clock faces, are in training if one of them is, else in validation if one of them is.
Held-out drawings that are also the drawing of another emoji of the training part (Noto's astronaut is its man astronaut) are left out.

Pitfalls: groups are about meaning: a picture of a bus belongs to `travel and places`, one of a microscope to `objects`, and `symbols`
holds what is left. Styles are the same in training and test. The usual limit takes some of each group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from alumnus.datasets import emoji
from alumnus.datasets.known import Entry, Folders
from alumnus.datasets.splits import class_split

SPLITS = ("train", "val", "test")
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
    version=2,  # 1 divided emoji that differ in sex otherwise than `emoji`: it tested on some that are trained on there
    notes="Drawn, not photographed. Groups are about meaning, so no model gets all right.",
    limit_per_class=600,
    near_copy=0.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the emoji that have a group, set by set; nothing is random."""
    meanings, drawn = emoji.meanings(folders), list(emoji.entries(folders, seed=seed))
    splits = motif_splits([entry.label for entry in drawn])
    trained_on = {entry.picture for entry in drawn if class_split(entry.label) == "train"}
    for entry in drawn:
        group = meanings[entry.label].group if entry.label in meanings else ""
        split = splits[motif(entry.label)]
        if group not in LEFT_OUT and (split == "train" or entry.picture not in trained_on):
            yield replace(entry, label=group, split=split)


def motif_splits(names: Sequence[str]) -> Mapping[str, str]:
    """Returns motif -> split: of the splits that its emoji have in `emoji` the first of train, val and test.

    >>> class_split("cook"), class_split("man-cook"), motif_splits(["cook", "man-cook"])
    ('train', 'test', {'cook': 'train'})
    """
    found = dict[str, str]()
    for name in names:
        own, others = class_split(name), found.get(motif(name), SPLITS[-1])
        found[motif(name)] = min(own, others, key=SPLITS.index)
    return found


def motif(name: str) -> str:
    """Returns an emoji's name without what only tells its near copies apart.

    >>> motif("woman-cook"), motif("man-cook"), motif("ten-oclock"), motif("snowman")
    ('cook', 'cook', 'clock', 'snowman')
    """
    if CLOCK.fullmatch(name):
        return "clock"
    return re.sub("-+", "-", PERSON.sub("", name)).strip("-") or name
