"""Desktop icons: one freedesktop.org icon name in up to eleven themes. Drawn pictures; the class is the context and name.

Source: eleven icon themes of Debian, 35 MB; licences in INFO and, file by file, in each package's `copyright`. Labels: context and name,
such as `apps/accessories-calculator`. Of each name the vector drawing or the largest raster of a theme is taken. Left out: symbolic
(one-colour) icons, rasters below 32 px, and names that fewer than three themes draw.

Pitfalls: names are often links to one drawing: it counts once in a theme, under the name that most themes have. Themes copy
each other: equal pixels anywhere, and near copies in held-out classes, are spare. A name may mean quite different drawings.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from alumnus.datasets.known import DatasetInfo, Entry, Folders, Picture
from alumnus.datasets.raster import ImageFile, SvgFile
from alumnus.packages import Package

THEMES = {
    "gnome-icon-theme": "gnome",
    "adwaita-icon-theme": "Adwaita",
    "breeze-icon-theme": "breeze",
    "elementary-xfce-icon-theme": "elementary-xfce",
    "faba-icon-theme": "Faba",
    "numix-icon-theme": "Numix",
    "suru-icon-theme": "suru",
    "lxde-icon-theme": "nuoveXT2",
    "gnome-icon-theme-nuovo": "Nuovo",
    "gnome-icon-theme-gartoon": "gartoon",
    "gnome-icon-theme-yasis": "yasis",
}  # package -> folder in usr/share/icons
CONTEXTS = {
    **{
        name: name
        for name in ("actions", "apps", "categories", "devices", "emblems", "emotes", "places", "status")
    },
    **dict.fromkeys(("mimetypes", "mimes"), "mimetypes"),
}  # what themes call a context -> its name in a label
SIZE = re.compile(r"(\d+)(?:x\d+)?(@2x)?")
MIN_RASTER_PX = 32
MIN_THEMES = 3
VECTOR_PX = 10_000  # rank of a vector drawing among rasters


def _theme(name: str, version: str, sha256: str, licence: str) -> Package:
    return Package("debian", name, version, sha256, licence)


INFO = DatasetInfo(
    name="desktop_icons",
    title="Desktop icons in eleven themes; find the same icon in another theme",
    kind="drawn",
    packages=(
        _theme(
            "gnome-icon-theme",
            "3.12.0-5",
            "243520edcff2c309065b7e12ae08f666580e6098ecafa0c0f7d28c75aedcfdc3",
            "GPL-2.0-or-later, GPL-3.0-or-later",
        ),
        _theme(
            "adwaita-icon-theme",
            "43-1",
            "4b67610565d16b604d3efd9908e8e4b5d71873c5d0f9347433df509020f22af7",
            "CC-BY-SA-3.0 or LGPL-3.0",
        ),
        _theme(
            "breeze-icon-theme",
            "4:5.103.0-1",
            "268e05fd9626b659f473ade05153bd5ec3b8bf704fcd07d27d91d2ce5db1bbfd",
            "LGPL-3.0-or-later, LGPL-2.1-or-later",
        ),
        _theme(
            "elementary-xfce-icon-theme",
            "0.17-1",
            "012bd2eda0e19b162b9cdc167e904a4a4254f7c2e6409862d0f29a56d3630b75",
            "GPL-2.0-or-later, LGPL-2.0-or-later, CC-BY-SA-2.0",
        ),
        _theme(
            "faba-icon-theme",
            "4.3-1",
            "749f12745e6d037b5cfd12b23a7e2e04e9020d083c7de05e6d9807feeb029fba",
            "GPL-3.0 or CC-BY-SA-4.0",
        ),
        _theme(
            "numix-icon-theme",
            "0~20230220-1",
            "6c1dd55a3c4d1b0a61946b984a08f4076cba24c11047fbb11d76f1c2be418dba",
            "GPL-3.0-or-later",
        ),
        _theme(
            "suru-icon-theme",
            "20.05.1-3",
            "3bfa189256558e6426cbc9c9f48d85a3893fec4509d8409ec696c482080686e2",
            "GPL-3.0, CC-BY-SA-3.0",
        ),
        _theme(
            "lxde-icon-theme",
            "0.5.1-2.1",
            "1b47e4879bf8b456c4d801d9d6a2035550bc50184dea05148e8b6e30c61b5ccd",
            "LGPL-3.0-or-later",
        ),
        _theme(
            "gnome-icon-theme-nuovo",
            "0.5-4.2",
            "41c702c1fdc2e66dccabc6009bac668ba4d5575960823f24f57d46e9679aab74",
            "GPL-2.0",
        ),
        _theme(
            "gnome-icon-theme-gartoon",
            "0.5-5",
            "266fa7a6bf94396c7dbff39ed3f04fa2b7c99837172fdebb781b491b4d218bff",
            "GPL-2.0-or-later",
        ),
        _theme(
            "gnome-icon-theme-yasis",
            "0.4.2-1.2",
            "a4bebd350765566518552ebfbd734ce2f9227f9f905e49019cad7ff532b98b31",
            "GPL",
        ),
    ),
    classes=590,
    images=2_450,
    notes="Drawn, not photographed. Licences differ file by file: do not redistribute the pictures without reading them.",
    needs={"resvg_py": "datasets"},
    near_copy=6.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the icons that at least three themes draw, theme by theme; nothing is random."""
    themes = {
        theme: find_icons(folders[package] / "usr/share/icons" / theme) for package, theme in THEMES.items()
    }
    spread = Counter(label for icons in themes.values() for label in icons)
    drawn = {theme: _one_name_each(icons, spread) for theme, icons in themes.items()}
    count = Counter(label for icons in drawn.values() for label in icons)
    for theme, icons in drawn.items():
        for label, path in sorted(icons.items()):
            if count[label] >= MIN_THEMES:
                yield Entry(label, theme, _picture(path))


