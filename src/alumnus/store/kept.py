"""The crops that a store keeps beside its outputs: a folder for each geometry of views and each decoder (see `data.kept` for its files).

    crops-DIGEST/crops.json    geometry, and what decoded and resized
    crops-DIGEST/keys.bin      which image each slot is of
    crops-DIGEST/96-3.crops    view 3 at 96 px

The same file decodes to other pixels with another version of Pillow or libjpeg, so each has a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from alumnus.data.kept import KEYS, SUFFIX, KeptCrops, record_bytes
from alumnus.data.readers.sources import absolute_source
from alumnus.disk import replace_text
from alumnus.errors import StoreError
from alumnus.store.claims import locked
from alumnus.store.folder import Geometry, geometry_of

ABOUT = "crops.json"
VERSION = 1  # to be raised when what a view shows of an image is changed: orientation, colours, resampling
BLOCK_BYTES = 512  # what st_blocks counts in, whatever the file system's own blocks are


@dataclass(frozen=True)
class CropsFolder:
    """The crops of one geometry by one decoder."""

    path: Path
    geometry: Geometry
    decoder: str
    data: tuple[str, ...] = ()  # sources of the images of the last run

    @property
    def keys(self) -> NDArray[np.int64]:
        """The key of each slot, (m,)."""
        path = self.path / KEYS
        content = path.read_bytes() if path.is_file() else b""
        return np.frombuffer(content[: len(content) // 8 * 8], "<i8").astype(np.int64)

    @property
    def files(self) -> list[tuple[int, int, Path]]:
        """Side, view and path of each file of crops, in this order; what is no plain file is none, as for whoever reads and writes."""
        found = []
        for path in self.path.glob(f"*{SUFFIX}"):
            side, _, view = path.name.removesuffix(SUFFIX).partition("-")
            is_plain = path.is_file() and not path.is_symlink()
            if side.isdecimal() and view.isdecimal() and is_plain:
                found.append((int(side), int(view), path))
        return sorted(found)

    @property
    def disk_bytes(self) -> int:
        """What they take on disk, holes left out."""
        return sum(BLOCK_BYTES * path.stat().st_blocks for _, _, path in self.files)


def decoder() -> str:
    """Returns what the pixels of a crop depend on beside the image and its view."""
    libraries = (
        f"{name} {features.version(name)}" for name in ("jpg", "webp", "libtiff", "avif", "jpg_2000")
    )
    return ", ".join((f"{VERSION}", f"Pillow {PIL.__version__}", *libraries))


def folder_of(store: Path, geometry: Geometry, data: Sequence[str] = ()) -> CropsFolder:
    """Returns the folder of a geometry and of this machine's decoder, which need not be there, for images of some sources."""
    named = decoder()
    digest = hashlib.sha256(json.dumps([geometry.digest, named]).encode()).hexdigest()[:8]
    return CropsFolder(store / f"crops-{digest}", geometry, named, tuple(map(absolute_source, data)))


def crops_folders(store: Path) -> Iterator[CropsFolder]:
    """Yields every folder of crops in a store.

    Raises:
        StoreError: a crops.json is not one of ours.
    """
    for path in sorted(store.glob(f"*/{ABOUT}")):
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = CropsFolder(
                path.parent, geometry_of(values["geometry"]), str(values["decoder"]), tuple(values["data"])
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path} is damaged or not from a store: {error}") from error
        yield found


def crops_bytes(store: Path) -> int:
    """Returns how much the crops of a store take on disk."""
    return sum(folder.disk_bytes for folder in crops_folders(store))


def open_crops(folder: CropsFolder, keys: NDArray[np.int64]) -> KeptCrops:
    """Returns the crops of images with these keys (N,), -1 for none; images that are new get slots.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path):
        about = {"geometry": asdict(folder.geometry), "decoder": folder.decoder, "data": folder.data}
        replace_text(folder.path / ABOUT, json.dumps(about, indent=1) + "\n")
        there = folder.keys
        new = np.setdiff1d(keys[keys >= 0], there)
        with (folder.path / KEYS).open("r+b" if len(there) else "wb") as file:
            file.seek(8 * len(there))  # over what a kill left of a number
            file.write(new.astype("<i8").tobytes())
    return KeptCrops(folder.path, keys, _slots(np.concatenate([there, new]), keys))


def whole_bytes(keys: NDArray[np.int64], *, sides: Iterable[int], num_views: int) -> int:
    """Returns what the crops of images with these keys (N,), -1 for none, take together."""
    images = len(np.unique(keys[keys >= 0]))
    return images * num_views * sum(map(record_bytes, sides))


def _slots(kept: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each key (N,) among those kept (m,), -1 for a key that is none; every other one is there."""
    order = np.argsort(kept, kind="stable")
    if not len(order):
        return np.full(len(keys), -1)
    place = np.searchsorted(kept[order], keys).clip(max=len(order) - 1)
    return np.where(keys < 0, -1, order[place])
