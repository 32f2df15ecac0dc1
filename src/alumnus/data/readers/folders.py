"""Folders of images: which files are images, and what their place says about label and split.

What counts is where the images are, in this order:

1. All of them below one folder only: that folder is a wrapper, and the rules apply inside it.
2. All of them below folders named like splits (train, val or validation, test, spare; query and gallery or index together): the rules 3
   and 4 apply in each. Two or more such folders beside others are refused: whether they are splits or classes is not clear. So are
   such folders beside loose images: of which split those are is not clear, and a preview must not make test images training images.
3. Some directly inside: a flat folder. No labels, deeper folders included; if there are any, the console says so.
4. All of them below several folders: class folders; the label is the name of the first folder, deeper ones included. If folders named
   like splits lie right below two or more of them, that is refused: these are data sets side by side. Below one of them alone, such a
   folder may well be one of a class, and the console says that its images are for training.

Hidden files and folders are passed over. Links are followed, but never round in a circle.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from alumnus.data.listing import SPLIT_WORDS, SPLITS, Listing, RowBatch, collected, split_folders
from alumnus.data.names import EXTENSIONS, printable
from alumnus.errors import DataError
from alumnus.log import console, warn

MOST_NAMED = 5  # folders or images in a message


def read_folder(folder: Path, *, domain: str) -> Listing:
    """Returns the images of a flat folder, class folders, or split folders of either, in the byte order of their names.

    Raises:
        DataError: if there is no image, a folder cannot be read, or folders of splits lie beside others, beside images, or below several.
    """
    names = images_below(folder)
    if not names:
        raise DataError(
            f"{printable(folder)} holds no image: no metadata.parquet, .csv or .jsonl, and no file ending in "
            f"{', '.join(sorted(EXTENSIONS))}, here or in its folders (hidden ones are passed over)"
        )
    try:
        rest, splits = split_by_folder(names)
    except ValueError as error:
        raise DataError(f"'{printable(folder)}': {error}") from None
    inside = _unwrapped(names)
    if rest == inside:  # no folder of a split was taken off
        _check_deeper(inside, folder / names[0].removesuffix(inside[0]))
    _tell_loose(folder, names, rest, splits)
    return collected(folder, [RowBatch(names, [domain] * len(names), _labels(rest, splits), splits)])


def images_below(folder: Path) -> list[str]:
    """Returns the names, relative to the folder, of all files below it that are named like images."""
    return sorted(_scan(os.fspath(folder), "", ()), key=os.fsencode)


def split_by_folder(names: list[str]) -> tuple[list[str], list[str]]:
    """Returns what follows the wrapper and split folders in every name, and the splits ("train" if there are no such folders).

    >>> split_by_folder(["images/train/cat/1.png", "images/test/cat/2.png"])
    (['cat/1.png', 'cat/2.png'], ['train', 'test'])

    Raises:
        ValueError: some folders are named like splits, but others (if they are two or more) or images beside them are not.
    """
    whole, names = names, _unwrapped(names)
    splits = _splits_of_all(names, whole[0].removesuffix(names[0]) if names else "")
    if not splits:
        return names, ["train"] * len(names)
    return [_below_top(name) for name in names], [splits[name.split("/", 1)[0]] for name in names]


def _unwrapped(names: list[str]) -> list[str]:
    """Returns the names without the folders that are around all of them, up to one named like a split."""
    tops = _top_folders(names)
    while len(tops) == 1 and not split_folders(tops):
        names = [_below_top(name) for name in names]
        tops = _top_folders(names)
    return names


def _splits_of_all(names: list[str], around: str = "") -> dict[str, str]:
    """Returns the first folders with their splits if all images lie in folders named like splits; else nothing.

    Args:
        around: what was taken off the names, for messages.
    """
    loose = [name for name in names if "/" not in name]
    if loose:
        deep = [name for name in names if "/" in name]
        inside = _unwrapped(deep)
        if inside and (splits := _splits_of_all(inside, around + deep[0].removesuffix(inside[0]))):
            raise ValueError(_why_loose([around + name for name in loose], list(splits)))
        return {}
    tops = _top_folders(names)
    splits = split_folders(tops)
    others = [name for name in tops if name not in splits]
    if len(splits) > 1 and others:
        raise ValueError(_why_unclear(list(splits), others))
    return {} if others else splits


def _why_loose(loose: list[str], splits: list[str]) -> str:
    named = "which is named like a split" if len(splits) == 1 else "which are named like splits"
    lies, its = ("lies", "its") if len(loose) == 1 else ("lie", "their")
    return (
        f"{_listed(loose)} {lies} beside {_listed(splits)}, {named}, so {its} split is not clear. Move what is no part of the data, "
        "and put each other image into the folder of its split; to train on all of them, put everything into one folder 'train'; or "
        "say label and split of each image in a metadata.csv"
    )


def _why_unclear(splits: list[str], others: list[str]) -> str:
    lone = [name for name in others if SPLIT_WORDS.get(name.lower()) in ("query", "index")]
    return (
        f"{_listed(splits)} are named like splits, but {_listed(others)} beside them {'is' if len(others) == 1 else 'are'} not"
        + (
            f" ({lone[0]!r} is one only with folders of queries and of an index, such as query/ and gallery/)"
            if lone
            else ""
        )
        + f". Move what is no part of the data, and call the others {', '.join(SPLITS[:4])}; if all of them are classes, put them "
        "into one folder 'train'; or say label and split of each image in a metadata.csv"
    )


def _check_deeper(names: list[str], folder: Path) -> None:
    """Refuses folders named like splits right below several first folders, and tells of those below one."""
    below = dict[str, dict[str, None]]()
    for name in names:
        top, *inner = name.split("/", 2)
        if inner:
            below.setdefault(top, {}).update(dict.fromkeys(inner[:-1]))
    splits = {top: found for top, inside in below.items() if (found := list(split_folders(inside)))}
    sources = ", ".join(printable(folder / top) for top in list(below)[:MOST_NAMED])
    each = f"each folder as a source: [{sources}{', …' if len(below) > MOST_NAMED else ''}]"
    if len(splits) > 1:
        words = sorted({word for found in splits.values() for word in found})
        above = f"train/{printable(next(iter(splits)))}"
        raise DataError(
            f"'{printable(folder)}': {_listed(words)}, named like splits, lie below {_listed(list(splits))}, so all their images would be "
            f"for training. Give {each}; or, if these are classes, put the folders of splits above them ({above}), and "
            "everything into one folder 'train' to train on all of it"
        )
    for top, found in splits.items():
        warn(
            f"'{printable(folder / top)}': the images in {_listed(found)} are for training like all others; if the name says their split, "
            f"give {each}"
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{printable(name)}'" for name in names[:MOST_NAMED])
    return shown + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _tell_loose(folder: Path, names: list[str], rest: list[str], splits: list[str]) -> None:
    """Names an image of each split for which folders beside it are no classes; `rest` is what follows the split folders."""
    deep = {split for name, split in zip(rest, splits, strict=True) if "/" in name}
    for name, end, split in zip(names, rest, splits, strict=True):
        if "/" not in end and split in deep:
            deep.remove(split)
            console.print(
                f"{printable(folder.name)}: names of folders are not taken as classes, because '{printable(name)}' lies "
                "beside them; move such images away if they are classes",
            )


def _labels(names: list[str], splits: list[str]) -> list[str | None]:
    """Returns the first folder of every name; none throughout a split that has images in no folder."""
    rows = list(zip(names, splits, strict=True))
    flat = {split for name, split in rows if "/" not in name}
    return [None if split in flat else name.split("/", 1)[0] for name, split in rows]


def _top_folders(names: list[str]) -> list[str]:
    """Returns the distinct first folders; none if some image lies in no folder."""
    if any("/" not in name for name in names):
        return []
    return list(dict.fromkeys(name.split("/", 1)[0] for name in names))


def _below_top(name: str) -> str:
    return name.split("/", 1)[1]


def _scan(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Yields image names; `above` are the device and inode of the folders on the way here."""
    try:
        entries = list(os.scandir(folder))
        info = os.stat(folder)
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read: {error.strerror}") from error
    here = (info.st_dev, info.st_ino)
    if here in above:
        return
    for entry in entries:
        if not entry.name.startswith("."):
            yield from _found(entry, prefix, (*above, here))


def _found(entry: os.DirEntry[str], prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    is_named_so = os.path.splitext(entry.name)[1].lower() in EXTENSIONS
    if not is_folder(entry):
        if is_named_so:
            yield prefix + entry.name
        return
    inside = list(_scan(entry.path, f"{prefix}{entry.name}/", above))
    yield from inside
    if (
        is_named_so and not inside
    ):  # a folder where an image should be: shown, and quarantined when it is read
        yield prefix + entry.name


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Returns whether an entry is a folder or leads to one."""
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
