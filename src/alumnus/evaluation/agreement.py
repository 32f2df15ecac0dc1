"""Do two encoders say the same about images? Without labels: linear CKA, and the overlap of nearest neighbours.

CKA (Kornblith et al. 2019, arXiv 1905.00414) compares all similarities between images, mostly the large ones; here in its debiased form
(HSIC of Song et al. 2012, JMLR 13, eq. 4; Nguyen et al. 2021, arXiv 2010.15327), since the plain one of two unrelated encoders rises to
1 when dimensions outnumber images. Mutual k-nearest neighbours (Huh et al. 2024, arXiv 2405.07987) compares who is next to whom, which
is what search uses.

Axes: N images, D and E widths of the two encoders, k neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alumnus.errors import DataError
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import RESAMPLES, Interval, resample
from alumnus.evaluation.jackknife import jackknife
from alumnus.evaluation.search import search, unit_length
from alumnus.log import progress

K = 10  # Huh et al.
FEWEST = 4  # images: what the debiased estimate needs


class Agreement(NamedTuple):
    """Two encoders on the images of one domain."""

    num_images: int
    cka: Interval  # about 0 for unrelated encoders (it can be below), 1 for equal ones up to rotation and scale
    mutual_knn: Interval  # share of the k nearest that both name, in [0, 1]
    chance: float  # mutual_knn of unrelated encoders: k / (N - 1)


def agreement(
    x: Floats,
    y: Floats,
    domain: Ids,
    domains: Sequence[str],
    *,
    k: int = K,
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Agreement]:
    """Returns the agreement of two encoders in each domain that has four images or more.

    Args:
        x, y: (N, D) and (N, E), features of the same images in the same order.
        domain: (N,), index into `domains`.
        k: neighbours compared; all others where a domain has fewer.
        device: of the search.

    Raises:
        DataError: the lengths differ.
    """
    if not len(x) == len(y) == len(domain):
        raise DataError(
            f"{len(x)} and {len(y)} features and {len(domain)} domains; give all for the same images"
        )
    found = {}
    for d in progress(np.unique(domain), "agreement"):
        here = np.flatnonzero(domain == d)
        if len(here) >= FEWEST:
            found[domains[d]] = _agreement(
                x[here], y[here], k=k, resamples=resamples, seed=seed, device=device
            )
    return found


def linear_cka(x: Floats | Doubles, y: Floats | Doubles) -> float:
    """Returns the debiased linear CKA of (N, D) and (N, E), N at least 4; NaN where one of them is constant.

    It stays the same when either is turned, mirrored, shifted or multiplied by a number. It costs N D E, not N^2.
    """
    return _cka(np.asarray(x, np.float64), np.asarray(y, np.float64))


def mutual_knn(x: Floats, y: Floats, *, k: int = K, device: str = "cpu") -> Floats:
    """Returns (N,) for each image the share of its k nearest by cosine among (N, D) that are also among its k nearest in (N, E)."""
    k = min(k, len(x) - 1)
    own = np.arange(len(x))
    first, second = (
        search(unit, unit, k, exclude=own, device=device).ids for unit in (unit_length(x), unit_length(y))
    )
    shared = np.array([len(np.intersect1d(a, b)) for a, b in zip(first, second, strict=True)])
    return (shared / k).astype(np.float32)


def _agreement(x: Floats, y: Floats, *, k: int, resamples: int, seed: int, device: str) -> Agreement:
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    overlap = mutual_knn(x, y, k=k, device=device)
    drawn = resample(overlap[:, None], np.zeros(len(x), np.int64), resamples=resamples, seed=seed)
    return Agreement(
        len(x),
        jackknife(lambda rows: _cka(wide_x[rows], wide_y[rows]), len(x), seed=seed),
        drawn.of_domain(0, 0),
        min(k, len(x) - 1) / (len(x) - 1),
    )


def _cka(x: Doubles, y: Doubles) -> float:
    if len(x) < FEWEST:
        raise DataError(f"CKA needs {FEWEST} images at least; got {len(x)}")
    x, y = x - x.mean(0), y - y.mean(0)
    own = _hsic(x, x) * _hsic(y, y)
    return float(_hsic(x, y) / np.sqrt(own)) if own > 0 else float("nan")


def _hsic(x: Doubles, y: Doubles) -> float:
    """Returns Song's unbiased estimate up to the factor n (n - 3), of centred features, from (D, E) sums.

    With K = x x', L = y y' whose rows sum to 0, K and L without diagonal have row sums -k_ii, and eq. 4 becomes
    |x'y|^2 - n / (n - 2) sum k_ii l_ii + tr K tr L / ((n - 1)(n - 2)).
    """
    n = len(x)
    k, ell = (x**2).sum(1), (y**2).sum(1)  # (N,) diagonals
    cross = float(((x.T @ y) ** 2).sum())
    return cross - n / (n - 2) * float(k @ ell) + float(k.sum() * ell.sum()) / ((n - 1) * (n - 2))
