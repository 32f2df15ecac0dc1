"""One source → its rows: whatever it is, the first of these that fits.

A list file, a COCO json, tar shards, `hf:owner/name`, an image by itself. Of a folder: its `metadata` file; one such file in each split
folder, as Hugging Face's imagefolder has it; a set that `save_to_disk` wrote; UnED's info files; COCO's annotations; lists of queries and
of an index; folders of images and masks; images, which speak through their places (see `folders`); tar shards.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from alumnus.data.folder_facts import FolderFacts
from alumnus.data.joining import one_after_another
from alumnus.data.listing import Listing, RowBatch, collected, split_folders
from alumnus.data.names import EXTENSIONS, byte_order, printable
from alumnus.data.readers.coco import coco_files, looks_like_coco, read_coco, root_of
from alumnus.data.readers.dense_folders import check_annotations, is_dense_folder, read_dense_folder
from alumnus.data.readers.folders import images_below, read_folder
from alumnus.data.readers.huggingface import PREFIX, is_saved_folder, read_named, read_saved
from alumnus.data.readers.lists import Rules, read_list
from alumnus.data.readers.query_gallery import lists_in, splits_of_lists
from alumnus.data.readers.tables import is_table
from alumnus.data.readers.uned import is_uned_folder, read_uned
from alumnus.data.readers.webdataset import expanded, is_shard_pattern, read_shards, shards_below
from alumnus.errors import DataError
from alumnus.log import console

METADATA = ("metadata.parquet", "metadata.csv", "metadata.jsonl")

Source = str | os.PathLike[str]


def read_sources(sources: Sequence[Source]) -> list[Listing]:
    """Returns the rows of each source; of several, lists named like splits are of those.

    Raises:
        DataError: one does not exist or is nothing that is read.
    """
    names = [source for source in sources if not os.fspath(source).startswith(PREFIX)]
    splits = splits_of_lists([_absolute(os.fspath(name)) for name in names]) if len(sources) > 1 else {}
    return [_read_source(os.fspath(source), splits) for source in sources]


def absolute_source(source: Source) -> str:
    """Returns a source that means the same from any working folder."""
    words = os.fspath(source)
    return words if words.startswith(PREFIX) else str(_absolute(words))


def folder_of(source: Source) -> Path:
    """Returns the folder after which a source's domain is called where nothing says it; of one at Hugging Face, `hf:owner/name`."""
    words = os.fspath(source)
    if words.startswith(PREFIX):
        return Path(PREFIX + words.removeprefix(PREFIX).partition(":")[0])
    path = _absolute(words)
    if path.is_dir():
        return path
    return root_of(path) if path.suffix.lower() == ".json" else path.parent


def _read_source(source: str, splits: Mapping[Path, str]) -> Listing:
    if source.startswith(PREFIX):
        return read_named(source)
    path = _absolute(source)
    if path.is_dir():
        return _read_folder(path)
    if is_shard_pattern(source):
        shards = expanded(str(path))
        return read_shards(shards, domain=_name_of(Path(os.path.dirname(shards[0]))))
    if path.is_file() and is_table(path):
        may_be_absolute = path.name not in METADATA  # one that comes inside a dataset must stay in it
        rules = Rules(path.parent, _name_of(path.parent), splits.get(path, "train"), may_be_absolute)
        return read_list(path, rules)
    if path.is_file() and path.suffix.lower() == ".json" and looks_like_coco(path):
        return read_coco([path], root_of(path), domain=_name_of(root_of(path)))
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        return collected(path.parent, [RowBatch([path.name], [_name_of(path.parent)], [None], ["train"])])
    what = "is neither a folder nor a list" if path.exists() else "does not exist"
    several = (
        f"; several sources are a list, data=[{printable(source)}]"
        if "," in source and not path.exists()
        else ""
    )
    raise DataError(
        f"'{printable(path)}' {what}; give a folder of images, an image, a folder with a metadata.parquet, "
        f"or a list ending in .csv, .tsv, .jsonl or .parquet; or a COCO .json, .tar shards, or hf:owner/name{several}"
    )


def _read_folder(folder: Path) -> Listing:
    domain = _name_of(folder)
    metadata = _metadata(folder)
    if metadata is not None:
        return read_list(metadata, Rules(folder, domain))
    lists = _lists_of_splits(folder)
    if lists:
        return _joined(folder, lists)
    if is_saved_folder(folder):
        return read_saved(folder, domain=domain)
    if is_uned_folder(folder):
        return read_uned(folder)
    annotations = coco_files(folder)
    if annotations:
        return read_coco(annotations, folder, domain=domain)
    retrieval = lists_in(folder)
    if retrieval:
        return _joined(folder, retrieval)
    if is_dense_folder(folder):
        return read_dense_folder(folder, domain=domain)
    check_annotations(folder)
    shards = shards_below(folder)
    if shards and images_below(folder):
        console.print(
            f"'{printable(folder)}' holds images, so these are read and its tar files are not; to read those instead, give "
            f"'{printable(os.path.dirname(shards[0]))}/*.tar'",
        )
        shards = []
    return read_shards(shards, domain=domain, folder=folder) if shards else read_folder(folder, domain=domain)


def _metadata(folder: Path) -> Path | None:
    found = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"'{printable(folder)}' holds {names}; which one counts is not clear, so keep one")
    return found[0] if found else None


def _lists_of_splits(folder: Path) -> dict[Path, str]:
    """Returns the metadata file of each split folder, with its split."""
    splits = split_folders(sorted(os.listdir(folder), key=byte_order))
    found = {name: _metadata(folder / name) for name in splits}
    lists = {path: splits[name] for name, path in found.items() if path is not None}
    if lists and len(lists) < len(found):
        lacking = ", ".join(name for name, path in found.items() if path is None)
        raise DataError(
            f"'{printable(folder)}': {next(iter(lists)).parent.name} has a metadata file, but not {lacking}"
        )
    return lists


def _joined(folder: Path, lists: Mapping[Path, str]) -> Listing:
    """Returns the rows of several lists, each of a split, as those of one source."""
    domain, above = _name_of(folder), FolderFacts.of(folder)
    parts = [read_list(path, Rules(path.parent, domain, split, above=above)) for path, split in lists.items()]
    return one_after_another(parts, root=folder)


def _name_of(folder: Path) -> str:
    return printable(folder.name) or "images"  # the root of a disk has no name


def _absolute(source: str) -> Path:
    return Path(
        os.path.abspath(os.path.expanduser(source))
    )  # links stay as they are: names are what users see
