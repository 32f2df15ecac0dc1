"""Known data sets: `names()`, `info("emoji")`, and `get("emoji")`, which fetches, draws and caches a dataset folder.

One file is one data set and says what its pictures are, whose, and how labels are made. `known` holds the contract, `build` does
what is the same for all, `draw`, `raster`, `splits` and the readers (`iconify`, `idx`) are its parts.
"""

from __future__ import annotations

from alumnus.datasets.build import get, info, names
from alumnus.datasets.known import DatasetInfo, Entry

__all__ = ["DatasetInfo", "Entry", "get", "info", "names"]
