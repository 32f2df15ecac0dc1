"""Chosen rows of a data set → a new dataset folder, whole or not at all.

`link` puts hard links below the folder: they take no space, and the new set outlives the old one. `copy` is for another disk. `list` puts
only a list there, `curated.parquet`, that names the pictures where they are, by absolute paths; a `metadata.parquet` may hold no such
paths, since it is also what comes inside downloaded folders.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from alumnus.data.compact import Coded
from alumnus.data.dataset import Dataset, Objects, write_dataset
from alumnus.data.folder_facts import DATASET_FILE
from alumnus.data.listing import BATCH_ROWS, text_of, whole_numbers
from alumnus.data.locator import container_of
from alumnus.data.names import is_below, name_below, printable
from alumnus.disk import check_writable
from alumnus.errors import DataError
from alumnus.log import progress

LIST = "curated.parquet"
LEFT_OUT = "left_out.jsonl"
Files = Literal["link", "copy", "list"]


def check_free(out: Path, sources: Sequence[str | os.PathLike[str]]) -> None:
    """Refuses a folder that holds something, lies inside a source, whose pictures it would add to, or cannot be written.

    Raises:
        DataError: it is one of the first two.
        ConfigError: it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"'{printable(out)}' exists and is not empty; name another folder, or delete it")
    for source in sources:
        folder = os.path.abspath(os.path.expanduser(source))
        if os.path.abspath(out) == folder or is_below(os.path.abspath(out), folder):
            raise DataError(f"'{printable(out)}' lies inside '{printable(folder)}'; put it beside that")
    check_writable(out, is_folder=True)


def check_words(data: Dataset) -> None:
    """Refuses names of domains and classes that a list would not give back: `nan` means no label there, and `1.0` is `1` among numbers.

    Raises:
        DataError: names them.
    """
    used = sorted({*zip(data.domain.tolist(), data.label.tolist(), strict=True)})
    pairs = [(d, data.classes[d][label]) for d, label in used if label >= 0]
    domains = [data.domains[d] for d in dict.fromkeys(d for d, _ in used)]
    given = [("domain", "", word) for word in domains] + [("class", domain, word) for domain, word in pairs]
    read = [text_of(word) for word in domains] + _labels_read([word for _, word in pairs])
    known = dict[tuple[str, object, str], str]()
    for (kind, domain, word), again in zip(given, read, strict=True):
        if again is None:
            raise DataError(
                f"the {kind} {word!r} cannot be written: in a list, {word!r} is none; rename its folder"
            )
        other = known.setdefault((kind, domain, again), word)
        if other != word:
            raise DataError(
                f"the {kind} names {other!r} and {word!r} are one in a list, {again!r}; rename one of the folders"
            )


def _labels_read(words: Sequence[str]) -> list[str | None]:
    """Returns what becomes of the labels of one list."""
    found = [text_of(word) for word in words]
    there = [word for word in found if word is not None]
    numbers = whole_numbers(Coded(np.arange(len(there), dtype=np.int32), tuple(there)))
    again = iter([numbers.words[code] for code in numbers.codes])
    return [None if word is None else next(again) for word in found]


def place(
    data: Dataset,
    out: Path,
    *,
    files: Files,
    facts: Mapping[str, object],
    left_out: Iterable[Mapping[str, object]],
) -> Path:
    """Writes a dataset folder and returns what `open_dataset` takes: the folder or, for `list`, the list in it.

    Args:
        data: the rows, in their order.
        facts: for `dataset.json`, beside what masks, objects and depth need.
        left_out: for `left_out.jsonl`.

    Raises:
        DataError: the pictures cannot be linked or copied, or a name cannot be written, see `check_words`.
    """
    check_words(data)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=out.parent) as scratch:
        new = Path(scratch) / "set"
        new.mkdir()
        if files == "list":
            _write_list(data, new / LIST)
        else:
            write_dataset(_columns(data, lambda path: _name_in(data, path)), new)
            _bring(data, new, os.link if files == "link" else _copy)
        (new / DATASET_FILE).write_text(json.dumps({**facts, **meaning(data)}, indent=2), encoding="utf-8")
        lines = "".join(json.dumps(each) + "\n" for each in left_out)
        (new / LEFT_OUT).write_text(lines, encoding="ascii")
        new.chmod(0o755)
        new.rename(out)
    return out / LIST if files == "list" else out


def meaning(data: Dataset) -> dict[str, object]:
    """Returns what the rows need to be understood, for `dataset.json`."""
    found: dict[str, object] = {}
    if data.object_classes:
        found["object_classes"] = list(data.object_classes)
    if data.mask_classes:
        found["mask_classes"] = list(data.mask_classes)
    if data.depths is not None:
        found["depth_unit"] = data.depth_unit
    return found


def _columns(data: Dataset, name_of: Callable[[str], str]) -> dict[str, Iterable[object]]:
    labels = [
        data.classes[d][label] if label >= 0 else None
        for d, label in zip(data.domain, data.label, strict=True)
    ]
    columns: dict[str, Iterable[object]] = {
        "file_name": [name_of(path) for path in data.paths],
        "domain": [data.domains[d] for d in data.domain],
        "label": labels,
        "split": data.split.tolist(),
    }
    if data.text is not None:
        columns["text"] = [None if text is None else text.split("\n") for text in data.text]
    if data.objects is not None:
        columns["objects"] = [_struct(each, data.object_classes) for each in data.objects]
    for name, paths in (("mask", data.masks), ("depth", data.depths)):
        if paths is not None:
            columns[name] = [None if path is None else name_of(path) for path in paths]
    return columns


def _struct(objects: Objects | None, classes: Sequence[str]) -> dict[str, object] | None:
    if objects is None:
        return None
    return {"bbox": objects.boxes.tolist(), "categories": [classes[label] for label in objects.labels]}


def _write_list(data: Dataset, path: Path) -> None:
    columns = _columns(data, lambda name: name)
    try:
        table = pa.table({name: pa.array(cells) for name, cells in columns.items()})
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise DataError(
            f"the list cannot be stored as Parquet: {error} (rename files that are not UTF-8)"
        ) from error
    pq.write_table(table, path, row_group_size=BATCH_ROWS)


def _bring(data: Dataset, new: Path, bring: Callable[[str, str], None]) -> None:
    """Each file once; a tar shard comes whole."""
    columns = [each for each in (data.paths, data.masks, data.depths) if each is not None]
    wanted = dict.fromkeys(container_of(path) for column in columns for path in column if path is not None)
    for path in progress(wanted, "placing pictures"):
        target = os.path.join(new, _name_in(data, path))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            bring(os.path.realpath(path), target)
        except OSError as error:
            raise DataError(
                f"'{printable(path)}' cannot be linked or copied: {error.strerror}; hard links need one file system "
                f"and your own files: try files=copy, or files=list, which leaves the pictures where they are"
            ) from error


def _name_in(data: Dataset, path: str) -> str:
    if not is_below(path, data.root):
        raise DataError(f"'{printable(path)}' lies outside '{printable(data.root)}'; use files=list")
    return name_below(path, data.root)


def _copy(path: str, target: str) -> None:
    shutil.copyfile(path, target)
