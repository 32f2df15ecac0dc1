"""Flags: the same flag drawn by several artists, flat, round, waving or framed. Drawn pictures; the class is the country or territory.

Source: four flag sets and the flags of two emoji sets (the others that `emoji` knows hold none), from npm's `@iconify-json/*`. Labels: the
ISO 3166-1 code, which flag sets use as their icons' name and emoji sets spell with a pair of regional indicators. Left out: flags of
regions (`gb-eng`) and of organisations, codes that only one set draws, territories that fly another country's flag in most sets (Svalbard:
Norway's), and single drawings that a set uses for several codes (flagpack: one ensign for four British territories).

Pitfalls: some flags are the same but for a shade (Romania and Chad, Indonesia and Monaco), so R@1 cannot reach 1; mirroring a flag can
make it another one. `flag` draws each one twice (4:3 and square): near copies, of which held-out classes keep one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from alumnus.datasets.emoji import INFO as EMOJI
from alumnus.datasets.iconify import Icon, package, read_characters, read_icons
from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.raster import Svg

FLAG_SETS = ("circle-flags", "flag", "flagpack", "cif")
EMOJI_SETS = ("twemoji", "openmoji")
COUNTRY = re.compile(r"([a-z]{2})(?:-(?:4x3|1x1))?")
INDICATOR_A = 0x1F1E6
NO_COUNTRY = "xx"  # sets draw a placeholder for it
FLIES_ANOTHER = {
    "bv": "no",
    "cp": "fr",
    "dg": "io",
    "ea": "es",
    "hm": "au",
    "mf": "fr",
    "sj": "no",
    "um": "us",
}  # territory -> whose flag most of the sets that draw it show (measured on thumbnails)
LENDERS = ("fr", "gb")  # whose own flag some sets show for territories that have one of theirs in others

INFO = DatasetInfo(
    name="flags",
    title="Flags of countries and territories in six styles",
    kind="drawn",
    packages=(
        package(
            "circle-flags",
            "1.2.11",
            "ee9a03f6a6fdd79cc6325bdcb7bb93b83d331e60b16e226188f154a64b6bb4a9",
            "MIT",
        ),
        package("flag", "1.2.12", "42246bc20f6154739a192172d71ffe477747ad38278f2e912ec43f4dcb5a15e0", "MIT"),
        package(
            "flagpack", "1.2.8", "165ea189ef6ee00b8c10d66c0a2702a6afe1d89d7feafdc3a02a459d65580483", "MIT"
        ),
        package(
            "cif", "1.2.7", "804801450b77e3b2c9a2b716fb45b44ee2a97e702e21ac6bca6358d0f7eb13c8", "CC0-1.0"
        ),
        *(each for each in EMOJI.packages if each.name.removeprefix("@iconify-json/") in EMOJI_SETS),
    ),
    classes=251,
    images=1_650,
    version=3,  # 1 fetched three sets that hold no flags; 2 had territories under another country's flag
    notes="Drawn, not photographed. Some flags differ by a shade only.",
    needs={"resvg_py": "datasets"},
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the flags that at least two sets draw, set by set; nothing is random."""
    drawn = [(code, style, icon) for style in FLAG_SETS for code, icon in own_flags(_flags(folders, style))]
    for style in EMOJI_SETS:
        drawn += [(code, style, icon) for code, icon in own_flags(_emoji_flags(folders, style))]
    families: dict[str, set[str]] = defaultdict(set)
    for code, style, _ in drawn:
        families[code].add(style)
    for code, style, icon in drawn:
        if len(families[code]) > 1:
            yield Entry(code, style, icon.picture, family=style)


def country_of(character: str) -> str | None:
    """Returns the ISO code that a pair of regional indicators spells, or None.

    >>> country_of("1f1eb-1f1f7")
    'fr'
    """
    points = [int(point, 16) - INDICATOR_A for point in character.split("-")]
    if len(points) != 2 or not all(0 <= point < 26 for point in points):
        return None
    return "".join(chr(ord("a") + point) for point in points)


def own_flags(drawn: Iterable[tuple[str, Icon]]) -> Iterator[tuple[str, Icon]]:
    """Yields the flags of one set that are their code's own: (code, icon) pairs in, fewer of them out."""
    wanted = [(code, icon) for code, icon in drawn if code not in FLIES_ANOTHER and code != NO_COUNTRY]
    codes: dict[Svg, set[str]] = defaultdict(set)
    for code, icon in wanted:
        codes[icon.picture].add(code)
    for code, icon in wanted:
        if len(codes[icon.picture]) == 1 or code in LENDERS:
            yield code, icon


def _flags(folders: Folders, style: str) -> Iterator[tuple[str, Icon]]:
    for icon in read_icons(folders[f"@iconify-json/{style}"]):
        match = COUNTRY.fullmatch(icon.name)
        if match:
            yield match[1], icon


def _emoji_flags(folders: Folders, style: str) -> Iterator[tuple[str, Icon]]:
    folder = folders[f"@iconify-json/{style}"]
    codes = {name: country_of(character) for character, name in read_characters(folder).items()}
    for icon in read_icons(folder):
        code = next((codes[name] for name in (icon.name, *icon.aliases) if codes.get(name)), None)
        if code:
            yield code, icon
