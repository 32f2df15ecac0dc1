"""What a task gives for one cell: scores, and the images behind them, so that two models can be compared in pairs.

Every score here is a mean over strata (domains) of a mean over columns of `sum of part / sum of whole` over images: accuracy is one
column of 0 and 1 over 1, a macro over domains has a stratum each, mean IoU a column for each class with intersection and union in
px. A resample without true pixels of a class is scored without it, whatever was predicted.

Axes: Q test images, S columns, G strata, n runs (seeds), R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import CONFIDENCE, RESAMPLES, Interval, resample


class PerImage(NamedTuple):
    """One metric, image by image."""

    row: Ids  # (Q,) of the dataset, ascending
    stratum: Ids  # (Q,)
    part: Floats  # (Q, S)
    whole: Floats  # (Q, S)
    true: Floats | None = None  # (Q, S) a column counts where this is above 0, by default where `whole` is


class Drawn(NamedTuple):
    """One metric that is no such ratio (average precision): itself, and on resamples of the images that are the same for all models."""

    row: Ids  # (Q,) of the dataset, ascending
    mean: float
    drawn: Doubles  # (R,)


Run = PerImage | Drawn


@dataclass(frozen=True, eq=False)
class Outcome:
    """One cell's."""

    primary: str  # the metric of the tables; higher is better
    scores: Mapping[str, Interval]
    per_image: Mapping[str, Run]  # of some metrics, the primary among them
    counts: Mapping[str, int]
    details: Mapping[str, float | str | bool | None] = field(default_factory=dict)


def mean_of(values: npt.NDArray[np.generic], row: Ids, stratum: Ids | None = None) -> PerImage:
    """Returns the metric that is the mean of values (Q,), within strata if there are any."""
    part = values.astype(np.float32)[:, None]
    return PerImage(
        row, np.zeros(len(row), np.int64) if stratum is None else stratum, part, np.ones_like(part)
    )


def interval_of(runs: Sequence[Run], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Returns the mean over runs of a metric and its 95 % interval; see `difference_of`."""
    means, drawn = _resampled(runs, resamples, seed)
    return _interval(float(means.mean()), _over_runs(drawn, seed))


def difference_of(
    ones: Sequence[Run], others: Sequence[Run], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Returns the mean of the metric in `ones` minus that in `others`, and its 95 % interval by paired bootstrap.

    Each resample draws images within strata, the same for both, and as many runs as there are: the i-th of both, since they had the same
    labels. So the interval holds the chance of the test images and, as far as n runs show it, of the labels and of training.

    Args:
        ones, others: of the same runs (seeds) in the same order.

    Raises:
        DataError: they are not of the same images or runs.
    """
    if len(ones) != len(others):
        raise DataError(
            f"{len(ones)} runs cannot be compared with {len(others)}; compare those of the same seeds"
        )
    means, drawn = _resampled([*ones, *others], resamples, seed)
    n = len(ones)
    mean = float((means[:n] - means[n:]).mean())
    return _interval(mean, _over_runs(drawn[:, :n] - drawn[:, n:], seed))


def _resampled(runs: Sequence[Run], resamples: int, seed: int) -> tuple[Doubles, Doubles]:
    """Returns the metric of each run (n,), and on each resample (R, n), the same for all runs."""
    if any(not np.array_equal(run.row, runs[0].row) for run in runs[1:]):
        raise DataError("scores of different images cannot be compared in pairs; run the benchmark again")
    drawn = [run for run in runs if isinstance(run, Drawn)]
    if drawn:
        shortest = min(len(run.drawn) for run in drawn)
        return np.array([run.mean for run in drawn]), np.stack([run.drawn[:shortest] for run in drawn], 1)
    return _resampled_ratios([run for run in runs if isinstance(run, PerImage)], resamples, seed)


def _resampled_ratios(runs: Sequence[PerImage], resamples: int, seed: int) -> tuple[Doubles, Doubles]:
    width = runs[0].part.shape[1]
    columns = [half for run in runs for half in (run.part, run.whole)]
    columns += [run.true for run in runs if run.true is not None][:1]  # one for all: the images are the same
    found = resample(np.concatenate(columns, 1), runs[0].stratum, resamples=resamples, seed=seed)
    return _metric(found.mean[None], len(runs), width)[0], _metric(found.resamples, len(runs), width)


def _metric(means: Doubles, num_runs: int, width: int) -> Doubles:
    """Returns (R, n) from means of the columns (R, G, n 2 S, or S more). A column, or a stratum, that has nothing is left out."""
    halves, true = np.split(means, [num_runs * 2 * width], axis=2)
    parts = halves.reshape(*means.shape[:2], num_runs, 2, width)
    part, whole = parts[..., 0, :], parts[..., 1, :]  # (R, G, n, S)
    counts = np.broadcast_to(true[:, :, None] > 0, whole.shape) if true.shape[2] else whole > 0
    ratio = _mean_where(np.divide(part, whole, out=np.zeros_like(part), where=counts), counts)  # (R, G, n)
    return _mean_where(np.moveaxis(ratio, 1, -1), np.isfinite(np.moveaxis(ratio, 1, -1)))


def _mean_where(values: Doubles, valid: npt.NDArray[np.bool_]) -> Doubles:
    """Returns means over the last axis of what is valid; NaN where nothing is."""
    count = valid.sum(-1)
    total = np.where(valid, values, 0).sum(-1)
    means: Doubles = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def _over_runs(drawn: Doubles, seed: int) -> Doubles:
    """Returns (R,): on each resample the mean over as many runs as there are, drawn with replacement from (R, n)."""
    resamples, n = drawn.shape
    chosen = np.random.default_rng([seed, n]).integers(0, n, (resamples, n))
    means: Doubles = np.take_along_axis(drawn, chosen, 1).mean(1)
    return means


def _interval(mean: float, drawn: Doubles) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    if not np.isfinite(drawn).any():
        return Interval(mean, math.nan, math.nan)
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Interval(mean, float(low), float(high))
