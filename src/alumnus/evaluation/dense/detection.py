"""Object detection by a small one-stage detector over the grids of a frozen or trained network.

See `models.detector` for the detector and `coco` for the score. Pictures without objects are learned from, and count in the score.

Axes: N training pictures, Q test pictures, k objects of one, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.data.loader import Bad
from alumnus.data.objects import Objects
from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Ids
from alumnus.evaluation.compare import Interval
from alumnus.evaluation.dense.coco import RESAMPLES, Detections, average_precision
from alumnus.evaluation.dense.features import LevelCache, Source
from alumnus.evaluation.dense.letterbox import Letterbox, boxes_in, boxes_out
from alumnus.evaluation.dense.pictures import BATCH, Predicted, predictions
from alumnus.evaluation.dense.training import Budget, Fitted, Setup, opened, seeded, train, usable_rows
from alumnus.models.detector import Boxes, Detected, Detector
from alumnus.types import DenseEncode

BUDGET = Budget(steps=1500, batch_size=16, lr=1e-3)


class DetectionScore(NamedTuple):
    """Quality of detections."""

    ap: Interval  # mean over IoU 0.50, 0.55, ..., 0.95 and classes
    ap50: Interval
    ap75: Interval
    per_class: Doubles  # (C,) ap; NaN for a class without objects
    places: Ids  # (Q',) the test pictures that were scored
    found: list[Detections]  # in these
    bad: dict[int, str]  # test pictures that were left out, with the reason


def detect(
    encoder: DenseEncode,
    paths: Sequence[str],
    objects: Sequence[Objects],
    test_paths: Sequence[str],
    test_objects: Sequence[Objects],
    *,
    num_classes: int,
    setup: Setup | None = None,
    features: LevelCache | None = None,
    resamples: int = RESAMPLES,
) -> tuple[DetectionScore, Fitted]:
    """Returns the score on the test part of a detector trained on the training part, and the detector; see the two functions below."""
    fitted = fit_detection(encoder, paths, objects, num_classes=num_classes, setup=setup, features=features)
    return score_detection(
        fitted, test_paths, test_objects, num_classes=num_classes, resamples=resamples
    ), fitted


def fit_detection(
    encoder: DenseEncode,
    paths: Sequence[str],
    objects: Sequence[Objects],
    *,
    num_classes: int,
    setup: Setup | None = None,
    features: LevelCache | None = None,
    begin: Detector | None = None,
) -> Fitted:
    """Returns a detector that was trained on pictures (N) and their objects.

    Args:
        objects: of each picture, in its own px; none is an answer too.
        num_classes: C; every label is below it.
        features: `cached_levels` of the same pictures, if they are there already.
        begin: a detector over the same grids whose weights are the first ones; its classes are the first of the C.

    Raises:
        DataError: no picture can be read, there is no object at all, or a label is no class.
    """
    setup = setup or Setup(budget=BUDGET)
    _check(objects, num_classes)
    if not any(len(each.labels) for each in objects):
        raise DataError(f"{len(objects)} training pictures have no object among them; detection needs some")
    encoder, source = opened(encoder, list(paths), setup, features=features)
    rows = usable_rows(source, source.bad)
    head = seeded(lambda: Detector(encoder.grids, size=encoder.size, num_classes=num_classes), setup)
    assert isinstance(head, Detector)
    if begin is not None:
        head.begin_with(begin)

    def loss_of(batch: Ids) -> Tensor:
        levels = tuple(level.to(setup.device) for level in source(batch))
        return head.loss(levels, [_boxes(source, objects, int(row), setup.device) for row in batch])

    losses = train(head, encoder, loss_of, rows, setup, label="detection")
    return Fitted(encoder, head, losses, source.bad, setup)


def score_detection(
    fitted: Fitted,
    paths: Sequence[str],
    objects: Sequence[Objects],
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
) -> DetectionScore:
    """Returns the average precision of the detector in other pictures.

    Args:
        resamples: of the pictures, for the intervals; each costs a count over all detections. 0 gives no interval.

    Raises:
        DataError: not one picture can be read, or a label is no class.
        MissingExtra: pycocotools is not installed.
    """
    _check(objects, num_classes)
    places, found, bad = list[int](), list[Detections](), dict[int, str]()
    for each in detections(fitted, paths):
        if isinstance(each, Bad):
            bad[each.row] = each.reason
        else:
            places.append(each.place)
            found.append(each.output)
    if not found:
        raise DataError(
            f"of {len(paths)} test pictures none can be read: {next(iter(bad.values()), 'no pictures')}"
        )
    precision = average_precision(
        found,
        [objects[place] for place in places],
        num_classes=num_classes,
        resamples=resamples,
        seed=fitted.setup.seed,
    )
    return DetectionScore(*precision, np.array(places, np.int64), found, bad)


def detections(
    fitted: Fitted, paths: Sequence[str], *, batch_size: int = BATCH
) -> Iterator[Predicted[Detections] | Bad]:
    """Yields what the detector finds in each picture, in its own px, the surest first, or why it cannot be read."""
    for found in predictions(
        fitted.encoder,
        fitted.head,
        paths,
        label="detect",
        batch_size=batch_size,
        workers=fitted.setup.workers,
        device=torch.device(fitted.setup.device),
    ):
        yield (
            found
            if isinstance(found, Bad)
            else Predicted(found.place, found.box, _out(found.output, found.box))
        )


def _boxes(source: Source, objects: Sequence[Objects], row: int, device: str) -> Boxes:
    """The objects of a row in the model's image; in its mirror image if the row is one."""
    place = row % len(objects)
    box = source.boxes[place]
    assert box is not None  # unreadable pictures are no rows
    corners = boxes_in(objects[place].boxes, box)
    if row >= len(objects):
        corners = mirrored_corners(corners, box.size)
    return Boxes(torch.from_numpy(corners).to(device), torch.from_numpy(objects[place].labels).to(device))


def mirrored_corners(corners: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Returns left, top, right, bottom (k, 4) in the mirror image of an image `size` px wide."""
    left, top, right, bottom = corners.T
    return np.stack([size - right, top, size - left, bottom], axis=1)


def _out(found: Detected, box: Letterbox) -> Detections:
    corners, labels, scores = (part.cpu().numpy() for part in found)
    boxes = boxes_out(corners, box)
    is_inside = (boxes[:, 2:] > 0).all(1)  # one that lies on the filling alone has no area in the picture
    return Detections(boxes[is_inside], labels[is_inside], scores[is_inside])


def _check(objects: Sequence[Objects], num_classes: int) -> None:
    for place, each in enumerate(objects):
        if len(each.labels) and not 0 <= each.labels.min() <= each.labels.max() < num_classes:
            raise DataError(
                f"picture {place} has labels from {each.labels.min()} to {each.labels.max()}, but classes go from 0 to {num_classes - 1}"
            )
