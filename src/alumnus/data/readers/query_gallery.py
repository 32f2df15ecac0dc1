"""Two lists, one of queries and one of what they search: `query.csv` and `gallery.csv`, by their names.

Any word for query (query, queries, probe) and any for index (index, gallery, database) will do, in a folder or given side by side. One such
name alone says nothing: an `index.csv` may be any list.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from alumnus.data.listing import SPLIT_WORDS
from alumnus.data.names import byte_order
from alumnus.data.readers.tables import is_table


def splits_of_lists(paths: Sequence[Path]) -> dict[Path, str]:
    """Returns the split that each list's name says, if there is one of queries and one of an index; else nothing."""
    found = {path: SPLIT_WORDS[path.stem.lower()] for path in paths if _says_split(path)}
    return found if {"query", "index"} <= set(found.values()) else {}


def lists_in(folder: Path) -> dict[Path, str]:
    """Returns the lists in a folder that say splits, if there is one of queries and one of an index; else nothing."""
    return splits_of_lists([folder / name for name in sorted(os.listdir(folder), key=byte_order)])


def _says_split(path: Path) -> bool:
    return path.stem.lower() in SPLIT_WORDS and is_table(path) and path.is_file()
