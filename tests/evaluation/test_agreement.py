"""Do two encoders agree: the sums against Gram matrices, and what must and must not change the numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alumnus.errors import DataError
from alumnus.evaluation.agreement import agreement, linear_cka, mutual_knn
from alumnus.evaluation.arrays import Doubles, Floats
from alumnus.evaluation.jackknife import jackknife

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 7)).astype(np.float32)
Y = (X @ RANDOM.normal(size=(7, 9)) + 2 * RANDOM.normal(size=(60, 9))).astype(np.float32)


def _unbiased_hsic(k: Doubles, ell: Doubles) -> float:
    """Song et al. 2012, eq. 4, as printed."""
    n = len(k)
    k, ell = k - np.diag(np.diag(k)), ell - np.diag(np.diag(ell))
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ ell @ one) / ((n - 1) * (n - 2))
    return float((np.trace(k @ ell) + middle - 2 / (n - 2) * one @ k @ ell @ one) / (n * (n - 3)))


def _rotation(width: int) -> Floats:
    turned, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(width, width)))
    return turned.astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 2.0])
def test_cka_is_that_of_the_gram_matrices(offset: float) -> None:
    """The sums over dimensions give Song's estimator on N x N matrices, whatever the offset of the features."""
    x, y = X.astype(np.float64) + offset, Y.astype(np.float64) - offset
    k, ell = x @ x.T, y @ y.T
    expected = _unbiased_hsic(k, ell) / math.sqrt(_unbiased_hsic(k, k) * _unbiased_hsic(ell, ell))
    assert linear_cka(X + offset, Y - offset) == pytest.approx(expected, abs=1e-5)


def test_cka_of_an_encoder_with_itself_is_1() -> None:
    """Also turned, mirrored, scaled and shifted; a linear map that is no rotation changes it."""
    assert linear_cka(X, X) == pytest.approx(1)
    assert linear_cka(X, 3 * X @ _rotation(7) - 1) == pytest.approx(1, abs=1e-5)
    assert linear_cka(X, X * np.geomspace(0.01, 100, 7).astype(np.float32)) < 0.9


def test_cka_does_not_change_with_rotation_scale_offset_or_order() -> None:
    """Of either side, and it is symmetric."""
    plain = linear_cka(X, Y)
    assert 0.2 < plain < 0.98
    assert linear_cka(0.1 * X @ _rotation(7) + 5, Y) == pytest.approx(plain, abs=1e-5)
    assert linear_cka(X, Y @ _rotation(9) * 40) == pytest.approx(plain, abs=1e-5)
    assert linear_cka(Y, X) == pytest.approx(plain)
    order = np.random.default_rng(0).permutation(60)
    assert linear_cka(X[order], Y[order]) == pytest.approx(plain)


def test_unrelated_encoders_agree_by_nothing_even_with_few_images() -> None:
    """30 images and 500 dimensions: the plain CKA would be above .9, the debiased is 0 on average."""
    values = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        values.append(linear_cka(random.normal(size=(30, 500)), random.normal(size=(30, 500))))
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(40) + 1e-3
    assert max(np.abs(values)) < 0.2


def test_a_constant_encoder_agrees_with_nobody() -> None:
    """NaN, not a division by 0; fewer than four images are refused."""
    assert math.isnan(linear_cka(X, np.ones_like(Y)))
    with pytest.raises(DataError, match="4 images"):
        linear_cka(X[:3], Y[:3])


def test_mutual_neighbours_by_hand() -> None:
    """Angles 0, 10, 50, 60 degrees against 0, 50, 10, 60: with k = 1 the first has 1 -> 0 … shared only by none; with k = 3 all."""
    angles = np.radians([0, 10, 50, 60])
    x = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    y = x[[0, 2, 1, 3]]
    assert mutual_knn(x, x, k=1).tolist() == [1, 1, 1, 1]
    assert mutual_knn(x, y, k=1).tolist() == [0, 0, 0, 0]
    assert mutual_knn(x, y, k=2).tolist() == [1.0, 0.5, 0.5, 1.0]
    assert mutual_knn(x, y, k=3).tolist() == [1, 1, 1, 1]
    assert mutual_knn(x, y, k=30).tolist() == [1, 1, 1, 1]


def test_mutual_neighbours_of_unrelated_encoders_are_at_chance() -> None:
    """k / (N - 1), within what 400 images allow; rotation and scale change nothing."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 400, 8)).astype(np.float32)
    found = agreement(x, y, np.zeros(400, np.int64), ["all"])["all"]
    assert found.chance == pytest.approx(10 / 399)
    assert found.mutual_knn.mean == pytest.approx(found.chance, abs=0.01)
    assert found.cka.low < 0 < found.cka.high
    assert (mutual_knn(x, 3 * x @ _rotation(8)) == 1).mean() > 0.98


def test_each_domain_by_itself() -> None:
    """Encoders that agree in one domain and not in the other; a domain of three images has no score."""
    random = np.random.default_rng(0)
    domain = np.repeat([0, 2, 1], [50, 50, 3])
    x = random.normal(size=(103, 6)).astype(np.float32)
    y = np.where(domain[:, None] == 0, 2 * x, random.normal(size=(103, 6))).astype(np.float32)
    found = agreement(x, y, domain, ["same", "tiny", "other"])
    assert list(found) == ["same", "other"]
    assert found["same"].cka.mean == pytest.approx(1)
    assert found["same"].mutual_knn == (1, 1, 1)
    assert found["other"].cka.high < 0.6
    assert found["same"].num_images == 50
    with pytest.raises(DataError, match="same images"):
        agreement(x, y[:-1], domain, ["a", "b", "c"])


def test_jackknife_of_a_mean_is_students_interval() -> None:
    """Groups of equal size and a mean: the error is that of the ten group means, t with 9 degrees of freedom."""
    values = np.random.default_rng(0).normal(size=200)
    found = jackknife(lambda rows: float(values[rows].mean()), 200)
    group = np.random.default_rng(0).permutation(200) % 10
    means = np.array([values[group == g].mean() for g in range(10)])
    half = 2.262 * means.std(ddof=1) / math.sqrt(10)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.mean == pytest.approx(half)
    assert math.isnan(jackknife(lambda rows: 0.0, 19).low)


def test_jackknife_of_cka_covers_the_truth() -> None:
    """In 100 draws of 120 images from one population, the interval holds the population's CKA about as often as it says."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(6, 6))

    def draw(count: int) -> tuple[Doubles, Doubles]:
        x = random.normal(size=(count, 6))
        return x, x @ mixing + 2 * random.normal(size=(count, 6))

    x, y = draw(100_000)
    truth = linear_cka(x.astype(np.float32), y.astype(np.float32))
    covered = 0
    for seed in range(100):
        x, y = draw(120)
        found = jackknife(lambda rows, x=x, y=y: linear_cka(x[rows], y[rows]), 120, seed=seed)  # type: ignore[misc]
        covered += found.low <= truth <= found.high
    assert 85 <= covered <= 100
