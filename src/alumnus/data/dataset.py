"""A dataset: rows of (image, domain, label, split) and what else is known, whatever they came from; and the folder in which one is kept.

The folder follows the Hugging Face imagefolder convention, a `metadata.parquet` with `file_name` relative to it, so other tools read it
too. Opening reads names only; images are read, and bad ones found, when they are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from alumnus.data.compact import Coded, Strings
from alumnus.data.distinct import Distinct
from alumnus.data.folder_facts import MILLIMETRES
from alumnus.data.joining import one_after_another
from alumnus.data.listing import SPLITS, Listing
from alumnus.data.locator import size_in_bytes
from alumnus.data.names import byte_order, printable
from alumnus.data.objects import ObjectRows, Objects
from alumnus.data.readers.sources import Source, read_sources
from alumnus.data.roles import DataEntry, Role, roles_of
from alumnus.data.source_names import tell_shared_names, tell_split_names
from alumnus.data.write import write_dataset
from alumnus.errors import DataError, nearest

__all__ = ["SPLITS", "Dataset", "Objects", "open_dataset", "write_dataset"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Dataset:
    """N images, in a fixed order: the row number is what views, stores and indexes speak of.

    A path may be a locator, of a picture in a tar or Arrow file (see `data.locator`). The optional columns are None where no row has one.
    """

    root: Path  # absolute
    paths: Sequence[str]  # N, absolute; may hold lone surrogates, see data.names
    file_names: Sequence[
        str
    ]  # N, relative to root, distinct but for training images that are in the index too
    domain: NDArray[np.int64]  # (N,), index into domains
    label: NDArray[np.int64]  # (N,), index into classes[domain]; -1 where there is none
    split: NDArray[np.str_]  # (N,), each one of SPLITS; "spare" is neither trained nor scored
    domains: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]  # per domain
    text: Sequence[str | None] | None = None  # N captions; several of one image are its lines
    objects: Sequence[Objects | None] | None = None  # N
    object_classes: tuple[str, ...] = ()
    masks: Sequence[str | None] | None = None  # N, absolute paths for data.dense.read_mask
    mask_classes: tuple[str, ...] = ()  # name of each index, if dataset.json says them
    depths: Sequence[str | None] | None = None  # N, absolute paths for data.dense.read_depth
    depth_unit: str = MILLIMETRES  # of one step of a depth file
    roles: Mapping[str, tuple[Role, ...]] = field(
        default_factory=dict
    )  # of each domain's images; empty where every source is a plain path

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def select(
        self, *, split: str | Sequence[str] | None = None, domains: str | Sequence[str] | None = None
    ) -> Dataset:
        """Returns the rows of some splits and domains, in their order; indices into domains and classes keep their meaning.

        Raises:
            DataError: if a split or a domain does not exist.
        """
        keep = np.ones(len(self), bool)
        if split is not None:
            keep &= np.isin(self.split, _known(split, SPLITS, "split"))
        if domains is not None:
            wanted = _known(domains, self.domains, "domain")
            keep &= np.isin(self.domain, [self.domains.index(name) for name in wanted])
        return self.rows(np.flatnonzero(keep))

    def rows(self, rows: NDArray[np.int64]) -> Dataset:
        """Returns some rows, in the order given; indices into domains and classes keep their meaning."""
        return replace(
            self,
            paths=_taken(self.paths, rows),
            file_names=_taken(self.file_names, rows),
            domain=self.domain[rows],
            label=self.label[rows],
            split=self.split[rows],
            text=None if self.text is None else _taken(self.text, rows),
            objects=None if self.objects is None else _taken(self.objects, rows),
            masks=None if self.masks is None else _taken(self.masks, rows),
            depths=None if self.depths is None else _taken(self.depths, rows),
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over file name, domain, label, split and size in bytes (-1 if missing) of every row, in order.

        Captions, objects, and names and sizes of masks and depth maps enter where there are any. It is the same on every machine and
        after every copy; it does not read the images.
        """
        digest = hashlib.sha256()
        paths, more = iter(self.paths), self._more()
        for row, name in enumerate(self.file_names):
            domain, label = int(self.domain[row]), int(self.label[row])
            word = None if label < 0 else self.classes[domain][label]
            values = [name, self.domains[domain], word, str(self.split[row]), size_in_bytes(next(paths))]
            digest.update(json.dumps([*values, *next(more)]).encode("ascii") + b"\n")
        return digest.hexdigest()

    def _more(self) -> Iterator[list[object]]:
        """Yields what the optional columns add to each row's part of the fingerprint: nothing where there is none."""
        for row in range(len(self)):
            found: list[object] = []
            if self.text is not None:
                found.append(["text", self.text[row]])
            if self.objects is not None:
                found.append(["objects", _plain(self.objects[row], self.object_classes)])
            for word, paths in (("mask", self.masks), ("depth", self.depths)):
                path = None if paths is None else paths[row]
                if path is not None:
                    found.append([word, os.path.relpath(path, self.root), size_in_bytes(path)])
            if row == 0 and (self.mask_classes or self.depth_unit != MILLIMETRES):
                found.append(["meaning", self.mask_classes, self.depth_unit])
            yield found


