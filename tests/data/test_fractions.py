"""A share of the labels: stratified, seeded, nested, never without a class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alumnus.data.fractions import label_fraction, rarest_class
from alumnus.data.objects import Objects
from alumnus.errors import ConfigError

RECORDED = [13, 15, 24, 38]
LABELS = st.lists(st.integers(-1, 6), max_size=120)


@given(LABELS, st.floats(0.001, 1), st.integers(0, 5))
def test_each_class_keeps_its_share_and_at_least_one(labels: list[int], fraction: float, seed: int) -> None:
    """Rounded half up, whatever the class sizes."""
    found = np.array(labels, np.int64)
    kept = label_fraction(labels, fraction, seed)
    assert (np.diff(kept) > 0).all()
    for number in set(labels):
        count = int((found == number).sum())
        assert (found[kept] == number).sum() == max(1, int(np.floor(fraction * count + 0.5)))


@given(LABELS, st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 5))
def test_the_smaller_fraction_lies_inside_the_larger_one(
    labels: list[int], one: float, other: float, seed: int
) -> None:
    """So a curve over fractions adds images and exchanges none."""
    small, large = sorted((one, other))
    assert set(label_fraction(labels, small, seed)) <= set(label_fraction(labels, large, seed))


def test_the_seed_decides_which_ones() -> None:
    """The same seed gives the same images, another one others; all of them is all of them."""
    labels = np.repeat(np.arange(10), 50)
    one, same, other = (label_fraction(labels, 0.1, seed) for seed in (3, 3, 4))
    assert one.tolist() == same.tolist()
    assert len(set(one) & set(other)) < 20  # of 50; 5 are expected by chance
    assert label_fraction(labels, 1, 3).tolist() == list(range(500))


def test_what_was_chosen_once_is_chosen_for_good() -> None:
    """A recorded choice: scores of old runs are comparable only while it holds."""
    assert label_fraction([0] * 20 + [1] * 20, 0.1, 0).tolist() == RECORDED


def test_a_class_does_not_depend_on_the_others() -> None:
    """Dropping a class leaves the choice within the rest."""
    labels = np.array([0, 1, 2] * 30)
    rest = np.flatnonzero(labels != 1)
    of_all = [row for row in label_fraction(labels, 0.2, 0) if labels[row] != 1]
    assert rest[label_fraction(labels[rest], 0.2, 0)].tolist() == of_all


@pytest.mark.parametrize(("fraction", "seed"), [(0, 0), (1.01, 0), (-0.1, 0), (float("nan"), 0), (0.5, -1)])
def test_what_is_out_of_range_is_refused(fraction: float, seed: int) -> None:
    """Ten percent is 0.1, not 10."""
    with pytest.raises(ConfigError, match="must"):
        label_fraction([0, 1], fraction, seed)


def test_an_image_counts_for_its_rarest_class() -> None:
    """Class 1 is in one image only; an image without objects has a number of its own."""
    boxes = [[0], [0, 0, 1], [2, 0], [], [2]]
    objects = [Objects(np.zeros((len(each), 4), np.float32), np.array(each, np.int64)) for each in boxes]
    assert rarest_class(objects, 3).tolist() == [0, 1, 2, 3, 2]
