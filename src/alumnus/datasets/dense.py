"""Scenes → a dataset folder: pictures, and beside them boxes, masks of class indices, and depth.

    images/NAME.png   masks/NAME.png (8 bit, 255 = ignore)   depths/NAME.png (16 bit, 0 = unknown)   metadata.parquet   dataset.json

Scenes come one after another from a game, a renderer or a volume, so they are written as they come: what is in memory is one scene.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.data.dataset import write_dataset
from alumnus.datasets.folder import PROVENANCE, made_whole
from alumnus.datasets.known import Box, DatasetInfo, Scene
from alumnus.errors import DataError
from alumnus.log import console, progress

PNG_EFFORT = 3  # of 9: twice as fast as 6, files 4 % larger
IGNORE = 255  # in a mask
NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")


def build_scenes(
    info: DatasetInfo, scenes: Iterable[Scene], folder: Path, *, made_of: Mapping[str, object]
) -> Path:
    """Writes scenes as a dataset folder, whole or not at all, and returns it.

    Raises:
        DataError: there is no scene.
    """
    started = time.monotonic()
    with made_whole(folder, made_of) as new:
        counts = Counter[str]()
        limited = bool(made_of.get("limit_per_class"))
        shown = progress(scenes, f"{info.name}: scenes", total=None if limited else info.images)
        write_dataset(_counted(_rows(info, shown, new), counts), new)
        about = {"images": counts, **_meanings(info)}
        (new / PROVENANCE).write_text(json.dumps({**made_of, **about}, indent=2), encoding="utf-8")
    told = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    seconds = time.monotonic() - started
    console.print(f"{info.name}: {told} scenes in {seconds:.0f} s ({counts.total() / seconds:.0f} a second)")
    return folder


def tight_box(shape: NDArray[np.bool_], category: str) -> Box | None:
    """Returns the smallest box around the true pixels of (H, W), or None if there are none.

    >>> tight_box(np.array([[False, True, True], [False, False, True]]), "cat")
    Box(x=1, y=0, width=2, height=2, category='cat')
    """
    rows, columns = np.flatnonzero(shape.any(axis=1)), np.flatnonzero(shape.any(axis=0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return Box(x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1, category)


def resized_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns a mask of (H, W) class indices at another width and height in px; indices are picked, never mixed."""
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _meanings(info: DatasetInfo) -> dict[str, object]:
    """What `dataset.json` says of the columns."""
    found: dict[str, object] = {}
    if info.object_classes:
        found["object_classes"] = list(info.object_classes)
    if info.mask_classes:
        found["mask_classes"] = list(info.mask_classes)
    if info.task == "depth":
        found["depth_unit"] = info.depth_unit
    return found


def _counted(rows: Iterable[dict[str, object]], counts: Counter[str]) -> Iterator[dict[str, object]]:
    for row in rows:
        counts[str(row["split"])] += 1
        yield row
    if not counts:
        raise DataError("there is not one scene")


def _rows(info: DatasetInfo, scenes: Iterable[Scene], folder: Path) -> Iterator[dict[str, object]]:
    for scene in scenes:
        assert NAME.fullmatch(scene.name), scene.name
        _check(info, scene)
        row = {"domain": info.name, "split": scene.split, "style": scene.style}
        yield {
            "file_name": _save(scene.image, folder, "images", scene.name),
            **row,
            **_columns(scene, folder),
        }


def _columns(scene: Scene, folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    if scene.objects is not None:
        found["objects"] = _struct(scene.objects)
    if scene.mask is not None:
        found["mask"] = _save(Image.fromarray(scene.mask), folder, "masks", scene.name)
    if scene.depth is not None:
        found["depth"] = _save(Image.fromarray(scene.depth), folder, "depths", scene.name)
    return found


def _struct(objects: Sequence[Box]) -> dict[str, object]:
    return {"bbox": [list(each[:4]) for each in objects], "categories": [each.category for each in objects]}


def _save(image: Image.Image, folder: Path, kind: str, name: str) -> str:
    path = folder / kind / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, compress_level=PNG_EFFORT)
    return path.relative_to(folder).as_posix()


def _check(info: DatasetInfo, scene: Scene) -> None:
    """A generator that breaks its word is our mistake, and would otherwise be trained on."""
    width, height = scene.image.size
    assert scene.image.mode == "RGB", scene.image.mode
    for box in scene.objects or ():
        assert box.category in info.object_classes, box
        assert 0 <= box.x < box.x + box.width <= width, box
        assert 0 <= box.y < box.y + box.height <= height, box
    for plane, kind in ((scene.mask, np.uint8), (scene.depth, np.uint16)):
        assert plane is None or (plane.shape == (height, width) and plane.dtype == kind), scene.name
    if scene.mask is not None:
        indices = scene.mask[scene.mask != IGNORE]
        assert not indices.size or indices.max() < len(info.mask_classes), scene.name