def open_dataset(source: Source | DataEntry | Sequence[Source | DataEntry]) -> Dataset:
    """Returns the images of one source or several, of any kind that docs/data.md names.

    Dataset folders, flat folders, class folders, folders with masks; CSV, TSV, JSONL or Parquet lists; COCO json; tar shards
    (`shards-{0000..0012}.tar`); Hugging Face data sets (saved to disk, or `hf:owner/name:split`); UnED's info files.

    Rows come in the order of the list, or in byte order of their names; sources one after another. Where a source names no domain, its
    folder's name is used. Domains of one name are one domain, also from several sources, and so are their classes of one name; where only
    names of folders made them one, the console says so. With several sources the root is their deepest common folder. A `DataEntry` is a
    source with a role: see `data.roles`.

    Raises:
        DataError: saying which source, row and column is wrong; also if one image comes from two sources.
    """
    sources = [source] if isinstance(source, (str, os.PathLike, DataEntry)) else list(source)
    if not sources:
        raise DataError("no source of images was given; give a folder or a list of images")
    paths = [each.path if isinstance(each, DataEntry) else each for each in sources]
    listings = read_sources(paths)
    entries = [each if isinstance(each, DataEntry) else None for each in sources]
    unnamed = [row for row, each in enumerate(entries) if each is None or each.domain is None]
    tell_shared_names([paths[row] for row in unnamed], [listings[row] for row in unnamed])
    tell_split_names(paths, listings)
    listings = [each.applied(rows) if each else rows for each, rows in zip(entries, listings, strict=True)]
    whole = one_after_another(listings)
    if len(listings) > 1:
        _check_distinct(whole)
    given = any(entry is not None for entry in entries)
    roles = roles_of([each.role if each else "labelled" for each in entries], listings) if given else {}
    return replace(_indexed(whole), roles=roles)


def _indexed(rows: Listing) -> Dataset:
    root = os.path.join(rows.root, "")  # with a slash behind it
    label, classes = _labelled(rows.domains, rows.labels)
    return Dataset(
        root=rows.root,
        paths=Strings(rows.file_names.values, root),
        file_names=rows.file_names,
        domain=rows.domains.codes.astype(np.int64),
        label=label,
        split=np.array(rows.splits.words, np.str_)[rows.splits.codes],
        domains=rows.domains.words,
        classes=classes,
        text=rows.texts,
        objects=None if rows.objects is None else rows.objects.rows,
        object_classes=() if rows.objects is None else rows.objects.classes,
        masks=None if rows.masks is None else Strings(rows.masks.values, root),
        mask_classes=rows.mask_classes,
        depths=None if rows.depths is None else Strings(rows.depths.values, root),
        depth_unit=rows.depth_unit,
    )


def _labelled(domains: Coded, labels: Coded) -> tuple[NDArray[np.int64], tuple[tuple[str, ...], ...]]:
    """Returns each row's place among the classes of its domain, which are in byte order, and those classes."""
    pair = domains.codes.astype(np.int64) * max(1, len(labels.words)) + labels.codes
    has_label = labels.codes >= 0
    pairs, place = np.unique(pair[has_label], return_inverse=True)
    classes: list[list[tuple[str, int]]] = [[] for _ in domains.words]
    for number, (domain, code) in enumerate(zip(*np.divmod(pairs, max(1, len(labels.words))), strict=True)):
        classes[domain].append((labels.words[code], number))
    ranks = np.empty(len(pairs), np.int64)
    for words in classes:
        words.sort(key=lambda each: byte_order(each[0]))
        ranks[[number for _, number in words]] = np.arange(len(words))
    label = np.full(len(pair), -1, np.int64)
    label[has_label] = ranks[place]
    return label, tuple(tuple(word for word, _ in words) for words in classes)


def _check_distinct(rows: Listing) -> None:
    distinct = Distinct()
    distinct.add(rows.file_names, [rows.splits.words[code] for code in rows.splits.codes])
    pair = distinct.repeated()
    if pair:
        path = os.path.join(rows.root, rows.file_names[pair[0]])
        raise DataError(f"the image '{printable(path)}' comes from two sources; name it in one of them")


def _taken(column: Sequence[T], rows: NDArray[np.int64]) -> Sequence[T]:
    if isinstance(column, (Strings, ObjectRows)):
        return column.take(rows)
    return tuple(column[row] for row in rows)


def _plain(found: Objects | None, classes: Sequence[str]) -> object:
    return found and [found.boxes.tolist(), [classes[label] for label in found.labels]]


def _known(words: str | Sequence[str], allowed: Sequence[str], what: str) -> list[str]:
    words = [words] if isinstance(words, str) else words
    for word in words:
        if word not in allowed:
            raise DataError(f"there is no {what} {word!r}, only {', '.join(allowed)}{nearest(word, allowed)}")
    return list(words)
