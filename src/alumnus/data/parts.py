"""A Parquet file written table by table, whole or not at all, whose columns may turn out wider on the way.

Parquet fixes the columns' types before the first row. A column that is empty, or missing, in the first rows and not later needs another
type, so from there on a second part is written beside, and at the end all parts are copied, row group by row group, into one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from alumnus.errors import DataError


class ParquetParts:
    """Writes a Parquet file; use it in a `with` block, after which nothing but the finished file is left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: list[Path] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> ParquetParts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        for part in self._parts:
            part.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Appends rows as a row group."""
        if self._writer is None or not self._writer.schema.equals(table.schema):
            self._close()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._parts.append(self._temporary())
            self._writer = pq.ParquetWriter(self._parts[-1], table.schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))

    def cell(self, column: str, row: int) -> object:
        """Returns one cell of what was written, for a message; writing ends with it."""
        self._close()
        for batch in self._batches([column]):
            if row < len(batch):
                return batch.column(column)[row].as_py()
            row -= len(batch)
        raise IndexError(row)

    def finished(self) -> Path:
        """Puts the file into its place, and returns that.

        Raises:
            DataError: a column holds what cannot be of one type.
        """
        self._close()
        if len(self._parts) > 1:
            self._unite()
        with self._parts[0].open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self._parts[0], self.path)
        return self.path

    def _unite(self) -> None:
        schemas = [pq.read_schema(part) for part in self._parts]
        schema = _united(schemas)
        whole = self._temporary()
        try:
            with pq.ParquetWriter(whole, schema) as writer:
                for table in self._batches(None):
                    writer.write_table(_fitted(table, schema), row_group_size=max(1, len(table)))
        except BaseException:
            whole.unlink(missing_ok=True)
            raise
        for part in self._parts:
            part.unlink()
        self._parts = [whole]

    def _batches(self, columns: list[str] | None) -> Iterator[pa.Table]:
        for part in self._parts:
            with pq.ParquetFile(part) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns=columns)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _temporary(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{os.getpid()}.{len(self._parts)}")


def _united(schemas: list[pa.Schema]) -> pa.Schema:
    lists = {field.name: field.type for schema in schemas for field in schema if pa.types.is_list(field.type)}
    widened = [
        pa.schema(
            [
                pa.field(field.name, lists[field.name]) if _becomes_list(field, lists) else field
                for field in schema
            ]
        )
        for schema in schemas
    ]
    try:
        return pa.unify_schemas(widened, promote_options="permissive")
    except pa.ArrowException as error:
        words = " ".join(str(error).split())
        raise DataError(f"a column of the dataset holds values of two types: {words}") from error


def _becomes_list(field: pa.Field, lists: dict[str, pa.DataType]) -> bool:
    return field.name in lists and field.type == lists[field.name].value_type


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [_column(table, field) for field in schema]
    return pa.table(columns, schema=schema)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    column = table.column(field.name)
    if (
        pa.types.is_list(field.type) and column.type == field.type.value_type
    ):  # one text a row, elsewhere several
        lists = [None if cell is None else [cell] for cell in column.to_pylist()]
        return pa.chunked_array([pa.array(lists, field.type)])
    return column.cast(field.type)
