"""Furniture from several sides: views go around, the model fills the picture, and categories hold models out."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from alumnus.datasets import furniture, furniture_categories
from alumnus.datasets.bullet import add_model
from alumnus.datasets.known import Folders
from alumnus.datasets.sweethome3d import Part, read_models
from alumnus.errors import DataError, MissingExtra
from tests.datasets.test_furniture import folders

__all__ = ["folders"]  # a fixture: made-up archives with 31 blocks


def test_views_go_all_around(folders: Folders) -> None:
    """No gap is larger than two of the eight steps, and each model has its own."""
    first, second = read_models(folders)[:2]
    views = furniture.views(first, 8, seed=0)
    angles = np.sort([view.yaw for view in views])
    assert np.diff(np.append(angles, angles[0] + 360)).max() < 2 * 45
    assert views == furniture.views(first, 8, seed=0)
    assert [view.yaw for view in views] != [view.yaw for view in furniture.views(second, 8, seed=0)]


def test_a_model_is_a_class(folders: Folders) -> None:
    """With its title as caption."""
    found = list(furniture.entries(folders, seed=0))
    assert len(found) == 31 * furniture.VIEWS
    assert (found[0].label, found[0].text, found[0].split) == ("made/block1", "Block 1", None)


def test_categories_hold_models_out(folders: Folders) -> None:
    """All views of one are together, and both sides have some."""
    found = list(furniture_categories.entries(folders, seed=0))
    assert {entry.label for entry in found} == {"Living room", "Exterior"}
    sides: dict[str | None, set[str | None]] = {}
    for entry in found:
        sides.setdefault(entry.text, set()).add(entry.split)
    assert all(len(splits) == 1 for splits in sides.values())
    assert {"train", "val", "test"} <= set().union(*sides.values())


def test_the_model_fills_the_picture(folders: Folders) -> None:
    """On white, in the middle, not cut off; from its other side it looks different, and again the same."""
    pytest.importorskip("pybullet")
    model, other = read_models(folders)[:2]
    views = furniture.views(model, 4, seed=0)
    pictures = [np.asarray(view(64), np.int64) for view in views]
    for picture in pictures:
        assert picture.shape == (128, 128, 3)
        ink = np.min(picture, axis=2) < 250
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert max(rows[-1] - rows[0], columns[-1] - columns[0]) > 64
        assert min(rows[0], columns[0]) > 0
        assert max(rows[-1], columns[-1]) < 127
    assert not np.array_equal(pictures[0], pictures[2])
    furniture.views(other, 1, seed=0)[0](64)  # another model in between
    assert np.array_equal(np.asarray(views[0](64)), pictures[0])


def test_without_the_renderer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, folders: Folders) -> None:
    """Rather than an ImportError."""
    furniture._session.cache_clear()
    furniture._show.cache_clear()
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(MissingExtra, match=r"alumnus\[scenes\]"):
        furniture.views(read_models(folders)[0], 1, seed=0)[0](64)


def test_too_many_parts_are_refused() -> None:
    """The renderer has room for 16, and would crash."""
    with pytest.raises(DataError, match="17 parts"):
        add_model(None, [Part(Path("a.obj"), (1, 1, 1, 1), None)] * 17, client=0)
