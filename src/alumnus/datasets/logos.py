"""Logos: the same brand in monochrome, in colour, on a tile, with its name. Drawn pictures; the class is the brand.

Source: seven sets of brand and file-type icons from npm's `@iconify-json/*`. Labels: the icon's name without what says how it is
drawn (`-light`, `-dark`, `-icon`, `-original`, `-plain`, `-wordmark`, …), spelt in one way (`nodedotjs`, `node-js` and `nodejs` are
one). Left out: brands that only one set draws, folders, and file types without a brand's mark.

Pitfalls: the files are open, the marks stay trademarks: fine for research, not for redistribution as pictures. Sets draw a brand's old
or new mark, or its name only, and names can collide (a company and a language); a bound on R@1 that nobody has measured. Of several
drawings in one set a held-out class keeps the mark rather than the name. Sets copy each other: held-out near copies are spare.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from alumnus.datasets.iconify import Icon, package, read_icons
from alumnus.datasets.known import DatasetInfo, Entry, Folders

STYLES = (
    "simple-icons",
    "logos",
    "devicon",
    "skill-icons",
    "fa6-brands",
    "vscode-icons",
    "material-icon-theme",
)
VARIANT = re.compile(
    r"-(light|dark|icon|original|plain|wordmark|line|alt|logo|mark|color|square|brands|clone|open)$"
)
SPELLINGS = {
    "dotjs": "js",
    "dotio": "io",
    "dotnet": "net",
    "dot": "",
    "-": "",
    "plusplus": "pp",
    "sharp": "s",
}

INFO = DatasetInfo(
    name="logos",
    title="Brand logos in seven icon sets",
    kind="drawn",
    packages=(
        package(
            "simple-icons",
            "1.2.102",
            "b3e23d3c623db2383b57cbed3d18b8e7e23f2ebc0bfc41ab054b82aba90f4c78",
            "CC0-1.0",
        ),
        package(
            "logos", "1.2.19", "1e8907c088bbf02eab8ee1b28f37e68ef22c380f2fb579ff99736b8ce5abf13a", "CC0-1.0"
        ),
        package(
            "devicon", "1.2.68", "5b5469af72fbe9aecb3b3c941931af967d0901a8deeff7c48ff4a3f0af2dde0c", "MIT"
        ),
        package(
            "skill-icons", "1.2.4", "98bdbeed5290e48e87d206aa764e79db853cf16b192711a178c5b0fa963c8116", "MIT"
        ),
        package(
            "fa6-brands",
            "1.2.6",
            "cbd7af966f0b288753574bcfb1d498a0ddea1c99b918280b77a21faab4184eb1",
            "CC-BY-4.0",
        ),
        package(
            "vscode-icons",
            "1.2.97",
            "fd5676cb1891b527a32502a58e738139e329a0529e36c39dfd09503f2e6faa3c",
            "MIT",
        ),
        package(
            "material-icon-theme",
            "1.2.70",
            "311f01d2090c3fc9c2d02f2cf20e794b5674ea65712ecfec0d6d464d9e7227d0",
            "MIT",
        ),
    ),
    classes=1_330,
    images=4_600,
    version=2,  # 1 kept near copies and, of the set `logos`, names rather than marks
    notes="Drawn, not photographed. The marks are trademarks of their owners.",
    needs={"resvg_py": "datasets"},
    near_copy=6.0,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields the logos that at least two sets draw, set by set; nothing is random. Variants within a set are one family."""
    drawn = [
        (brand, style, icon)
        for style in STYLES
        for icon in marks_first(read_icons(folders[f"@iconify-json/{style}"]))
        if (brand := brand_name(icon.name, style))
    ]
    styles: dict[str, set[str]] = defaultdict(set)
    for brand, style, _ in drawn:
        styles[brand].add(style)
    for brand, style, icon in drawn:
        if len(styles[brand]) > 1:
            yield Entry(brand, style, icon.picture, family=style)


def marks_first(icons: Iterable[Icon]) -> list[Icon]:
    """Returns the icons with those that show a mark before those that may show a name too, and names last; else in their order."""
    return sorted(icons, key=lambda icon: (not icon.name.endswith("-icon")) + 2 * ("wordmark" in icon.name))


def brand_name(name: str, style: str) -> str:
    """Returns the brand of an icon, or "" if it has none.

    >>> brand_name("nodejs-icon-alt", "logos"), brand_name("nodedotjs", "simple-icons"), brand_name("folder-git", "vscode-icons")
    ('nodejs', 'nodejs', '')
    """
    if style == "vscode-icons":
        if not name.startswith("file-type-"):
            return ""
        name = name.removeprefix("file-type-")
    if style == "material-icon-theme" and name.startswith("folder"):
        return ""
    name = re.sub(r"^(square|brand)-", "", name)
    while (shorter := VARIANT.sub("", name)) != name:
        name = shorter
    for spelling, usual in SPELLINGS.items():
        name = name.replace(spelling, usual)
    return name
