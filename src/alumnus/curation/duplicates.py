"""Which pictures of a data set are the same, to the pixel or nearly, and which of them to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alumnus.curation.candidates import candidate_pairs
from alumnus.curation.scan import Scan
from alumnus.curation.verify import copies
from alumnus.data.dataset import Dataset

Rows = NDArray[np.int64]

HELD_OUT = ("val", "test", "query", "index")
KEEP_FIRST = ("test", "query", "index", "val", "train", "spare")  # whose copy stays
BLANK = 3.0  # standard deviation, 0-255; what varies less has nothing by which a copy could be known


class Near(NamedTuple):
    """Two pictures that differ in pixels and show the same."""

    first: int  # row
    second: int  # row, higher
    likeness: float  # in [0.95, 1]


def exact_groups(data: Dataset, found: Scan) -> list[Rows]:
    """Returns the rows of each picture that is there more than once, ascending; groups by their first row.

    A file that is listed twice (for training, and once more in the index) is one picture.
    """
    rows = np.flatnonzero(found.readable)
    _, group = np.unique(found.digests[rows], return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order])) + 1
    groups = [each for each in np.split(rows[order], starts) if len(each) > 1]
    several = [each for each in groups if len({data.paths[row] for row in each}) > 1]
    return sorted(several, key=lambda each: int(each[0]))


def near_copies(data: Dataset, found: Scan, rows: Rows | None = None) -> list[Near]:
    """Returns the pairs that are nearly the same, in order; of pictures that are there several times, only the first takes part.

    Of a crowd of look-alikes, such as a video's frames, each is compared with its nearest only (`candidates.NEAREST`), and each held-out
    one with its nearest in training besides, so that no crowd hides a leak.

    Args:
        rows: those to compare; all by default.
    """
    rows = np.arange(len(data)) if rows is None else rows
    rows = rows[found.readable[rows] & (found.contrast[rows] > BLANK)]
    train, held_out = (_firsts(found, rows[np.isin(data.split[rows], s)]) for s in (["train"], HELD_OUT))
    others = _firsts(found, rows[data.split[rows] == "spare"])
    all_rows = np.sort(np.concatenate([train, held_out, others]))
    asked = [candidate_pairs(found.hashes, all_rows, all_rows)]
    asked.append(candidate_pairs(found.hashes, held_out, train))
    pairs = np.unique(np.concatenate(asked), axis=0)
    pairs = pairs[found.digests[pairs[:, 0]] != found.digests[pairs[:, 1]]]
    pairs, likeness = copies(found.thumbnails, pairs)
    return [Near(int(a), int(b), float(like)) for (a, b), like in zip(pairs, likeness, strict=True)]


def without_copies(data: Dataset, found: Scan, *, near: bool = True) -> dict[int, int]:
    """Returns the rows to drop, each with the row that stays in its place.

    The copy stays that is held out, else the larger one, else the first. A query and an index picture may show the same.

    Args:
        near: whether what differs in pixels counts.
    """
    rank = _rank(data, found)
    dropped = _exact_drops(data, found, rank)
    while near:
        rows = np.setdiff1d(np.flatnonzero(found.readable), list(dropped))
        pairs = [pair for pair in near_copies(data, found, rows) if _rivals(data, pair.first, pair.second)]
        if not pairs:
            break
        dropped |= _near_drops(pairs, rank)  # what stays of a crowd is compared again
    return dropped


def _exact_drops(data: Dataset, found: Scan, rank: Rows) -> dict[int, int]:
    dropped: dict[int, int] = {}
    for group in exact_groups(data, found):
        kept = list[int]()
        for row in map(int, group[np.argsort(rank[group])]):
            rival = next((other for other in kept if _rivals(data, row, other)), None)
            if rival is None:
                kept.append(row)
            else:
                dropped[row] = rival
    return dropped


def _near_drops(pairs: Sequence[Near], rank: Rows) -> dict[int, int]:
    """Rows from the best down; one that is near to one that stays goes."""
    near: dict[int, list[int]] = defaultdict(list)
    for pair in pairs:
        near[pair.first].append(pair.second)
        near[pair.second].append(pair.first)
    dropped: dict[int, int] = {}
    for row in sorted(near, key=lambda row: rank[row]):
        better = [other for other in near[row] if rank[other] < rank[row] and other not in dropped]
        if better:
            dropped[row] = min(better, key=lambda other: rank[other])
    return dropped


def _rank(data: Dataset, found: Scan) -> Rows:
    """(N,): 0 for the row that stays before all others."""
    place = np.array([KEEP_FIRST.index(word) for word in data.split.tolist()], np.int64)
    order = np.lexsort((np.arange(len(data)), -found.sizes.prod(1), place))
    rank = np.empty(len(data), np.int64)
    rank[order] = np.arange(len(data))
    return rank


def _rivals(data: Dataset, one: int, other: int) -> bool:
    """Whether only one of two copies may stay."""
    splits = {str(data.split[one]), str(data.split[other])}
    return splits != {"query", "index"} and data.paths[one] != data.paths[other]


def _firsts(found: Scan, rows: Rows) -> Rows:
    """The rows without repeats of pixels."""
    _, first = np.unique(found.digests[rows], return_index=True)
    return rows[np.sort(first)]
