"""COCO annotation files: instances (boxes with categories) and captions, beside a folder of images.

    set/annotations/instances_train2017.json   set/train2017/000000000009.jpg     COCO itself
    set/annotations/captions_train2017.json    captions of the same images
    set/train/_annotations.coco.json           set/train/a.jpg                    one file a split, beside its images

Boxes of crowds (`iscrowd`) stand for many objects at once and are left out, as training on COCO does; boxes without area are left out too,
and both are counted on the console. An annotation without a box has that around its polygons; one with run lengths alone is counted too. Of
an image in several files their boxes and captions are joined, what is the same in two of them once; one in files of two splits is refused.
Segmentations are not read as masks: a mask is a file here, see `dense`.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alumnus.data.listing import BATCH_ROWS, SPLIT_WORDS, Listing, RowBatch, collected
from alumnus.data.names import byte_order, printable
from alumnus.data.objects import Found, four_numbers
from alumnus.data.readers.lists import checked_name
from alumnus.errors import DataError
from alumnus.log import console

BESIDE = "_annotations.coco.json"
KINDS = ("instances", "captions")
NO_BOX = "annotations whose bbox is no box"
NO_POLYGONS = "annotations with a segmentation that is no list of polygons and without a bbox"
LOOKED_FOR = 16  # images of a file, of which one must exist in the folder that is tried
_SPLIT_YEAR = re.compile(r"([a-z]+)\d*")


class _Image:
    """What is known of an image so far."""

    def __init__(self, split: str) -> None:
        self.split, self.objects, self.texts = split, None, list[str]()  # type: tuple[str, Found | None, list[str]]


class _Known(NamedTuple):
    """What files before the present one say about an image."""

    objects: frozenset[tuple[tuple[float, ...], str]]
    texts: frozenset[str]


NOTHING = _Known(frozenset(), frozenset())


def _known(image: _Image) -> _Known:
    if image.objects is None and not image.texts:
        return NOTHING
    found = image.objects or Found([], [])
    objects = zip(map(tuple, found.boxes), found.categories, strict=True)
    return _Known(frozenset(objects), frozenset(image.texts))


def coco_files(folder: Path) -> list[Path]:
    """Returns the annotation files of a folder in COCO's layout, in byte order; none if it is not one."""
    annotations = folder / "annotations"
    inside = os.listdir(annotations) if annotations.is_dir() else []
    found = [annotations / name for name in inside if name.endswith(".json") and name.startswith(KINDS)]
    beside = [
        folder / BESIDE,
        *(folder / name / BESIDE for name in os.listdir(folder) if name.lower() in SPLIT_WORDS),
    ]
    return sorted(
        [*found, *(path for path in beside if path.is_file())], key=lambda path: byte_order(str(path))
    )


def read_coco(files: Sequence[Path], root: Path, *, domain: str) -> Listing:
    """Returns the images of COCO files about one data set, by file name in order of appearance.

    Args:
        files: absolute, below the root.
        root: to which file names become relative.

    Raises:
        DataError: a file is no such JSON, contradicts itself, or its images are not found.
    """
    images: dict[str, _Image] = {}
    categories = dict[str, None]()  # an ordered set
    left_out = Counter[str]()
    for path in files:
        found = _loaded(path)
        _add(found, path, root, images, categories, left_out)
    if not images:
        raise DataError(f"{printable(files[0])} names no image")
    for what, count in sorted(left_out.items()):
        console.print(f"{printable(root.name)}: {count} {what} left out")
    return collected(root, _batches(images, domain), object_classes=tuple(categories))


def looks_like_coco(path: Path) -> bool:
    """Returns whether a JSON file begins like one of COCO's: with an object, not a list of rows."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            return file.read(64).lstrip().startswith("{")
    except (OSError, UnicodeDecodeError):
        return False


def root_of(path: Path) -> Path:
    """Returns the folder below which the images of one annotation file are looked for: above `annotations`, else the file's own."""
    return path.parent.parent if path.parent.name == "annotations" else path.parent


def _loaded(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{printable(path)} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("images"), list):
        raise DataError(
            f"{printable(path)} has no list 'images', so it is no COCO file of instances or captions"
        )
    return found


def _add(
    found: Mapping[str, object],
    path: Path,
    root: Path,
    images: dict[str, _Image],
    categories: dict[str, None],
    left_out: Counter[str],
) -> None:
    rows = _rows(found, "images", path)
    prefix = _image_folder([str(row.get("file_name")) for row in rows], path, root) if rows else ""
    split = _split_of(path)
    if split is None:
        console.print(f"{printable(path.name)} says no split, so its images are to be learnt from")
        split = "train"
    names = {_need(row, "id", path): _name(row, prefix, root, path) for row in rows}
    before = dict[str, _Known]()
    for name in names.values():
        if (image := images.setdefault(name, _Image(split))).split != split:
            raise DataError(
                f"{printable(path)}: '{printable(name)}' is of the split {split}, and another file has it in {image.split}; what is "
                f"scored must not be learnt from, so leave it out of one of them, or give one file alone"
            )
        before[name] = _known(image)
    words = {
        _need(row, "id", path): str(_need(row, "name", path)) for row in _rows(found, "categories", path)
    }
    categories.update(dict.fromkeys(words.values()))
    if words:  # of a file of instances every image is annotated, some with nothing
        for name in names.values():
            images[name].objects = images[name].objects or Found([], [])
    for row in _rows(found, "annotations", path):
        image_id = _need(row, "image_id", path)
        if image_id not in names:
            raise DataError(
                f"{printable(path)}: an annotation is about image {image_id!r}, which is not listed"
            )
        name = names[image_id]
        _annotate(images[name], row, words, path, left_out, before[name])


