"""Hugging Face data sets: a folder that `save_to_disk` wrote, or one by name. The Arrow files are read in place, without the package.

    set/dataset_dict.json        {"splits": ["train", "test"]}, then one folder for each; or only what follows
    set/train/dataset_info.json  the columns' types, with the names of classes
    set/train/state.json         which Arrow files, in which order
    set/train/data-00000-of-00001.arrow

Columns: the first of type Image is the image; `label`, `text` (or `caption`, `captions`), `objects`, `domain`, `mask` (or `annotation`),
`depth` (or `depth_map`) are understood. By name, `hf:owner/name` or `hf:owner/name:split`, the package `datasets` fetches the set into its
own cache, whose Arrow files are then read here; `datasets` 4 and later runs no code that comes with a set. A split that the user names
counts as train where its name is no known word (`hf:owner/name:extra`, `hf:owner/name:train+test`); parts of a split (`train[:10%]`) are
refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa

from alumnus.data.arrow_cells import is_picture, open_arrow
from alumnus.data.listing import (
    BATCH_ROWS,
    LABEL_NAMES,
    SPLIT_WORDS,
    Listing,
    RowBatch,
    caption_of,
    collected,
    split_of,
    text_of,
)
from alumnus.data.locator import joined_locator
from alumnus.data.names import name_below, printable
from alumnus.data.objects import Found, objects_of
from alumnus.errors import DataError, MissingExtra

PREFIX = "hf:"
TEXTS = ("text", "caption", "captions", "sentence")
MASKS = ("mask", "annotation", "segmentation_mask")
DEPTHS = ("depth", "depth_map")

T = TypeVar("T")


class Part(NamedTuple):
    """The Arrow files of one split."""

    files: list[str]  # absolute
    features: Mapping[str, object]  # column -> its type, as dataset_info.json says it
    split: str


def is_saved_folder(folder: Path) -> bool:
    """Returns whether a folder is one that `save_to_disk` wrote."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def read_saved(folder: Path, *, domain: str) -> Listing:
    """Returns the rows of a folder that `save_to_disk` wrote, split by split.

    Raises:
        DataError: a file is missing, torn, or leaves the folder; or there is no column of images.
    """
    together = folder / "dataset_dict.json"
    if not together.is_file():
        return _read([_saved_part(folder, None)], folder, domain)
    names = _json(together).get("splits")
    if not isinstance(names, list) or not names:
        raise DataError(f"{printable(together)} names no splits")
    return _read([_saved_part(_inside(folder, name), name) for name in names], folder, domain)


def read_named(source: str) -> Listing:
    """Returns the rows of `hf:owner/name` or `hf:owner/name:split`, fetched by the package `datasets` the first time.

    Raises:
        MissingExtra: the package is not installed.
        DataError: there is no such set, or it cannot be fetched or read.
    """
    try:
        import datasets
    except ImportError:
        raise MissingExtra("datasets", extra="hf") from None
    name, _, split = source.removeprefix(PREFIX).partition(":")
    if not name:
        raise DataError(f"{source!r} names no data set; write hf:owner/name or hf:owner/name:split")
    if "[" in split:
        raise DataError(
            f"{source!r} asks for a part of a split, and whole Arrow files are read; give whole splits, or the folder that "
            f"load_dataset({name!r}, split={split!r}).save_to_disk(...) writes"
        )
    try:
        found = datasets.load_dataset(name, split=split or None)
    except Exception as error:  # the package raises whatever its many file systems raise
        words = " ".join(str(error).split())[:300]
        raise DataError(f"{source!r} could not be had: {type(error).__name__}: {words}") from error
    splits = {word: _split(word) for word in found} if isinstance(found, Mapping) else {split: _asked(split)}
    parts = [
        Part([each["filename"] for each in one.cache_files], one.features.to_dict(), splits[word])
        for word, one in (found if isinstance(found, Mapping) else {split: found}).items()
    ]
    files = [file for part in parts for file in part.files]
    if not files:
        raise DataError(f"{source!r} has no Arrow file; save it with save_to_disk, and give that folder")
    root = Path(os.path.commonpath([os.path.dirname(file) for file in files]))
    return _read(parts, root, name.rpartition("/")[2])


def _read(parts: Sequence[Part], root: Path, domain: str) -> Listing:
    classes = [word for part in parts for word in _classes_of_objects(part.features.get("objects"))]
    batches = (batch for part in parts for batch in _part_batches(part, root, domain))
    return collected(root, batches, object_classes=classes)


def _part_batches(part: Part, root: Path, domain: str) -> Iterator[RowBatch]:
    for file in part.files:
        table = open_arrow(file)
        image = _image_column(table, part.features, file)
        for start in range(0, len(table), BATCH_ROWS):
            count = min(BATCH_ROWS, len(table) - start)
            yield _batch(table.slice(start, count), start, image, part, name_below(file, root), domain)


