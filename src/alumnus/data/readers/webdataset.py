"""WebDataset: images in tar shards, read in place. Nothing is unpacked; `tar_index` knows where each member lies."""

from __future__ import annotations

import glob
import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from alumnus.data.folder_facts import FolderFacts
from alumnus.data.listing import SPLIT_WORDS, Listing, RowBatch, collected, split_folders
from alumnus.data.locator import check_is_file, joined_locator
from alumnus.data.names import byte_order, name_below, printable
from alumnus.data.samples import SPARE, UNKNOWN
from alumnus.data.tar_index import rows_of
from alumnus.errors import DataError
from alumnus.log import progress

MAX_SHARDS = 100_000
_BRACES = re.compile(r"\{(?:(?P<first>\d{1,9})\.\.(?P<last>\d{1,9})|(?P<words>[^{}]*,[^{}]*))\}")


def is_shard_pattern(source: str) -> bool:
    """Returns whether a source names tar shards: one, a glob, or a range in braces."""
    return source.lower().endswith((".tar", ".tar}"))


def expanded(pattern: str) -> list[str]:
    """Returns the shards that a pattern names, in order.

    >>> expanded("a-{08..10}.tar")
    ['a-08.tar', 'a-09.tar', 'a-10.tar']

    Raises:
        DataError: a glob finds nothing, or a range is empty or too long.
    """
    if os.path.lexists(pattern):
        return [pattern]
    names = _braces_expanded(pattern)
    found = [name for each in names for name in (_globbed(each) if glob.has_magic(each) else [each])]
    if not found:
        raise DataError(
            f"'{printable(pattern)}' finds no file; give tar shards such as shards-{{0000..0012}}.tar"
        )
    return found


def shards_below(folder: Path) -> list[str]:
    """Returns the tars in a folder and in its split folders, as paths in byte order."""
    inside = os.listdir(folder)
    places = [folder, *(folder / name for name in split_folders(inside) if (folder / name).is_dir())]
    found = [
        os.path.join(place, name)
        for place in places
        for name in os.listdir(place)
        if name.lower().endswith(".tar") and not name.startswith(".")
    ]
    return sorted(found, key=byte_order)


def read_shards(shards: Sequence[str], *, domain: str, folder: Path | None = None) -> Listing:
    """Returns the images of tar shards, shard by shard, in their order.

    Args:
        shards: absolute paths.
        domain: for images that do not say. The split of those that do not say is that of a folder or word in the shard's name
            (`val/0.tar`, `imagenet-val-0.tar`), or train.
        folder: whose `dataset.json` holds for them; by default the deepest that they share.

    Raises:
        DataError: a shard is missing or no tar, or there is no image in any.
    """
    root = os.path.commonpath([os.path.dirname(path) for path in shards])
    for path in shards:
        check_is_file(path)
    facts = FolderFacts.of(folder or Path(root))
    batches = _batches(shards, root, domain)
    listing = collected(Path(root), batches, mask_classes=facts.mask_classes, depth_unit=facts.depth_unit)
    if not len(listing.file_names):
        raise DataError(f"{len(shards)} tar shards in '{printable(root)}' hold no image")
    return listing


def _batches(shards: Sequence[str], root: str, domain: str) -> Iterator[RowBatch]:
    for path in progress(shards, "tar shards"):
        name, rows, split = name_below(path, root), rows_of(path), _split_of_shard(path, root)

        def inside(member: str | None, name: str = name) -> str | None:
            return None if member is None else joined_locator(name, member)

        yield RowBatch(
            [joined_locator(name, row.name) for row in rows],
            domains=[row.domain or domain for row in rows],
            labels=[row.label for row in rows],
            # Without a word of the shard, one whose JSON cannot be read is neither learnt from nor scored.
            splits=[
                (split or SPARE) if row.split == UNKNOWN else row.split or split or "train" for row in rows
            ],
            texts=[row.texts for row in rows],
            masks=[inside(row.mask) for row in rows],
            depths=[inside(row.depth) for row in rows],
        )


def _split_of_shard(path: str, root: str) -> str | None:
    top = os.path.dirname(root)
    folders = name_below(path, top).split("/")[:-1]
    said = [_split_said(os.path.join(top, *folders[:place]), word) for place, word in enumerate(folders)]
    if any(said):
        return next(filter(None, reversed(said)))
    words = re.findall("[a-z]+", os.path.basename(path).lower())
    splits = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS} & {"train", "val", "test"}
    return splits.pop() if len(splits) == 1 else None


def _split_said(folder: str, name: str) -> str | None:
    """Returns the split that the name of a folder inside another says; words for query and index count if both are there."""
    split = SPLIT_WORDS.get(name.lower())
    return split_folders(os.listdir(folder)).get(name) if split in ("query", "index") else split


def _braces_expanded(pattern: str) -> list[str]:
    parts, rest = list[list[str]](), pattern
    while found := _BRACES.search(rest):
        parts += [[rest[: found.start()]], _choices(found)]
        rest = rest[found.end() :]
    count = math.prod(len(part) for part in parts)
    if not 0 < count <= MAX_SHARDS:
        raise DataError(f"'{printable(pattern)}' names {count} shards; 1 to {MAX_SHARDS} are allowed")
    return ["".join(each) for each in itertools.product(*parts, [rest])]


def _choices(braces: re.Match[str]) -> list[str]:
    if braces["words"] is not None:
        return braces["words"].split(",")
    first, last, width = int(braces["first"]), int(braces["last"]), len(braces["first"])
    numbers = range(first, min(last, first + MAX_SHARDS) + 1)  # too many are refused by the caller
    return [f"{number:0{width}d}" for number in numbers]


def _globbed(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern), key=byte_order)
