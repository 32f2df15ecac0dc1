"""Pictures in the cells of an Arrow file, as the Hugging Face `datasets` package keeps them: read in place, by column and row.

The file is mapped into memory, so a cell costs no more than its bytes, and processes share what they have read. Offsets inside the file are
checked once when it is opened: a file from the world must not make us read beyond it.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from alumnus.data.bad import BadImage
from alumnus.data.names import printable
from alumnus.errors import DataError

MAX_FILES = 256  # kept open by a process


def open_arrow(path: str | os.PathLike[str]) -> pa.Table:
    """Returns an Arrow stream or file as a table that is read when its cells are.

    Raises:
        DataError: it is neither, or torn.
    """
    info = os.stat(path)
    return _opened(os.fspath(path), info.st_size, info.st_mtime_ns)


def read_cell(path: str, member: str) -> bytes:
    """Returns the bytes of the cell `column/row`.

    Raises:
        BadImage: there is none, or it holds no bytes.
    """
    return bytes(_buffer(path, member).to_pybytes())


def cell_size(path: str, member: str) -> int:
    """Returns how many bytes the cell `column/row` has; raises as `read_cell` does."""
    return int(_buffer(path, member).size)


def is_picture(kind: pa.DataType) -> bool:
    """Returns whether a column's cells may be pictures: bytes, or a struct that has them."""
    if pa.types.is_struct(kind):
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return "bytes" in names and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _buffer(path: str, member: str) -> pa.Buffer:
    name, _, row = member.rpartition("/")
    try:
        table = open_arrow(path)
    except DataError as error:
        raise BadImage(f"{path}::{member}", str(error)) from None
    there = name in table.column_names and is_picture(table.schema.field(name).type)
    if not there or not row.isdecimal() or int(row) >= len(table):
        raise BadImage(f"{path}::{member}", "the Arrow file has no such column of pictures, or no such row")
    cell = table.column(name)[int(row)]
    if pa.types.is_struct(cell.type) and cell.is_valid:
        cell = cell["bytes"]
    if not cell.is_valid:
        raise BadImage(
            f"{path}::{member}",
            "the cell holds no bytes (a picture kept as a file elsewhere?); save the data set with save_to_disk",
        )
    return cell.as_buffer()


@lru_cache(maxsize=MAX_FILES)
def _opened(path: str, size: int, changed: int) -> pa.Table:
    """Args: size and changed tell a file that was replaced."""
    try:
        source = pa.memory_map(path)
        try:
            table = pa.ipc.open_stream(source).read_all()
        except pa.ArrowInvalid:
            table = pa.ipc.open_file(pa.memory_map(path)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        words = " ".join(str(error).split())[:200]
        raise DataError(f"{printable(Path(path).name)} is no whole Arrow file: {words}") from error
    return table


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
