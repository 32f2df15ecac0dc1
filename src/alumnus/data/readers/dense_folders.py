"""Folders of images beside folders of masks or depth maps, paired by stem.

    set/images/a.jpg               set/masks/a.png               also images/training/a.jpg, annotations/training/a.png (ADE20K)
    set/train/images/a.jpg         set/train/masks/a.png         and depth/a.png, each optional for an image
    set/JPEGImages/a.jpg           set/SegmentationClass/a.png   ImageSets/Segmentation/{train,val}.txt (Pascal VOC)

A mask's stem is the image's, or that with `_mask` behind it. Images without a mask stay, with none, such as those of a test folder without
masks; in VOC the lists say which images count. `annotations` and `labels` may be classes, or hold boxes as text (YOLO, Pascal VOC's XML):
with a PNG they are masks, with other images classes, and with other files the folder is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from alumnus.data.folder_facts import FolderFacts
from alumnus.data.listing import SPLIT_WORDS, Listing, RowBatch, collected, split_folders
from alumnus.data.names import printable
from alumnus.data.readers.folders import images_below, is_folder
from alumnus.errors import DataError
from alumnus.log import console

IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "annotations", "labels", "segmentationclass", "segmentations")
DEPTHS = ("depth", "depths")
MAY_BE_OTHER = ("annotations", "labels")  # of these names, masks only if a PNG is there
ENDINGS = ("", "_mask", "_depth")
VOC_LISTS = "ImageSets/Segmentation"


def is_dense_folder(folder: Path) -> bool:
    """Returns whether a folder, or one of its split folders, has a folder of images and one of masks or depth maps."""
    return _has_pair(folder) or any(_has_pair(folder / name) for name in split_folders(_folders(folder)))


def check_annotations(folder: Path) -> None:
    """Checks that beside the images of a folder that is none of masks lie no annotations, which would be passed over.

    Raises:
        DataError: a folder `annotations` or `labels` holds files, but no image.
    """
    for place in (folder, *(folder / name for name in split_folders(_folders(folder)))):
        inside = _folders(place)
        if not any(name.lower() in IMAGES for name in inside):
            continue
        for name in inside:
            found = _endings(place / name) if name.lower() in MAY_BE_OTHER else []
            if found and not images_below(place / name):
                raise DataError(
                    f"'{printable(place / name)}' holds {', '.join(found)} files, which are not read: masks are PNG files, and boxes "
                    f"(YOLO's .txt, Pascal VOC's .xml) are read from COCO's annotations/instances_*.json or the column `objects` of a "
                    f"metadata file, so convert them; to use the images alone, give their own folder"
                )


def read_dense_folder(folder: Path, *, domain: str) -> Listing:
    """Returns the images of such a folder with their masks and depth maps, in byte order of their names.

    Raises:
        DataError: not one mask or depth map has an image, or a VOC list names an image that is not there.
    """
    images, others = list[str](), {"mask": dict[str, str](), "depth": dict[str, str]()}
    places = set(split_folders(_folders(folder)))
    apart, second = list[str](), list[str]()
    for name in images_below(folder):
        kind, key = _kind(name)
        if kind == "image":
            images.append(name)
        elif kind and name.lower().endswith(".png"):
            if others[kind].setdefault(key, name) != name:
                second.append(name)
        elif not kind and name.partition("/")[0] in places:
            apart.append(name)
    if apart:
        console.print(
            f"{printable(folder.name)}: {len(apart)} images, such as '{printable(apart[0])}', are in no folder named images, and left out",
        )
    if second:
        first = others[_kind(second[0])[0]][_kind(second[0])[1]]
        console.print(
            f"{printable(folder.name)}: {len(second)} PNG files, such as '{printable(second[0])}', are left out, for their images have "
            f"another already, '{printable(first)}'; to use these, move the others away",
        )
    splits = _voc_splits(folder)
    if splits:
        images = _listed(images, splits, folder)
    masks, depths = ([_partner(name, others[kind]) for name in images] for kind in ("mask", "depth"))
    if not any(masks) and not any(depths):
        raise DataError(
            f"'{printable(folder)}' has {len(images)} images and {len(others['mask']) + len(others['depth'])} PNG "
            f"files of masks or depth, but no two of one name"
        )
    facts, count = FolderFacts.of(folder), len(images)
    words = split_folders({part for name in images for part in name.split("/")[:-1]})
    said = [splits.get(_stem(name)) or _split_of(name, words) for name in images]
    batch = RowBatch(images, [domain] * count, [None] * count, said, masks=masks, depths=depths)
    return collected(folder, [batch], mask_classes=facts.mask_classes, depth_unit=facts.depth_unit)


def _folders(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if is_folder(entry) and not entry.name.startswith(".")]


def _has_pair(folder: Path) -> bool:
    names = _folders(folder)
    others = [name for name in names if name.lower() in (*MASKS, *DEPTHS)]
    return any(name.lower() in IMAGES for name in names) and any(
        name.lower() not in MAY_BE_OTHER or _has_png(folder / name) for name in others
    )


def _has_png(folder: Path) -> bool:
    return any(name.lower().endswith(".png") for name in images_below(folder))


def _endings(folder: Path) -> list[str]:
    """Returns the endings of the files below a folder, hidden ones aside, in alphabetical order."""
    names = (name for _, _, files in os.walk(folder) for name in files if not name.startswith("."))
    return sorted({os.path.splitext(name)[1].lower() or name for name in names})


def _kind(name: str) -> tuple[str, str]:
    """Returns image, mask, depth or "" by the first folder that says it, and the name without that folder and its ending."""
    parts = name.split("/")
    for place, part in enumerate(parts[:-1]):
        for kind, words in (("image", IMAGES), ("mask", MASKS), ("depth", DEPTHS)):
            if part.lower() in words:
                rest = "/".join([*parts[:place], *parts[place + 1 :]])
                return kind, rest.rpartition(".")[0]
    return "", ""


def _partner(name: str, others: Mapping[str, str]) -> str | None:
    key = _kind(name)[1]
    return next((others[key + ending] for ending in ENDINGS if key + ending in others), None)


def _split_of(name: str, words: Mapping[str, str]) -> str:
    return next((words[part] for part in name.split("/")[:-1] if part in words), "train")


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]


def _voc_splits(folder: Path) -> dict[str, str]:
    """Returns stem -> split of Pascal VOC's lists for segmentation; empty if there are none."""
    place = folder / VOC_LISTS
    found = dict[str, str]()
    for word, split in SPLIT_WORDS.items():
        path = place / f"{word}.txt"
        if path.is_file():
            stems = map(
                str.strip, path.read_text(encoding="utf-8").splitlines()
            )  # one a line; it may hold spaces
            found |= dict.fromkeys(filter(None, stems), split)
    return found


def _listed(images: Sequence[str], splits: Mapping[str, str], folder: Path) -> list[str]:
    by_stem = {_stem(name): name for name in images}
    missing = [stem for stem in splits if stem not in by_stem]
    if missing:
        raise DataError(
            f"'{printable(folder / VOC_LISTS)}' names {len(missing)} images that are not there, such as "
            f"'{printable(missing[0])}'"
        )
    return [name for name in images if _stem(name) in splits]
