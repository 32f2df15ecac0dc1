"""Accuracy, with classes as they come and with classes of equal weight."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alumnus.evaluation.accuracy import accuracy, mean_ratio
from alumnus.evaluation.compare import resample


def test_by_hand() -> None:
    """Three of four right; class 0 fully, class 1 by half: .75 of the images, and .75 = (1 + .5) / 2 of the classes."""
    scored = accuracy(np.array([0, 0, 1, 0]), np.array([0, 0, 1, 1]))
    assert scored.top1.mean == 0.75
    assert scored.per_class.mean == 0.75
    assert scored.right.tolist() == [True, True, True, False]


def test_a_large_class_does_not_rule_the_mean_per_class() -> None:
    """Ninety right of a class of 90, none of a class of 10."""
    scored = accuracy(np.zeros(100, np.int64), np.repeat([0, 1], [90, 10]))
    assert scored.top1.mean == pytest.approx(0.9)
    assert scored.per_class.mean == pytest.approx(0.5)


def test_balanced_accuracy_is_that_of_scikit_learn() -> None:
    """Mean of the classes' recalls, a prediction outside the test's classes being plainly wrong."""
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    label = random.integers(0, 6, 300)
    predicted = np.where(random.random(300) < 0.6, label, random.integers(0, 6, 300))
    expected = metrics.balanced_accuracy_score(label, predicted)
    assert accuracy(predicted, label).per_class.mean == pytest.approx(expected)


def test_the_interval_is_that_of_the_house() -> None:
    """Accuracy over images is the plain bootstrap of `compare`, and about 1.96 binomial standard errors wide."""
    right = np.arange(1000) % 4 > 0
    scored = accuracy(np.where(right, 0, 1), np.zeros(1000, np.int64))
    assert scored.top1 == resample(right[:, None].astype(float), np.zeros(1000, np.int64)).of_domain(0, 0)
    half = (scored.top1.high - scored.top1.low) / 2
    assert half == pytest.approx(1.96 * math.sqrt(0.75 * 0.25 / 1000), rel=0.1)


def test_classes_of_one_test_image_are_uncertain_too() -> None:
    """Resampling within classes would call the mean per class certain."""
    scored = accuracy(np.arange(50) // 2 * 2, np.arange(50))
    assert scored.per_class.mean == 0.5
    assert scored.per_class.low < 0.45
    assert scored.per_class.high > 0.55


def test_a_mean_of_ratios_by_hand() -> None:
    """1/2 and 3/4 average to .625; an empty ratio is left out; none at all is NaN."""
    part = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]])
    whole = np.array([[1, 1, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]])
    assert mean_ratio(part, whole).mean == 0.625
    assert math.isnan(mean_ratio(part[:, 2:], whole[:, 2:]).mean)
    assert math.isnan(mean_ratio(part[:, :0], whole[:, :0]).low)