def _batch(table: pa.Table, start: int, image: str, part: Part, name: str, domain: str) -> RowBatch:
    count = len(table)

    def cells(allowed: Sequence[str]) -> tuple[str, list[object]]:
        column = next((word for word in allowed if word in table.column_names and word != image), "")
        return column, table.column(column).to_pylist() if column else []

    def pictures(allowed: Sequence[str]) -> list[str | None] | None:
        column = next((word for word in allowed if word in table.column_names and word != image), "")
        if not column or not is_picture(table.schema.field(column).type):
            return None
        valid = table.column(column).is_valid().to_pylist()
        return [_locator(name, column, start + row) if valid[row] else None for row in range(count)]

    label, labels = cells(LABEL_NAMES)
    names = _class_names(part.features.get(label))
    text, texts = cells(TEXTS)
    _, domains = cells(["domain"])
    _, splits = cells(["split"])
    _, objects = cells(["objects"])
    of_objects = _classes_of_objects(part.features.get("objects"))
    return RowBatch(
        [_locator(name, image, start + row) for row in range(count)],
        domains=_each(domains, lambda cell: text_of(cell) or domain, name, "domain") or [domain] * count,
        labels=_each(labels, lambda cell: _class(cell, names), name, label) or [None] * count,
        splits=_each(splits, lambda cell: split_of(cell, default=part.split), name, "split")
        or [part.split] * count,
        texts=_each(texts, caption_of, name, text),
        objects=_each(objects, lambda cell: _named(objects_of(cell), of_objects), name, "objects"),
        masks=pictures(MASKS),
        depths=pictures(DEPTHS),
    )


def _each(cells: list[object], convert: Callable[[object], T], file: str, column: str) -> list[T] | None:
    values = list[T]()
    try:
        for cell in cells:
            values.append(convert(cell))
    except ValueError as error:
        raise DataError(f"{printable(file)}, row {len(values) + 1}, column {column}: {error}") from None
    return values or None


def _locator(file: str, column: str, row: int) -> str:
    return joined_locator(file, f"{column}/{row}")


def _image_column(table: pa.Table, features: Mapping[str, object], file: str) -> str:
    said = [name for name in table.column_names if _kind(features.get(name)) == "Image"]
    likely = [name for name in table.column_names if pa.types.is_struct(table.schema.field(name).type)]
    for name in [*said, *likely]:
        if is_picture(table.schema.field(name).type):
            return str(name)
    raise DataError(
        f"{printable(file)} has no column of images; its columns are {', '.join(map(repr, table.column_names))}"
    )


def _kind(feature: object) -> object:
    return feature.get("_type") if isinstance(feature, Mapping) else None


def _class_names(feature: object) -> Sequence[str]:
    """Returns the names of a column of class numbers, or of lists of them; none for any other column."""
    if not isinstance(feature, Mapping):
        return []
    names = feature.get("names")
    if _kind(feature) == "ClassLabel" and isinstance(names, list):
        return [str(name) for name in names]
    return _class_names(feature.get("feature"))


def _classes_of_objects(feature: object) -> Sequence[str]:
    """`objects` is a list of structs or a struct of lists, as the version of the package wrote it."""
    if isinstance(feature, list):
        feature = feature[0] if feature else None
    if not isinstance(feature, Mapping):
        return []
    inside = feature.get("feature", feature)
    if not isinstance(inside, Mapping):
        return []
    return _class_names(inside.get("categories", inside.get("category")))


def _class(cell: object, names: Sequence[str]) -> str | None:
    word = text_of(cell)
    return names[int(word)] if word is not None and word.isdecimal() and int(word) < len(names) else word


def _named(found: Found | None, names: Sequence[str]) -> Found | None:
    if found is None or not names:
        return found
    return Found(found.boxes, [_class(word, names) or word for word in found.categories])


def _saved_part(folder: Path, split: object) -> Part:
    state, info = _json(folder / "state.json"), _json(folder / "dataset_info.json")
    listed, features = state.get("_data_files"), info.get("features")
    if not isinstance(listed, list) or not isinstance(features, Mapping):
        raise DataError(f"'{printable(folder)}': state.json names no files, or dataset_info.json no features")
    files = [_inside(folder, each.get("filename") if isinstance(each, dict) else each) for each in listed]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DataError(f"'{printable(missing[0])}' is named by state.json, but is not there")
    return Part([str(file) for file in files], features, _split(split or state.get("_split")))


def _split(word: object) -> str:
    try:
        return split_of(word, default="train")
    except ValueError as error:
        raise DataError(
            f"{error}; give the one that is wanted: as hf:owner/name:split, or its own folder"
        ) from None


def _asked(expression: str) -> str:
    """Returns the split of what the user asked for by name; what is no known word is to be learnt from.

    >>> _asked("test"), _asked("extra"), _asked("train+test")
    ('test', 'train', 'train')
    """
    return SPLIT_WORDS.get(expression.strip().lower(), "train")


def _inside(folder: Path, name: object) -> Path:
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", ".."):
        raise DataError(f"'{printable(folder)}': {name!r} is no name of a file or folder in it")
    return folder / name


def _json(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{printable(path)} holds a JSON {type(found).__name__}, but must hold an object")
    return found
