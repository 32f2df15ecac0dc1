"""One source, a folder or a list file, → its rows.

A folder with a `metadata` file is what that file says. A folder whose split folders (train, test, ...) have one each is read split by
split, as Hugging Face's imagefolder does. Any other folder speaks through the places of its images (see `folders`).
"""

from __future__ import annotations

import os
from pathlib import Path

from alumnus.data.folders import read_folder
from alumnus.data.listing import SPLIT_WORDS, Listing
from alumnus.data.lists import read_list
from alumnus.data.names import byte_order, printable
from alumnus.data.tables import is_table
from alumnus.errors import DataError

METADATA = ("metadata.parquet", "metadata.csv", "metadata.jsonl")


def read_source(source: str | os.PathLike[str]) -> Listing:
    """Returns the rows of a dataset folder, an image folder, or a list file.

    Raises:
        DataError: if it does not exist or is none of these.
    """
    path = Path(
        os.path.abspath(os.path.expanduser(source))
    )  # links stay as they are: names are what users see
    if path.is_dir():
        return _read_folder(path)
    if path.is_file() and is_table(path):
        may_be_absolute = path.name not in METADATA  # one that comes inside a dataset must stay in it
        return read_list(path, domain=_name_of(path.parent), may_be_absolute=may_be_absolute)
    what = "is neither a folder nor a list" if path.exists() else "does not exist"
    raise DataError(
        f"'{printable(path)}' {what}; give a folder of images, a folder with a metadata.parquet, "
        f"or a list ending in .csv, .tsv, .jsonl or .parquet"
    )


def _read_folder(folder: Path) -> Listing:
    metadata = _metadata(folder)
    if metadata is not None:
        return read_list(metadata, domain=_name_of(folder), may_be_absolute=False)
    lists = _lists_of_splits(folder)
    if lists:
        return _joined(folder, lists)
    return read_folder(folder, domain=_name_of(folder))


def _metadata(folder: Path) -> Path | None:
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"'{printable(folder)}' holds {names}; which one counts is not clear, so keep one")
    return found[0] if found else None


def _lists_of_splits(folder: Path) -> list[Path]:
    names = sorted((name for name in os.listdir(folder) if name.lower() in SPLIT_WORDS), key=byte_order)
    found = [(folder / name, _metadata(folder / name)) for name in names]
    lists = [metadata for _, metadata in found if metadata is not None]
    if lists and len(lists) < len(found):
        lacking = ", ".join(path.name for path, metadata in found if metadata is None)
        raise DataError(
            f"'{printable(folder)}': {lists[0].parent.name} has a metadata file, but not {lacking}"
        )
    return lists


def _joined(folder: Path, lists: list[Path]) -> Listing:
    """Returns the rows of several split folders as those of one source."""
    whole = Listing(folder, [], [], [], [])
    for metadata in lists:
        top = metadata.parent.name
        split = SPLIT_WORDS[top.lower()]
        part = read_list(metadata, domain=_name_of(folder), split=split, may_be_absolute=False)
        whole.file_names.extend(f"{top}/{name}" for name in part.file_names)
        whole.domains.extend(part.domains)
        whole.labels.extend(part.labels)
        whole.splits.extend(part.splits)
    return whole


def _name_of(folder: Path) -> str:
    return printable(folder.name) or "images"  # the root of a disk has no name
