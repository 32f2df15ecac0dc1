"""GCompris, Tux Paint, Art4Apps and Open Clip Art: from files and folders to classes, captions and splits."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from alumnus.datasets import art4apps, gcompris, openclipart, tuxpaint
from alumnus.datasets.tuxpaint_stamps import PACKAGE as STAMPS
from tests.datasets.test_qt_resource import Tree, bundle
from tests.datasets.test_tuxpaint_stamps import stamp


def _webp() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "teal").save(file, "WEBP")
    return file.getvalue()


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """A few files of each bundle."""
    photo = _webp()
    categories: dict[str, list[str]] = {
        "fishes": [f"fish{number}.webp" for number in range(9)] + ["README"],
        "monuments": ["eiffelTower.webp", "kutubMinar.webp", "greatWall.webp"],
        "renewable": ["dam1.webp", "windmill1.webp", "windmill6.webp", "geothermal.webp"],
        "others": ["cup.webp", "igloo.webp"],
        "numbers": ["numbers.webp", "01.svg"],
    }
    trees: dict[str, Tree] = {
        "categorization": {
            "images": {folder: dict.fromkeys(names, photo) for folder, names in categories.items()}
        },
        "explore_monuments": {
            "france": {"eiffelTower.webp": photo, "france.svg": b""},
            "india": {"qutubMinar.webp": photo},
            "wonders": {"greatWallofChina.webp": photo},
        },
        "erase": {"heron.webp": photo, "horse.webp": photo, "bee.webp": photo},
    }
    folder = tmp_path / gcompris.RCC
    folder.mkdir(parents=True)
    for name, tree in trees.items():
        bundle(folder / f"{name}.rcc", tree)
    return tmp_path


def test_photographs_get_their_category(bundles: Path) -> None:
    """Drawings, a wind turbine, an igloo and a bee get none."""
    found = list(gcompris.entries({gcompris.PACKAGE.name: bundles}, seed=0))
    labels = [entry.label for entry in found]
    assert {label: labels.count(label) for label in labels} == {
        "fish": 9,
        "monument": 6,
        "dam": 1,
        "windmill": 1,
        "household": 1,
        "bird": 1,
        "mammal": 1,
    }
    assert found[0].picture(99).size == (8, 6)


def test_captions_are_the_names_in_words(bundles: Path) -> None:
    """Without numbers."""
    texts = {entry.text for entry in gcompris.entries({gcompris.PACKAGE.name: bundles}, seed=0)}
    assert {"fish", "eiffel tower", "qutub minar", "cup", "heron"} <= texts


def test_photographs_of_one_landmark_are_together(bundles: Path) -> None:
    """Also where two bundles spell it differently."""
    found = list(gcompris.entries({gcompris.PACKAGE.name: bundles}, seed=0))
    splits: dict[str | None, set[str | None]] = {}
    for entry in found:
        splits.setdefault(entry.text, set()).add(entry.split)
    assert len(splits["eiffel tower"]) == 1
    assert splits["kutub minar"] == splits["qutub minar"]
    assert splits["great wall"] == splits["great wallof china"]
    assert splits["fish"] == {"train", "val", "test"}


def test_stamps_get_their_category_and_sentence(tmp_path: Path) -> None:
    """The longest beginning of a path counts; what has no class is left out."""
    for number, (name, text) in enumerate(
        {
            "animals/mammals/cats/tiger.png": "A tiger.",
            "animals/marsupials/koala.png": "A koala.",
            "household/tools/saw.png": "A saw.",
            "household/key.png": None,
            "medical/syringe.png": "A syringe.",
        }.items()
    ):
        stamp(tmp_path, name, seed=number, text=text)
    found = {entry.label: entry.text for entry in tuxpaint.entries({STAMPS.name: tmp_path}, seed=0)}
    assert found == {"mammals": "A koala.", "tools": "A saw.", "household": None}


def test_a_theme_is_a_folder_and_a_caption_a_word(tmp_path: Path) -> None:
    """Spelt without underscores."""
    for name in ("fruit_n_veg/ice_plant", "fruit_n_veg/fig", "jobs/nun"):
        path = tmp_path / art4apps.FOLDER / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [(entry.label, entry.text) for entry in art4apps.entries({"pysiogame": tmp_path}, seed=0)]
    assert found == [("fruit and veg", "fig"), ("fruit and veg", "ice plant"), ("jobs", "nun")]


def test_small_themes_links_and_series_are_left_out(tmp_path: Path) -> None:
    """Numbered pictures of one series are together."""
    root = tmp_path / openclipart.FOLDER
    for name in [f"food/{word}_{number}" for word in ("fig", "pie", "ham", "egg") for number in range(12)]:
        _touch(root / f"{name}.svg")
    for number in range(60):
        _touch(root / f"shapes/stars/star{number}.svg")
    _touch(root / "buttons/red.svg")
    (root / "food/link.svg").symlink_to("fig_0.svg")
    found = list(openclipart.entries({"openclipart-svg": tmp_path}, seed=0))
    assert {entry.label for entry in found} == {"food"}
    assert len(found) == 48
    assert [len({entry.split for entry in found[start : start + 12]}) for start in (0, 12, 24, 36)] == [1] * 4
    assert {entry.split for entry in found} >= {"train", "test"}


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