def find_icons(theme: Path) -> dict[str, Path]:
    """Returns the best file of every icon of a theme, links followed as far as they stay in it: label -> file."""
    best: dict[str, tuple[int, Path]] = {}
    inside = theme.resolve()
    for path in sorted(theme.rglob("*")):
        label, rank = _label(path.relative_to(theme)), _rank(path.relative_to(theme))
        if label is None or rank < MIN_RASTER_PX:
            continue
        file = Path(os.path.realpath(path))  # unlike resolve(), it bears circles
        if file.is_file() and file.is_relative_to(inside) and rank > best.get(label, (0, file))[0]:
            best[label] = (rank, file)
    return {label: file for label, (_, file) in best.items()}


def _label(path: Path) -> str | None:
    """Context and name of a file in a theme; None if it is none of those wanted."""
    context = next((CONTEXTS[part] for part in path.parts[:-1] if part in CONTEXTS), None)
    is_symbolic = "symbolic" in path.stem or "symbolic" in path.parts
    return f"{context}/{path.stem}" if context and not is_symbolic else None


def _rank(path: Path) -> int:
    """Side in px of a raster by its folder's name, VECTOR_PX less what a vector drawing is smaller than; 0 if it is neither.

    Vector drawings for large sizes are richer than those for 16 px, so they are ranked by their folder too.
    """
    matches = [match for part in path.parts[:-1] if (match := SIZE.fullmatch(part))]
    side = max((int(match[1]) * (2 if match[2] else 1) for match in matches), default=0)
    if path.suffix == ".svg":
        return VECTOR_PX + side
    return side if path.suffix == ".png" else 0


def _one_name_each(icons: Mapping[str, Path], spread: Mapping[str, int]) -> dict[str, Path]:
    """Keeps one label of every file: the one that most themes have."""
    names: dict[Path, list[str]] = defaultdict(list)
    for label, path in icons.items():
        names[path].append(label)
    return {_most_common(labels, spread): path for path, labels in names.items()}


def _most_common(labels: Iterable[str], spread: Mapping[str, int]) -> str:
    return min(labels, key=lambda label: (-spread[label], label))


def _picture(path: Path) -> Picture:
    return SvgFile(path) if path.suffix == ".svg" else ImageFile(path)
