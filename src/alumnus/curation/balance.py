"""As many of each part: which rows to keep so that no domain, class or cluster has more than its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alumnus.data.fractions import shuffled

Rows = NDArray[np.int64]


def evenly(parts: Rows, limit: int | None, *, seed: int) -> Rows:
    """Returns the places to keep, ascending: the same number of every part, and all of a part that has fewer.

    Args:
        parts: (N,) whole numbers from 0, the part of each row.
        limit: how many to keep in all; by default the same number of each part, as many as the smallest has.
        seed: of which ones. A larger limit keeps what a smaller one kept.
    """
    numbers, counts = np.unique(parts, return_counts=True)
    if not len(numbers):
        return np.empty(0, np.int64)
    shares = np.full(len(counts), counts.min()) if limit is None else shares_of(counts, limit)
    return _first_of_each(parts, dict(zip(numbers.tolist(), shares.tolist(), strict=True)), seed)


def at_most(parts: Rows, count: int, *, seed: int) -> Rows:
    """Returns the places to keep, ascending: at most `count` of every part; all of part -1."""
    numbers, counts = np.unique(parts, return_counts=True)
    shares = {int(n): int(c) if n < 0 else min(int(c), count) for n, c in zip(numbers, counts, strict=True)}
    return _first_of_each(parts, shares, seed)


def shares_of(counts: Rows, limit: int) -> Rows:
    """Returns how many of each part make `limit` in all: as even as the counts allow, the first parts one more where it does not divide.

    >>> shares_of(np.array([100, 3, 50]), 20).tolist()
    [9, 3, 8]
    """
    shares = np.zeros(len(counts), np.int64)
    left = min(limit, int(counts.sum()))
    while left:
        open_parts = np.flatnonzero(shares < counts)
        if left < len(open_parts):
            shares[open_parts[:left]] += 1
            break
        step = min(left // len(open_parts), int((counts - shares)[open_parts].min()))
        shares[open_parts] += step
        left -= step * len(open_parts)
    return shares


def _first_of_each(parts: Rows, shares: dict[int, int], seed: int) -> Rows:
    kept = [np.empty(0, np.int64)]
    for number, share in shares.items():
        rows = np.flatnonzero(parts == number)
        kept.append(rows[shuffled(len(rows), seed, number)[:share]])
    return np.sort(np.concatenate(kept))
