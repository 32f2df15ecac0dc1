"""A dataset: rows of (image file, domain, label, split), whatever they came from; and the folder in which one is kept.

The folder follows the Hugging Face imagefolder convention, a `metadata.parquet` with `file_name` relative to it, so other tools read it
too. Opening reads names only; images are read, and bad ones found, when they are needed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alumnus.data.listing import SPLITS, Listing
from alumnus.data.names import byte_order, name_below, printable
from alumnus.data.sources import read_source
from alumnus.data.write import write_dataset
from alumnus.errors import DataError, nearest

__all__ = ["SPLITS", "Dataset", "open_dataset", "write_dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """N images, in a fixed order: the row number is what views, stores and indexes speak of."""

    root: Path  # absolute
    paths: tuple[str, ...]  # N, absolute; may hold lone surrogates, see data.names
    file_names: tuple[str, ...]  # N, relative to root, distinct
    domain: NDArray[np.int64]  # (N,), index into domains
    label: NDArray[np.int64]  # (N,), index into classes[domain]; -1 where there is none
    split: NDArray[np.str_]  # (N,), each one of SPLITS; "spare" is neither trained nor scored
    domains: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]  # per domain

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
        return self._rows(np.flatnonzero(keep))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over file name, domain, label, split and size in bytes (-1 if missing) of every row, in order.

        It is the same on every machine and after every copy; it does not read the images.
        """
        digest = hashlib.sha256()
        for row in range(len(self)):
            domain, label = int(self.domain[row]), int(self.label[row])
            word = None if label < 0 else self.classes[domain][label]
            values = [self.file_names[row], self.domains[domain], word, str(self.split[row])]
            digest.update(json.dumps([*values, _size(self.paths[row])]).encode("ascii") + b"\n")
        return digest.hexdigest()

    def _rows(self, rows: NDArray[np.int64]) -> Dataset:
        return replace(
            self,
            paths=tuple(self.paths[row] for row in rows),
            file_names=tuple(self.file_names[row] for row in rows),
            domain=self.domain[rows],
            label=self.label[rows],
            split=self.split[rows],
        )


def open_dataset(source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Dataset:
    """Returns the images of one source or several: dataset folders, flat folders, class folders, CSV, TSV, JSONL or Parquet lists.

    Rows come in the order of the list, or in byte order of their names; sources one after another. Where a source names no domain, its
    folder's name is used. Domains of one name are one domain, also from several sources, and so are their classes of one name. With
    several sources the root is their deepest common folder.

    Raises:
        DataError: saying which source, row and column is wrong; also if one image comes from two sources.
    """
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not sources:
        raise DataError("no source of images was given; give a folder or a list of images")
    return _indexed([read_source(each) for each in sources])


def _indexed(listings: Sequence[Listing]) -> Dataset:
    paths = [os.path.join(each.root, name) for each in listings for name in each.file_names]
    _check_distinct(paths)
    root = os.path.commonpath([each.root for each in listings])
    names = [name_below(path, root) for path in paths]
    domain_words = [word for each in listings for word in each.domains]
    label_words = [word for each in listings for word in each.labels]
    domains = tuple(dict.fromkeys(domain_words))
    classes = _classes(domain_words, label_words, domains)
    places = [{word: place for place, word in enumerate(words)} for words in classes]
    domain = np.array([domains.index(word) for word in domain_words], np.int64)
    label = [-1 if w is None else places[d][w] for d, w in zip(domain, label_words, strict=True)]
    split = np.array([word for each in listings for word in each.splits])
    return Dataset(
        Path(root), tuple(paths), tuple(names), domain, np.array(label, np.int64), split, domains, classes
    )


def _classes(
    domains: Sequence[str], labels: Sequence[str | None], order: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    found: dict[str, set[str]] = {domain: set() for domain in order}
    for domain, label in zip(domains, labels, strict=True):
        if label is not None:
            found[domain].add(label)
    return tuple(tuple(sorted(found[domain], key=byte_order)) for domain in order)


def _check_distinct(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise DataError(f"the image '{printable(path)}' comes from two sources; name it in one of them")
        seen.add(path)


def _known(words: str | Sequence[str], allowed: Sequence[str], what: str) -> list[str]:
    words = [words] if isinstance(words, str) else words
    for word in words:
        if word not in allowed:
            raise DataError(f"there is no {what} {word!r}, only {', '.join(allowed)}{nearest(word, allowed)}")
    return list(words)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return -1
