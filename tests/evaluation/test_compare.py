"""Intervals cover what they claim, and pairing counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alumnus.evaluation.compare import T_95, over_runs, paired_difference, resample
from alumnus.evaluation.retrieval import macro


def test_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    """300 samples of 200 queries in two domains with hit rates .3 and .7: the macro .5 lies in 95 % of intervals, give or take 4 %."""
    random = np.random.default_rng(0)
    domain = np.repeat([0, 1], [150, 50])
    covered = 0
    for seed in range(300):
        hits = random.random((200, 1)) < np.where(domain == 0, 0.3, 0.7)[:, None]
        interval = resample(hits.astype(float), domain, resamples=300, seed=seed).macro(0)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.91 <= covered / 300 <= 0.99


def test_the_standard_error_is_that_of_the_binomial() -> None:
    """Half the width of the interval is 1.96 standard errors for many queries."""
    hits = (np.arange(1000) % 4 == 0).astype(float)[:, None]
    interval = resample(hits, np.zeros(1000, np.int64), seed=1).of_domain(0, 0)
    expected = 1.96 * math.sqrt(0.25 * 0.75 / 1000)
    assert interval.mean == 0.25
    assert (interval.high - interval.low) / 2 == pytest.approx(expected, rel=0.1)


def test_a_difference_on_the_same_queries_is_paired() -> None:
    """Two models that differ on 10 of 500 queries, all one way: surely different, though their own intervals overlap."""
    random = np.random.default_rng(0)
    worse = (random.random(500) < 0.5).astype(float)
    better = worse.copy()
    better[np.flatnonzero(worse == 0)[:10]] = 1
    domain = np.zeros(500, np.int64)
    both = resample(np.stack([better, worse], 1), domain)
    assert both.macro(0).low < both.macro(1).high
    assert both.difference(0, 1).sign == 1
    assert both.difference(0, 1) == paired_difference(better, worse, domain)
    assert both.difference(0, 1).mean == pytest.approx(0.02)


def test_equal_models_differ_by_nothing_and_the_seed_decides_the_draws() -> None:
    """A model minus itself is exactly 0; one seed gives one interval."""
    values, domain = np.random.default_rng(0).random((60, 2)), np.arange(60) % 3
    assert resample(values, domain).difference(1, 1) == (0, 0, 0)
    assert resample(values, domain, seed=4).macro(0) == resample(values, domain, seed=4).macro(0)
    assert resample(values, domain, seed=4).macro(0) != resample(values, domain, seed=5).macro(0)


def test_macro_and_domains_agree_with_the_plain_means() -> None:
    """The centre of an interval is the statistic itself, not the mean of resamples."""
    values, domain = np.random.default_rng(0).random((50, 1)), np.arange(50) % 4 * 2
    drawn = resample(values, domain, resamples=50)
    assert drawn.macro(0).mean == pytest.approx(macro(values[:, 0], domain))
    assert drawn.of_domain(4, 0).mean == pytest.approx(values[domain == 4].mean())
    assert drawn.difference(0, 0, domain=6).mean == 0


def test_over_runs_is_the_t_interval() -> None:
    """Three runs: two degrees of freedom, by hand; one run has no interval; many runs approach the normal."""
    interval = over_runs([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.high - 2 == pytest.approx(4.303 / math.sqrt(3))
    assert math.isnan(over_runs([1.0]).low)
    assert over_runs([0.0, 1.0] * 40).high == pytest.approx(
        0.5 + 1.96 * np.std([0.0, 1.0] * 40, ddof=1) / 80**0.5
    )


def test_the_table_of_t_is_right() -> None:
    """Against scipy, which comes with scikit-learn."""
    stats = pytest.importorskip("scipy.stats")
    assert np.allclose(T_95, stats.t.ppf(0.975, np.arange(1, 31)), atol=6e-4)
