"""All pairs at once give the numbers of one pair at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alumnus.errors import DataError
from alumnus.evaluation.agreement import agreement
from alumnus.evaluation.pairwise import pairwise

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 7)).astype(np.float32)
Y = (X @ RANDOM.normal(size=(7, 9)) + 2 * RANDOM.normal(size=(60, 9))).astype(np.float32)
TURN = np.linalg.qr(np.random.default_rng(3).normal(size=(7, 7)))[0].astype(np.float32)


def test_a_pair_is_what_agreement_says_of_it() -> None:
    """Numbers and intervals, through Gram matrices instead of sums over dimensions."""
    found = pairwise({"x": X + 5, "y": Y, "z": Y[:, :4]})
    assert list(found) == [("x", "y"), ("x", "z"), ("y", "z")]
    expected = agreement(X + 5, Y, np.zeros(60, np.int64), ["all"])["all"]
    pair = found["x", "y"]
    np.testing.assert_allclose(pair.cka, expected.cka, atol=1e-5)
    np.testing.assert_allclose(pair.mutual_knn, expected.mutual_knn, atol=1e-6)
    assert (pair.num_images, pair.chance) == (expected.num_images, expected.chance)


def test_a_turned_and_scaled_copy_agrees_entirely() -> None:
    """Neighbours by cosine do not move under a rotation either."""
    pair = pairwise({"x": X, "copy": 3 * X @ TURN})["x", "copy"]
    assert pair.cka.mean == pytest.approx(1, abs=1e-5)
    assert pair.cka.low == pytest.approx(1, abs=1e-4)
    assert pair.mutual_knn.mean == pytest.approx(1, abs=0.01)


def test_a_constant_encoder_agrees_with_nobody() -> None:
    """NaN, not a division by 0."""
    assert math.isnan(pairwise({"x": X, "still": np.ones_like(Y)})["x", "still"].cka.mean)


def test_few_images_and_different_ones() -> None:
    """Three say nothing; unequal numbers are refused, and named."""
    assert pairwise({"x": X[:3], "y": Y[:3]}) == {}
    with pytest.raises(DataError, match="'y': 59"):
        pairwise({"x": X, "y": Y[1:]})
