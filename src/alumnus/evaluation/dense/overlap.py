"""How well predicted masks cover the true ones: intersection over union, and the share of pixels that are right.

As PASCAL VOC counts (Everingham et al. 2010): all pixels of all pictures go into one confusion matrix, pixels without a class are
left out, and the mean is over the classes that occur in the ground truth. Intervals resample pictures.

Axes: Q pictures, C classes, R resamples, H and W of a picture.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from alumnus.data.dense import IGNORE
from alumnus.evaluation.arrays import Doubles, Ids
from alumnus.evaluation.compare import CONFIDENCE, RESAMPLES, Interval, resample


class Overlap(NamedTuple):
    """Pixels of pictures, each (Q, C) int64, pixels without a class left out."""

    right: Ids  # of the class and predicted as it
    true: Ids  # of the class
    predicted: Ids  # predicted as it

    def iou(self) -> Doubles:
        """Returns (C,) intersection over union over all pictures; NaN for a class that does not occur."""
        right, true, predicted = (counts.sum(0).astype(np.float64) for counts in self)
        return _ratio(right, true + predicted - right, where=true > 0)

    def mean_iou(self, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
        """Returns the mean over the classes that occur, and its bootstrap over pictures."""
        return self._interval(_mean_iou, resamples, seed)

    def pixel_accuracy(self, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
        """Returns the share of pixels that are right, and its bootstrap over pictures."""
        return self._interval(_pixel_accuracy, resamples, seed)

    def _interval(self, statistic: Statistic, resamples: int, seed: int) -> Interval:
        if not self.true.any():
            return Interval(float("nan"), float("nan"), float("nan"))
        values = np.concatenate([np.asarray(counts) for counts in self], axis=1).astype(
            np.float64
        )  # (Q, 3 C)
        drawn = resample(values, np.zeros(len(values), np.int64), resamples=resamples, seed=seed)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.nanquantile(statistic(drawn.resamples[:, 0]), [tail, 1 - tail])
        return Interval(float(statistic(drawn.mean)[0]), float(low), float(high))


class Statistic(Protocol):
    """A number of pixel counts."""

    def __call__(self, counts: Doubles, /) -> Doubles:
        """From (R, 3 C) to (R,)."""
        ...


def overlap(predicted: Ids, true: Ids, num_classes: int) -> NDArray[np.int64]:
    """Returns one picture's counts (3, C): right, true, predicted; stack them along the second axis of an `Overlap`.

    Args:
        predicted, true: (H, W) of classes; -1 in `true` where there is none.

    >>> overlap(np.array([[0, 1]]), np.array([[0, 0]]), 2).tolist()
    [[1, 0], [2, 0], [1, 1]]
    """
    known = true != IGNORE
    predicted, true = predicted[known], true[known]
    right = true[predicted == true]
    return np.stack([np.bincount(each, minlength=num_classes) for each in (right, true, predicted)])


def _mean_iou(counts: Doubles) -> Doubles:
    right, true, predicted = np.split(counts, 3, axis=1)
    occurs = true > 0
    iou = np.nan_to_num(_ratio(right, true + predicted - right, where=occurs))
    num_classes = occurs.sum(1).astype(np.float64)
    return _ratio(iou.sum(1), num_classes, where=num_classes > 0)


def _pixel_accuracy(counts: Doubles) -> Doubles:
    right, true, _ = np.split(counts, 3, axis=1)
    known = true.sum(1)
    return _ratio(right.sum(1), known, where=known > 0)


def _ratio(part: Doubles, whole: Doubles, *, where: NDArray[np.bool_]) -> Doubles:
    """Part / whole, NaN elsewhere."""
    result = np.full_like(part, np.nan)
    np.divide(part, whole, out=result, where=where)
    return result
