"""CSV, TSV, JSONL and Parquet files → columns of cells, some ten thousand rows at a time. What the cells mean is for `lists`.

Only the columns that are asked for are read, so a Parquet file with embedded images costs no more than its names. Rows are counted from 1,
a CSV's header not included.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from alumnus.data.listing import BATCH_ROWS
from alumnus.data.names import printable
from alumnus.errors import DataError

TEXTS, OBJECTS = ("text",), ("objects",)  # columns that may hold lists of text, and structs
MAX_CELL = (
    1 << 30
)  # characters of a CSV's cell: Python's own limit, 131,072, is less than the boxes of some pictures have

Wanted = Callable[[Sequence[str]], Collection[str]]


class Table(NamedTuple):
    """Some columns of some consecutive rows of a list."""

    name: str  # for messages
    columns: tuple[str, ...]  # all that the list has
    cells: Mapping[str, Sequence[object]]  # those asked for; all of one length
    first: int = 0  # rows before these


def read_tables(path: Path, wanted: Wanted) -> Iterator[Table]:
    """Yields the wanted columns of a list file, at least once; its name must be one for which `is_table` holds.

    Args:
        wanted: says of all columns which to read.

    Raises:
        DataError: if the file is torn, of another format than its name says, or a wanted column holds no plain values.
    """
    try:
        yield from _READERS[path.suffix.lower()](path, wanted)
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{printable(path)} cannot be read: {error}") from error


def is_table(path: Path) -> bool:
    """Returns whether the name of a file is that of a list."""
    return path.suffix.lower() in _READERS


def _read_csv(path: Path, wanted: Wanted) -> Iterator[Table]:
    csv.field_size_limit(MAX_CELL)
    with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets write a byte order mark
        delimiter = max(",\t;", key=file.readline().count)  # by the header; the first one on a tie
        file.seek(0)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            names = tuple(name.strip() for name in next(lines, []))
            _check_distinct(names, path)
            chosen = wanted(names)
            places = {name: place for place, name in enumerate(names) if name in chosen}
            rows = (line for line in lines if _is_row(line, names))
            first = 0
            while (batch := list(islice(rows, BATCH_ROWS))) or not first:
                cells = {name: [line[place] for line in batch] for name, place in places.items()}
                yield Table(printable(path.name), names, cells, first)
                first += max(1, len(batch))
        except csv.Error as error:
            raise DataError(f"{printable(path)}, line {lines.line_num}: {error}") from error


def _is_row(line: list[str], names: tuple[str, ...]) -> bool:
    """Returns False for a blank line."""
    if line and len(line) != len(names):
        raise csv.Error(f"{len(line)} fields, but the header has {len(names)}: {', '.join(names)}")
    return bool(line)


def _read_jsonl(path: Path, wanted: Wanted) -> Iterator[Table]:
    names: dict[str, None] = {}  # an ordered set
    with path.open(encoding="utf-8-sig") as file:
        lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
        first = 0
        while (batch := list(islice(lines, BATCH_ROWS))) or not first:
            rows = [_json_object(line, f"{printable(path)}, line {number}") for number, line in batch]
            names.update(dict.fromkeys(name for row in rows for name in row))
            cells = {name: [row.get(name) for row in rows] for name in wanted(tuple(names))}
            yield Table(printable(path.name), tuple(names), cells, first)
            first += max(1, len(batch))


def _json_object(line: str, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); each line must be one object") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a JSON {type(row).__name__}, but each line must be an object")
    return row


def _read_parquet(path: Path, wanted: Wanted) -> Iterator[Table]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_distinct(schema.names, path)
        among = wanted(schema.names)
        chosen = [name for name in schema.names if name in among]
        for name in chosen:
            _check_type(schema.field(name), printable(path))
        first = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=chosen) if chosen else ():
            cells = {name: batch.column(name).to_pylist() for name in chosen}
            yield Table(printable(path.name), tuple(schema.names), cells, first)
            first += len(batch)
        if not first:
            yield Table(printable(path.name), tuple(schema.names), {name: [] for name in chosen})


def _check_type(field: pa.Field, path: str) -> None:
    word = field.name.strip().lower()
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if _is_plain(kind):
        return
    if word in TEXTS and _is_list(kind) and _is_plain(kind.value_type):
        return
    row = kind.value_type if _is_list(kind) else kind
    if word in OBJECTS and pa.types.is_struct(row):  # what is in it is checked row by row
        return
    hint = (
        "; save embedded images as files first"
        if pa.types.is_struct(kind) or pa.types.is_binary(kind)
        else ""
    )
    raise DataError(f"{path}: column {field.name!r} holds {field.type}, but must hold text or numbers{hint}")


def _is_plain(kind: pa.DataType) -> bool:
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    return any(is_kind(kind) for is_kind in (*plain, pa.types.is_floating, pa.types.is_null))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _check_distinct(names: Sequence[str], path: Path) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{printable(path)} has more than one column {', '.join(sorted(twice))}; rename them")


_READERS: Mapping[str, Callable[[Path, Wanted], Iterator[Table]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
