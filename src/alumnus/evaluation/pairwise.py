"""The agreement of all pairs of encoders on the same images: what each encoder costs is paid once, a pair is nearly free.

The numbers are those of `agreement`: debiased linear CKA and mutual k nearest neighbours. CKA is taken here from N x N Gram matrices
(Song et al. 2012, eq. 4, on rows and columns of them), so that leaving images out for the interval costs no new products; `agreement`
goes through D x E sums, which is cheaper for one pair of many images. N is for the caller to bound: E matrices of N x N are held.

Axes: N images, D width of an encoder, E encoders, k neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from alumnus.errors import DataError
from alumnus.evaluation.agreement import FEWEST, Agreement, K
from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.compare import RESAMPLES, resample
from alumnus.evaluation.jackknife import jackknife
from alumnus.evaluation.search import search, unit_length
from alumnus.log import progress

Pair = tuple[str, str]


def pairwise(
    features: Mapping[str, Floats],
    *,
    k: int = K,
    resamples: int = RESAMPLES,
    seed: int = 0,
    device: str = "cpu",
    label: str = "agreement",
) -> dict[Pair, Agreement]:
    """Returns the agreement of each pair of encoders, the earlier one first; nothing for fewer than four images.

    Args:
        features: name -> (N, D), of the same images in the same order.
        k: neighbours compared; all others where there are fewer.
        device: of the search.
        label: of the progress bar.

    Raises:
        DataError: the lengths differ.
    """
    num_images = _length(features)
    if num_images < FEWEST:
        return {}
    k = min(k, num_images - 1)
    grams = {name: _gram(x) for name, x in progress(features.items(), f"{label}, similarities")}
    near = {name: _neighbours(x, k, device) for name, x in progress(features.items(), f"{label}, neighbours")}
    found = {}
    for one, other in progress(list(combinations(features, 2)), f"{label}, pairs"):
        overlap = _overlap(near[one], near[other])
        drawn = resample(overlap[:, None], np.zeros(num_images, np.int64), resamples=resamples, seed=seed)
        found[one, other] = Agreement(
            num_images,
            jackknife(
                lambda rows, x=grams[one], y=grams[other]: gram_cka(x, y, rows),  # type: ignore[misc]
                num_images,
                seed=seed,
            ),
            drawn.of_domain(0, 0),
            k / (num_images - 1),
        )
    return found


def gram_cka(x: Doubles, y: Doubles, rows: Ids) -> float:
    """Returns the debiased CKA of the images `rows` from Gram matrices (N, N) whose diagonals are 0; NaN where one is constant."""
    x, y = (gram if len(rows) == len(gram) else gram[np.ix_(rows, rows)] for gram in (x, y))
    own = _hsic(x, x) * _hsic(y, y)
    return float(_hsic(x, y) / np.sqrt(own)) if own > 0 else float("nan")


def _hsic(k: Doubles, ell: Doubles) -> float:
    """Song's eq. 4 up to the factor n (n - 3); both are symmetric, with zeros on the diagonal."""
    n = len(k)
    sums_k, sums_ell = k.sum(0), ell.sum(0)
    both = float(np.vdot(k, ell))
    return (
        both
        + float(sums_k.sum() * sums_ell.sum()) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * float(sums_k @ sums_ell)
    )


def _gram(x: Floats) -> Doubles:
    """Of centred features: CKA does not depend on an offset, and without one the sums lose no digits."""
    wide = x.astype(np.float64)
    wide -= wide.mean(0)
    gram: Doubles = wide @ wide.T
    np.fill_diagonal(gram, 0)
    return gram


def _neighbours(x: Floats, k: int, device: str) -> Ids:
    unit = unit_length(x)
    return search(unit, unit, k, exclude=np.arange(len(x)), device=device).ids


def _overlap(one: Ids, other: Ids) -> Floats:
    """Returns (N,) the share of the neighbours (N, k) that both name."""
    shared: Ids = (one[:, :, None] == other[:, None, :]).sum((1, 2))
    share: Floats = (shared / one.shape[1]).astype(np.float32)
    return share


def _length(features: Mapping[str, Floats]) -> int:
    lengths = {name: len(x) for name, x in features.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"features of the same images are needed, and their numbers are {lengths}")
    return next(iter(lengths.values()), 0)
