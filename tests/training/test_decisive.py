"""Which settings may differ between a run and its continuation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alumnus.training.config import dump
from alumnus.training.decisive import decisive, differences
from alumnus.training.recipe import load_config


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """The least that a recipe needs."""
    path = tmp_path / "recipe.yaml"
    path.write_text("out: a\ndata: images\nstudent: timm/resnet10t\nteachers: [timm/resnet10t]\nlr: 2.0e-3\n")
    return path


def _values(recipe: Path, *words: str) -> dict[str, Any]:
    """As config.yaml holds them."""
    values: dict[str, Any] = yaml.safe_load(dump(load_config(recipe, words)))
    return values


def test_differences_ignore_what_is_not_learnt(recipe: Path) -> None:
    """Another folder or number of workers is the same run; another learning rate is not."""
    old = _values(recipe)
    assert differences(old, _values(recipe, "out=b", "workers=0", "checkpoint_every=5")) == []
    assert differences(old, _values(recipe, "lr=1")) == ["lr: was 0.002, is 1.0"]


def test_a_difference_is_named_by_its_place(recipe: Path) -> None:
    """Not by the whole list around it; of lists of other lengths, by what is in them; of another method, by its name."""
    old = _values(recipe)
    assert differences(old, _values(recipe, "teachers.0.domains=[flags]")) == [
        "teachers.0.domains: was None, is ['flags']"
    ]
    assert differences(old, _values(recipe, "views.flip=0", "optim.warmup=0.2")) == [
        "optim.warmup: was 0.05, is 0.2",
        "views.flip: was 0.5, is 0.0",
    ]
    assert differences(old, _values(recipe, "teachers=[timm/resnet10t, timm/resnet18]")) == [
        "teachers: was 1 (timm/resnet10t), is 2 (timm/resnet10t, timm/resnet18)"
    ]
    assert differences(old, _values(recipe, "method=plain")) == ["method.name: was 'agglomerate', is 'plain'"]
    assert differences(old, _values(recipe, "views.sizes=[96]")) == ["views.sizes: was [], is [96]"]


def test_settings_that_came_later_do_not_decide_while_they_change_nothing(recipe: Path) -> None:
    """A run from before there was `optim.frozen` goes on; another value is a difference, from the one that changes nothing."""
    words = ["method=supervised", "teachers=[]"]
    now, old = _values(recipe, *words), _values(recipe, *words)
    for owner, name in (("optim", "frozen"), ("method", "classifier"), ("method", "normalise_summary")):
        del old[owner][name]
    del old["accumulate"]
    assert differences(old, now) == []
    assert decisive(old) == decisive(now)
    assert len(differences(old, _values(recipe, *words, "optim.frozen=0.2"))) == 1
    assert differences(old, _values(recipe, *words, "accumulate=2")) == ["accumulate: was 1, is 2"]
