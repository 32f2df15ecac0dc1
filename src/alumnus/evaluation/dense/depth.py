"""Depth from one picture by a small head.

The head gives the logarithm of depth, standardised by the training part's, so that near and far count alike and no depth is negative. The
loss is the scale-invariant one of Eigen et al. 2014 (arXiv 1406.2283, equation 4) in the form of BTS (Lee et al. 2019, arXiv
1907.10326, equations 5 and 6): with d = log prediction - log truth over the known pixels of a batch,

    loss = 10 sqrt(mean(d^2) - 0.85 mean(d)^2),

so 15 % of an error in overall scale still counts. The measures are those of Eigen et al., of each picture over its known pixels, then
averaged over pictures as BTS, AdaBins and the toolbox behind DINOv2's depth results do. No picture is rescaled to the truth.

Axes: N training pictures, Q test pictures, T side of a training target, H and W of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alumnus.data.dense import read_depth
from alumnus.data.folder_facts import MILLIMETRES
from alumnus.data.loader import Bad
from alumnus.data.read import BadImage
from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import RESAMPLES, Interval, resample
from alumnus.evaluation.dense.features import LevelCache, Source
from alumnus.evaluation.dense.letterbox import Letterbox, sampled, spread
from alumnus.evaluation.dense.pictures import BATCH, Predicted, predictions
from alumnus.evaluation.dense.segmentation import RATE, mirrored
from alumnus.evaluation.dense.training import Fitted, Setup, opened, seeded, train, usable_rows
from alumnus.models.dense_heads import DenseHeadKind, LogDepth, dense_head
from alumnus.types import DenseEncode

SCALE_SHARE = 0.85  # of the squared mean error that is forgiven; BTS's
NEAR = 1.25  # Eigen's threshold of max(prediction / truth, truth / prediction)


class DepthErrors(NamedTuple):
    """Of one picture, over its known pixels."""

    rmse: float  # in the unit of the depth
    abs_rel: float  # mean of |prediction - truth| / truth
    delta1: float  # share within a factor of 1.25


class DepthScore(NamedTuple):
    """Quality of predicted depth; means over pictures."""

    rmse: Interval
    abs_rel: Interval
    delta1: Interval
    places: Ids  # (Q',) the test pictures that were scored
    errors: Doubles  # (Q', 3) of these, in the order above, for paired comparisons
    bad: dict[int, str]  # test pictures that were left out, with the reason


def estimate_depth(
    encoder: DenseEncode,
    paths: Sequence[str],
    depths: Sequence[str],
    test_paths: Sequence[str],
    test_depths: Sequence[str],
    *,
    unit: str = MILLIMETRES,
    kind: DenseHeadKind = "linear",
    setup: Setup | None = None,
    features: LevelCache | None = None,
    resamples: int = RESAMPLES,
) -> tuple[DepthScore, Fitted]:
    """Returns the score on the test part of a head trained on the training part, and the head; see the two functions below."""
    fitted = fit_depth(encoder, paths, depths, unit=unit, kind=kind, setup=setup, features=features)
    return score_depth(fitted, test_paths, test_depths, unit=unit, resamples=resamples), fitted


def fit_depth(
    encoder: DenseEncode,
    paths: Sequence[str],
    depths: Sequence[str],
    *,
    unit: str = MILLIMETRES,
    kind: DenseHeadKind = "linear",
    setup: Setup | None = None,
    features: LevelCache | None = None,
) -> Fitted:
    """Returns a head that was trained on pictures (N) and their depth maps.

    Args:
        depths: as `read_depth` reads them, of the pictures' sizes.
        unit: of a step of the files, `Dataset.depth_unit`.
        features: `cached_levels` of the same pictures, if they are there already.

    Raises:
        DataError: no picture has a depth map that can be read and knows a pixel.
    """
    setup = setup or Setup()
    encoder, source = opened(encoder, list(paths), setup, features=features)
    side = min(encoder.size, RATE * encoder.grids[0].height)
    targets, bad = _targets(source, depths, side, unit)
    rows = usable_rows(source, bad)
    known = targets[targets > 0].log()
    head = seeded(
        lambda: LogDepth(
            dense_head(encoder.grids, 1, kind=kind),
            center=float(known.mean()),
            spread=float(known.std(correction=0)),
            limits=(float(known.min()), float(known.max())),
        ),
        setup,
    )

    def loss_of(batch: Ids) -> Tensor:
        logs = head(tuple(level.to(setup.device) for level in source(batch)))
        return scale_loss(logs, mirrored(targets, batch).to(setup.device))

    losses = train(head, encoder, loss_of, rows, setup, label=f"depth, {kind}")
    return Fitted(encoder, head, losses, bad, setup)


def score_depth(
    fitted: Fitted,
    paths: Sequence[str],
    depths: Sequence[str],
    *,
    unit: str = MILLIMETRES,
    resamples: int = RESAMPLES,
) -> DepthScore:
    """Returns how near the head's depth is to that of other pictures, pixel by pixel of each picture.

    Raises:
        DataError: not one picture can be scored.
    """
    places, errors, bad = list[int](), list[DepthErrors](), dict[int, str]()
    for found in predicted_depths(fitted, paths):
        if isinstance(found, Bad):
            bad[found.row] = found.reason
            continue
        try:
            true = _read(depths[found.place], found.box, unit)
        except BadImage as error:
            bad[found.place] = error.reason
            continue
        places.append(found.place)
        errors.append(depth_errors(found.output, true))
    if not errors:
        raise DataError(
            f"of {len(paths)} test pictures none can be scored: {next(iter(bad.values()), 'no pictures')}"
        )
    values = np.array(errors, np.float64)
    drawn = resample(values, np.zeros(len(values), np.int64), resamples=resamples, seed=fitted.setup.seed)
    rmse, abs_rel, delta1 = (drawn.macro(column) for column in range(3))
    return DepthScore(rmse, abs_rel, delta1, np.array(places, np.int64), values, bad)


def predicted_depths(
    fitted: Fitted, paths: Sequence[str], *, batch_size: int = BATCH
) -> Iterator[Predicted[Floats] | Bad]:
    """Yields the head's depth of each picture, (H, W) float32 at the picture's size, or why it cannot be read.

    A depth is never outside of those that the head was trained on.
    """
    assert isinstance(fitted.head, LogDepth)
    for found in predictions(
        fitted.encoder,
        fitted.head,
        paths,
        label="depth",
        batch_size=batch_size,
        workers=fitted.setup.workers,
        device=torch.device(fitted.setup.device),
    ):
        if isinstance(found, Bad):
            yield found
        else:
            depth = fitted.head.depth(spread(found.output, found.box)[0])
            yield Predicted(found.place, found.box, depth.cpu().numpy())


def depth_errors(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> DepthErrors:
    """Returns the errors of a picture (H, W) where the truth is known, which is somewhere.

    >>> depth_errors(np.array([2.0, 9.0]), np.array([1.0, 0.0]))
    DepthErrors(rmse=1.0, abs_rel=1.0, delta1=0.0)
    """
    known = true > 0
    x, y = predicted[known].astype(np.float64), true[known].astype(np.float64)
    off = np.abs(x - y)
    within = np.maximum(x / y, y / x) < NEAR
    return DepthErrors(float(np.sqrt((off**2).mean())), float((off / y).mean()), float(within.mean()))


def scale_loss(logs: Tensor, target: Tensor) -> Tensor:
    """Returns the loss above, 0 if no pixel is known; log depth (B, 1, h, w), depth (B, T, T) with 0 where it is unknown."""
    logs = functional.interpolate(logs, target.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    known = target > 0
    if not known.any():
        return logs.sum() * 0
    off = logs[known] - target[known].log()
    variance = (off**2).mean() - SCALE_SHARE * off.mean() ** 2
    return 10 * (variance.clamp(min=0) + 1e-8).sqrt()  # a root has no gradient at 0


def _targets(source: Source, depths: Sequence[str], side: int, unit: str) -> tuple[Tensor, dict[int, str]]:
    """Returns targets (N, T, T) float32, 0 where unknown, and the pictures without one."""
    targets = np.zeros((len(depths), side, side), np.float32)
    bad = dict(source.bad)
    for place, (path, box) in enumerate(zip(depths, source.boxes, strict=True)):
        if box is None:
            continue
        try:
            targets[place] = sampled(_read(path, box, unit), box, side, blank=0, dtype=np.float32)
        except BadImage as error:
            bad[place] = error.reason
        else:
            if not targets[place].any():
                bad[place] = "too few of its pixels have a known depth"
    return torch.from_numpy(targets), bad


def _read(path: str, box: Letterbox, unit: str) -> NDArray[np.float32]:
    depth = read_depth(path, unit=unit)
    if depth.shape != (box.height, box.width):
        raise BadImage(
            path,
            f"the depth map is {depth.shape[1]} x {depth.shape[0]} px, its picture {box.width} x {box.height}",
        )
    if not depth.any():
        raise BadImage(path, "no pixel has a known depth")
    return depth
