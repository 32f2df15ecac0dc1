"""Emoji: the same thing drawn in up to nine styles, with captions. Drawn pictures; the class is the emoji.

Source: nine sets of npm's `@iconify-json/*`: Noto (two generations), Twemoji, OpenMoji, Fluent (colour, flat, high contrast), EmojiOne
(two generations); 25,767 drawings. Licences differ by set, see INFO. Labels: the icon's name; where sets name one character differently,
the name that the sets with a character table agree on, found through aliases. The caption is Unicode's English name and keywords, where
there are some (npm `emojibase-data`, MIT). Left out: skin tones (the same drawing in another colour), flags (a data set of their own),
withdrawn icons, and emoji that only one family of sets draws.

Pitfalls: noto and noto-v1 are near copies of each other, and so are the three Fluent sets, so each counts as one family, of which
held-out classes keep one picture. (The two EmojiOne sets are not: measured on thumbnails, they differ as strangers do.) Different vendors
may draw quite different things for one emoji; some emoji differ only in a detail (clock faces); and Noto and Twemoji draw some families
as the same silhouette, of which only the first keeps a split.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from alumnus.datasets.emojibase import PACKAGE as EMOJIBASE
from alumnus.datasets.emojibase import Meaning, plain, read_meanings
from alumnus.datasets.iconify import Icon, package, read_characters, read_icons
from alumnus.datasets.known import DatasetInfo, Entry, Folders

FAMILIES = {
    "noto": "noto",
    "twemoji": "twemoji",
    "openmoji": "openmoji",
    "fluent-emoji": "fluent",
    "emojione": "emojione",
    "noto-v1": "noto",
    "fluent-emoji-flat": "fluent",
    "emojione-v1": "emojione-v1",
    "fluent-emoji-high-contrast": "fluent",
}  # set -> who drew it; the set that a held-out class keeps stands before its near copies
SKIN_TONE = re.compile(r"-(?:light|medium-light|medium|medium-dark|dark|tone[1-5])(?:-skin-tone)?(?=-|$)")
FLAG = re.compile(r"^flag-|-flag$")

INFO = DatasetInfo(
    name="emoji",
    title="Emoji in nine styles; find the same emoji in another style",
    kind="drawn",
    packages=(
        package(
            "noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad", "Apache-2.0"
        ),
        package(
            "twemoji",
            "1.2.5",
            "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
            "CC-BY-4.0",
        ),
        package(
            "openmoji",
            "1.2.29",
            "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
            "CC-BY-SA-4.0",
        ),
        package(
            "fluent-emoji", "1.2.7", "8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b", "MIT"
        ),
        package(
            "emojione",
            "1.2.3",
            "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
            "CC-BY-4.0",
        ),
        package(
            "noto-v1",
            "1.2.5",
            "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
            "Apache-2.0",
        ),
        package(
            "fluent-emoji-flat",
            "1.2.6",
            "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
            "MIT",
        ),
        package(
            "emojione-v1",
            "1.2.3",
            "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
            "CC-BY-SA-4.0",
        ),
        package(
            "fluent-emoji-high-contrast",
            "1.2.6",
            "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
            "MIT",
        ),
        EMOJIBASE,
    ),
    classes=1_720,
    images=13_000,
    version=2,  # 1 had no captions; the pictures are the same
    notes="Drawn, not photographed. Near copies by one vendor are scored once.",
    needs={"resvg_py": "datasets"},
    near_copy=3.5,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the emoji that at least two families draw, set by set; nothing is random."""
    places = {style: folders[f"@iconify-json/{style}"] for style in FAMILIES}
    known = frozenset[str]().union(*(read_characters(place).values() for place in places.values()))
    drawn = [
        (emoji_name(icon, known), style, icon) for style, place in places.items() for icon in _wanted(place)
    ]
    families: dict[str, set[str]] = defaultdict(set)
    for name, style, _ in drawn:
        families[name].add(FAMILIES[style])
    captions = {name: meaning.caption for name, meaning in meanings(folders).items()}
    for name, style, icon in drawn:
        if len(families[name]) > 1:
            yield Entry(name, style, icon.picture, family=FAMILIES[style], text=captions.get(name))


def meanings(folders: Folders) -> Mapping[str, Meaning]:
    """Returns what emoji mean by their class; some few classes belong to no character that is known."""
    known = read_meanings(folders[EMOJIBASE.name])
    found: dict[str, Meaning] = {}
    for style in FAMILIES:
        for character, name in read_characters(folders[f"@iconify-json/{style}"]).items():
            if plain(character) in known:
                found.setdefault(name, known[plain(character)])
    return found


def emoji_name(icon: Icon, known: frozenset[str]) -> str:
    """Returns the first of an icon's names that belongs to a character, else its own name."""
    return next((name for name in (icon.name, *icon.aliases) if name in known), icon.name)


def _wanted(folder: Path) -> list[Icon]:
    icons = list(read_icons(folder))
    names = frozenset(icon.name for icon in icons)
    return [icon for icon in icons if not FLAG.search(icon.name) and not _has_skin_tone(icon.name, names)]


def _has_skin_tone(name: str, names: frozenset[str]) -> bool:
    """`hand-dark` has one if there is a `hand`; `flashlight` and `light-bulb` have none."""
    tone = SKIN_TONE.search(name)
    return tone is not None and ("tone" in tone.group() or name[: tone.start()] in names)
