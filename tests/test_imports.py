"""Modules that a recipe names may lie in the current folder; what Alumnus imports itself may not."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

import alumnus
from alumnus.imports import current_folder


def test_the_current_folder_is_looked_at_only_within_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a folder of images of the name of an extra would stand for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    (tmp_path / "named_by_a_recipe.py").write_text("value = 3\n")
    before = list(sys.path)
    with current_folder():
        assert importlib.import_module("named_by_a_recipe").value == 3
        assert sys.path == [*before, str(tmp_path)]
    assert sys.path == before
    (tmp_path / "an_extra").mkdir()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("an_extra")


def test_all_public_names_can_be_completed() -> None:
    """Before the first of them is used."""
    assert set(alumnus.__all__) <= set(dir(alumnus))
    assert all(vars(alumnus).get(name) or alumnus.__getattr__(name) for name in alumnus.__all__)
