"""GCompris photographs: animals, buildings, tools and energy, nine categories. Photographs; the class is the category.

Source: Debian `gcompris-qt-data` 3.1 (free software and free pictures; sources and licences are in its README files), three bundles of
the games for children. Labels: the folder or, for animals and power stations, the file's name; the caption is that name in words. Left
out: drawings, and what fits no category. Splits by picture, those of one landmark together.

Pitfalls: some 200 pictures, five to 75 of a class: few-shot, so report several seeds. A few landmarks are there in the same photograph
twice. Fish live in water, and most tools lie on white: backgrounds give much away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.qt_resource import ResourceImage, read_bundle
from alumnus.datasets.splits import group_splits
from alumnus.packages import Package

RCC = "usr/share/gcompris-qt/rcc"
FOLDERS = {"fishes": "fish", "monuments": "monument", "tools": "tool"}  # of categorization.rcc
POWER = {"dam": "dam", "solar": "solar power", "windmill": "windmill"}  # in its folder `renewable`
HOUSEHOLD = frozenset(
    {
        "blackslate",
        "bucket",
        "buffetset",
        "bulb",
        "chair",
        "cup",
        "erasers",
        "knife",
        "pan",
        "pencil",
        "pillow",
    }
    | {"plate", "spoons", "weighingMachine"}
)  # in its folder `others`
BIRDS = frozenset(
    {"gosling", "heron", "kingfisher", "northern_harrier", "penguin", "spoonbills", "swans", "toucan"}
)
NEITHER = frozenset(
    {"bee", "butterfly", "caterpillar", "chamaeleon", "crab"}
)  # the others of erase.rcc are mammals
WIND_TURBINE = "windmill6"
SPELLINGS = {
    "greatpyramidofgiza": "greatpyramid",
    "greatwallofchina": "greatwall",
    "kutubminar": "qutubminar",
}  # of one landmark in two bundles

PACKAGE = Package(
    "debian",
    "gcompris-qt-data",
    "3.1-2",
    "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f",
    "GPL-3.0-or-later, CC-BY-SA-4.0, public domain by file",
)
INFO = DatasetInfo(
    name="gcompris",
    title="GCompris photographs: which of nine categories, with captions",
    kind="photo",
    task="classification",
    packages=(PACKAGE,),
    classes=9,
    images=210,
    notes="A few photographs of each class: scores vary much between seeds and samples.",
)


@dataclass(frozen=True)
class Photo:
    """A photograph of a bundle that has a class."""

    label: str
    name: str  # of its file, without ending
    picture: ResourceImage


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every photograph that has a class, bundle by bundle; nothing is random."""
    photos = list(_photos(folders))
    splits = group_splits([photo.label for photo in photos], [thing(photo.name) for photo in photos])
    for photo, split in zip(photos, splits, strict=True):
        yield Entry(photo.label, "gcompris", photo.picture, split=split, text=in_words(photo.name))


def category(bundle: str, name: str) -> str | None:
    """Returns the class of a file in one of the bundles, or None.

    >>> category("categorization", "images/fishes/fish1.webp"), category("erase", "heron.webp"), category("erase", "bee.webp")
    ('fish', 'bird', None)
    """
    path = PurePosixPath(name)
    if path.suffix != ".webp" or path.stem == WIND_TURBINE:
        return None
    match bundle, path.parent.name:
        case "explore_monuments", _:
            return "monument"
        case "erase", _:
            return None if path.stem in NEITHER else "bird" if path.stem in BIRDS else "mammal"
        case "categorization", "renewable":
            return POWER.get(path.stem.rstrip("0123456789"))
        case "categorization", "others":
            return "household" if path.stem in HOUSEHOLD else None
        case "categorization", folder:
            return FOLDERS.get(folder)
    return None


def thing(name: str) -> str:
    """Returns what a file's name says is shown, in one spelling for all bundles; numbered files show different things."""
    plain = name.lower().replace("_", "")
    return SPELLINGS.get(plain, plain)


def in_words(name: str) -> str:
    """Returns a file's name as words.

    >>> in_words("greatWallofChina"), in_words("hammer2"), in_words("red_panda")
    ('great wallof china', 'hammer', 'red panda')
    """
    return " ".join(re.findall("[A-Z]?[a-z]+|[A-Z]+", name)).lower()


def _photos(folders: Folders) -> Iterator[Photo]:
    for bundle in ("categorization", "explore_monuments", "erase"):
        files = read_bundle(folders[PACKAGE.name] / RCC / f"{bundle}.rcc")
        for name, resource in sorted(files.items()):
            label = category(bundle, name)
            if label:
                yield Photo(label, PurePosixPath(name).stem, ResourceImage(resource))
