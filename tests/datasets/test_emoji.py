"""Emoji: one class for one character, whatever a set calls it; no skin tones, no flags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from alumnus.datasets import emoji, emoji_groups
from alumnus.datasets.emojibase import PACKAGE as EMOJIBASE
from alumnus.datasets.emojibase import Meaning, read_meanings
from alumnus.datasets.known import Folders
from alumnus.datasets.splits import class_split
from alumnus.errors import DataError


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Tiny sets in the places of the real ones."""
    drawn: dict[str, Sequence[str]] = {
        "noto": ["bear", "hand", "hand-medium-dark", "flag-france", "only-noto"],
        "noto-v1": ["bear", "only-noto"],
        "twemoji": ["bear", "hand", "hand-light-skin-tone", "light-bulb"],
        "emojione": ["bear-face", "light-bulb", "hand-tone3"],
    }
    aliases = {"emojione": {"bear": {"parent": "bear-face"}}}
    meanings = tmp_path / "emojibase" / "en"
    meanings.mkdir(parents=True)
    bear = {"hexcode": "1F43B", "label": "bear", "tags": ["animal", "face"], "group": 3}
    (meanings / "data.json").write_text(json.dumps([bear]))
    return {
        "emojibase-data": meanings.parent,
        **_sets(tmp_path, drawn, aliases),
    }


def _sets(
    tmp_path: Path, drawn: Mapping[str, Sequence[str]], aliases: Mapping[str, Mapping[str, object]]
) -> dict[str, Path]:
    sets = {
        f"@iconify-json/{style}": _write(tmp_path / style, drawn.get(style, ()), aliases.get(style, {}))
        for style in emoji.FAMILIES
    }
    return {**sets, EMOJIBASE.name: _meanings(tmp_path / "base")}


def _meanings(folder: Path) -> Path:
    (folder / "en").mkdir(parents=True)
    rows = [
        {"hexcode": "1F43B", "label": "bear", "tags": ["animal", "face"], "group": 3},
        {"hexcode": "1F1E9", "label": "regional indicator D"},
    ]
    (folder / "en" / "data.json").write_text(json.dumps(rows))
    return folder


def _write(folder: Path, names: Sequence[str], aliases: Mapping[str, object]) -> Path:
    folder.mkdir()
    icons = {name: {"body": "<path/>"} for name in names}
    (folder / "icons.json").write_text(json.dumps({"icons": icons, "aliases": aliases}))
    (folder / "chars.json").write_text(json.dumps({"1f43b": "bear"} if "bear" in names else {}))
    return folder


def test_sets_that_name_a_character_differently_meet(folders: Folders) -> None:
    """EmojiOne's bear-face is the others' bear."""
    styles = [entry.style for entry in emoji.entries(folders, seed=0) if entry.label == "bear"]
    assert styles == ["noto", "twemoji", "emojione", "noto-v1"]


def test_names_and_keywords_are_captions(folders: Folders) -> None:
    """Of every drawing of a character that Unicode's table knows."""
    captions = {entry.label: entry.text for entry in emoji.entries(folders, seed=0)}
    assert captions == {"bear": "bear: animal, face", "hand": None, "light-bulb": None}


def test_skin_tones_flags_and_loners_are_left_out(folders: Folders) -> None:
    """A light bulb has no skin; what one family alone draws cannot be found in another."""
    assert {entry.label for entry in emoji.entries(folders, seed=0)} == {"bear", "hand", "light-bulb"}


def test_generations_of_a_set_are_one_family(folders: Folders) -> None:
    """They copy each other."""
    families = {entry.style: entry.family for entry in emoji.entries(folders, seed=0)}
    assert families["noto"] == families["noto-v1"] != families["twemoji"]


def test_captions_are_name_and_keywords(folders: Folders) -> None:
    """For every drawing of the emoji; what Unicode does not know has none."""
    captions = {(entry.label, entry.text) for entry in emoji.entries(folders, seed=0)}
    assert captions == {("bear", "bear: animal, face"), ("hand", None), ("light-bulb", None)}


def test_groups_are_classes_and_emoji_are_held_out(folders: Folders) -> None:
    """All drawings of one emoji have one split; emoji without a group are left out."""
    found = list(emoji_groups.entries(folders, seed=0))
    assert {entry.label for entry in found} == {"animals and nature"}
    assert len(found) == 4
    assert len({entry.split for entry in found}) == 1


def test_no_held_out_drawing_of_groups_is_one_that_emoji_trains_on(tmp_path: Path) -> None:
    """Neither by its name, nor by that of its other sex, nor as the drawing that a set uses for two emoji."""
    names = ["cook", "man-cook", "astronaut", "man-astronaut", "bus", "ninja", "banana"]
    own = {name: class_split(name) for name in names}
    assert own == {
        "cook": "train",
        "man-cook": "test",
        "astronaut": "test",
        "man-astronaut": "train",
        "bus": "val",
        "ninja": "test",
        "banana": "test",
    }
    folders = _drawn_alike(tmp_path, names, drawn_as={"ninja": "cook"})
    drawn = list(emoji.entries(folders, seed=0))
    trained_on = {entry.picture for entry in drawn if own[entry.label] == "train"}
    found = {entry.picture: entry.split for entry in emoji_groups.entries(folders, seed=0)}
    assert all(found[picture] == "train" for picture in trained_on)
    of = {entry.label: found.get(entry.picture) for entry in drawn}
    assert of["man-cook"] == of["astronaut"] == "train"
    assert (of["bus"], of["banana"]) == ("val", "test")


def _drawn_alike(tmp_path: Path, names: Sequence[str], drawn_as: Mapping[str, str]) -> Folders:
    """Two sets with all emoji, each in a drawing of its own, but for those that are drawn as another one; the others are empty."""
    characters = {f"1f9{number:02x}": name for number, name in enumerate(names)}
    rows = [
        {"hexcode": code.upper(), "label": name, "tags": [], "group": 1} for code, name in characters.items()
    ]
    base = tmp_path / "base"
    (base / "en").mkdir(parents=True)
    (base / "en" / "data.json").write_text(json.dumps(rows))
    folders = {EMOJIBASE.name: base}
    for style in emoji.FAMILIES:
        icons = {name: {"body": f"<path d='{drawn_as.get(name, name)} {style}'/>"} for name in names}
        folder = tmp_path / style
        folder.mkdir()
        (folder / "icons.json").write_text(
            json.dumps({"icons": icons if style in ("noto", "twemoji") else {}})
        )
        (folder / "chars.json").write_text(json.dumps(characters if style in ("noto", "twemoji") else {}))
        folders[f"@iconify-json/{style}"] = folder
    return folders


def test_a_meaning_may_lack_keywords_and_group(folders: Folders) -> None:
    """Letters of flags, say."""
    meanings = read_meanings(folders[EMOJIBASE.name])
    assert meanings["1f1e9"] == Meaning("regional indicator D", (), "")
    assert meanings["1f1e9"].caption == "regional indicator D"


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    """By its path."""
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "data.json").write_text('{"a": 1}')
    with pytest.raises(DataError, match=r"data\.json is no table"):
        read_meanings(tmp_path)
