"""The folder of one teacher's outputs: what they are of, and which are there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from alumnus.data.names import printable
from alumnus.data.views import ViewSettings
from alumnus.disk import check_writable
from alumnus.errors import StoreError
from alumnus.store.claims import locked, pairs
from alumnus.store.identity import FILE as IMAGES
from alumnus.store.precision import BYTES, Precision
from alumnus.store.shard import NAME, Shard, is_passing

ABOUT = "about.json"
QUARANTINE = "quarantine.jsonl"
VERSION = 1
HEADER_BYTES = 576  # of a shard with summaries alone, about; patches add less than half of that


@dataclass(frozen=True)
class Geometry:
    """What decides which part of an image a view shows; photometric change is the student's alone and no matter here."""

    scale: tuple[float, float]
    ratio: tuple[float, float] | Literal["image"]
    flip: float
    seed: int

    @classmethod
    def of(cls, views: ViewSettings, *, seed: int) -> Geometry:
        """Returns the geometry of view settings."""
        return cls(views.scale, views.ratio, views.flip, seed)

    @property
    def digest(self) -> str:
        """Eight hex digits that no other geometry has."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class About:
    """What a folder holds: about.json."""

    teacher: Mapping[str, Any]  # as in teachers.json
    geometry: Geometry
    precision: Precision
    grid: tuple[int, int] | None  # (N, D) of its patches
    spec: Mapping[str, Any] | None = None  # that made it; None for a Python object
    origin: Mapping[str, Any] | None = None  # files and versions by which the fingerprint is known again
    data: tuple[str, ...] = ()  # sources last built from

    @property
    def fingerprint(self) -> str:
        """Of the teacher."""
        return str(self.teacher["fingerprint"])

    @property
    def name(self) -> str:
        """Of the folder."""
        return f"{self.teacher['name']}-{self.fingerprint[:8]}-{self.geometry.digest}-{self.precision}"

    @property
    def row_bytes(self) -> int:
        """Bytes on disk of one output: features, key, view and checksum."""
        numbers = int(self.teacher["num_features"]) + (self.grid[0] * self.grid[1] if self.grid else 0)
        return numbers * BYTES[self.precision] + 24

    @property
    def head_bytes(self) -> int:
        """Bytes on disk of a shard beside its rows, at least about: the header, and a scale and an offset for each channel."""
        parts = [int(self.teacher["num_features"]), *([self.grid[1]] if self.grid else [])]
        return HEADER_BYTES * (len(parts) + 1) // 2 + 8 * sum(parts)


class Folder:
    """One teacher's outputs. Shards that others add while it is open are seen after `refreshed`."""

    def __init__(self, path: Path, about: About) -> None:
        self.path, self.about = path, about

    def refreshed(self) -> Folder:
        """Returns it as it is on disk now."""
        return Folder(self.path, self.about)

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All shards, in order of their names.

        Raises:
            StoreError: one is damaged.
        """
        return tuple(Shard(path) for path in shard_paths(self.path))

    @cached_property
    def index(self) -> Index:
        """Where each output is."""
        return Index(self.shards)


class Index:
    """(key, view) -> shard and row. An output that two processes both wrote is taken from the first shard."""

    def __init__(self, shards: tuple[Shard, ...]) -> None:
        key = np.concatenate([np.empty(0, np.int64), *(shard.key for shard in shards)])
        view = np.concatenate([np.empty(0, np.int64), *(shard.view for shard in shards)])
        shard = np.repeat(np.arange(len(shards)), [len(each) for each in shards])
        row = np.concatenate([np.empty(0, np.int64), *(np.arange(len(each)) for each in shards)])
        order = np.lexsort((view, key))
        self._pairs = pairs(np.stack([key[order], view[order]], axis=1))
        self._shard, self._row = shard[order], row[order]
        self.bad = {  # images that cannot be decoded
            each.key: each.reason for shard in shards for each in shard.bad if not is_passing(each.reason)
        }

    def __len__(self) -> int:
        """Number of different outputs."""
        return len(self._pairs) - int((self._pairs[1:] == self._pairs[:-1]).sum())

    def find(self, key: NDArray[np.int64], view: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns a number for each (key, view), (n,), to be given to `places`; -1 where it is not there."""
        wanted = pairs(np.stack([key, view], axis=1))
        place = np.searchsorted(self._pairs, wanted)
        found = place < len(self._pairs)
        found[found] = self._pairs[place[found]] == wanted[found]
        return np.where(found, place, -1)

    def places(self, found: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns shard and row within it, (n,) each, of numbers from `find`."""
        return self._shard[found], self._row[found]


def shard_paths(folder: Path) -> list[Path]:
    """Returns the paths of a folder's shards, in order of their names."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))


def moments_paths(folder: Path) -> list[Path]:
    """Returns the paths of the moments that are kept beside a folder's shards."""
    return sorted(folder.glob("moments-*.safetensors"))


def folders(store: Path) -> Iterator[Folder]:
    """Yields every teacher's folder of a store.

    Raises:
        StoreError: an about.json is not one of ours.
    """
    if not store.is_dir():
        return
    for path in sorted(store.glob(f"*/{ABOUT}")):
        yield Folder(path.parent, _read_about(path))


def check_place(store: Path, *, writes: bool) -> None:
    """Refuses a folder that holds something and is no store, and one that cannot be written.

    Args:
        writes: whether something is to be written.

    Raises:
        StoreError: it holds something else, such as pictures.
        ConfigError: nothing can be written there.
    """
    if writes:
        check_writable(store, is_folder=True, given=f"the store {store}")
    if not store.is_dir() or (store / IMAGES).is_file() or any(store.glob(f"*/{ABOUT}")):
        return
    others = (path.name for path in store.iterdir() if not path.name.startswith("."))
    if held := next((name for name in others if name != QUARANTINE), None):
        raise StoreError(
            f"{store} is no store, and holds {printable(held)!r}; name a new or empty folder, outside of images that are read"
        )


def open_or_make(store: Path, about: About) -> Folder:
    """Returns the folder for outputs as described, making it if it is not there; origin and data are brought up to date."""
    path = store / about.name
    path.mkdir(parents=True, exist_ok=True)
    temporary = path / f".{ABOUT}.{os.getpid()}.new"
    with locked(path):
        temporary.write_text(json.dumps({"version": VERSION, **asdict(about)}, indent=1), encoding="utf-8")
        os.replace(temporary, path / ABOUT)
    return Folder(path, about)


def geometry_of(values: Mapping[str, Any]) -> Geometry:
    """Returns the geometry that a JSON file has."""
    ratio = values["ratio"]
    return Geometry(
        tuple(values["scale"]), "image" if ratio == "image" else tuple(ratio), values["flip"], values["seed"]
    )


def _read_about(path: Path) -> About:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        version = values.pop("version")
        if version != VERSION:
            raise StoreError(f"{path} is of version {version}, this Alumnus reads version {VERSION}")
        values["geometry"] = geometry_of(values["geometry"])
        values["grid"] = None if values["grid"] is None else tuple(values["grid"])
        values["data"] = tuple(values["data"])
        about = About(**values)
        if Path(about.name).name != about.name:  # what is added to it would be written elsewhere
            raise StoreError(f"{path} is of a folder that it calls {about.name!r}, which is no name")
        return about
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} is damaged or not from a store: {error}") from error
