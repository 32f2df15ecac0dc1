"""Art4Apps: cartoons for learning to read, twelve themes. Drawn pictures; the class is the theme.

Source: Debian `pysiogame` (GPL-3; the pictures come from the Art4Apps project, CC BY-SA), 585 JPEG of 200 px. Labels: the folder, such as
`animals` or `jobs`; the caption is the word that the picture stands for. Splits by picture.

Pitfalls: themes are about meaning: a picture of `jobs` shows a person, and so do those of `people`, `actions` and `sport`. Some words
could stand in two themes (skate, ski), and some pictures do, with another arrow or none (held-out near copies of training pictures are
spare). All have one style; nothing is said about others.
"""

from __future__ import annotations

from collections.abc import Iterator

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.raster import ImageFile
from alumnus.datasets.splits import group_splits
from alumnus.packages import Package

FOLDER = "usr/share/games/pysiogame/res/images/art4apps"

INFO = DatasetInfo(
    name="art4apps",
    title="Cartoons for learning to read: which of twelve themes",
    kind="drawn",
    task="classification",
    packages=(
        Package(
            "debian",
            "pysiogame",
            "4.20.01-1",
            "6b22766dfd8ef3a046c2665fe2598ac8a1ecee3d331bda38accf53de65bc59bf",
            "GPL-3.0-or-later (package); Art4Apps publishes its pictures as CC-BY-SA-3.0",
        ),
    ),
    classes=12,
    images=585,
    near_copy=6.0,
    notes="Cartoons of one hand; themes overlap in what is seen.",
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields every picture, theme by theme; nothing is random."""
    paths = sorted((folders["pysiogame"] / FOLDER).glob("*/*.jpg"))
    themes = [path.parent.name.replace("_n_", " and ") for path in paths]
    splits = group_splits(themes, [path.stem for path in paths])
    for path, theme, split in zip(paths, themes, splits, strict=True):
        yield Entry(theme, "art4apps", ImageFile(path), split=split, text=path.stem.replace("_", " "))
