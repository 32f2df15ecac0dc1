"""CSV, TSV, JSONL and Parquet files → columns of cells. What the cells mean is for `lists`.

Only the columns that are asked for are read, so a Parquet file with embedded images costs no more than its names. Rows are counted from 1,
a CSV's header not included.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from alumnus.data.names import printable
from alumnus.errors import DataError


class Table(NamedTuple):
    """Some columns of a list."""

    name: str  # for messages
    columns: tuple[str, ...]  # all that the list has
    cells: Mapping[str, list[object]]  # those asked for; all of one length


def read_table(path: Path, wanted: Collection[str]) -> Table:
    """Returns the wanted columns that a list file has; its name must be one for which `is_table` holds.

    Raises:
        DataError: if the file is torn, of another format than its name says, or a wanted column holds no plain values.
    """
    try:
        return _READERS[path.suffix.lower()](path, wanted)
    except UnicodeDecodeError as error:
        raise DataError(f"{printable(path)} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{printable(path)} cannot be read: {error}") from error


def is_table(path: Path) -> bool:
    """Returns whether the name of a file is that of a list."""
    return path.suffix.lower() in _READERS


def _read_csv(path: Path, wanted: Collection[str]) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets write a byte order mark
        delimiter = max(",\t;", key=file.readline().count)  # by the header; the first one on a tie
        file.seek(0)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            names = tuple(name.strip() for name in next(lines, []))
            _check_distinct(names, path)
            return Table(printable(path.name), names, _csv_cells(lines, names, wanted))
        except csv.Error as error:
            raise DataError(f"{printable(path)}, line {lines.line_num}: {error}") from error


def _csv_cells(
    lines: Iterable[list[str]], names: tuple[str, ...], wanted: Collection[str]
) -> dict[str, list[object]]:
    places = {name: place for place, name in enumerate(names) if name in wanted}
    cells: dict[str, list[object]] = {name: [] for name in places}
    for line in lines:
        if line and len(line) != len(names):
            raise csv.Error(f"{len(line)} fields, but the header has {len(names)}: {', '.join(names)}")
        for name, place in places.items() if line else ():  # blank lines are no rows
            cells[name].append(line[place])
    return cells


def _read_jsonl(path: Path, wanted: Collection[str]) -> Table:
    names: dict[str, None] = {}  # an ordered set
    rows: list[dict[str, object]] = []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            row = _json_object(line, f"{printable(path)}, line {number}")
            names.update(dict.fromkeys(row))
            rows.append({name: row[name] for name in wanted if name in row})
    cells = {name: [row.get(name) for row in rows] for name in names if name in wanted}
    return Table(printable(path.name), tuple(names), cells)


def _json_object(line: str, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}); each line must be one object") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: a JSON {type(row).__name__}, but each line must be an object")
    return row


def _read_parquet(path: Path, wanted: Collection[str]) -> Table:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        _check_distinct(schema.names, path)
        chosen = [name for name in schema.names if name in wanted]
        for name in chosen:
            _check_type(schema.field(name), printable(path))
        table = file.read(columns=chosen)
    cells = {name: table.column(name).to_pylist() for name in chosen}
    return Table(printable(path.name), tuple(schema.names), cells)


def _check_type(field: pa.Field, path: str) -> None:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    if any(is_kind(kind) for is_kind in (*plain, pa.types.is_floating, pa.types.is_null)):
        return
    hint = (
        "; save embedded images as files first"
        if pa.types.is_struct(kind) or pa.types.is_binary(kind)
        else ""
    )
    raise DataError(f"{path}: column {field.name!r} holds {field.type}, but must hold text or numbers{hint}")


def _check_distinct(names: Sequence[str], path: Path) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{printable(path)} has more than one column {', '.join(sorted(twice))}; rename them")


_READERS: Mapping[str, Callable[[Path, Collection[str]], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
