"""Semantic segmentation by a small head: which class each pixel belongs to.

`linear` asks what the features hold already, `decoder` what a light head can make of them (see `models.dense_heads`). Learned with
cross-entropy at a few places a cell, scored at every pixel of the picture as it is.

Axes: N training pictures, Q test pictures, T side of a training target, C classes, H and W of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alumnus.data.dense import IGNORE, read_mask
from alumnus.data.loader import Bad
from alumnus.data.read import BadImage
from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Ids
from alumnus.evaluation.compare import RESAMPLES, Interval
from alumnus.evaluation.dense.features import LevelCache, Source
from alumnus.evaluation.dense.letterbox import Letterbox, sampled, spread
from alumnus.evaluation.dense.overlap import Overlap, overlap
from alumnus.evaluation.dense.pictures import BATCH, Predicted, predictions
from alumnus.evaluation.dense.training import Fitted, Setup, opened, seeded, train, usable_rows
from alumnus.models.dense_heads import DenseHeadKind, dense_head
from alumnus.types import DenseEncode

RATE = 4  # places of a target along a cell of the finest grid: edges within a cell count, at a fraction of the picture's pixels
ELEMENTS = 1 << 26  # of class maps at a picture's size held at once


class SegmentationScore(NamedTuple):
    """Quality of predicted masks."""

    mean_iou: Interval
    pixel_accuracy: Interval
    iou: Doubles  # (C,), NaN where a class does not occur
    places: Ids  # (Q',) the test pictures that were scored
    overlap: Overlap  # of these, for paired comparisons
    bad: dict[int, str]  # test pictures that were left out, with the reason


def segment(
    encoder: DenseEncode,
    paths: Sequence[str],
    masks: Sequence[str],
    test_paths: Sequence[str],
    test_masks: Sequence[str],
    *,
    num_classes: int,
    kind: DenseHeadKind = "linear",
    setup: Setup | None = None,
    features: LevelCache | None = None,
    resamples: int = RESAMPLES,
) -> tuple[SegmentationScore, Fitted]:
    """Returns the score on the test part of a head trained on the training part, and the head; see the two functions below."""
    fitted = fit_segmentation(
        encoder, paths, masks, num_classes=num_classes, kind=kind, setup=setup, features=features
    )
    return score_segmentation(
        fitted, test_paths, test_masks, num_classes=num_classes, resamples=resamples
    ), fitted


def fit_segmentation(
    encoder: DenseEncode,
    paths: Sequence[str],
    masks: Sequence[str],
    *,
    num_classes: int,
    kind: DenseHeadKind = "linear",
    setup: Setup | None = None,
    features: LevelCache | None = None,
) -> Fitted:
    """Returns a head that was trained on pictures (N) and their masks.

    Args:
        masks: as `read_mask` reads them, of the pictures' sizes.
        num_classes: C; every index is below it.
        features: `cached_levels` of the same pictures, if they are there already.

    Raises:
        DataError: no picture has a mask that can be read and whose indices are all classes.
    """
    setup = setup or Setup()
    encoder, source = opened(encoder, list(paths), setup, features=features)
    side = min(encoder.size, RATE * encoder.grids[0].height)
    targets, bad = _targets(source, masks, side, num_classes)
    rows = usable_rows(source, bad)
    head = seeded(lambda: dense_head(encoder.grids, num_classes, kind=kind), setup)

    def loss_of(batch: Ids) -> Tensor:
        logits = head(tuple(level.to(setup.device) for level in source(batch)))
        target = mirrored(targets, batch).to(setup.device)
        return cross_entropy(logits, target)

    losses = train(head, encoder, loss_of, rows, setup, label=f"segmentation, {kind}")
    return Fitted(encoder, head, losses, bad, setup)


def score_segmentation(
    fitted: Fitted,
    paths: Sequence[str],
    masks: Sequence[str],
    *,
    num_classes: int,
    resamples: int = RESAMPLES,
) -> SegmentationScore:
    """Returns how well the head's masks cover those of other pictures, pixel by pixel of each picture.

    Raises:
        DataError: not one picture can be scored.
    """
    places, counts, bad = list[int](), list[NDArray[np.int64]](), dict[int, str]()
    for found in predicted_masks(fitted, paths):
        if isinstance(found, Bad):
            bad[found.row] = found.reason
            continue
        try:
            true = _read(masks[found.place], found.box, num_classes)
        except BadImage as error:
            bad[found.place] = error.reason
            continue
        places.append(found.place)
        counts.append(overlap(found.output, true, num_classes))
    if not counts:
        raise DataError(
            f"of {len(paths)} test pictures none can be scored: {next(iter(bad.values()), 'no pictures')}"
        )
    covered = Overlap(*np.stack(counts, axis=1))
    seed = fitted.setup.seed
    return SegmentationScore(
        covered.mean_iou(resamples=resamples, seed=seed),
        covered.pixel_accuracy(resamples=resamples, seed=seed),
        covered.iou(),
        np.array(places, np.int64),
        covered,
        bad,
    )


def predicted_masks(
    fitted: Fitted, paths: Sequence[str], *, batch_size: int = BATCH
) -> Iterator[Predicted[Ids] | Bad]:
    """Yields the head's mask of each picture, (H, W) int64 at the picture's size, or why it cannot be read."""
    for found in predictions(
        fitted.encoder,
        fitted.head,
        paths,
        label="segment",
        batch_size=batch_size,
        workers=fitted.setup.workers,
        device=torch.device(fitted.setup.device),
    ):
        yield found if isinstance(found, Bad) else found._replace(output=_classes(found.output, found.box))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Returns the mean over pixels that have a class, 0 if none has; logits (B, C, h, w), target (B, T, T) int64, -1 without one."""
    logits = functional.interpolate(logits, target.shape[1:], mode="bilinear", align_corners=False)
    total = functional.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)


