"""Several sources → one: rows one after another, names relative to the deepest common folder, words united."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from alumnus.data.compact import Strings, joined, joined_codes, nothing
from alumnus.data.listing import Listing
from alumnus.data.names import name_below, printable
from alumnus.data.objects import ObjectTable, joined_objects
from alumnus.errors import DataError

T = TypeVar("T")


def one_after_another(listings: Sequence[Listing], *, root: Path | None = None) -> Listing:
    """Returns the rows of all sources as those of one.

    Args:
        root: to which names become relative; by default the deepest common folder.

    Raises:
        DataError: their masks speak of different classes, or their depths of different units.
    """
    root = root or Path(os.path.commonpath([each.root for each in listings]))
    below = ["" if each.root == root else name_below(os.fspath(each.root), root) for each in listings]
    with_masks = [each for each in listings if each.masks is not None]
    with_depths = [each for each in listings if each.depths is not None]
    return Listing(
        root=root,
        file_names=joined([each.file_names.below(b) for each, b in zip(listings, below, strict=True)]),
        domains=joined_codes([each.domains for each in listings]),
        labels=joined_codes([each.labels for each in listings]),
        splits=joined_codes([each.splits for each in listings]),
        texts=_optional([each.texts for each in listings], listings),
        objects=_objects(listings),
        masks=_optional([_below(each.masks, b) for each, b in zip(listings, below, strict=True)], listings),
        depths=_optional([_below(each.depths, b) for each, b in zip(listings, below, strict=True)], listings),
        mask_classes=_agreed([each.mask_classes for each in with_masks], "mask_classes", with_masks) or (),
        depth_unit=_agreed([each.depth_unit for each in with_depths], "depth_unit", with_depths) or "mm",
    )


def _below(column: Strings[str | None] | None, folder: str) -> Strings[str | None] | None:
    return None if column is None else column.below(folder)


def _optional(
    columns: Sequence[Strings[str | None] | None], listings: Sequence[Listing]
) -> Strings[str | None] | None:
    if all(column is None for column in columns):
        return None
    return joined(
        [
            nothing(len(each.file_names)) if column is None else column
            for column, each in zip(columns, listings, strict=True)
        ]
    )


def _objects(listings: Sequence[Listing]) -> ObjectTable | None:
    if all(each.objects is None for each in listings):
        return None
    return joined_objects([each.objects or len(each.file_names) for each in listings])


def _agreed(values: Sequence[T], what: str, listings: Sequence[Listing]) -> T | None:
    for value, each in zip(values, listings, strict=True):
        if value != values[0]:
            raise DataError(
                f"'{printable(listings[0].root)}' and '{printable(each.root)}' differ in {what} (see their "
                f"dataset.json), so they cannot be one dataset"
            )
    return values[0] if values else None
