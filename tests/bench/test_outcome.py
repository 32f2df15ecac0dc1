"""Paired intervals, against hand-worked cases and a naive bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from alumnus.bench.outcome import Drawn, PerImage, difference_of, interval_of, mean_of
from alumnus.errors import DataError
from alumnus.evaluation.dense.overlap import Overlap

ROWS = np.arange(4)


def test_a_mean_is_the_mean_and_its_interval_holds_it() -> None:
    """Of 0 and 1."""
    found = interval_of([mean_of(np.array([1, 1, 0, 1]), ROWS)])
    assert found.mean == 0.75
    assert found.low < 0.75 < found.high


def test_a_model_that_is_always_right_against_one_that_never_is() -> None:
    """No resample says anything else."""
    right, wrong = mean_of(np.ones(4), ROWS), mean_of(np.zeros(4), ROWS)
    assert difference_of([right], [wrong]) == (1.0, 1.0, 1.0)
    assert difference_of([wrong], [right]).sign == -1


def test_equal_models_are_not_told_apart_however_wide_their_own_intervals() -> None:
    """The images are the same, so the difference is exactly 0."""
    mixed = mean_of(np.array([1, 0, 0, 1]), ROWS)
    assert difference_of([mixed], [mixed]) == (0.0, 0.0, 0.0)


def test_strata_weigh_equally() -> None:
    """Three images of one domain and one of the other: (2/3 + 0) / 2."""
    found = interval_of([mean_of(np.array([1, 1, 0, 0]), ROWS, np.array([0, 0, 0, 1]))])
    assert found.mean == pytest.approx(1 / 3)


def test_mean_iou_is_over_all_pixels_of_a_class_then_over_classes() -> None:
    """Class 0: 2 + 1 of 4 + 2 px; class 1: 0 of 1 px in the second picture alone."""
    part, whole = np.array([[2, 0], [1, 0]], np.float32), np.array([[4, 0], [2, 1]], np.float32)
    run = PerImage(np.arange(2), np.zeros(2, np.int64), part, whole)
    assert interval_of([run]).mean == pytest.approx((3 / 6 + 0) / 2)


def _rare_class(draw: np.random.Generator) -> tuple[Overlap, Overlap]:
    """Two models on twelve pictures, the second class in one of them; only the second model sees it where it is not."""
    true = np.stack([draw.integers(50, 99, 12), np.zeros(12, np.int64)], 1)
    true[3, 1] = 40
    right = true - draw.integers(0, 9, true.shape) * (true > 0)
    false = np.stack([np.zeros(12, np.int64), draw.integers(1, 9, 12)], 1)
    return Overlap(right, true, true), Overlap(right, true, true + false)


def _of_overlap(found: Overlap, *, has_true: bool = True) -> PerImage:
    right, true, predicted = (counts.astype(np.float32) for counts in found)
    rows = np.arange(len(true))
    return PerImage(rows, 0 * rows, right, true + predicted - right, true if has_true else None)


def test_a_class_that_a_resample_lacks_is_left_out_for_all_models() -> None:
    """As `adapt` scores it, and as a loop over resamples does; an older cell takes the true pixels from the newer one."""
    one, other = _rare_class(np.random.default_rng(0))
    for each in (one, other):
        assert interval_of([_of_overlap(each)]) == pytest.approx(each.mean_iou())
    draw, naive = np.random.default_rng(1), []
    for _ in range(2000):
        images = draw.integers(0, 12, 12)
        sums = [[counts[images].sum(0) for counts in each] for each in (one, other)]
        there = sums[0][1] > 0
        iou = [(right / np.maximum(true + seen - right, 1))[there].mean() for right, true, seen in sums]
        naive.append(iou[0] - iou[1])
    found = difference_of([_of_overlap(one)], [_of_overlap(other)], resamples=2000)
    assert [found.low, found.high] == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.02)
    older = _of_overlap(one, has_true=False)
    assert difference_of([older], [_of_overlap(other)], resamples=2000) == found


def test_the_interval_is_that_of_a_naive_bootstrap_over_images_and_seeds() -> None:
    """Two seeds, drawn with replacement too; within the noise of 4,000 resamples."""
    draw = np.random.default_rng(0)
    values = draw.random((2, 2, 60)) < np.array([[[0.5], [0.7]], [[0.4], [0.6]]])  # model, seed, image
    rows = np.arange(60)
    found = difference_of(
        [mean_of(values[0, s], rows) for s in range(2)],
        [mean_of(values[1, s], rows) for s in range(2)],
        resamples=4000,
    )
    naive = []
    for _ in range(4000):
        images, seeds = draw.integers(0, 60, 60), draw.integers(0, 2, 2)
        naive.append(values[0][seeds][:, images].mean() - values[1][seeds][:, images].mean())
    assert found.mean == pytest.approx(values[0].mean() - values[1].mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.02)


def test_resampled_metrics_are_paired_by_resample() -> None:
    """Average precision: one of them is ahead by 0.1 on every resample."""
    drawn = np.random.default_rng(0).random(50)
    one, other = Drawn(ROWS, 0.6, drawn + 0.1), Drawn(ROWS, 0.5, drawn)
    assert difference_of([one], [other]) == pytest.approx((0.1, 0.1, 0.1))


def test_other_images_or_other_numbers_of_runs_are_refused() -> None:
    """A pair needs two of the same."""
    one, other = mean_of(np.ones(4), ROWS), mean_of(np.ones(4), ROWS + 1)
    with pytest.raises(DataError, match="different images"):
        difference_of([one], [other])
    with pytest.raises(DataError, match="same seeds"):
        difference_of([one, one], [one])
