"""Rows → the `metadata.parquet` of a dataset folder, checked like any list that is read, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from alumnus.data.lists import listing_of
from alumnus.data.names import printable
from alumnus.data.tables import Table
from alumnus.errors import DataError


def write_dataset(
    rows: Iterable[Mapping[str, object]] | Mapping[str, Iterable[object]], folder: str | os.PathLike[str]
) -> Path:
    """Writes `metadata.parquet` into a folder, made if need be, and returns its path.

    Args:
        rows: one mapping an image, or columns. `file_name`, relative to the folder, is needed; `domain` (else the folder's name), `label`
            (else none) and `split` (else "train") may follow, and any other columns that Parquet can hold.
        folder: the dataset folder. The images may come before or after.

    Raises:
        DataError: naming the row and column that is wrong.
    """
    root = Path(os.path.abspath(folder))
    cells = _columns(rows)
    table = Table("the dataset", tuple(cells), cells)
    listing = listing_of(table, root, domain=printable(root.name), split="train", may_be_absolute=False)
    known: dict[str, Sequence[object]] = {
        "file_name": listing.file_names,
        "domain": listing.domains,
        "label": listing.labels,
        "split": listing.splits,
    }
    arrays = {name: _array(name, values, pa.string()) for name, values in known.items()}
    arrays |= {name: _array(name, values, None) for name, values in cells.items() if name not in known}
    root.mkdir(parents=True, exist_ok=True)
    return _write_whole(pa.table(arrays), root / "metadata.parquet")


def _columns(
    rows: Iterable[Mapping[str, object]] | Mapping[str, Iterable[object]],
) -> dict[str, list[object]]:
    if isinstance(rows, Mapping):
        columns = {name: list(values) for name, values in rows.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"the columns of the dataset differ in length: {lengths}")
        return columns
    listed = list(rows)
    names = dict.fromkeys(name for row in listed for name in row)  # an ordered set
    return {name: [row.get(name) for row in listed] for name in names}


def _array(name: str, values: Sequence[object], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
        hint = " (rename files whose names are not UTF-8)" if isinstance(error, UnicodeEncodeError) else ""
        raise DataError(f"column {name} of the dataset cannot be stored as Parquet: {error}{hint}") from error


def _write_whole(table: pa.Table, path: Path) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
