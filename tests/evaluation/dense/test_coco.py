"""Average precision: cases worked by hand, and COCO's own summary."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stdout

import numpy as np
import pytest

from alumnus.data.objects import Objects
from alumnus.evaluation.dense.coco import Detections, average_precision
from tests.evaluation.dense.shapes import objects

pytest.importorskip("pycocotools")


def _found(
    boxes: list[tuple[float, float, float, float]], labels: list[int], scores: list[float]
) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(scores, np.float32)
    )


NOTHING, NO_OBJECT = _found([], [], []), objects([], [])


def test_perfect_boxes_have_precision_1() -> None:
    """At every threshold, for every class, with an interval of no width."""
    truth = [objects([(0, 0, 10, 10), (20, 0, 5, 8)], [0, 1]), objects([(3, 3, 9, 4)], [1]), NO_OBJECT]
    found = [
        _found([tuple(box) for box in each.boxes], list(each.labels), [0.9] * len(each.labels))
        for each in truth
    ]
    precision = average_precision(found, truth, num_classes=3, resamples=20)
    for interval in precision[:3]:
        assert tuple(interval) == pytest.approx((1, 1, 1))
    assert precision.per_class[:2].tolist() == pytest.approx([1, 1])
    assert math.isnan(precision.per_class[2])


def test_a_shifted_box_counts_below_its_overlap() -> None:
    """10 x 10 px shifted by 2 px: IoU 80 / 120 = 0.667, which passes 0.50, 0.55, 0.60 and 0.65, so AP is 0.4."""
    precision = average_precision(
        [_found([(2, 0, 10, 10)], [0], [0.8])], [objects([(0, 0, 10, 10)], [0])], num_classes=1, resamples=0
    )
    assert precision.ap.mean == pytest.approx(0.4)
    assert (precision.ap50.mean, precision.ap75.mean) == pytest.approx((1, 0))
    assert math.isnan(precision.ap.low)


def test_a_picture_without_objects_counts() -> None:
    """A surer detection in it halves the precision at which the one object is found; a less sure one costs nothing."""
    truth = [objects([(0, 0, 10, 10)], [0]), NO_OBJECT]
    right = _found([(0, 0, 10, 10)], [0], [0.5])
    for score, expected in ((0.9, 0.5), (0.1, 1.0)):
        wrong = _found([(5, 5, 4, 4)], [0], [score])
        precision = average_precision([right, wrong], truth, num_classes=1, resamples=0)
        assert precision.ap.mean == pytest.approx(expected)


def test_the_wrong_class_is_not_found() -> None:
    """And nothing found at all is 0, not an error."""
    truth = [objects([(0, 0, 10, 10)], [0])]
    wrong = _found([(0, 0, 10, 10)], [1], [1.0])
    assert average_precision([wrong], truth, num_classes=2, resamples=0).ap.mean == 0
    assert average_precision([NOTHING], truth, num_classes=2, resamples=0).ap.mean == 0


def test_no_object_anywhere_is_no_number() -> None:
    """There is nothing to find."""
    precision = average_precision([NOTHING], [NO_OBJECT], num_classes=2)
    assert math.isnan(precision.ap.mean)


def test_it_is_cocos_own_summary() -> None:
    """Many pictures, boxes off by a little, wrong classes: the first three lines that COCO prints."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random, truth, found = np.random.default_rng(0), list[Objects](), list[Detections]()
    for _ in range(30):
        count = int(random.integers(0, 5))
        boxes = np.column_stack([random.uniform(0, 60, (count, 2)), random.uniform(8, 120, (count, 2))])
        labels = random.integers(0, 3, count)
        truth.append(Objects(boxes.astype(np.float32), labels))
        near = (boxes + random.normal(0, 3, boxes.shape)).clip(1)
        guess = np.where(random.random(count) < 0.8, labels, random.integers(0, 3, count))
        found.append(Detections(near.astype(np.float32), guess, random.random(count).astype(np.float32)))
    with redirect_stdout(io.StringIO()):
        sides, both = list[COCO](), list[Sequence[Objects | Detections]]((truth, found))
        for images in both:
            coco = COCO()
            rows = [
                {
                    "id": 1000 * place + k + 1,
                    "image_id": place,
                    "category_id": int(each.labels[k]),
                    "bbox": each.boxes[k].tolist(),
                    "area": float(each.boxes[k][2] * each.boxes[k][3]),
                    "iscrowd": 0,
                    "score": float(each.scores[k]) if isinstance(each, Detections) else 1.0,
                }
                for place, each in enumerate(images)
                for k in range(len(each.labels))
            ]
            coco.dataset = {
                "images": [{"id": place} for place in range(30)],
                "categories": [{"id": label} for label in range(3)],
                "annotations": rows,
            }
            coco.createIndex()
            sides.append(coco)
        evaluation = COCOeval(*sides, iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = average_precision(found, truth, num_classes=3, resamples=30)
    means = [interval.mean for interval in precision[:3]]
    assert means == pytest.approx(list(evaluation.stats[:3]), abs=1e-12)
    assert 0.05 < means[0] < 0.95
    for interval in precision[:3]:
        assert interval.low < interval.mean < interval.high


def test_a_resample_is_the_score_of_the_pictures_drawn() -> None:
    """The counting that is repeated gives what scoring the drawn pictures anew gives."""
    truth = [objects([(0, 0, 10, 10)], [0]) for _ in range(4)]
    found = [_found([(shift, 0, 10, 10)], [0], [0.5 + shift / 10]) for shift in (0, 1, 2, 3)]
    drawn = np.random.default_rng(7).integers(0, 4, 4)
    once = average_precision(found, truth, num_classes=1, resamples=1, seed=7)
    anew = average_precision(
        [found[place] for place in drawn], [truth[place] for place in drawn], num_classes=1, resamples=0
    )
    assert once.ap.low == once.ap.high == pytest.approx(anew.ap.mean)
