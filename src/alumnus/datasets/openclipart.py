"""Open Clip Art: fifteen themes of clip art by hundreds of hands. Drawn pictures; the class is the theme.

Source: Debian `openclipart-svg` 0.18 (public domain), SVG files. Labels: the top folder. Left out: links, folders of fewer than 40
pictures, and what was made in series or holds no theme (icons and buttons of computers, playing cards and chessmen, stars, flags,
`special`, `unsorted`). A picture is cut out of its page. Splits by the first word of the file name, so that numbered pictures of one
series stay together.

Pitfalls: contributors chose the folder: what stands in `recreation` or `geography` could often stand elsewhere. Very unbalanced, so the
usual limit is 300 a class. Lettering in a picture is missing where it was not drawn as shapes. Held-out near copies of training pictures
are spare.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.raster import SvgInk
from alumnus.datasets.splits import group_splits
from alumnus.packages import Package

FOLDER = "usr/share/openclipart/svg"
LEFT_OUT = (
    "computer/buttons",
    "computer/icons",
    "recreation/games",
    "shapes/stars",
    "signs_and_symbols/flags",
    "special",
    "unsorted",
)
MIN_PICTURES = 40

INFO = DatasetInfo(
    name="openclipart",
    title="Clip art: which of fifteen themes",
    kind="drawn",
    task="classification",
    packages=(
        Package(
            "debian",
            "openclipart-svg",
            "1:0.18+dfsg-19",
            "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
            "public domain (Creative Commons dedication)",
        ),
    ),
    classes=15,
    images=3_000,
    notes="Clip art of very different quality; themes overlap.",
    needs={"resvg_py": "datasets"},
    limit_per_class=300,
    near_copy=3.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the clip art of all themes, in alphabetical order; nothing is random."""
    root = folders["openclipart-svg"] / FOLDER
    paths = [path for path in sorted(root.rglob("*.svg")) if _is_wanted(path, root)]
    count = Counter(path.relative_to(root).parts[0] for path in paths)
    paths = [path for path in paths if count[path.relative_to(root).parts[0]] >= MIN_PICTURES]
    themes = [path.relative_to(root).parts[0] for path in paths]
    splits = group_splits(themes, [series(path.stem) for path in paths])
    for path, theme, split in zip(paths, themes, splits, strict=True):
        yield Entry(theme, "openclipart", SvgInk(path), split=split)


def series(stem: str) -> str:
    """Returns the first word of a file's name, without digits.

    >>> series("cavallo_architetto_franc_02"), series("crawfish1_ganson"), series("2_dead_frogs")
    ('cavallo', 'crawfish', 'dead')
    """
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word]
    return words[0] if words else ""


def _is_wanted(path: Path, root: Path) -> bool:
    inside = path.relative_to(root).as_posix()
    return not path.is_symlink() and not inside.startswith(tuple(f"{each}/" for each in LEFT_OUT))
