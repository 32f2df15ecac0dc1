"""The rows of one source, in words, before several sources are joined and words become indices.

Also what a cell may hold, whatever the list's format: the same rules for CSV, JSONL, Parquet and rows given from Python.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alumnus.errors import nearest

SPLITS = ("train", "val", "test", "spare")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "spare": "spare",
}  # as folders and lists name them -> as we do


@dataclass(frozen=True)
class Listing:
    """N images of one source."""

    root: Path  # absolute
    file_names: list[str]  # relative to root
    domains: list[str]
    labels: list[str | None]
    splits: list[str]  # each one of SPLITS


def text_of(value: object) -> str | None:
    """Returns a cell's text; None if it is empty, NaN or -1 (the custom for "no label").

    Whole numbers count as text, also where a tool turned a column with gaps into floats.

    >>> text_of(3.0), text_of("3"), text_of(""), text_of(-1), text_of(float("nan"))
    ('3', '3', None, None, None)

    Raises:
        ValueError: if it is anything else than text or a whole number.
    """
    if value is None or isinstance(value, str):
        return None if value in (None, "", "-1") else value
    if isinstance(value, (float, np.floating)) and (math.isnan(value) or float(value).is_integer()):
        value = -1 if math.isnan(value) else int(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return None if value == -1 else str(value)
    raise ValueError(f"{value!r} is neither text nor a whole number")


def split_of(value: object, *, default: str) -> str:
    """Returns one of SPLITS for a cell, the default for an empty one.

    Raises:
        ValueError: if it is none of the words that are known.
    """
    word = text_of(value)
    if word is None:
        return default
    if word.lower() not in SPLIT_WORDS:
        raise ValueError(
            f"split {word!r} is none of {', '.join(SPLIT_WORDS)}{nearest(word.lower(), SPLIT_WORDS)}"
        )
    return SPLIT_WORDS[word.lower()]
