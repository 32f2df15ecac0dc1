"""Finding an image that is listed twice, among a million names, in 16 bytes a name.

An image may be in the dataset once for training and once more in the index that queries search (The Met's index is its training set). Else
it may be there only once: a query that is in the index as another row would find itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NOT_SEARCHED = (
    "train",
    "val",
    "spare",
)  # with query or test, these are one pool; index, query and test another


class Distinct:
    """Names that arrive in batches. Two 64-bit hashes stand for a name, so a false alarm is out of the question at any size."""

    def __init__(self) -> None:
        self._one, self._two = array("q"), array("q")
        self._in_index, self._searched = bytearray(), bytearray()

    def add(self, names: Iterable[str], splits: Sequence[str]) -> None:
        """Takes notice of some rows."""
        for name in names:
            self._one.append(hash(name))
            self._two.append(hash(name + "\0"))
        self._in_index.extend([split == "index" for split in splits])
        self._searched.extend([split not in NOT_SEARCHED for split in splits])

    def repeated(self) -> tuple[int, int] | None:
        """Returns the first row that repeats an earlier one, as (earlier, later), or None."""
        in_index = np.frombuffer(bytes(self._in_index), np.bool_)
        searched = np.frombuffer(bytes(self._searched), np.bool_)
        pairs = [self._repeated(np.flatnonzero(pool)) for pool in (~in_index, searched)]
        found = [pair for pair in pairs if pair is not None]
        return min(found, key=lambda pair: pair[1]) if found else None

    def _repeated(self, rows: NDArray[np.int64]) -> tuple[int, int] | None:
        one, two = np.array(self._one, np.int64)[rows], np.array(self._two, np.int64)[rows]
        order = np.lexsort((rows, two, one))
        same = (np.diff(one[order]) == 0) & (np.diff(two[order]) == 0)
        if not same.any():
            return None
        later = order[1:][same].min()
        earlier = np.flatnonzero((one == one[later]) & (two == two[later]))[0]
        return int(rows[earlier]), int(rows[later])
