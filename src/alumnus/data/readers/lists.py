"""Lists of images: which file, of which domain, with which label, in which split, and what else is known of it.

Columns: `file_name` (the Hugging Face imagefolder's word), and optionally `domain`, `label`, `split`, `text`, `objects`, `mask` and
`depth`; `columns` says which other names they may have. The rest is left alone, and named on the console.
Paths are relative to the list's folder and may not leave it; a list that a person names, as opposed to a `metadata` file that came inside a
dataset folder, may also hold absolute paths, to anywhere: that person asked for those files, while a downloaded folder must not reach into
the rest of a disk. A path may also name a member of a tar shard (see `locator`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from alumnus.data.compact import Strings
from alumnus.data.distinct import Distinct
from alumnus.data.folder_facts import FolderFacts
from alumnus.data.listing import Listing, RowBatch, caption_of, collected, split_of, text_of, whole_numbers
from alumnus.data.locator import container_of, joined_locator, parse_locator
from alumnus.data.names import is_below, name_below, printable
from alumnus.data.objects import objects_of
from alumnus.data.readers.columns import columns_read, listed, tell_unread
from alumnus.data.readers.tables import Table, read_tables
from alumnus.errors import DataError

LOOKED_FOR = 64  # files of a list, evenly spread, of which at least one must exist

# Most names of most lists: no part that begins with a dot, none empty, nothing that could be an address or a locator.
_PLAIN = re.compile(r"[^/.:\0][^/:\0]*(?:/[^/.:\0][^/:\0]*)*")

T = TypeVar("T")


class Rules(NamedTuple):
    """How a list is read.

    Args:
        root: the folder to which its paths are relative, absolute.
        domain, split: for rows that do not say.
        may_be_absolute: whether paths outside the root are allowed, if absolute.
        above: what the folder around the root says about all its images.
    """

    root: Path
    domain: str
    split: str = "train"
    may_be_absolute: bool = False
    above: FolderFacts | None = None


def read_list(path: Path, rules: Rules) -> Listing:
    """Returns the rows of a CSV, TSV, JSONL or Parquet file, in their order.

    Raises:
        DataError: naming the list, the row (from 1) and the column.
    """
    facts, distinct = FolderFacts.of(rules.root, rules.above), Distinct()
    where, there, read = printable(path.name), dict[str, None](), set[str]()

    def wanted(columns: Sequence[str]) -> set[str]:
        there.update(dict.fromkeys(columns))
        read.update(columns_read(columns, where).values())
        return read

    tables = read_tables(path, wanted)
    listing = collected(
        rules.root,
        checked_rows(tables, rules, distinct),
        mask_classes=facts.mask_classes,
        object_classes=facts.object_classes,
        depth_unit=facts.depth_unit,
    )
    check_distinct(distinct, where, lambda row: listing.file_names[row])
    _check_some_exist(listing, where)
    tell_unread(there, read, where)
    return _rooted(replace(listing, labels=whole_numbers(listing.labels)))


def checked_rows(tables: Iterator[Table], rules: Rules, distinct: Distinct) -> Iterator[RowBatch]:
    """Yields a list's rows, every cell checked; whether the files exist is not.

    Args:
        distinct: takes notice of the names, so that `check_distinct` can follow.

    Raises:
        DataError: naming the list, the row (from 1) and the column; or there is no row.
    """
    count, table = 0, None
    for table in tables:
        batch = _batch(table, rules)
        distinct.add(batch.file_names, batch.splits)
        count += len(batch.file_names)
        yield batch
    assert table is not None, "there is at least one table, if an empty one"
    if not count:
        raise DataError(f"{table.name} has the columns {listed(table.columns)} but no rows")


def check_distinct(distinct: Distinct, where: str, name_of: Callable[[int], str]) -> None:
    """Raises DataError if an image is listed twice (once to be trained on and once in the index is allowed)."""
    pair = distinct.repeated()
    if pair:
        raise DataError(
            f"{where}, rows {pair[0] + 1} and {pair[1] + 1} name the same image '{printable(name_of(pair[1]))}'; "
            f"keep one (only a training image may come again, in the split index)"
        )


def checked_name(cell: object, root: str | os.PathLike[str], *, may_be_absolute: bool = False) -> str:
    """Returns a file name's normal form: relative to root where it lies below, absolute where that is allowed.

    Raises:
        ValueError: it is no name, an address, or leaves the root.
    """
    if not isinstance(cell, str) or not cell or "\0" in cell:
        raise ValueError(f"{cell!r} is no file name")
    if _PLAIN.fullmatch(cell):
        return cell
    if "://" in cell:
        raise ValueError(f"{cell!r} is an address; images must be files, so download them first")
    place = parse_locator(cell)  # what follows the container's name is no path, and stays as it is
    absolute = os.path.normpath(os.path.join(root, place.container if place else cell))
    if is_below(absolute, root):
        name = name_below(absolute, root)
    elif may_be_absolute and os.path.isabs(cell):
        name = absolute
    else:
        hint = (
            "move the list, or give absolute paths" if may_be_absolute else "a dataset may hold no such path"
        )
        raise ValueError(f"{cell!r} leaves the folder of the list; {hint}")
    return joined_locator(name, place.member) if place else name


def _batch(table: Table, rules: Rules) -> RowBatch:
    def file_name(cell: object) -> str:
        return checked_name(cell, rules.root, may_be_absolute=rules.may_be_absolute)

    def other_file(cell: object) -> str | None:
        return None if text_of(cell) is None else file_name(cell)

    column = columns_read(table.columns, table.name)
    names = _converted(table, column["file_name"], file_name)
    count = len(names)
    domain = _remembered(lambda cell: text_of(cell) or rules.domain)
    split = _remembered(lambda cell: split_of(cell, default=rules.split))
    return RowBatch(
        names,
        domains=_converted(table, column.get("domain"), domain, [rules.domain] * count),
        labels=_converted(table, column.get("label"), _remembered(text_of), [None] * count),
        splits=_converted(table, column.get("split"), split, [rules.split] * count),
        texts=_converted(table, column["text"], caption_of) if "text" in column else None,
        objects=_converted(table, column["objects"], objects_of) if "objects" in column else None,
        masks=_converted(table, column["mask"], other_file) if "mask" in column else None,
        depths=_converted(table, column["depth"], other_file) if "depth" in column else None,
    )


def _converted(
    table: Table, column: str | None, convert: Callable[[object], T], default: Sequence[T] = ()
) -> list[T]:
    if column is None:
        return list(default)
    values = list[T]()
    try:
        for cell in table.cells[column]:
            values.append(convert(cell))
    except ValueError as error:
        row = table.first + len(values) + 1
        raise DataError(f"{table.name}, row {row}, column {column}: {error}") from None
    return values


def _remembered(convert: Callable[[object], T]) -> Callable[[object], T]:
    """Returns the same function, faster for a column with few distinct words."""
    known: dict[str, T] = {}

    def fast(cell: object) -> T:
        if not isinstance(cell, str):  # 1, 1.0 and True are one key of a dict
            return convert(cell)
        if cell not in known:
            known[cell] = convert(cell)
        return known[cell]

    return fast


def _rooted(listing: Listing) -> Listing:
    """Moves the root up if some paths lie elsewhere, so that every name is relative to it."""
    columns = (listing.file_names, listing.masks, listing.depths)
    if not any(os.path.isabs(name) for column in columns for name in column or () if name):
        return listing
    paths = [
        [None if name is None else os.path.join(listing.root, name) for name in column or ()]
        for column in columns
    ]
    folders = {os.path.dirname(container_of(path)) for column in paths for path in column if path}
    root = os.path.commonpath(folders)
    below = [[path and name_below(path, root) for path in column] for column in paths]
    return replace(
        listing,
        root=Path(root),
        file_names=Strings.of(str(name) for name in below[0]),
        masks=listing.masks and Strings.of(below[1]),
        depths=listing.depths and Strings.of(below[2]),
    )


def _check_some_exist(listing: Listing, where: str) -> None:
    """Stops at once if the list is about another place; single missing files are quarantined when they are read."""
    sample = listing.file_names[:: max(1, len(listing.file_names) // LOOKED_FOR)]
    if not any(os.path.lexists(container_of(os.path.join(listing.root, name))) for name in sample):
        backslash = "; write / for \\ in them" if any("\\" in name for name in sample) else ""
        raise DataError(
            f"{where}: of {len(sample)} files looked for, none exists; the first is "
            f"'{printable(listing.root / sample[0])}'. Paths must be relative to the list's folder{backslash}"
        )
