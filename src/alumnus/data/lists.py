"""Lists of images: which file, of which domain, with which label, in which split.

Columns: `file_name` (the Hugging Face imagefolder's word; `path`, `image_path`, `filename`, `filepath`, `file` and `image` are understood
if there is just one of them), and optionally `domain`, `label` and `split`. Others are left alone. Paths are relative to the list's folder
and may not leave it; a list that a person names, as opposed to a `metadata` file that came inside a dataset folder, may also hold absolute
paths, to anywhere: that person asked for those files, while a downloaded folder must not reach into the rest of a disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from alumnus.data.listing import Listing, split_of, text_of
from alumnus.data.names import is_below, name_below, printable
from alumnus.data.tables import Table, read_table
from alumnus.errors import DataError

FILE_NAME_COLUMNS = ("file_name", "path", "image_path", "filename", "filepath", "file", "image")
LOOKED_FOR = 64  # files of a list, evenly spread, of which at least one must exist

T = TypeVar("T")


def read_list(path: Path, *, domain: str, split: str = "train", may_be_absolute: bool) -> Listing:
    """Returns the rows of a CSV, TSV, JSONL or Parquet file, in their order.

    Args:
        path: absolute.
        domain, split: for rows that do not say.
        may_be_absolute: whether paths outside the list's folder are allowed, if absolute.

    Raises:
        DataError: naming the list, the row (from 1) and the column.
    """
    table = read_table(path, {*FILE_NAME_COLUMNS, "domain", "label", "split"})
    listing = listing_of(table, path.parent, domain=domain, split=split, may_be_absolute=may_be_absolute)
    _check_some_exist(listing, table.name)
    return listing


def listing_of(table: Table, root: Path, *, domain: str, split: str, may_be_absolute: bool) -> Listing:
    """Returns a table's rows, every cell checked; whether the files exist is not."""
    column = _file_name_column(table)
    names = _converted(table, column, lambda cell: _file_name(cell, root, may_be_absolute))
    if not names:
        raise DataError(f"{table.name} has the columns {_listed(table.columns)} but no rows")
    _check_distinct(names, table.name)
    listing = Listing(
        root=root,
        file_names=names,
        domains=_converted(table, "domain", lambda cell: text_of(cell) or domain, [domain] * len(names)),
        labels=_converted(table, "label", text_of, [None] * len(names)),
        splits=_converted(table, "split", lambda cell: split_of(cell, default=split), [split] * len(names)),
    )
    return _rooted(listing)


def _file_name_column(table: Table) -> str:
    found = [name for name in FILE_NAME_COLUMNS if name in table.columns]
    if "file_name" in found or len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{table.name} has the columns {_listed(found)}; rename the one with the paths to file_name"
        )
    raise DataError(
        f"{table.name} has no column file_name; its columns are {_listed(table.columns)}. "
        f"Also understood: {', '.join(FILE_NAME_COLUMNS[1:])}"
    )


def _converted(
    table: Table, column: str, convert: Callable[[object], T], default: Sequence[T] = ()
) -> list[T]:
    if column not in table.cells:
        return list(default)
    values = []
    for row, cell in enumerate(table.cells[column], start=1):
        try:
            values.append(convert(cell))
        except ValueError as error:
            raise DataError(f"{table.name}, row {row}, column {column}: {error}") from None
    return values


def _file_name(cell: object, root: Path, may_be_absolute: bool) -> str:
    """Returns the normal form: relative to root where it lies below, absolute where that is allowed."""
    if not isinstance(cell, str) or not cell or "\0" in cell:
        raise ValueError(f"{cell!r} is no file name")
    if "://" in cell:
        raise ValueError(f"{cell!r} is an address; images must be files, so download them first")
    absolute = os.path.normpath(os.path.join(root, cell))
    if is_below(absolute, root):
        return name_below(absolute, root)
    if may_be_absolute and os.path.isabs(cell):
        return absolute
    hint = "move the list, or give absolute paths" if may_be_absolute else "a dataset may hold no such path"
    raise ValueError(f"{cell!r} leaves the folder of the list; {hint}")


def _check_distinct(names: Sequence[str], where: str) -> None:
    first: dict[str, int] = {}
    for row, name in enumerate(names, start=1):
        if first.setdefault(name, row) != row:
            raise DataError(
                f"{where}, rows {first[name]} and {row} name the same image '{printable(name)}'; keep one"
            )


def _rooted(listing: Listing) -> Listing:
    """Moves the root up if some paths lie elsewhere, so that every name is relative to it."""
    if not any(os.path.isabs(name) for name in listing.file_names):
        return listing
    paths = [os.path.join(listing.root, name) for name in listing.file_names]
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = [name_below(path, root) for path in paths]
    return Listing(Path(root), names, listing.domains, listing.labels, listing.splits)


def _check_some_exist(listing: Listing, where: str) -> None:
    """Stops at once if the list is about another place; single missing files are quarantined when they are read."""
    sample = listing.file_names[:: max(1, len(listing.file_names) // LOOKED_FOR)]
    if not any(os.path.lexists(listing.root / name) for name in sample):
        raise DataError(
            f"{where}: of {len(sample)} files looked for, none exists; the first is "
            f"'{printable(listing.root / sample[0])}'. Paths must be relative to the list's folder"
        )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in columns) or "(none)"
