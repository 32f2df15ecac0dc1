"""Is one model better than another? Bootstrap over queries within domains, paired; Student's t over seeds.

Domains are fixed, their queries are a sample: each resample draws as many queries as a domain has, with replacement, and the macro mean
weighs domains equally. All models are scored on the same resamples, so the interval of a difference is that of paired queries, which is
much narrower than two intervals side by side suggest. What it leaves out is the chance of training: that is `over_runs`.

Axes: Q queries, C columns (a model's metric each), R resamples, G domains, S runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from alumnus.errors import ConfigError
from alumnus.evaluation.arrays import Doubles, Ids

RESAMPLES = 1000
CONFIDENCE = 0.95
BLOCK = 1 << 22  # drawn queries held at once

# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom; beyond that the normal's 1.96 is within 4 %.
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Interval(NamedTuple):
    """A mean and its 95 % interval; low and high are NaN where there is nothing to tell them from (one run)."""

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies above or below 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


class Resampled(NamedTuple):
    """Means of the columns, on the queries as they are and on each resample."""

    domains: Ids  # (G,) those that have queries, ascending
    mean: Doubles  # (G, C)
    resamples: Doubles  # (R, G, C)

    def of_domain(self, domain: int, column: int) -> Interval:
        """Returns the mean of a column in a domain."""
        g = int(np.searchsorted(self.domains, domain))
        return _interval(self.mean[g, column], self.resamples[:, g, column])

    def macro(self, column: int) -> Interval:
        """Returns the macro mean of a column."""
        return _interval(self.mean[:, column].mean(), self.resamples[:, :, column].mean(1))

    def difference(self, column: int, other: int, *, domain: int | None = None) -> Interval:
        """Returns column minus other on the same queries: macro, or in one domain."""
        mean = self.mean[:, column] - self.mean[:, other]  # (G,)
        resamples = self.resamples[:, :, column] - self.resamples[:, :, other]  # (R, G)
        if domain is None:
            return _interval(mean.mean(), resamples.mean(1))
        g = int(np.searchsorted(self.domains, domain))
        return _interval(mean[g], resamples[:, g])


def resample(
    values: npt.NDArray[np.floating], domain: Ids, *, resamples: int = RESAMPLES, seed: int = 0
) -> Resampled:
    """Returns the means of columns (Q, C) within domains, and their bootstrap.

    Args:
        values: (Q, C), one row a query.
        domain: (Q,) of each query.
        resamples: R.
        seed: of the draws; domains draw independently of one another.

    >>> resample(np.ones((4, 1)), np.array([0, 0, 1, 1])).macro(0)
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    domains = np.unique(domain)
    within = [np.asarray(values[domain == d], np.float64) for d in domains]
    drawn = [
        _draw(rows, resamples, np.random.default_rng([seed, int(d)]))
        for d, rows in zip(domains, within, strict=True)
    ]
    return Resampled(domains, np.stack([rows.mean(0) for rows in within]), np.stack(drawn, axis=1))


def check_resamples(resamples: int) -> None:
    """Raises a ConfigError for a number of resamples that gives no interval."""
    if resamples < 1:
        raise ConfigError(f"resamples={resamples} must be 1 at least; {RESAMPLES:,} by default")


def paired_difference(
    values: npt.NDArray[np.floating],
    other: npt.NDArray[np.floating],
    domain: Ids,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Returns the macro mean of values (Q,) minus other (Q,), of the same queries in the same order."""
    return resample(np.stack([values, other], 1), domain, resamples=resamples, seed=seed).difference(0, 1)


def over_runs(values: Sequence[float]) -> Interval:
    """Returns the mean over S runs (seeds) and its t interval; give it paired differences to compare two methods.

    >>> over_runs([0.5])
    Interval(mean=0.5, low=nan, high=nan)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    t = T_95[len(values) - 2] if len(values) - 2 < len(T_95) else 1.96
    half = t * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return Interval(mean, mean - half, mean + half)


def _draw(rows: Doubles, resamples: int, random: np.random.Generator) -> Doubles:
    """Returns the column means (R, C) of resamples of rows (q, C), through how often each row is drawn."""
    count = len(rows)
    step = max(1, BLOCK // count)
    means = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        places = random.integers(0, count, (size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(places.ravel(), minlength=size * count).reshape(size, count)
        means.append(times.astype(np.float64) @ rows / count)
    return np.concatenate(means)


def _interval(mean: float, resamples: Doubles) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resamples, [tail, 1 - tail])
    return Interval(float(mean), float(low), float(high))
