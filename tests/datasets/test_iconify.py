"""Iconify sets: names, aliases and sizes as the format says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alumnus.datasets.iconify import read_characters, read_icons
from alumnus.errors import DataError

SET = {
    "prefix": "made-up",
    "width": 32,
    "height": 16,
    "icons": {
        "bear": {"body": "<path d='M0 0h32v16H0z'/>"},
        "tall": {"body": "<path d='M0 0h8v24H0z'/>", "width": 8, "height": 24, "left": 2},
        "old": {"body": "<path/>", "hidden": True},
    },
    "aliases": {"bear-face": {"parent": "bear"}, "mirrored": {"parent": "bear", "hFlip": True}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package with the set above."""
    (tmp_path / "icons.json").write_text(json.dumps(SET))
    (tmp_path / "chars.json").write_text('{"1f43b": "bear"}')
    return tmp_path


def test_withdrawn_icons_are_left_out(folder: Path) -> None:
    """`hidden` is how a set withdraws one."""
    assert [icon.name for icon in read_icons(folder)] == ["bear", "tall"]


def test_plain_aliases_are_other_names(folder: Path) -> None:
    """A mirrored one is another drawing."""
    assert next(read_icons(folder)).aliases == ("bear-face",)


def test_an_icon_may_have_its_own_size(folder: Path) -> None:
    """Else the set's counts."""
    wide, tall = read_icons(folder)
    assert 'viewBox="0 0 32 16"' in wide.picture.markup
    assert 'viewBox="2 0 8 24"' in tall.picture.markup


def test_characters_name_icons(folder: Path) -> None:
    """Hexadecimal code points -> name."""
    assert read_characters(folder) == {"1f43b": "bear"}


def test_a_package_without_icons_is_refused(tmp_path: Path) -> None:
    """It names the file."""
    with pytest.raises(DataError, match=r"icons\.json"):
        list(read_icons(tmp_path))
