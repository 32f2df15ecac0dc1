"""Effective rank and RankMe: known spectra, what changes nothing, and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles
from alumnus.evaluation.rank import effective_rank, rankme, ranks, top_variance


def _with_spectrum(values: list[float], num_images: int = 40, width: int = 12) -> Doubles:
    """Returns centred features with these singular values."""
    random = np.random.default_rng(0)
    left = random.normal(size=(num_images, len(values)))
    left, _ = np.linalg.qr(left - left.mean(0))
    right, _ = np.linalg.qr(random.normal(size=(width, len(values))))
    return np.asarray((left * values) @ right.T, np.float64)


def test_equal_singular_values_count_themselves() -> None:
    """Five equal ones are a rank of five; one is a rank of one."""
    assert effective_rank(_with_spectrum([2.0] * 5)) == pytest.approx(5, rel=1e-4)
    assert effective_rank(_with_spectrum([7.0])) == pytest.approx(1, rel=1e-4)
    assert rankme(_with_spectrum([2.0] * 5)) == pytest.approx(5, rel=1e-4)


def test_by_hand() -> None:
    """Singular values 3 and 1 are shares 3/4 and 1/4: exp of their entropy is 4 / 3^(3/4)."""
    assert effective_rank(_with_spectrum([3.0, 1.0])) == pytest.approx(4 / 3**0.75, rel=1e-4)


def test_the_share_of_the_first_direction() -> None:
    """Singular values 3 and 1 are variances 9 and 1; a constant has none."""
    assert top_variance(_with_spectrum([3.0, 1.0]) + 5) == pytest.approx(0.9, rel=1e-4)
    assert math.isnan(top_variance(np.ones((5, 3))))


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_both_are_those_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    """Against numpy's, of features that are not centred: RankMe counts the offset, effective rank does not."""
    features = np.random.default_rng(1).normal(size=shape) + 1

    def expected(matrix: Doubles, epsilon: float) -> float:
        share = np.linalg.svd(matrix, compute_uv=False)
        share = share / share.sum() + epsilon
        return float(np.exp(-(share[share > 0] * np.log(share[share > 0])).sum()))

    assert rankme(features) == pytest.approx(expected(features, 1e-7), rel=1e-5)
    assert effective_rank(features) == pytest.approx(expected(features - features.mean(0), 0), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 30), st.integers(1, 20), st.integers(0, 1000), st.floats(0.001, 1000))
def test_rotation_scale_and_offset_do_not_matter_and_bounds_hold(
    num_images: int, width: int, seed: int, scale: float
) -> None:
    """1 <= effective rank <= min(N - 1, D) for whatever features; a shift changes RankMe alone."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(num_images, width))
    turn, _ = np.linalg.qr(random.normal(size=(width, width)))
    plain = effective_rank(features)
    assert 1 - 1e-6 <= plain <= min(num_images - 1, width) + 1e-3
    assert effective_rank(scale * features @ turn + 3) == pytest.approx(plain, rel=1e-3)
    assert rankme(scale * features @ turn) == pytest.approx(rankme(features), rel=1e-3)


def test_collapsed_features_have_no_rank() -> None:
    """All images alike: 0 dimensions are used, though RankMe sees the one of the offset; no image is an error."""
    constant = np.ones((10, 4))
    assert effective_rank(constant) == 0
    assert rankme(constant) == pytest.approx(1, rel=1e-4)
    assert rankme(np.zeros((10, 4))) == 0
    with pytest.raises(DataError, match="not empty"):
        effective_rank(np.zeros((0, 4)))


def test_each_domain_with_its_interval() -> None:
    """A domain of two dimensions and one of six; the interval holds the value, few images have none."""
    random = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], [100, 100, 5])
    features = random.normal(size=(205, 6))
    features[domain == 0, 2:] = 0
    found = ranks(features.astype(np.float32), domain, ["flat", "full", "few"])
    assert found["flat"].effective_rank.mean == pytest.approx(2, rel=0.02)
    assert found["full"].effective_rank.mean > 5.8
    assert (
        found["full"].effective_rank.low
        < found["full"].effective_rank.mean
        < found["full"].effective_rank.high
    )
    assert math.isnan(found["few"].rankme.low)
    assert found["few"].num_images == 5
