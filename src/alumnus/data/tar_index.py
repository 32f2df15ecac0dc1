"""The index of a tar shard, made once and kept in the cache folder: where each member lies, and what the shard says about its images.

A million images in a thousand shards open in seconds by it, and a worker process finds a member without reading a header. It belongs to one
state of the shard, by size and time of change, and is made again for another. If the cache folder cannot be written, it is kept in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alumnus.data.bad import BadImage
from alumnus.data.names import printable
from alumnus.data.samples import Row, samples_of
from alumnus.data.tar_scan import Member, scan_tar
from alumnus.errors import DataError
from alumnus.log import console
from alumnus.packages import cache_dir

VERSION = "3"  # of what the index holds
MAX_INDEXES = 1024  # kept by a process: about 0.5 MB for 10,000 members
MAX_BYTES = 1 << 30  # of a picture
SHOWN = 3  # faults of one shard that are named
TOLD = b"told"  # in the metadata of the rows: what is wrong with the shard, a JSON list of lines

_MEMBERS = pa.schema([("name", pa.large_binary()), ("offset", pa.int64()), ("size", pa.int64())])
_ROWS = pa.schema(
    [
        ("name", pa.large_binary()),
        *((word, pa.string()) for word in ("label", "domain", "split")),
        ("texts", pa.list_(pa.string())),
        *((word, pa.large_binary()) for word in ("mask", "depth")),
    ]
)


def rows_of(path: str) -> list[Row]:
    """Returns the images of a shard, in their order, with what it says about them, and tells what is wrong with it.

    Raises:
        DataError: it is no tar.
    """
    _members(path, *_state(path))
    rows = _load(_file(path, "rows"), _ROWS, path) or _made(path)[1]
    for line in json.loads(rows.schema.metadata[TOLD]):
        console.print(line)
    return [Row(*map(_row_value, row.values())) for row in rows.to_pylist()]


def read_member(path: str, name: str) -> bytes:
    """Returns the content of a member.

    Raises:
        BadImage: there is none of that name, it is too large, or the tar ends inside it.
    """
    member = _found(path, name)
    if member.size > MAX_BYTES:
        raise BadImage(f"{path}::{name}", f"{member.size} bytes; {MAX_BYTES} are allowed")
    try:
        return _content(path, member)
    except EOFError as error:
        raise BadImage(f"{path}::{name}", str(error)) from None


def member_size(path: str, name: str) -> int:
    """Returns how many bytes a member has; raises as `read_member` does."""
    return _found(path, name).size


def _found(path: str, name: str) -> Member:
    try:
        members = _members(path, *_state(path))
    except DataError as error:
        raise BadImage(f"{path}::{name}", str(error)) from None
    names = members.names
    wanted, low, high = _key(name), 0, len(names)
    while low < high:
        middle = (low + high) // 2
        if names[middle].as_py() < wanted:
            low = middle + 1
        else:
            high = middle
    if low == len(names) or names[low].as_py() != wanted:
        raise BadImage(f"{path}::{name}", "the tar has no such member")
    return Member(name, int(members.offsets[low]), int(members.sizes[low]))


def _content(path: str, member: Member) -> bytes:
    with open(path, "rb") as file:
        file.seek(member.offset)
        content = file.read(member.size)
    if len(content) < member.size:
        raise EOFError(f"the tar ends inside this member, after {len(content)} of {member.size} bytes")
    return content


class _Members(NamedTuple):
    """The members of a shard in byte order of their names; no chunked columns, of which a cell costs twice as much."""

    names: pa.Array
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


@lru_cache(maxsize=MAX_INDEXES)
def _members(path: str, size: int, changed: int) -> _Members:
    """Returns where members lie. Args: size and changed tell a shard that was replaced."""
    table = _load(_file(path, "members"), _MEMBERS, path) or _made(path)[0]
    name, offset, length = (column.combine_chunks() for column in table.columns)
    return _Members(name, offset.to_numpy(), length.to_numpy())


def _made(path: str) -> tuple[pa.Table, pa.Table]:
    """Reads the shard, and keeps what it found for the next process, unless the shard changed meanwhile, as one that is being copied."""
    stamp = _stamp(path)
    scan = scan_tar(Path(path))
    last = {member.name: member for member in scan.members}  # of members of one name the last one counts
    with_rows = samples_of(last.values(), lambda member: _content(path, member))
    ordered = sorted(last.values(), key=lambda member: _key(member.name))
    columns = zip(*ordered, strict=True) if ordered else ([], [], [])
    names, offsets, sizes = columns
    members = pa.table([[_key(name) for name in names], list(offsets), list(sizes)], schema=_MEMBERS)
    values = [{key: _stored(key, value) for key, value in row._asdict().items()} for row in with_rows.rows]
    told = json.dumps(_told(path, scan.damage, with_rows.faults)).encode()
    rows = pa.Table.from_pylist(values, schema=_ROWS).replace_schema_metadata({TOLD: told})
    if stamp == _stamp(path):
        _keep(_file(path, "members"), members, stamp)
        _keep(_file(path, "rows"), rows, stamp)
    return members, rows


def _told(path: str, damage: str, faults: list[str]) -> list[str]:
    """Returns the lines that each process that opens the shard writes on the console."""
    name, lines = printable(Path(path).name), list[str]()
    if damage:
        lines.append(f"{name}: {damage}; what is whole in it is used")
    if faults:
        shown = "; ".join(faults[:SHOWN])
        lines.append(f"{name}: {len(faults)} things in it cannot be understood, such as {shown}")
    return lines


def _state(path: str) -> tuple[int, int]:
    info = os.stat(path)
    return info.st_size, info.st_mtime_ns


def _file(path: str, part: str) -> Path:
    digest = hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return cache_dir() / "tar-index" / f"{digest}.{part}.arrow"


def _load(file: Path, schema: pa.Schema, path: str) -> pa.Table | None:
    """Returns a table that was kept, if it is about the shard as it is now."""
    try:
        with pa.OSFile(os.fspath(file)) as source, pa.ipc.open_file(source) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (OSError, pa.ArrowException):
        return None
    said, stamp = table.schema.metadata or {}, _stamp(path)
    if {key: said.get(key) for key in stamp} != stamp or not table.schema.equals(schema):
        return None
    if schema is _ROWS and TOLD not in said:
        return None
    return table.combine_chunks()


def _keep(file: Path, table: pa.Table, stamp: dict[bytes, bytes]) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(os.fspath(temporary), "wb") as sink:
            stamped = table.replace_schema_metadata({**(table.schema.metadata or {}), **stamp})
            with pa.ipc.new_file(sink, stamped.schema) as writer:
                writer.write_table(stamped)
        os.replace(temporary, file)
    except OSError:  # a cache that cannot be written costs time only
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _stamp(path: str) -> dict[bytes, bytes]:
    size, changed = _state(path)
    return {b"version": VERSION.encode(), b"size": str(size).encode(), b"changed": str(changed).encode()}


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _stored(key: str, value: object) -> object:
    return _key(value) if key in ("name", "mask", "depth") and isinstance(value, str) else value


def _row_value(value: Any) -> Any:
    """Returns a value as `Row` has it; the columns stand in the order of its fields."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    return tuple(value) if isinstance(value, list) else value
