"""Splits: classes are held out whole, and nothing is scored that is a copy or alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from alumnus.datasets.splits import assign_splits, class_split, group_splits

HELD_OUT = next(name for name in map(str, range(99)) if class_split(name) == "test")
TRAINED = next(name for name in map(str, range(99)) if class_split(name) == "train")


def _assign(
    labels: Sequence[str],
    *,
    families: Sequence[str] | None = None,
    looks: Sequence[int] | None = None,
    own: Sequence[str | None] | None = None,
    near_copy: float = 0.0,
) -> list[str]:
    """Splits of pictures that are one grey each; equal looks are equal pixels."""
    looks = looks if looks is not None else [20 * place for place in range(len(labels))]
    return assign_splits(
        labels,
        families or [""] * len(labels),
        np.array([[look] * 4 for look in looks], np.uint8),
        [bytes([look]) for look in looks],
        own,
        class_splits=None,
        near_copy=near_copy,
    )


def test_classes_are_split_five_one_four() -> None:
    """By a hash of the name, so it depends on nothing else."""
    counts = Counter(class_split(f"class {number}") for number in range(5000))
    assert abs(counts["train"] - 2500) < 150
    assert abs(counts["val"] - 500) < 80
    assert abs(counts["test"] - 2000) < 150


def test_a_class_has_one_split() -> None:
    """Train and held-out classes do not mix."""
    assert _assign([HELD_OUT, TRAINED] * 2) == ["test", "train"] * 2


def test_held_out_families_keep_one() -> None:
    """The first; a trained class keeps all."""
    families = ["noto", "noto", "twemoji"]
    assert _assign([HELD_OUT] * 3, families=families) == ["test", "spare", "test"]
    assert _assign([TRAINED] * 3, families=families) == ["train"] * 3


def test_no_family_is_not_a_family() -> None:
    """Pictures without one are all kept."""
    assert _assign([HELD_OUT] * 3, families=["", "", ""]) == ["test"] * 3


def test_equal_pixels_are_spare_everywhere() -> None:
    """Also under another name: both cannot be right."""
    assert _assign([TRAINED, TRAINED, HELD_OUT, HELD_OUT, HELD_OUT], looks=[1, 1, 1, 50, 90]) == [
        "train",
        "spare",
        "spare",
        "test",
        "test",
    ]


def test_near_copies_are_spare_where_held_out() -> None:
    """3 levels apart is near when 4 is the threshold, and not when 2 is."""
    looks = [10, 13, 90]
    assert _assign([HELD_OUT] * 3, looks=looks, near_copy=4.0) == ["test", "spare", "test"]
    assert _assign([HELD_OUT] * 3, looks=looks, near_copy=2.0) == ["test"] * 3
    assert _assign([TRAINED] * 3, looks=looks, near_copy=4.0) == ["train"] * 3


def test_a_held_out_picture_left_alone_is_spare() -> None:
    """No query could find another of its class."""
    assert _assign([HELD_OUT, TRAINED]) == ["spare", "train"]
    assert _assign([HELD_OUT] * 2, families=["noto"] * 2) == ["spare"] * 2


def test_classes_may_be_listed_instead() -> None:
    """For ten classes a hash may leave a split empty."""
    splits = assign_splits(
        ["a", "b", "b"],
        [""] * 3,
        np.zeros((3, 4), np.uint8),
        [b"1", b"2", b"3"],
        class_splits={"a": "train", "b": "val"},
        near_copy=0.0,
    )
    assert splits == ["train", "val", "val"]


def test_a_split_of_its_own_is_kept() -> None:
    """Whatever the class, also alone in it."""
    own = ["test", "train", "val", "query", "index"]
    assert _assign([HELD_OUT, HELD_OUT, TRAINED, TRAINED, "alone"], own=own) == own


def test_a_held_out_copy_of_a_training_picture_is_spare() -> None:
    """Also if it comes first, and under another name."""
    assert _assign(["a", "a", "b"], own=["test", "train", "val"], looks=[7, 7, 7]) == [
        "spare",
        "train",
        "spare",
    ]
    assert _assign(["a", "a"], own=["test", "test"], looks=[7, 7]) == ["test", "spare"]


def test_pictures_with_and_without_a_split_of_their_own_mix() -> None:
    """The class decides for those without."""
    splits = _assign([HELD_OUT, HELD_OUT, HELD_OUT], own=["train", None, None])
    assert splits == ["train", "test", "test"]


def test_a_held_out_near_copy_of_a_training_picture_is_spare() -> None:
    """In whatever class; what resembles other held-out pictures stays."""
    own = ["train", "test", "val", "test", "test"]
    looks = [10, 13, 12, 90, 91]
    labels = ["a", "a", "b", "a", "a"]
    assert _assign(labels, own=own, looks=looks, near_copy=4.0) == ["train", "spare", "spare", "test", "test"]
    assert _assign(labels, own=own, looks=looks, near_copy=2.0) == own


def test_groups_are_not_divided() -> None:
    """However many there are, and each class has its shares: five, one and four in ten, of groups of one."""
    labels = ["a"] * 100 + ["b"] * 100
    groups = [f"{number // 4}" for number in range(100)] + [str(number) for number in range(100)]
    splits = group_splits(labels, groups)
    assert all(len({splits[4 * group + place] for place in range(4)}) == 1 for group in range(25))
    assert Counter(splits[100:]) == {"train": 50, "val": 10, "test": 40}


def test_groups_depend_on_names_only() -> None:
    """Not on the order of the rows, nor on other classes."""
    names = [f"thing {number}" for number in range(30)]
    forwards = dict(zip(names, group_splits(["a"] * 30, names), strict=True))
    backwards = dict(zip(names[::-1], group_splits(["a"] * 30, names[::-1]), strict=True))
    assert forwards == backwards
    assert group_splits(["a"] * 30 + ["b"], [*names, "other"])[:30] == list(forwards.values())


def test_few_pictures_reach_training_and_test() -> None:
    """Two are enough for both; one is for test, or validation if the name wants it so."""
    assert sorted(group_splits(["a", "a"], ["x", "y"])) == ["test", "train"]
    assert sorted(group_splits(["a"] * 5, list("vwxyz"))) == ["test", "test", "train", "train", "val"]
