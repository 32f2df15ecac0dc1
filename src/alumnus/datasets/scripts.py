"""Scripts of unseen fonts: fifteen, from Arabic to Thai. Rendered text; the class is the script.

Source: some 60 small font packages of Debian, see `script_fonts`; licences in INFO. Labels: the script that a package was made for. Every
picture shows eight letters in two lines, drawn from the seed. Bold and slanted variants are left out. Splits by font, those of one family
(`PT Sans`, `PT Sans Narrow`) together.

Pitfalls: letters stand alone and from left to right, which is not how Arabic, Hebrew or Khmer are written: it is the shapes of letters
that are told apart. Greek, Cyrillic and Latin share some. Hangul, kana and Chinese characters are missing, since their fonts are large.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont

from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.datasets.script_fonts import LETTERS, SCRIPTS
from alumnus.datasets.splits import group_splits
from alumnus.datasets.truetype import Text, drawable

PICTURES = 12  # of each font
LINES, LINE = 2, 4  # lines, and letters of one
ENOUGH = 0.8  # share of a script's letters that a font must have
VARIANT = re.compile("bold|black|italic|oblique|slant", re.IGNORECASE)
MAKERS = frozenset(
    ["bpg", "clm", "ethiopia", "ethiopic", "gfs", "khmer", "os", "pt", "tlwg"]
)  # in names of fonts, before what tells them apart

INFO = DatasetInfo(
    name="scripts",
    title="Scripts: which of fifteen, in fonts never seen",
    kind="rendered",
    task="classification",
    packages=tuple(package for packages in SCRIPTS.values() for package in packages),
    classes=len(LETTERS),
    images=1_700,
    notes="Rendered letters, black on white, each by itself.",
    limit_per_class=120,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields some pictures of every font, script by script; the letters come from the seed and differ between fonts."""
    found = [(script, path) for script in SCRIPTS for path in fonts(folders, script)]
    splits = group_splits([script for script, _ in found], [family(path) for _, path in found])
    for (script, path), split in zip(found, splits, strict=True):
        draw = random.Random(f"{seed}/{script}/{path.stem}")
        letters = drawable(path, LETTERS[script])
        for _ in range(PICTURES):
            text = "\n".join("".join(draw.choices(letters, k=LINE)) for _ in range(LINES))
            picture = Text(
                path, text, layout=ImageFont.Layout.BASIC
            )  # the same with and without a shaping engine
            yield Entry(script, path.stem, picture, split=split)


def fonts(folders: Folders, script: str) -> Iterator[Path]:
    """Yields the upright fonts of a script that have most of its letters, package by package."""
    for package in SCRIPTS[script]:
        root = folders[package.name] / "usr/share/fonts"
        seen = set[str]()  # some packages hold one font in two formats
        for path in sorted(root.rglob("*")):
            is_font = path.suffix.lower() in (".ttf", ".otf", ".woff") and not path.is_symlink()
            if not is_font or path.stem in seen or VARIANT.search(_name(path)):
                continue
            seen.add(path.stem)
            if len(drawable(path, LETTERS[script])) >= ENOUGH * len(LETTERS[script]):
                yield path


def family(path: Path) -> str:
    """Returns what fonts of one design share: the first word of their name that is not their maker's."""
    words = re.findall(r"[a-z]+", _name(path).lower())
    return next((word for word in words if word not in MAKERS), "")


def _name(path: Path) -> str:
    return " ".join(word for word in ImageFont.truetype(path).getname() if word)
