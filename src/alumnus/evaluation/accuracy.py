"""Shares of images, as a share says itself least: with an interval.

Everything here is a ratio of two sums over images, and images are what is resampled: accuracy, accuracy with classes of equal weight, the
share of old-class images that are called new. A class that has one test image varies with it, where resampling within classes
would call its score certain.

Axes: Q test images, S ratios that are averaged, R resamples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.compare import CONFIDENCE, RESAMPLES, Interval, resample


class Accuracy(NamedTuple):
    """How often predictions are right."""

    top1: Interval  # share of the images
    per_class: Interval  # mean over the classes of the test part of the share of each, "mean per class"
    right: npt.NDArray[np.bool_]  # (Q,) image by image, for paired comparisons


def accuracy(predicted: Ids, label: Ids, *, resamples: int = RESAMPLES, seed: int = 0) -> Accuracy:
    """Returns how often predictions (Q,) are the labels (Q,), Q at least 1, with 95 % intervals by bootstrap over images.

    >>> accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])).top1.mean
    0.75
    """
    right = predicted == label
    _, place, count = np.unique(label, return_inverse=True, return_counts=True)
    weight = 1 / count[place]
    return Accuracy(
        mean_ratio(right[:, None], np.ones((len(label), 1)), resamples=resamples, seed=seed),
        mean_ratio((weight * right)[:, None], weight[:, None], resamples=resamples, seed=seed),
        right,
    )


def mean_ratio(
    part: npt.NDArray[np.generic],
    whole: npt.NDArray[np.generic],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns the mean over S of `sum of part / sum of whole`, each sum over images, and its bootstrap over images.

    Args:
        part, whole: (Q, S). A ratio whose whole is empty is left out of the mean; NaN if all are.
    """
    num_ratios = part.shape[1]
    if not len(part) or not whole.any():
        return Interval(float("nan"), float("nan"), float("nan"))
    drawn = resample(
        np.concatenate([part, whole], 1).astype(np.float64),
        np.zeros(len(part), np.int64),
        resamples=resamples,
        seed=seed,
    )
    mean = _mean_of_ratios(drawn.mean, num_ratios)[0]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(_mean_of_ratios(drawn.resamples[:, 0], num_ratios), [tail, 1 - tail])
    return Interval(float(mean), float(low), float(high))


def _mean_of_ratios(sums: npt.NDArray[np.float64], num_ratios: int) -> npt.NDArray[np.float64]:
    """Returns (n,) from (n, 2S)."""
    part, whole = sums[:, :num_ratios], sums[:, num_ratios:]
    filled = whole > 0
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=filled)
    count = filled.sum(1)
    mean = np.full(len(sums), np.nan)
    np.divide(ratio.sum(1), count, out=mean, where=count > 0)
    return mean
