"""A shard: some outputs of one teacher in one safetensors file, whose name says what must be in it.

    HEAD-WHOLE.safetensors      HEAD: hash of everything but the features; WHOLE: of the whole file (SHA-256, 16 hex digits each)

The reader checks HEAD when it opens a file and a CRC-32 of each row when it reads it, so a flipped byte is found before it is learnt
from, and nothing has to be read through at the start. `verify` checks WHOLE. A file appears under its name only when it is whole and
on disk.

Axes: n rows, N patches, D width of a feature.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.disk import sync
from alumnus.errors import StoreError
from alumnus.store.precision import Loss, Packed, Precision, loss_of, pack, unpack
from alumnus.types import Features

NAME = re.compile(r"([0-9a-f]{16})-([0-9a-f]{16})\.safetensors")
HEAD = ("key", "view", "crc", "summary_scale", "summary_offset", "patches_scale", "patches_offset")
CHANGED = "the file changed while the store was built"
NOT_NOW = "its bytes cannot be read now"
PASSING = (  # how the reasons begin that say nothing of an image's bytes; all but two are of data.locator and data.read
    CHANGED,
    NOT_NOW,
    "cannot be opened: ",
    "needs more memory than there is",
    "no such file",
    "a symbolic link to nothing",
    "symbolic links in a loop",
    "a directory, not an image",
    "not a regular file",
    "empty file (0 bytes)",
    "no file can have this name",
)
MAX_HEADER = 64 << 20  # bytes; a longer one is no header of ours


class Unreadable(NamedTuple):
    """An image that could not be decoded (or not read) when its turn came."""

    key: int
    reason: str


def is_passing(reason: str) -> bool:
    """Whether a reason is no failure to decode, so that the image has to be tried again; early stores noted such reasons too."""
    return reason.startswith(PASSING)


class Rows(NamedTuple):
    """Outputs to be kept."""

    key: NDArray[np.int64]  # (n,) of the images
    view: NDArray[np.int64]  # (n,)
    features: Features  # of n rows, on the CPU


def write_shard(folder: Path, rows: Rows, precision: Precision, bad: Sequence[Unreadable] = ()) -> Path:
    """Writes a shard and returns its path; it is whole or absent."""
    parts = {"summary": rows.features.summary}
    if rows.features.patches is not None:
        parts["patches"] = rows.features.patches
    packed = {name: pack(part, precision) for name, part in parts.items()}
    tensors = {
        "key": torch.from_numpy(rows.key.astype(np.int64)),
        "view": torch.from_numpy(rows.view.astype(np.int64)),
        "crc": _checksums([packed[name].values for name in packed]),
    }
    for name, part in packed.items():
        tensors |= {name: part.values, f"{name}_scale": part.scale, f"{name}_offset": part.offset}
    loss = loss_of(parts["summary"], unpack(packed["summary"]))
    about = {"loss": json.dumps(loss._asdict()), "bad": json.dumps(bad)}
    content = _in_order(safetensors.torch.save(tensors, about))
    head = _head_digest(_header(content), tensors)
    return _write(folder, f"{head}-{hashlib.sha256(content).hexdigest()[:16]}.safetensors", content)


class Shard:
    """An open shard. Features stay in the file and are mapped; keys, views and checksums are in memory."""

    def __init__(self, path: Path) -> None:
        """Opens it.

        Raises:
            StoreError: it is not what its name says.
        """
        self.path = path
        named = NAME.fullmatch(path.name)
        if named is None:
            raise StoreError(f"{path} is not named as a shard is")
        try:
            with path.open("rb") as file:
                header = _read_header(file)
            with safetensors.safe_open(path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
                about: Mapping[str, str] = opened.metadata() or {}
            if _head_digest(header, tensors) != named[1]:
                raise ValueError("its keys, checksums or scales changed")
            self.key: NDArray[np.int64] = tensors["key"].numpy()
            self.view: NDArray[np.int64] = tensors["view"].numpy()
            self.loss = Loss(**json.loads(about["loss"]))
            self.bad = [Unreadable(int(key), str(reason)) for key, reason in json.loads(about["bad"])]
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise StoreError(f"{path} is damaged: {error}. {REPAIR}") from error
        self._crc = tensors["crc"]
        self._parts = [name for name in ("summary", "patches") if name in tensors]
        self._packed = {
            name: Packed(tensors[name], tensors[f"{name}_scale"], tensors[f"{name}_offset"])
            for name in self._parts
        }

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.key)

    def read(self, places: NDArray[np.int64]) -> Features:
        """Returns the features of rows (m,), float32, in their order.

        Raises:
            StoreError: a row is not what was written.
        """
        index = torch.from_numpy(places)
        packed = {name: part._replace(values=part.values[index]) for name, part in self._packed.items()}
        found = _checksums([packed[name].values for name in self._parts])
        wrong = (found != self._crc[index]).nonzero()
        if len(wrong):
            row = int(places[int(wrong[0])])
            raise StoreError(f"{self.path} is damaged: row {row} has another checksum. {REPAIR}")
        patches = unpack(packed["patches"]) if "patches" in packed else None
        return Features(unpack(packed["summary"]), patches)

    @cached_property
    def rounding(self) -> Mapping[str, float]:
        """How far at most, as a length, int8 moved a row of each part: half a step in each channel. 0 for the other precisions."""
        return {name: _half_steps(part) for name, part in self._packed.items()}


REPAIR = (
    "`alumnus cache verify STORE --repair` removes damaged shards, and the next build computes them again"
)


def is_intact(path: Path) -> bool:
    """Whether a shard is, to the last byte, the one that was written."""
    named = NAME.fullmatch(path.name)
    with path.open("rb") as file:
        return named is not None and hashlib.file_digest(file, "sha256").hexdigest()[:16] == named[2]


def _half_steps(part: Packed) -> float:
    if part.values.dtype != torch.int8 or not len(part.values):
        return 0.0
    channels = part.values.reshape(-1, len(part.scale))
    moves = (channels != 0).any(0)  # a channel that is constant has no step
    return math.sqrt(part.values[0].numel() / len(part.scale)) * float(part.scale[moves].double().norm()) / 2


def _checksums(parts: Sequence[Tensor]) -> Tensor:
    """CRC-32 of each row over all its parts, (n,) int64."""
    crc = [0] * len(parts[0])
    for part in parts:
        rows = np.ascontiguousarray(part.numpy()).reshape(len(part), math.prod(part.shape[1:])).view(np.uint8)
        crc = [zlib.crc32(row.data, before) for row, before in zip(rows, crc, strict=True)]
    return torch.tensor(crc, dtype=torch.int64)


def _head_digest(header: bytes, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(header)
    for name in HEAD:
        if name in tensors:
            digest.update(np.ascontiguousarray(tensors[name].numpy()).tobytes())
    return digest.hexdigest()[:16]


def _header(content: bytes) -> bytes:
    return content[: 8 + int.from_bytes(content[:8], "little")]


def _in_order(content: bytes) -> bytes:
    """Sorts a safetensors file's header: the library writes metadata in a random order, and equal outputs are one file."""
    header = _header(content)
    words = json.dumps(
        json.loads(header[8:]), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    ).encode()
    words += b" " * (-len(words) % 8)  # tensors begin at a multiple of eight bytes
    return len(words).to_bytes(8, "little") + words + content[len(header) :]


def _read_header(file: BinaryIO) -> bytes:
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header says that it is {length} bytes long")
    return start + file.read(length)


def _write(folder: Path, name: str, content: bytes) -> Path:
    temporary = folder / f".{name}.{os.getpid()}.new"
    try:
        temporary.write_bytes(content)
        sync(temporary)
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    sync(folder)
    return folder / name