def mirrored(targets: Tensor, rows: Ids) -> Tensor:
    """Returns the targets of rows: (b, T, T) of (N, T, T), row N + i being the mirror image of i; int64 if they are integers."""
    target = targets[torch.from_numpy(rows % len(targets))]
    flip = torch.from_numpy(rows >= len(targets))
    target[flip] = target[flip].flip(-1)
    return target if target.is_floating_point() else target.long()


def _targets(
    source: Source, masks: Sequence[str], side: int, num_classes: int
) -> tuple[Tensor, dict[int, str]]:
    """Returns targets (N, T, T) int16, and the pictures without one."""
    targets = np.full((len(masks), side, side), IGNORE, np.int16)
    bad = dict(source.bad)
    for place, (path, box) in enumerate(zip(masks, source.boxes, strict=True)):
        if box is None:
            continue
        try:
            targets[place] = sampled(_read(path, box, num_classes), box, side, blank=IGNORE, dtype=np.int16)
        except BadImage as error:
            bad[place] = error.reason
    return torch.from_numpy(targets), bad


def _read(path: str, box: Letterbox, num_classes: int) -> Ids:
    mask = read_mask(path)
    if mask.shape != (box.height, box.width):
        raise BadImage(
            path, f"the mask is {mask.shape[1]} x {mask.shape[0]} px, its picture {box.width} x {box.height}"
        )
    if mask.max(initial=0) >= num_classes:
        raise BadImage(
            path,
            f"the mask has the class {mask.max()}; there are {num_classes}: 0 to {num_classes - 1}, and 255 (65535 in 16 bit) to ignore",
        )
    return mask


def _classes(logits: Tensor, box: Letterbox) -> Ids:
    """The class (H, W) of the largest logit; a few classes at a time, so that a large picture does not need all maps at once."""
    step = max(1, ELEMENTS // (box.height * box.width))
    best = torch.full((box.height, box.width), -torch.inf, device=logits.device)
    label = torch.zeros((box.height, box.width), dtype=torch.int64, device=logits.device)
    for start in range(0, len(logits), step):
        highest, place = spread(logits[start : start + step], box).max(0)
        label = torch.where(highest > best, place + start, label)
        best = torch.maximum(best, highest)
    return label.cpu().numpy()
