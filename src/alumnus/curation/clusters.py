"""Groups of pictures that look alike, by k-means (faiss) over a student's vectors or over plain colour layouts."""

from __future__ import annotations

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from alumnus.log import console

ROUNDS = 25
AT_ONCE = 4096  # thumbnails, which lie on disk
MOST_CLUSTERS = 1024  # unless asked for more
CELLS = 8  # a colour layout is the mean colour of 8 x 8 cells …
FREQUENCIES = (
    (15, 1.0),
    (6, 0.5),
    (6, 0.5),
)  # … of whose DCT the first ones count: of brightness, and of each colour at half weight
TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)  # ITU-T T.871, without the offset, which is the same for all


def clusters_of(
    vectors: NDArray[np.float32], count: int | None = None, *, seed: int, spherical: bool
) -> NDArray[np.int64]:
    """Returns the cluster of each of N vectors: (N,), from 0.

    Args:
        vectors: (N, D), finite.
        count: of clusters; by default the square root of N, at most MOST_CLUSTERS.
        spherical: whether the vectors are of unit length, and so the centres.
    """
    if not len(vectors):
        return np.empty(0, np.int64)
    count = min(count or min(MOST_CLUSTERS, round(len(vectors) ** 0.5)), len(vectors))
    kmeans = faiss.Kmeans(
        vectors.shape[1], count, niter=ROUNDS, seed=seed, spherical=spherical, min_points_per_centroid=1
    )
    console.print(f"clustering {len(vectors):,} pictures into {count:,} groups")
    kmeans.train(np.ascontiguousarray(vectors, np.float32))
    _, nearest = kmeans.index.search(np.ascontiguousarray(vectors, np.float32), 1)
    return np.asarray(nearest[:, 0], np.int64)


def colour_layouts(thumbnails: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns the colour layout of some pictures: (R, 27), as MPEG-7 (ISO/IEC 15938-3) describes it, not quantised.

    Args:
        thumbnails: (N, S, S, 3), S a multiple of CELLS.
        rows: (R,).
    """
    order = sorted(np.ndindex(CELLS, CELLS), key=lambda at: (sum(at), at[sum(at) % 2]))  # zigzag
    found = np.empty((len(rows), sum(count for count, _ in FREQUENCIES)), np.float32)
    for first in range(0, len(rows), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        planes = dctn(_cells(thumbnails[rows[part]]) @ TO_YCBCR.T, axes=(1, 2), norm="ortho")
        columns = [
            weight * planes[:, y, x, plane]
            for plane, (count, weight) in enumerate(FREQUENCIES)
            for y, x in order[:count]
        ]
        found[part] = np.stack(columns, axis=1)
    return found


def _cells(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, CELLS, CELLS, 3) mean colours in [0, 1]."""
    count, side = len(thumbnails), thumbnails.shape[1] // CELLS
    cut = thumbnails.reshape(count, CELLS, side, CELLS, side, 3)
    means: NDArray[np.float32] = cut.mean(axis=(2, 4), dtype=np.float32)
    return means / np.float32(255)
