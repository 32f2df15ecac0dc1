"""Lists that say by their names of which split they are: `query.csv` and `gallery.csv`, or `train.csv` and `test.csv`.

Words for queries (query, queries, probe) and for an index (index, gallery, database) count only together, in a folder or given side by
side: an `index.csv` may be any list. The other words that folders of splits have (train, val, test, ...) count wherever several sources are
given: trained on in silence, a `test.csv` would spoil every score. One list given alone may be all the data there is, whatever its name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from alumnus.data.listing import SPLIT_WORDS, split_folders
from alumnus.data.names import byte_order
from alumnus.data.readers.tables import is_table


def splits_of_lists(paths: Sequence[Path]) -> dict[Path, str]:
    """Returns the split that each list's name says, where it says one."""
    lists = [path for path in paths if _says_split(path)]
    splits = split_folders([path.stem for path in lists])  # lists are named as folders are
    return {path: splits[path.stem] for path in lists if path.stem in splits}


def lists_in(folder: Path) -> dict[Path, str]:
    """Returns the lists in a folder that say splits, if there is one of queries and one of an index; else nothing."""
    found = splits_of_lists([folder / name for name in sorted(os.listdir(folder), key=byte_order)])
    return found if {"query", "index"} <= set(found.values()) else {}


def _says_split(path: Path) -> bool:
    return path.stem.lower() in SPLIT_WORDS and is_table(path) and path.is_file()
