"""Rows → the `metadata.parquet` of a dataset folder, checked like any list that is read, and written whole or not at all.

Rows are taken some ten thousand at a time, so an iterator of a million needs no more memory than one of a thousand (but for 17 bytes a
name, by which an image that comes twice is found).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa

from alumnus.data.distinct import Distinct
from alumnus.data.listing import BATCH_ROWS, RowBatch, Text
from alumnus.data.names import printable
from alumnus.data.objects import Found
from alumnus.data.parts import ParquetParts
from alumnus.data.readers.columns import columns_read
from alumnus.data.readers.lists import Rules, check_distinct, checked_rows
from alumnus.data.readers.tables import Table
from alumnus.errors import DataError

METADATA = "metadata.parquet"
WHAT = "the dataset"  # for messages
TEXT, TEXTS = pa.string(), pa.list_(pa.string())
OBJECTS = pa.struct({"bbox": pa.list_(pa.list_(pa.float32())), "categories": pa.list_(pa.string())})


def write_dataset(
    rows: Iterable[Mapping[str, object]] | Mapping[str, Iterable[object]], folder: str | os.PathLike[str]
) -> Path:
    """Writes `metadata.parquet` into a folder, made if need be, and returns its path.

    Args:
        rows: one mapping an image, or columns; an iterator of any length is fine. `file_name`, relative to the folder, is needed; `domain`
            (else the folder's name), `label` (else none), `split` (else "train"), `text`, `objects`, `mask` and `depth` may follow (see
            docs/data.md), and any other columns that Parquet can hold.
        folder: the dataset folder. The images may come before or after.

    Raises:
        DataError: naming the row and column that is wrong.
    """
    root = Path(os.path.abspath(folder))
    distinct, pending = Distinct(), list[Table]()
    rules = Rules(root, printable(root.name))
    batches = checked_rows(_noted(_tables(rows), pending), rules, distinct)
    with ParquetParts(root / METADATA) as parts:
        for batch in batches:
            parts.write(_arrays(batch, pending.pop().cells))
        check_distinct(distinct, WHAT, lambda row: str(parts.cell("file_name", row)))
        return parts.finished()


def _tables(rows: Iterable[Mapping[str, object]] | Mapping[str, Iterable[object]]) -> Iterator[Table]:
    batches = _column_batches(rows) if isinstance(rows, Mapping) else _row_batches(rows)
    first = 0
    for cells in batches:
        yield Table(WHAT, tuple(cells), cells, first)
        first += len(next(iter(cells.values()), ()))


def _row_batches(rows: Iterable[Mapping[str, object]]) -> Iterator[dict[str, list[object]]]:
    waiting, names, is_first = iter(rows), dict[str, None](), True
    while (batch := list(islice(waiting, BATCH_ROWS))) or is_first:
        names.update(dict.fromkeys(name for row in batch for name in row))  # an ordered set
        yield {name: [row.get(name) for row in batch] for name in names}
        is_first = False


def _column_batches(columns: Mapping[str, Iterable[object]]) -> Iterator[dict[str, list[object]]]:
    waiting, lengths = {name: iter(values) for name, values in columns.items()}, dict.fromkeys(columns, 0)
    is_first = True
    while True:
        cells = {name: list(islice(values, BATCH_ROWS)) for name, values in waiting.items()}
        lengths = {name: lengths[name] + len(values) for name, values in cells.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the columns of the dataset differ in length: {lengths}")
        if not is_first and not any(cells.values()):
            return
        yield cells
        is_first = False


def _noted(tables: Iterator[Table], pending: list[Table]) -> Iterator[Table]:
    """Passes tables on, and leaves each where the writer finds its other columns."""
    for table in tables:
        pending.append(table)
        yield table


def _arrays(batch: RowBatch, cells: Mapping[str, Sequence[object]]) -> pa.Table:
    known: dict[str, pa.Array] = {
        "file_name": _array("file_name", batch.file_names, TEXT),
        "domain": _array("domain", batch.domains, TEXT),
        "label": _array("label", batch.labels, TEXT),
        "split": _array("split", batch.splits, TEXT),
    }
    if batch.texts is not None:
        known["text"] = _texts(batch.texts)
    if batch.objects is not None:
        known["objects"] = _array("objects", [_struct(each) for each in batch.objects], OBJECTS)
    for name, files in (("mask", batch.masks), ("depth", batch.depths)):
        if files is not None:
            known[name] = _array(name, files, TEXT)
    read = {*columns_read(tuple(cells), WHAT).values()}
    others = {name: values for name, values in cells.items() if name not in known and name not in read}
    return pa.table(known | {name: _array(name, values, None) for name, values in others.items()})


def _texts(texts: Sequence[Text | None]) -> pa.Array:
    """Returns one text a row, or lists of them where some row has several."""
    if all(text is None or len(text) == 1 for text in texts):
        return _array("text", [text and text[0] for text in texts], TEXT)
    return _array("text", texts, TEXTS)


def _struct(found: Found | None) -> dict[str, object] | None:
    return None if found is None else {"bbox": found.boxes, "categories": found.categories}


def _array(name: str, values: Sequence[object], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
        hint = " (rename files whose names are not UTF-8)" if isinstance(error, UnicodeEncodeError) else ""
        raise DataError(f"column {name} of the dataset cannot be stored as Parquet: {error}{hint}") from error
