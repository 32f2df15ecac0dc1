"""One shard of a packed set: pictures read, made smaller, and written as plain pixels into a tar, whole or not at all.

Beside `00003.tar` lies `00003.jsonl` until the whole set is done: one line a picture that says where it went, or why not. A shard whose two
files are there is done, so a run that was stopped goes on behind it; if a file changed since, or can be read now, the shard is made anew.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.data.dense import IGNORE, read_depth, read_mask
from alumnus.data.locator import container_of
from alumnus.data.names import printable
from alumnus.data.ppm import encoded_ppm
from alumnus.data.read import BadImage, read_image

OVERSAMPLED = 2  # a JPEG may be decoded at a fraction as long as it stays that many times larger than what it is packed at


class Wanted(NamedTuple):
    """A picture to be packed."""

    name: str  # of the member to be, without its ending
    path: str
    mask: str | None
    depth: str | None
    is_exact: bool  # its objects need the exact size of the original


@dataclass(frozen=True)
class Packed:
    """What became of it."""

    member: str | None = None  # None: it could not be read
    reason: str = ""
    mask: str | None = None
    depth: str | None = None
    scale: tuple[float, float] = (1.0, 1.0)  # of x and y, original to packed
    faults: tuple[tuple[str, str], ...] = ()  # masks and depth maps that could not be read: path, reason
    changed: tuple[
        int, ...
    ] = ()  # when the files of picture, mask and depth were last changed, in ns; see `_changed`


def write_shard(tar: Path, pictures: Sequence[Wanted], *, short_side: int) -> Path:
    """Writes a shard and its lines, and returns its path. What is there already is kept if it would come out the same."""
    lines = tar.with_suffix(".jsonl")
    if tar.exists() and lines.exists():
        if _is_current(tar, pictures, short_side):
            return tar
        tar.unlink()  # before its lines are written anew
    part, used = tar.with_name(f".{tar.name}.{os.getpid()}"), set[str]()
    try:
        with part.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as members:
                found = [_add(members, picture, short_side, used) for picture in pictures]
            file.flush()
            os.fsync(file.fileno())
        lines.write_text("".join(json.dumps(asdict(each)) + "\n" for each in found), encoding="ascii")
        os.replace(part, tar)
    finally:
        part.unlink(missing_ok=True)
    return tar


def read_lines(tar: Path) -> Iterator[Packed]:
    """Yields what became of the pictures of a shard that is done, in their order."""
    with tar.with_suffix(".jsonl").open(encoding="ascii") as file:
        for line in file:
            found = json.loads(line)
            scale, faults = tuple(found.pop("scale")), tuple(map(tuple, found.pop("faults")))
            changed = tuple(found.pop("changed", ()))
            yield Packed(**found, scale=scale, faults=faults, changed=changed)


def _is_current(tar: Path, pictures: Sequence[Wanted], short_side: int) -> bool:
    found = list(read_lines(tar))
    return len(found) == len(pictures) and all(
        packed.changed == _changed(wanted) and _fails_again(wanted, packed, short_side)
        for wanted, packed in zip(pictures, found, strict=True)
    )


def _fails_again(wanted: Wanted, packed: Packed, short_side: int) -> bool:
    """Whether all that could not be read still cannot, for the same reasons; a permission changes no time of a file."""
    if packed.member is None:
        return _reason(partial(_original, wanted, short_side)) == packed.reason
    kinds = {wanted.depth: "depth", wanted.mask: "mask"}
    return all(_reason(partial(_png, path, kinds[path], (1, 1))) == reason for path, reason in packed.faults)


def _reason(read: Callable[[], object]) -> str:
    try:
        read()
    except BadImage as error:
        return error.reason
    return ""


def _changed(wanted: Wanted) -> tuple[int, ...]:
    paths = (wanted.path, wanted.mask, wanted.depth)
    return tuple(_time_of(container_of(path)) for path in paths if path is not None)


def _time_of(path: str) -> int:
    """When a file was last changed, in ns; -1 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return -1


def smaller(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Returns the width and height of a picture with that short side; its own if it is no larger.

    >>> smaller((640, 480), 128), smaller((100, 300), 128)
    ((171, 128), (100, 300))
    """
    if min(size) <= short_side:
        return size
    width, height = (max(short_side, round(side * short_side / min(size))) for side in size)
    return width, height


def _add(members: tarfile.TarFile, wanted: Wanted, short_side: int, used: set[str]) -> Packed:
    changed = _changed(wanted)  # before it is read: what changes meanwhile is read again by the next run
    try:
        original = _original(wanted, short_side)
    except BadImage as error:
        return Packed(reason=error.reason, changed=changed)
    size = smaller(original.size, short_side)
    # Bicubic keeps more of what a view, which is resampled again, still can show than bilinear does.
    image = original if size == original.size else original.resize(size, Image.Resampling.BICUBIC)
    name = wanted.name if f"{wanted.name}.ppm" not in used else f"{len(used)}-{wanted.name}"
    used.add(f"{name}.ppm")
    _write(members, f"{name}.ppm", encoded_ppm(image))
    dense, faults = dict[str, str](), list[tuple[str, str]]()
    for kind, path in (("mask", wanted.mask), ("depth", wanted.depth)):
        if path is None:
            continue
        try:
            content = _png(path, kind, size)
        except BadImage as error:
            faults.append((path, error.reason))
            continue
        dense[kind] = f"{name}.{kind}.png"
        _write(members, dense[kind], content)
    scale = (size[0] / original.width, size[1] / original.height)
    return Packed(
        f"{name}.ppm",
        mask=dense.get("mask"),
        depth=dense.get("depth"),
        scale=scale,
        faults=tuple(faults),
        changed=changed,
    )


def _original(wanted: Wanted, short_side: int) -> Image.Image:
    return read_image(wanted.path, min_side=None if wanted.is_exact else OVERSAMPLED * short_side)


def _png(path: str, kind: str, size: tuple[int, int]) -> bytes:
    """A mask or depth map at (width, height), by nearest neighbour: a mean of two classes, or of a depth and "not known", is none."""
    values: NDArray[np.uint16]
    if kind == "mask":
        found = read_mask(path)
        is_wide = found.max(initial=0) > 254
        found[found == IGNORE] = 65535 if is_wide else 255
        values = found.astype(np.uint16 if is_wide else np.uint8)
    else:
        values = read_depth(path, unit="steps").astype(np.uint16)  # of the file, as they are
    height, width = values.shape
    if width > size[0] and height > size[1]:
        rows = (np.arange(size[1]) * 2 + 1) * height // (2 * size[1])
        columns = (np.arange(size[0]) * 2 + 1) * width // (2 * size[0])
        values = values[rows[:, None], columns]
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def _write(members: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    members.addfile(info, io.BytesIO(content))


def member_name(file_name: str) -> str:
    """Returns a name for a picture in a tar: that of the file, on one line, valid text, and with no part that leads elsewhere.

    >>> member_name("old/0.tar::../cats/1.jpg")
    'old/0.tar/cats/1.jpg'
    """
    parts = printable(file_name.replace("::", "/")).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))
