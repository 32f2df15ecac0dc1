"""The rows of one source, in words, before several sources are joined and words become indices.

Every reader gives `RowBatch`es, a few ten thousand rows of plain Python values, checked; `collected` packs them. So the memory that opening
takes does not depend on the format. Also what a cell may hold: the same rules for CSV, JSONL, Parquet and rows given from Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alumnus.data.compact import Coded, CodedBuilder, Strings, StringsBuilder, joined_codes
from alumnus.data.objects import Found, ObjectsBuilder, ObjectTable
from alumnus.errors import nearest

SPLITS = ("train", "val", "test", "spare", "query", "index")
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "spare": "spare",
    **dict.fromkeys(("query", "queries", "probe"), "query"),
    **dict.fromkeys(("index", "gallery", "database"), "index"),
}  # as folders and lists name them -> as we do
LABEL_NAMES = (
    "label",
    "labels",
    "fine_label",
    "cls",
    "class",
    "class_id",
)  # of a column or key; the first that is there counts
NOTHING = ("", "-1", "-1.0", "nan", "NaN")  # as words; pandas writes -1.0 for -1 in a column with gaps
BATCH_ROWS = 1 << 15

_WHOLE = re.compile(r"[+-]?[0-9]+(\.0)?")

Text = tuple[str, ...]  # the captions of one image, at least one


@dataclass(frozen=True)
class RowBatch:
    """Some rows of a source; all columns of one length, None for a column that the source does not have."""

    file_names: Sequence[str]  # relative to the source's root
    domains: Sequence[str]
    labels: Sequence[str | None]
    splits: Sequence[str]  # each one of SPLITS
    texts: Sequence[Text | None] | None = None
    objects: Sequence[Found | None] | None = None
    masks: Sequence[str | None] | None = None  # relative to the root too
    depths: Sequence[str | None] | None = None


@dataclass(frozen=True)
class Listing:
    """N images of one source."""

    root: Path  # absolute
    file_names: Strings[str]  # relative to root
    domains: Coded
    labels: Coded
    splits: Coded
    texts: Strings[str | None] | None = None  # several captions are several lines
    objects: ObjectTable | None = None
    masks: Strings[str | None] | None = None  # relative to root
    depths: Strings[str | None] | None = None
    mask_classes: tuple[str, ...] = ()
    depth_unit: str = "mm"


def collected(
    root: Path,
    batches: Iterable[RowBatch],
    *,
    object_classes: Sequence[str] = (),
    mask_classes: Sequence[str] = (),
    depth_unit: str = "mm",
) -> Listing:
    """Returns all rows of a source; a column that is empty throughout counts as not there."""
    names, texts, masks, depths = StringsBuilder[str](), _Optional(), _Optional(), _Optional()
    domains, labels, splits = CodedBuilder(), CodedBuilder(), CodedBuilder()
    objects, has_objects = ObjectsBuilder(object_classes), False
    for batch in batches:
        count = len(batch.file_names)
        names.add(batch.file_names)
        domains.add(batch.domains)
        labels.add(batch.labels)
        splits.add(batch.splits)
        texts.add(None if batch.texts is None else [_lines(text) for text in batch.texts], count)
        masks.add(batch.masks, count)
        depths.add(batch.depths, count)
        objects.add(batch.objects or [None] * count)
        has_objects = has_objects or any(cell is not None for cell in batch.objects or ())
    return Listing(
        root=root,
        file_names=names.built(),
        domains=domains.built(),
        labels=labels.built(),
        splits=splits.built(),
        texts=texts.built(),
        objects=objects.built() if has_objects else None,
        masks=masks.built(),
        depths=depths.built(),
        mask_classes=tuple(mask_classes),
        depth_unit=depth_unit,
    )


def _lines(text: Text | None) -> str | None:
    return None if text is None else "\n".join(text)


class _Optional:
    """A column of which nothing may come, or which may begin in a later batch."""

    def __init__(self) -> None:
        self._strings, self._any = StringsBuilder[str | None](), False

    def add(self, cells: Sequence[str | None] | None, count: int) -> None:
        self._any = self._any or any(cell is not None for cell in cells or ())
        self._strings.add([None] * count if cells is None else cells)

    def built(self) -> Strings[str | None] | None:
        return self._strings.built() if self._any else None


def split_folders(names: Iterable[str]) -> dict[str, str]:
    """Returns the names that say a split, with the split.

    Words for query and index count only where there are both: a lone folder `index` or `database` may be anything.

    >>> split_folders(["Train", "index", "cats"]), split_folders(["query", "gallery"])
    ({'Train': 'train'}, {'query': 'query', 'gallery': 'index'})
    """
    found = {name: SPLIT_WORDS[name.lower()] for name in names if name.lower() in SPLIT_WORDS}
    if {"query", "index"} <= set(found.values()):
        return found
    return {name: split for name, split in found.items() if split not in ("query", "index")}


def text_of(value: object) -> str | None:
    """Returns a cell's text without blanks around it; None if it is empty, NaN or -1 (the custom for "no label"), as number or as word.

    Whole numbers count as text, also where a tool turned a column with gaps into floats. Of a word "3.0" only `whole_numbers` knows.

    >>> text_of(3.0), text_of(" 3 "), text_of(""), text_of(-1), text_of(float("nan")), text_of("NaN"), text_of("3.0")
    ('3', '3', None, None, None, None, '3.0')

    Raises:
        ValueError: if it is anything else than text or a whole number.
    """
    if value is None or isinstance(value, str):
        word = (value or "").strip()
        return None if word in NOTHING else word
    if isinstance(value, (float, np.floating)) and (math.isnan(value) or float(value).is_integer()):
        value = -1 if math.isnan(value) else int(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return None if value == -1 else str(value)
    raise ValueError(f"{value!r} is neither text nor a whole number")


def whole_numbers(labels: Coded) -> Coded:
    """Returns a column with "3" for "3.0" if all its words are whole numbers, which pandas writes so if there are gaps; else as it is.

    >>> whole_numbers(Coded(np.array([0, 1, -1, 2], np.int32), ("3.0", "3", "7.0")))
    Coded(codes=array([ 0,  0, -1,  1], dtype=int32), words=('3', '7'))
    """
    if not all(map(_WHOLE.fullmatch, labels.words)):
        return labels
    return joined_codes([labels._replace(words=tuple(word.removesuffix(".0") for word in labels.words))])


def caption_of(value: object) -> Text | None:
    """Returns the captions in a cell, one text or a list of them; None if there is none.

    Raises:
        ValueError: if it is anything else.
    """
    values = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
    texts = tuple(text for text in map(_caption, values) if text)
    return texts or None


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


def _caption(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is neither text nor a list of texts")
    return value
