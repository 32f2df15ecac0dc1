"""How many dimensions do features use? Two numbers from their singular values, without labels.

Both are exp(entropy) of the singular values divided by their sum. Effective rank (Roy and Vetterli 2007, "The effective rank: a measure
of effective dimensionality", EUSIPCO) is taken here of centred features, so that a common offset is not a dimension; RankMe (Garrido et
al. 2023, arXiv 2210.02885, eq. 2) of features as they are, with 1e-7 added to each share.

Axes: N images, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import Interval
from alumnus.evaluation.jackknife import jackknife
from alumnus.log import progress

EPSILON = 1e-7  # RankMe's


class Rank(NamedTuple):
    """The features of one domain. Neither number can exceed the smaller of N and D; compare encoders on the same images."""

    num_images: int
    effective_rank: Interval
    rankme: Interval


def ranks(features: Floats, domain: Ids, domains: Sequence[str], *, seed: int = 0) -> dict[str, Rank]:
    """Returns both numbers for each domain that has images.

    Args:
        features: (N, D).
        domain: (N,), index into `domains`.
    """
    found = {}
    for d in progress(np.unique(domain), "rank"):
        here = features[domain == d].astype(np.float64)

        def effective(rows: Ids, here: Doubles = here) -> float:
            return effective_rank(here[rows])

        def plain(rows: Ids, here: Doubles = here) -> float:
            return rankme(here[rows])

        found[domains[d]] = Rank(
            len(here), jackknife(effective, len(here), seed=seed), jackknife(plain, len(here), seed=seed)
        )
    return found


def effective_rank(features: Floats | Doubles) -> float:
    """Returns exp(entropy of the singular values) of centred features (N, D): from 1 to min(N - 1, D), 0 if they are constant."""
    wide = _checked(features)
    return _exp_entropy(_singular_values(wide - wide.mean(0)), 0.0)


def top_variance(features: Floats | Doubles) -> float:
    """Returns the share of the variance of (N, D) along its first principal direction: from 1 / min(N - 1, D) to 1, NaN if constant."""
    wide = _checked(features)
    variance = _singular_values(wide - wide.mean(0)) ** 2
    return float(variance.max() / variance.sum()) if variance.max() > 0 else float("nan")


def rankme(features: Floats | Doubles) -> float:
    """Returns RankMe of features (N, D): from 1 to min(N, D), 0 if they are zero."""
    return _exp_entropy(_singular_values(_checked(features)), EPSILON)


def _checked(features: Floats | Doubles) -> Doubles:
    if features.ndim != 2 or not features.size:
        raise DataError(f"features {features.shape} must be (N, D), not empty")
    return features.astype(np.float64)


def _singular_values(matrix: Doubles) -> Doubles:
    # Through the smaller of the two products: values below 1e-8 of the largest are rounding, and weigh nothing in an entropy.
    product = matrix @ matrix.T if len(matrix) < matrix.shape[1] else matrix.T @ matrix
    values: Doubles = np.sqrt(np.clip(np.linalg.eigvalsh(product), 0, None))
    return values


def _exp_entropy(values: Doubles, epsilon: float) -> float:
    if values.max() <= 0:
        return 0.0
    share = values / values.sum() + epsilon
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))
