"""Scripts: which fonts count, which letters are drawn, and families that stay together."""

from __future__ import annotations

import shutil
from pathlib import Path

import matplotlib
import pytest
from PIL import ImageFont

from alumnus.datasets.script_fonts import LETTERS, SCRIPTS
from alumnus.datasets.scripts import LINE, LINES, PICTURES, entries, family, fonts
from alumnus.datasets.truetype import Text, drawable

FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """Every package is empty but for two: DejaVu as Greek, in which it has all letters, and as Thai, in which it has none."""
    found = {package.name: tmp_path / package.name for packages in SCRIPTS.values() for package in packages}
    for script in ("greek", "thai"):
        folder = found[SCRIPTS[script][0].name] / "usr/share/fonts/opentype"
        folder.mkdir(parents=True)
        for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf"):
            shutil.copy(FONTS / name, folder)
    return found


def test_upright_fonts_that_have_the_letters_are_found(folders: dict[str, Path]) -> None:
    """Neither bold nor slanted ones, nor those that would draw boxes."""
    assert [path.stem for path in fonts(folders, "greek")] == ["DejaVuSans", "DejaVuSerif"]
    assert list(fonts(folders, "thai")) == []


def test_a_picture_shows_letters_of_its_script(folders: dict[str, Path]) -> None:
    """Drawn from the seed; a caption would give the label away, so there is none."""
    found = list(entries(folders, seed=0))
    assert len(found) == 2 * PICTURES
    for entry in found:
        assert isinstance(entry.picture, Text)
        lines = entry.picture.text.split("\n")
        assert [len(line) for line in lines] == [LINE] * LINES
        assert set("".join(lines)) <= set(LETTERS["greek"])
        assert entry.picture.layout == ImageFont.Layout.BASIC
    assert found == list(entries(folders, seed=0))
    assert found != list(entries(folders, seed=1))


def test_fonts_of_one_family_are_together(folders: dict[str, Path]) -> None:
    """DejaVu Sans and Serif begin alike."""
    assert family(FONTS / "DejaVuSans.ttf") == family(FONTS / "DejaVuSerif.ttf") == "dejavu"
    assert len({entry.split for entry in entries(folders, seed=0)}) == 1


def test_what_a_font_lacks_is_known() -> None:
    """It would be drawn as a box."""
    assert drawable(FONTS / "DejaVuSans.ttf", "aก\u0391") == "a\u0391"


@pytest.mark.parametrize("script", LETTERS)
def test_letters_are_many_and_of_one_script(script: str) -> None:
    """No marks, no digits, no doubles; no package serves two scripts."""
    letters = LETTERS[script]
    assert len(set(letters)) == len(letters) >= 22
    assert letters.isalpha()
    others = {package.name for other in SCRIPTS if other != script for package in SCRIPTS[other]}
    assert not others & {package.name for package in SCRIPTS[script]}
