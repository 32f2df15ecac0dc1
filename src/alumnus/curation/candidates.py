"""Pictures that may be copies: those of which a perceptual hash differs in few bits.

Both indexes of faiss give every neighbour within `RADIUS`. The flat one compares all with all, which is fastest for some ten thousands. The
other, for more, is sub-quadratic: hashes that differ in at most 15 of 64 bits differ in at most 3 bits of one of four 16-bit
parts, so trying all flips of 3 bits in four tables misses none (multi-index hashing: Norouzi, Punjani and Fleet, arXiv 1307.2982).
"""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray

from alumnus.curation.scan import HASH_BYTES
from alumnus.log import progress

BITS = 8 * HASH_BYTES
RADIUS = 15  # bits. A crop of 2 % at each edge changes 4 to 16 of either hash; different pictures differ in 32 on average
PARTS, FLIPS = 4, 3  # (FLIPS + 1) * PARTS - 1 >= RADIUS
NEAREST = 32  # within RADIUS; a crowd of look-alikes (a video's frames) would else give all its pairs
FLAT_UP_TO = 100_000
AT_ONCE = 4096  # queries


def candidate_pairs(
    hashes: NDArray[np.uint8], queries: NDArray[np.int64], index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns pairs of rows (P, 2), the lower one first, sorted, each once: for every query its NEAREST in the index within RADIUS.

    Args:
        hashes: (N, K, HASH_BYTES); rows are candidates if any of the K is near.
        queries: (Q,) rows.
        index: (M,) rows; a query that is among them does not find itself.
    """
    found = [np.empty((0, 2), np.int64)]
    for kind in range(hashes.shape[1]):
        if len(queries) and len(index):
            found.append(_pairs(np.ascontiguousarray(hashes[:, kind]), queries, index))
    pairs = np.sort(np.concatenate(found), axis=1)
    return np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)


def _pairs(
    hashes: NDArray[np.uint8], queries: NDArray[np.int64], index: NDArray[np.int64]
) -> NDArray[np.int64]:
    searched = _index(len(index))
    searched.add(_mixed(hashes[index]))
    wanted = min(NEAREST + 1, len(index))  # one more, for itself
    parts = [queries[first : first + AT_ONCE] for first in range(0, len(queries), AT_ONCE)]
    found = []
    for rows in progress(parts, "comparing hashes"):
        distances, places = searched.search(_mixed(hashes[rows]), wanted)
        near, rank = np.nonzero((distances <= RADIUS) & (places >= 0))
        found.append(np.stack([rows[near], index[places[near, rank]]], axis=1))
    return np.concatenate(found)


def _index(count: int) -> faiss.IndexBinary:
    if count <= FLAT_UP_TO:
        return faiss.IndexBinaryFlat(BITS)
    index = faiss.IndexBinaryMultiHash(BITS, PARTS, BITS // PARTS)
    index.nflip = FLIPS
    return index


def _mixed(hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same bits in another order: a row of an empty ground is all zeros, and would fill one bucket of a table."""
    order = np.random.RandomState(0).permutation(BITS)  # its stream is frozen for good
    return np.packbits(np.unpackbits(hashes, axis=1)[:, order], axis=1)
