"""Classifiers among teachers: which they are, and their logits side by side."""

from __future__ import annotations

import pytest
import torch

from alumnus.classes import ClassifierSettings, groups_of, refuse_weights, side_by_side
from alumnus.errors import ConfigError
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Features, Target

SETUP = Setup(
    num_features=8,
    embed_dim=4,
    teachers={
        "digits": TeacherWidth(3, 1.0, output="logits"),
        "photos": TeacherWidth(7, 1.0),
        "clothes": TeacherWidth(2, 1.0),
    },
    num_classes={},
)


def _named(*logits: str) -> ClassifierSettings:
    return ClassifierSettings(name="m", logits=logits)


def test_classifiers_are_those_that_say_so_or_are_named() -> None:
    """In the order of the recipe, whatever the order of the names."""
    assert groups_of(SETUP, _named()) == {"digits": 3}
    assert list(groups_of(SETUP, _named("clothes")).items()) == [("digits", 3), ("clothes", 2)]


def test_names_and_widths_are_checked() -> None:
    """A name that no teacher has, and a classifier of one class."""
    with pytest.raises(ConfigError, match=r"'cloths', which is no teacher.*did you mean 'clothes'"):
        groups_of(SETUP, _named("cloths"))
    one = Setup(8, 4, {"one": TeacherWidth(1, 1.0, output="logits")}, {})
    with pytest.raises(ConfigError, match="'one' gives one logit"):
        groups_of(one, _named())


def test_logits_stand_side_by_side_where_they_are_known() -> None:
    """Columns in the order of the groups, rows at the places of each target."""
    digits, clothes = torch.randn(2, 3), torch.randn(1, 2)
    targets = {
        "clothes": Target(Features(clothes), torch.tensor([1])),
        "digits": Target(Features(digits), torch.tensor([0, 1])),
    }
    logits, known = side_by_side(targets, {"digits": 3, "clothes": 2}, like=torch.zeros(3, 5))
    assert known.tolist() == [[True] * 3 + [False] * 2, [True] * 5, [False] * 5]
    assert torch.equal(logits[:2, :3], digits)
    assert torch.equal(logits[1, 3:], clothes[0])


def test_a_weight_without_effect_is_refused() -> None:
    """With the reason."""
    heavy = Setup(8, 4, {"digits": TeacherWidth(3, 2.0, output="logits")}, {})
    with pytest.raises(ConfigError, match=r"'digits': weight=2 has no effect, because so it is"):
        refuse_weights(heavy, {"digits": 3}, because="so it is")
