"""Average precision of boxes as COCO defines it, by COCO's own library (pycocotools), with an interval.

The library matches detections to objects picture by picture (`evaluate`), which is the costly part, and then counts over the pictures
(`accumulate`). A resample of pictures repeats only the counting. That is still a sort for each class and threshold, so the number of
resamples is small, and the interval is a rough one.

Axes: Q pictures, k objects or detections of one, C classes, T thresholds of IoU.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alumnus.data.objects import Objects
from alumnus.errors import MissingExtra
from alumnus.evaluation.arrays import Doubles
from alumnus.evaluation.compare import CONFIDENCE, Interval
from alumnus.log import progress

if TYPE_CHECKING:
    from pycocotools.cocoeval import COCOeval

RESAMPLES = 100
MOST = 100  # detections of a picture that count


class Detections(NamedTuple):
    """What was found in one picture."""

    boxes: NDArray[np.float32]  # (k, 4) x, y, width, height in px of the picture
    labels: NDArray[np.int64]  # (k,)
    scores: NDArray[np.float32]  # (k,)


class Precision(NamedTuple):
    """Average precision; NaN where there is no object at all."""

    ap: Interval  # mean over IoU 0.50, 0.55, ..., 0.95
    ap50: Interval
    ap75: Interval
    per_class: Doubles  # (C,) ap; NaN for a class without objects


def average_precision(
    found: Sequence[Detections],
    truth: Sequence[Objects],
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Precision:
    """Returns the average precision of detections in pictures (Q) with their objects, which may be none.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    assert len(found) == len(truth), (len(found), len(truth))
    if not sum(len(each.labels) for each in truth):
        nothing = Interval(float("nan"), float("nan"), float("nan"))
        return Precision(nothing, nothing, nothing, np.full(num_classes, np.nan))
    with redirect_stdout(io.StringIO()):  # the library says what it does
        evaluation = _evaluated(found, truth, num_classes)
        precision = _accumulated(evaluation, evaluation.evalImgs)
    mean = _summary(precision)
    drawn = _resampled(evaluation, len(truth), resamples=resamples, seed=seed)
    ap, ap50, ap75 = (_interval(mean[column], drawn[:, column]) for column in range(3))
    per_class = np.array([_mean(precision[:, :, label]) for label in range(num_classes)])
    return Precision(ap, ap50, ap75, per_class)


def resampled_precision(
    found: Sequence[Detections],
    truth: Sequence[Objects],
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Doubles:
    """Returns (R, 3): AP, AP50 and AP75 on resamples of the pictures, NaN where one has no object.

    The draws depend on the seed and the number of pictures alone, so those of two models on the same pictures are pairs.

    Raises:
        MissingExtra: pycocotools is not installed.
    """
    if not sum(len(each.labels) for each in truth):
        return np.full((resamples, 3), np.nan)
    with redirect_stdout(io.StringIO()):
        evaluation = _evaluated(found, truth, num_classes)
    return _resampled(evaluation, len(truth), resamples=resamples, seed=seed)


def _evaluated(found: Sequence[Detections], truth: Sequence[Objects], num_classes: int) -> COCOeval:
    try:
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingExtra("pycocotools", extra="bench") from error
    evaluation = COCOeval(
        _listed(truth, None, num_classes),
        _listed(found, [each.scores for each in found], num_classes),
        iouType="bbox",
    )
    evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
    evaluation.params.maxDets = [MOST]
    evaluation.evaluate()
    return evaluation


def _listed(
    images: Sequence[Objects | Detections],
    scores: Sequence[NDArray[np.float32]] | None,
    num_classes: int,
) -> Any:
    """A `COCO` of boxes; its numbers begin at 1, because its matching takes 0 for none."""
    from pycocotools.coco import COCO

    rows = list[dict[str, object]]()
    for place, each in enumerate(images):
        for k in range(len(each.labels)):
            box = [float(edge) for edge in each.boxes[k]]
            rows.append(
                {
                    "id": len(rows) + 1,
                    "image_id": place + 1,
                    "category_id": int(each.labels[k]) + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    "score": 1.0 if scores is None else float(scores[place][k]),
                }
            )
    coco = COCO()
    coco.dataset = {
        "images": [{"id": place + 1} for place in range(len(images))],
        "categories": [{"id": label + 1, "name": str(label)} for label in range(num_classes)],
        "annotations": rows,
    }
    coco.createIndex()
    return coco


def _resampled(evaluation: COCOeval, count: int, *, resamples: int, seed: int) -> Doubles:
    """Returns (R, 3) of an evaluation of `count` pictures."""
    matched = np.array(evaluation.evalImgs, dtype=object).reshape(-1, count)  # (C, Q)
    random = np.random.default_rng(seed)
    drawn = np.empty((resamples, 3))
    for number in progress(range(resamples), "intervals of AP") if resamples else ():
        places = random.integers(0, count, count)
        with redirect_stdout(io.StringIO()):
            drawn[number] = _summary(_accumulated(evaluation, list(matched[:, places].ravel())))
    return drawn


def _accumulated(evaluation: COCOeval, matched: Sequence[object]) -> Doubles:
    """Returns precision (T, recalls, C, 1, 1), -1 where a class has no object, of matched pictures, C Q of them."""
    evaluation.evalImgs = matched
    evaluation.accumulate()
    precision: Doubles = evaluation.eval["precision"]
    return precision


def _summary(precision: Doubles) -> tuple[float, float, float]:
    """AP, AP50 and AP75: thresholds 0 and 5 of 0.50, 0.55, ..."""
    return _mean(precision), _mean(precision[0]), _mean(precision[5])


def _mean(precision: Doubles) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _interval(mean: float, drawn: Doubles) -> Interval:
    drawn = drawn[np.isfinite(drawn)]  # a resample may have no object
    if not len(drawn):
        return Interval(mean, float("nan"), float("nan"))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))
