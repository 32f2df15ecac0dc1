"""UnED (Ypsilantis et al., ICCV 2023): info files that give new splits to eight data sets.

    data/info_files/<domain>/<split>.json   a list of {"path": "cars/car_ims/1.jpg", "class_id": 7}
    data/images/<path>                      domains cars, sop, inshop, inat, met, gldv2, food2k, rp2k

Layout from the authors' repository (nikosips/Universal-Image-Embeddings: README, prepare_data.sh, datasets.py). Where a domain has an
`index.json`, its test images are queries against that index (splits `query` and `index`); else they search one another (`test`). So the
benchmark's merged index is the images of `test` and `index`, its queries those of `test` and `query`. Met's smaller lists for validation
(`small_train`, `small_index`: parts of the training set) are passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import IO

from alumnus.data.distinct import Distinct
from alumnus.data.listing import BATCH_ROWS, Listing, RowBatch, collected
from alumnus.data.names import byte_order, printable
from alumnus.data.readers.lists import check_distinct, checked_name
from alumnus.errors import DataError
from alumnus.log import console, progress

INFO, IMAGES = "info_files", "images"
SPLITS = ("train", "val", "test", "index")
READ_CHARS = 1 << 20
_SPACE = re.compile(r"\s*")


def is_uned_folder(folder: Path) -> bool:
    """Returns whether a folder has UnED's info files."""
    return (folder / INFO).is_dir()


def read_uned(folder: Path) -> Listing:
    """Returns the images of all domains for which there are info files, in byte order of the domains.

    An image of several classes (some of GLDv2's queries) counts for the first; how many there are is told.

    Raises:
        DataError: an info file is torn or holds something else, or no file for any domain is there.
    """
    domains = sorted((path.name for path in (folder / INFO).iterdir() if path.is_dir()), key=byte_order)
    files = [
        (domain, split, folder / INFO / domain / f"{split}.json")
        for domain in domains
        for split in SPLITS
        if (folder / INFO / domain / f"{split}.json").is_file()
    ]
    if not files:
        raise DataError(
            f"'{printable(folder / INFO)}' holds no <domain>/<split>.json with a split of {', '.join(SPLITS)}"
        )
    distinct = Distinct()
    listing = collected(folder, _batches(folder, files, distinct))
    check_distinct(distinct, printable(folder / INFO), lambda row: listing.file_names[row])
    return listing


def _batches(folder: Path, files: Sequence[tuple[str, str, Path]], distinct: Distinct) -> Iterator[RowBatch]:
    with_index = {domain for domain, split, _ in files if split == "index"}
    for domain, split, path in progress(files, "info files"):
        ours = "query" if split == "test" and domain in with_index else split
        several = 0
        for rows in _in_batches(path):
            names = [_name(row, folder, domain, path) for row in rows]
            classes = [_classes(row, path) for row in rows]
            several += sum(len(each) > 1 for each in classes)
            splits = [ours] * len(rows)
            distinct.add(names, splits)
            yield RowBatch(
                names, [domain] * len(rows), [each[0] if each else None for each in classes], splits
            )
        if several:
            console.print(
                f"{domain}/{path.name}: {several} images have several classes; the first one counts"
            )


def _name(row: dict[str, object], folder: Path, domain: str, path: Path) -> str:
    try:
        name = checked_name(row.get("path"), folder / IMAGES)
    except ValueError as error:
        raise DataError(f"{printable(path)}: {error}") from None
    name = f"{IMAGES}/{name}"
    if domain == "rp2k" and not name.isascii() and not os.path.lexists(folder / name):
        return _escaped(name)  # some programs unpack RP2K's Chinese names so
    return name


def _escaped(name: str) -> str:
    """Returns a name with every character that is not ASCII as #U and four hexadecimal digits.

    >>> _escaped("\N{CJK UNIFIED IDEOGRAPH-4E2D}.jpg")
    '#U4e2d.jpg'
    """
    return "".join(char if char.isascii() else f"#U{ord(char):04x}" for char in name)


def _classes(row: dict[str, object], path: Path) -> list[str]:
    found = row.get("class_id")
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(each, (int, str)) and not isinstance(each, bool) for each in listed):
        raise DataError(f"{printable(path)}: class_id must be a number or a list of them, not {found!r}")
    return [str(each) for each in listed if each != -1]


def _in_batches(path: Path) -> Iterator[list[dict[str, object]]]:
    batch = list[dict[str, object]]()
    try:
        with path.open(encoding="utf-8-sig") as file:
            for row in _objects(file):
                if not isinstance(row, dict):
                    raise DataError(
                        f"{printable(path)} must list objects with path and class_id, not {row!r}"
                    )
                batch.append(row)
                if len(batch) == BATCH_ROWS:
                    yield batch
                    batch = []
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{printable(path)} cannot be read as a JSON list: {error}") from error
    yield batch


def _objects(file: IO[str]) -> Iterator[object]:
    """Yields the items of one JSON list without holding them all: GLDv2's training list has 1.4 million."""
    decoder, text, is_whole = JSONDecoder(), "", False
    while not text.strip() and not is_whole:
        text = file.read(READ_CHARS)
        is_whole = not text
    place = _after_space(text, 0)
    if text[place : place + 1] != "[":
        raise ValueError("it does not begin with [")
    place += 1
    while True:
        place = _after_space(text, place)
        if text[place : place + 1] == "]":
            return
        try:
            item, end = decoder.raw_decode(text, place)
            end = _after_space(text, end)
            if text[end : end + 1] not in (",", "]"):  # at the end of what was read too: a number may go on
                raise JSONDecodeError("neither , nor ] follows", text, end)
        except JSONDecodeError:
            if is_whole:
                raise
            more = file.read(READ_CHARS)
            text, place, is_whole = text[place:] + more, 0, not more
            continue
        place = end + (text[end] == ",")
        yield item


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None
    return found.end()