def _annotate(
    image: _Image,
    row: Mapping[str, object],
    words: Mapping[object, str],
    path: Path,
    left_out: Counter[str],
    before: _Known,
) -> None:
    """Args: before is what other files say about the image, which one that holds the same again does not add to."""
    if (caption := str(row.get("caption") or "").strip()) and caption not in before.texts:
        image.texts.append(caption)
    bbox, outline = row.get("bbox"), row.get("segmentation")
    if "bbox" not in row and "segmentation" not in row:
        return
    category = _need(row, "category_id", path)
    if category not in words:
        raise DataError(
            f"{printable(path)}: an annotation has the category {category!r}, which is not listed"
        )
    if row.get("iscrowd"):
        left_out["boxes of crowds"] += 1
        return
    try:
        box = four_numbers(_as_numbers(bbox) if bbox or not outline else _around(outline))
    except ValueError:
        left_out[NO_BOX if bbox or not outline else NO_POLYGONS] += 1
        return
    if min(box[2:]) <= 0:
        left_out["boxes without area"] += 1
        return
    if (box, words[category]) in before.objects:
        left_out["boxes that another file has too"] += 1
        return
    assert image.objects is not None
    image.objects.boxes.append(box)
    image.objects.categories.append(words[category])


def _as_numbers(cell: object) -> object:
    """Returns a list's words as numbers, which some tools write so; ValueError if one is none."""
    return (
        [float(each) if isinstance(each, str) else each for each in cell] if isinstance(cell, list) else cell
    )


def _around(outline: object) -> list[float]:
    """Returns the box around polygons [[x, y, x, y, …], …]; ValueError if it is anything else, such as run lengths."""
    if not isinstance(outline, list) or not all(isinstance(polygon, list) for polygon in outline):
        raise ValueError("no list of polygons")
    try:
        x, y = ([float(each) for part in outline for each in part[first::2]] for first in (0, 1))
    except TypeError:
        raise ValueError("no numbers") from None
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _batches(images: Mapping[str, _Image], domain: str) -> Iterator[RowBatch]:
    names, facts = list(images), list(images.values())
    for start in range(0, len(names), BATCH_ROWS):
        part = facts[start : start + BATCH_ROWS]
        yield RowBatch(
            names[start : start + BATCH_ROWS],
            domains=[domain] * len(part),
            labels=[None] * len(part),
            splits=[image.split for image in part],
            texts=[tuple(image.texts) or None for image in part],
            objects=[image.objects for image in part],
        )


def _image_folder(names: Sequence[str], path: Path, root: Path) -> str:
    """Returns the folder of the images, relative to the root and with a slash behind it, or "" for the root."""
    tail = path.stem.partition("_")[2] if path.name != BESIDE else ""
    own = os.path.relpath(path.parent, root)
    tried = [
        "" if own == "." else f"{own}/",
        "",
        f"{tail}/",
        f"images/{tail}/",
        "images/",
        f"{_split_of(path) or 'train'}/",
    ]
    sample = names[:: max(1, len(names) // LOOKED_FOR)]
    for folder in dict.fromkeys(each.replace("//", "/").lstrip("/") for each in tried):
        if any(os.path.lexists(os.path.join(root, folder, name)) for name in sample):
            return folder
    raise DataError(
        f"{printable(path)}: the image '{printable(sample[0]) if sample else ''}' is in none of "
        f"{', '.join(repr(each or '.') for each in dict.fromkeys(tried))} of '{printable(root)}'"
    )


def _split_of(path: Path) -> str | None:
    """Returns the split that the file's name says (`instances_val2017`), or its folder's, or None."""
    words = [found[1] for found in _SPLIT_YEAR.finditer(path.stem.lower())]
    if path.name == BESIDE:
        words = [path.parent.name.lower()]
    return next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), None)


def _rows(found: Mapping[str, object], key: str, path: Path) -> list[Mapping[str, object]]:
    rows = found.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{printable(path)}: {key!r} must be a list of objects")
    return rows


def _need(row: Mapping[str, object], key: str, path: Path) -> object:
    value = row.get(key)
    if not isinstance(value, (str, int)):
        raise DataError(
            f"{printable(path)}: {key!r} is {value!r} in {str(dict(row))[:80]}; give text or a number"
        )
    return value


def _name(row: Mapping[str, object], prefix: str, root: Path, path: Path) -> str:
    try:
        return checked_name(prefix + str(_need(row, "file_name", path)), root)
    except ValueError as error:
        raise DataError(f"{printable(path)}: {error}") from None
