"""What a dataset folder's `dataset.json` says about all its images: the classes of masks and objects, the unit of depth.

The file may say more, such as where the data set comes from; that is for others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from alumnus.data.names import printable
from alumnus.errors import DataError

DATASET_FILE = "dataset.json"
MILLIMETRES = "mm"


class FolderFacts(NamedTuple):
    """The facts, or what holds where nothing is said."""

    mask_classes: tuple[str, ...] = ()  # name of each index
    object_classes: tuple[str, ...] = ()  # also those that no image shows
    depth_unit: str = MILLIMETRES  # of one step of a depth file

    @classmethod
    def of(cls, folder: Path, above: FolderFacts | None = None) -> FolderFacts:
        """Returns the facts about a folder.

        Args:
            folder: the dataset folder, or one of its split folders.
            above: those of the folder around it, which hold for what is not said here.

        Raises:
            DataError: the file is no JSON object, or a fact is of another type.
        """
        path, above = folder / DATASET_FILE, above or cls()
        if not path.is_file():
            return above
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{printable(path)} cannot be read as JSON: {error}") from error
        if not isinstance(found, Mapping):
            raise DataError(f"{printable(path)} holds a JSON {type(found).__name__}, but must hold an object")
        return cls(
            _names(found, "mask_classes", path) if "mask_classes" in found else above.mask_classes,
            _names(found, "object_classes", path) if "object_classes" in found else above.object_classes,
            _unit(found["depth_unit"], path) if "depth_unit" in found else above.depth_unit,
        )


def _names(found: Mapping[str, object], key: str, path: Path) -> tuple[str, ...]:
    names = found[key]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{printable(path)}: {key} must be a list of names, not {str(names)[:80]}")
    if len(set(names)) < len(names):
        raise DataError(f"{printable(path)}: {key} names a class twice")
    return tuple(names)


def _unit(unit: object, path: Path) -> str:
    if not isinstance(unit, str) or not unit:
        raise DataError(f"{printable(path)}: depth_unit must be a word such as {MILLIMETRES!r}, not {unit!r}")
    return unit
