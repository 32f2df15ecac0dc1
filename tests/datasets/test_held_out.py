"""Classification sets made of retrieval sets: the same pictures, split by deck, style and typeface."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import matplotlib
import pytest

from alumnus.datasets import cards, cards_decks, flags, flags_styles, glyphs_fonts
from alumnus.datasets.known import Entry, Folders
from alumnus.datasets.splits import class_split
from alumnus.datasets.truetype import AENIGMA

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"


def _splits(entries: list[Entry]) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = defaultdict(set)
    for entry in entries:
        found[entry.style].add(entry.split)
    return dict(found)


def test_a_deck_has_one_split(tmp_path: Path) -> None:
    """The one that the list says; every deck has all 52 cards."""
    folder = tmp_path / "usr/share/aisleriot/cards"
    folder.mkdir(parents=True)
    for deck in ("berlin", "orell", "anglo", "new"):
        (folder / f"{deck}.svgz").touch()
    found = list(cards_decks.entries({cards.INFO.packages[0].name: tmp_path}, seed=0))
    assert _splits(found) == {"berlin": {"train"}, "orell": {"val"}, "anglo": {"test"}, "new": {"test"}}
    assert len({entry.label for entry in found}) == 52


def test_decks_of_one_family_are_on_one_side() -> None:
    """A recoloured deck never tells the answers of the one it was made from."""
    for deck, origin in cards.FAMILIES.items():
        assert (deck in cards_decks.TRAIN) == (origin in cards_decks.TRAIN), deck
    assert not set(cards_decks.TRAIN) & set(cards_decks.VAL)


def _flags(tmp_path: Path, drawn: dict[str, list[str]]) -> Folders:
    """Icon sets that hold the named flags; openmoji's by `flag-CODE`."""
    folders = {}
    for package in flags.INFO.packages:
        style = package.name.removeprefix("@iconify-json/")
        names = drawn.get(style, [])
        icons = {name: {"body": f"<path d='{name} {style}'/>"} for name in names}
        characters = {
            "-".join(f"{0x1F1E6 + ord(letter) - ord('a'):x}" for letter in name[-2:]): name
            for name in names
            if name.startswith("flag-")
        }
        folders[package.name] = tmp_path / style
        folders[package.name].mkdir()
        (tmp_path / style / "icons.json").write_text(json.dumps({"icons": icons}))
        (tmp_path / style / "chars.json").write_text(json.dumps(characters))
    return folders


def test_a_style_has_one_split(tmp_path: Path) -> None:
    """And codes with fewer than two training pictures are left out."""
    drawn = {
        "flag": ["ad-4x3", "ad-1x1"],
        "cif": ["fr"],
        "circle-flags": ["ad", "fr"],
        "openmoji": ["flag-ad"],
    }
    found = list(flags_styles.entries(_flags(tmp_path, drawn), seed=0))
    assert _splits(found) == {"flag": {"train"}, "circle-flags": {"test"}, "openmoji": {"test"}}
    assert {entry.label for entry in found} == {"ad"}


def test_no_held_out_picture_is_one_that_flags_trains_on(tmp_path: Path) -> None:
    """Training classes of `flags` are learnt here too, but neither validated nor tested on: there all their styles are training."""
    codes = ["ad", "cn", "dz", "gb"]
    assert [class_split(code) for code in codes] == ["test", "train", "val", "train"]
    drawn = {
        "flag": [f"{code}-{shape}" for code in codes for shape in ("4x3", "1x1")],
        "circle-flags": codes,
        "openmoji": [f"flag-{code}" for code in codes],
        "twemoji": [f"flag-{code}" for code in codes],
    }
    folders = _flags(tmp_path, drawn)
    found = list(flags_styles.entries(folders, seed=0))
    held_out = [entry for entry in found if entry.split != "train"]
    trained_on = {e.picture for e in flags.entries(folders, seed=0) if class_split(e.label) == "train"}
    assert trained_on
    assert not trained_on & {entry.picture for entry in held_out}
    assert {entry.label for entry in held_out} == {"ad", "dz"}
    assert {entry.label for entry in found if entry.split == "train"} == set(codes)


def test_typefaces_whose_names_begin_alike_are_together(tmp_path: Path) -> None:
    """They are mostly variants of one design."""
    folder = tmp_path / "usr/share/fonts/truetype/aenigma"
    folder.mkdir(parents=True)
    names = [f"{start}{end}" for start in ("abc", "dog", "Egg", "fox", "gum", "hat") for end in ("", "thk")]
    for name in names:
        shutil.copy(FONT, folder / f"{name}.ttf")
    splits = _splits(list(glyphs_fonts.entries({AENIGMA.name: tmp_path}, seed=0)))
    assert all(len(found) == 1 for found in splits.values())
    assert all(splits[name] == splits[name.removesuffix("thk")] for name in names)
    assert len({split for found in splits.values() for split in found}) > 1


@pytest.mark.parametrize("module", [cards_decks, flags_styles, glyphs_fonts])
def test_they_are_data_sets_of_their_own(module: object) -> None:
    """With another task than the one they are made from."""
    info = vars(module)["INFO"]
    assert info.task == "classification"
    assert info.name == vars(module)["__name__"].rpartition(".")[2]
