"""Samplers are pure functions of the step and share batches as they say."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alumnus.data.sampler import Sampler, SamplerName
from alumnus.errors import DataError

DOMAIN = np.array([0] * 30 + [1] * 7 + [2] * 3)
NAMES: list[SamplerName] = ["proportional", "balanced", "square_root", "round_robin", "dataset_size"]


def _sampler(name: SamplerName, *, batch_size: int = 6, seed: int = 0, views_per_image: int = 0) -> Sampler:
    return Sampler(DOMAIN, name=name, batch_size=batch_size, seed=seed, views_per_image=views_per_image)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_does_not_depend_on_the_steps_before(name: SamplerName) -> None:
    """A sampler asked for step 37 at once gives what one gives that walked there."""
    walked = _sampler(name)
    for step in range(37):
        walked.draw(step)
    for a, b in zip(walked.draw(37), _sampler(name).draw(37), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_is_used_once_before_any_is_used_twice(name: SamplerName) -> None:
    """Within a domain's pool, uses differ by at most one, and the view index is the number of uses before."""
    uses: Counter[int] = Counter()
    sampler = _sampler(name)
    for step in range(50):
        rows, views = sampler.draw(step)
        for row, view in zip(rows.tolist(), views.tolist(), strict=True):
            assert view == uses[row]
            uses[row] += 1
    pools = [np.arange(40)] if name == "proportional" else [np.flatnonzero(d == DOMAIN) for d in range(3)]
    for pool in pools:
        counts = [uses[row] for row in pool.tolist()]
        assert max(counts) - min(counts) <= 1


def test_balanced_batches_share_equally() -> None:
    """With 3 domains and 6 places every domain has 2; with 7 places the odd one goes round."""
    assert sorted(DOMAIN[_sampler("balanced").draw(4).rows]) == [0, 0, 1, 1, 2, 2]
    seven = _sampler("balanced", batch_size=7)
    total = Counter(DOMAIN[np.concatenate([seven.draw(step).rows for step in range(3)])].tolist())
    assert set(total.values()) == {7}


def test_square_root_shares_lie_between_balanced_and_proportional() -> None:
    """900, 100 and 25 images: shares of 30, 10 and 5 in 45, in every round and nearly so in every batch."""
    domain = np.repeat([0, 1, 2], [900, 100, 25])
    sampler = Sampler(domain, name="square_root", batch_size=64, seed=0)
    batches = [np.bincount(domain[sampler.draw(step).rows], minlength=3) for step in range(16)]
    assert sum(batches) / 1024 == pytest.approx(np.array([30, 10, 5]) / 45, abs=0.003)
    assert np.abs(np.array(batches) - 64 * np.array([30, 10, 5]) / 45).max() < 2


def test_square_root_leaves_no_domain_out() -> None:
    """Not even one image among two thousand domains."""
    all_of_them = np.append(np.arange(2000), np.zeros(10**6, np.int64))
    sampler = Sampler(all_of_them, name="square_root", batch_size=8000, seed=0)
    assert len(np.unique(all_of_them[sampler.draw(0).rows])) == 2000


def test_round_robin_batches_hold_one_domain() -> None:
    """Batch t holds domain t mod 3 alone."""
    sampler = _sampler("round_robin")
    for step in range(9):
        assert set(DOMAIN[sampler.draw(step).rows]) == {step % 3}


def test_dataset_size_batches_hold_one_domain_as_often_as_it_has_images() -> None:
    """30, 7 and 3 of 40 images; a batch's rows are the next ones of its domain."""
    sampler = _sampler("dataset_size")
    drawn = [DOMAIN[sampler.draw(step).rows] for step in range(1024)]
    assert all(len(set(rows.tolist())) == 1 for rows in drawn)
    share = np.bincount([rows[0] for rows in drawn], minlength=3) / 1024
    assert share == pytest.approx(np.array([30, 7, 3]) / 40, abs=0.003)


def test_seeds_give_different_orders() -> None:
    """Another seed, another permutation."""
    assert not np.array_equal(
        _sampler("proportional").draw(0).rows, _sampler("proportional", seed=1).draw(0).rows
    )


@given(views=st.integers(1, 4))
def test_views_repeat_after_as_many_as_asked_for(views: int) -> None:
    """With `views_per_image` the view index stays below it."""
    sampler = _sampler("balanced", views_per_image=views)
    seen = np.concatenate([sampler.draw(step).views for step in range(30)])
    assert set(seen.tolist()) == set(range(views))


def test_no_image_is_a_clear_error() -> None:
    """An empty training split is the user's to mend."""
    with pytest.raises(DataError, match="no image"):
        Sampler(np.empty(0, np.int64), name="balanced", batch_size=2, seed=0)
