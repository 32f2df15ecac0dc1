"""Which vectors may be among the k nearest by float64 products: the last round of exact search, for vectors that float32 cannot tell apart.

A student that collapsed gives all images nearly the same vector. What a product in float64 leaves open is nine digits narrower than in
float32, so a difference in the last bit of a float32 number is seen. Equal vectors stay equal, but they are found without any query: of
each vector only the first k + 1 copies can be in a list.

Axes: b queries, n index vectors, B of them in a block, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from alumnus.evaluation.arrays import Doubles, Floats, Ids

ELEMENTS = 1 << 22  # of index vectors in float64 at once
CROWD = 4  # times as many contenders as places: then the block's own scores make the bound tighter


def first_copies(index: Floats, most: int) -> Ids:
    """Returns the ids, rising, of the vectors (n, D) with fewer than `most` equal ones before them.

    A few more may be among them: copies between which an unequal vector is sorted (`_side_by_side`) are counted anew after it.

    >>> first_copies(np.array([[1, 2], [0, 0], [1, 2], [1, 2]], np.float32), 2)
    array([0, 1, 2])
    """
    order, equal = _side_by_side(index)
    place = np.arange(len(index))
    before = place - np.maximum.accumulate(np.where(equal, 0, place))
    return np.sort(order[before < most])


def contenders(queries: Doubles, block: Doubles, most: int, least: Doubles) -> tuple[Ids, Ids]:
    """Returns the pairs (query, vector of the block) that may be among a query's `most` best of the block, and beyond `least`.

    Each query gets at most CROWD * most of them, unless more are as good as the last of its best up to the rounding of float64.

    Args:
        queries: (b, D).
        block: (B, D).
        least: (b,) inner products summed one pair at a time; only larger ones are of interest.
    """
    scores = queries @ block.T  # (b, B)
    slack = _float64_slack(queries, block)
    possible = scores > (least - slack)[:, None]
    rows, columns = np.nonzero(possible)
    crowded = np.flatnonzero(np.bincount(rows, minlength=len(queries)) > CROWD * most)
    if len(crowded):
        some = scores[crowded]
        last = np.partition(some, -most, axis=1)[:, -most] - 2 * slack[crowded]
        possible[crowded] &= some >= last[:, None]
        rows, columns = np.nonzero(possible)
    return rows.astype(np.int64, copy=False), columns.astype(np.int64, copy=False)


def _float64_slack(queries: Doubles, block: Doubles) -> Doubles:
    """Returns (b,) the most by which two sums of the same D products can differ: each is wrong by D u |q| |x|, its products are exact."""
    unit_roundoff = float(np.finfo(np.float64).eps) / 2
    lengths, longest = np.linalg.norm(queries, axis=1), np.linalg.norm(block, axis=1).max()
    slack: Doubles = 2 * 1.01 * (queries.shape[1] + 2) * unit_roundoff * lengths * longest
    return slack


def _side_by_side(index: Floats) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Returns ids (n,) in an order where copies follow each other by rising id, and whether each is equal to the one before it.

    They are sorted by their product with one direction. Unequal vectors may have the same, so equality is looked at, never assumed.
    """
    direction = np.random.default_rng(0).normal(size=index.shape[1])
    key = np.empty(len(index), np.float64)
    for rows in _parts(len(index), index.shape[1]):
        key[rows] = (index[rows] * direction).sum(
            -1
        )  # by itself: a matrix product may round copies differently
    order = np.argsort(key, kind="stable")
    equal = np.zeros(len(index), np.bool_)
    alike = np.flatnonzero(key[order[1:]] == key[order[:-1]]) + 1
    for rows in _parts(len(alike), index.shape[1]):
        later = alike[rows]
        equal[later] = (index[order[later]] == index[order[later - 1]]).all(-1)
    return order, equal


def _parts(count: int, width: int) -> Iterator[slice]:
    step = max(1, ELEMENTS // max(1, width))
    for start in range(0, count, step):
        yield slice(start, start + step)
