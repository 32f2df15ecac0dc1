"""The same number of every part, as far as there are so many."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alumnus.curation.balance import at_most, evenly, shares_of

COUNTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@given(COUNTS, st.integers(0, 400))
def test_shares_are_as_even_as_can_be(counts: list[int], limit: int) -> None:
    """The limit is met; whoever has less than another has all it can give."""
    shares = shares_of(np.array(counts), limit)
    assert shares.sum() == min(limit, sum(counts))
    assert (shares <= counts).all()
    for part, share in enumerate(shares):
        assert share == counts[part] or share >= shares.max() - 1


def test_without_a_limit_the_smallest_part_decides() -> None:
    """Three of each."""
    parts = np.array([0] * 10 + [4] * 3 + [2] * 7)
    kept = evenly(parts, None, seed=0)
    assert np.bincount(parts[kept]).tolist() == [3, 0, 3, 0, 3]


def test_a_larger_limit_keeps_what_a_smaller_one_kept() -> None:
    """And another seed keeps others."""
    parts = np.repeat([0, 1, 2], [50, 5, 30])
    kept = [set(evenly(parts, limit, seed=1)) for limit in (7, 20, 60)]
    assert kept[0] < kept[1] < kept[2]
    assert set(evenly(parts, 20, seed=2)) != kept[1]


def test_a_cap_spares_what_has_no_label() -> None:
    """Part -1 is no class."""
    parts = np.array([-1] * 6 + [0] * 6 + [1] * 2)
    kept = at_most(parts, 3, seed=0)
    assert [int((parts[kept] == number).sum()) for number in (-1, 0, 1)] == [6, 3, 2]


def test_nothing_stays_nothing() -> None:
    """A set without training images."""
    assert len(evenly(np.empty(0, np.int64), 5, seed=0)) == 0
