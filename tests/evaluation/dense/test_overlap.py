"""Intersection over union against a loop that counts pixel by pixel."""

from __future__ import annotations

import math

import numpy as np

from alumnus.evaluation.dense.overlap import Overlap, overlap


def _naive(predicted: list[np.ndarray], true: list[np.ndarray], num_classes: int) -> tuple[float, float]:
    """Mean IoU over classes that occur, and pixel accuracy."""
    inside, either, right, known = [0] * num_classes, [0] * num_classes, 0, 0
    for x, y in zip(predicted, true, strict=True):
        for row in range(x.shape[0]):
            for column in range(x.shape[1]):
                p, t = int(x[row, column]), int(y[row, column])
                if t == -1:
                    continue
                known += 1
                right += p == t
                for label in range(num_classes):
                    inside[label] += p == label and t == label
                    either[label] += label in {p, t}
    occurs = [label for label in range(num_classes) if any((y == label).any() for y in true)]
    return float(np.mean([inside[label] / either[label] for label in occurs])), right / known


def test_it_agrees_with_a_loop_over_pixels() -> None:
    """Pictures of several sizes, ignored pixels, and a class that is predicted but does not occur."""
    random = np.random.default_rng(0)
    true = [random.integers(-1, 4, size) for size in ((5, 7), (3, 3), (8, 2))]
    predicted = [
        np.where(random.random(y.shape) < 0.5, y.clip(0), random.integers(0, 5, y.shape)) for y in true
    ]
    counts = Overlap(*np.stack([overlap(x, y, 6) for x, y in zip(predicted, true, strict=True)], axis=1))
    expected = _naive(predicted, true, 6)
    assert math.isclose(counts.mean_iou(resamples=10).mean, expected[0])
    assert math.isclose(counts.pixel_accuracy(resamples=10).mean, expected[1])
    assert np.isnan(counts.iou()).tolist() == [False] * 4 + [True] * 2
    assert math.isclose(float(np.nanmean(counts.iou())), expected[0])


def test_intervals_come_from_pictures() -> None:
    """Pictures that are all alike leave no doubt; one bad picture among good ones does."""
    good, bad = (
        overlap(np.zeros((2, 2), int), np.zeros((2, 2), int), 2),
        overlap(np.ones((2, 2), int), np.zeros((2, 2), int), 2),
    )
    alike = Overlap(*np.stack([good] * 8, axis=1)).mean_iou()
    assert (alike.low, alike.mean, alike.high) == (1, 1, 1)
    mixed = Overlap(*np.stack([good] * 6 + [bad] * 2, axis=1)).pixel_accuracy()
    assert mixed.mean == 0.75
    assert 0.3 <= mixed.low < 0.75 < mixed.high <= 1


def test_nothing_known_is_no_number() -> None:
    """Neither 0 nor an error."""
    counts = Overlap(*np.stack([overlap(np.zeros((1, 1), int), np.full((1, 1), -1), 2)], axis=1))
    assert math.isnan(counts.mean_iou().mean)
