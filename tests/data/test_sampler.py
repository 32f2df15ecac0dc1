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
NAMES: list[SamplerName] = ["proportional", "balanced", "round_robin"]


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


def test_round_robin_batches_hold_one_domain() -> None:
    """Batch t holds domain t mod 3 alone."""
    sampler = _sampler("round_robin")
    for step in range(9):
        assert set(DOMAIN[sampler.draw(step).rows]) == {step % 3}


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
