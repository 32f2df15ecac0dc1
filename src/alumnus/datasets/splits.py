"""Who is held out: classes by a hash of their name, near copies of held-out pictures not at all.

Retrieval is scored on classes that were never trained on: SHA-1 of the class name modulo 10; 0-4 train, 5 validation, 6-9 test. Within a
held-out class only one picture of each family of near copies is scored; the others, and pictures left alone in their class (which no query
could find), are "spare". A picture whose pixels have been seen before is spare everywhere, in whatever class: two names for one picture
cannot both be right.

A data set may say itself where a picture belongs, as classification must: its classes are the same in training and test. Such a split is
kept, but for exact repeats: of a picture that is in training and held out, the training copy stays and the held-out ones are spare.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SPARE = "spare"


def class_split(label: str) -> str:
    """Returns the split of a class: "train", "val" or "test".

    >>> class_split("bear"), class_split("banana")
    ('train', 'train')
    """
    number = int(hashlib.sha1(label.encode("utf-8"), usedforsecurity=False).hexdigest(), 16) % 10
    return "train" if number <= 4 else "val" if number == 5 else "test"


def assign_splits(
    labels: Sequence[str],
    families: Sequence[str],
    thumbnails: NDArray[np.uint8],
    digests: Sequence[bytes],
    own_splits: Sequence[str | None] | None = None,
    *,
    class_splits: Mapping[str, str] | None,
    near_copy: float,
) -> list[str]:
    """Returns the split of each of N pictures.

    Args:
        labels, families, digests: N each; the class, the family of near copies ("" for none), and a hash of the pixels.
        own_splits: N, the split that a picture has whatever its class, or None.
        thumbnails: (N, k) uint8, the pictures made tiny.
        class_splits: class -> split, instead of the hash.
        near_copy: mean absolute difference of thumbnails (0-255) below which two pictures of a held-out class are near copies.
    """
    own = own_splits or [None] * len(labels)
    splits = [
        given or (class_splits[label] if class_splits else class_split(label))
        for label, given in zip(labels, own, strict=True)
    ]
    spare = _repeats(digests, own)
    for rows in _rows_of_classes(labels, own).values():
        if splits[rows[0]] == "train":
            continue
        scored = _without_copies([row for row in rows if row not in spare], families, thumbnails, near_copy)
        spare.update(set(rows) - set(scored if len(scored) > 1 else []))
    return [SPARE if row in spare else split for row, split in enumerate(splits)]


def _repeats(digests: Sequence[bytes], own_splits: Sequence[str | None]) -> set[int]:
    """Rows whose pixels come earlier, counting those that their data set holds out after all others."""
    seen: set[bytes] = set()
    repeats = set()
    for row in sorted(range(len(digests)), key=lambda row: own_splits[row] not in (None, "train")):
        if digests[row] in seen:
            repeats.add(row)
        seen.add(digests[row])
    return repeats


def _rows_of_classes(labels: Sequence[str], own_splits: Sequence[str | None]) -> Mapping[str, list[int]]:
    """Class -> its rows, of those whose class decides their split."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, (label, given) in enumerate(zip(labels, own_splits, strict=True)):
        if given is None:
            rows[label].append(row)
    return rows


def _without_copies(
    rows: Sequence[int], families: Sequence[str], thumbnails: NDArray[np.uint8], near_copy: float
) -> list[int]:
    """The rows of one class without those whose family or look is there already; the first one stays."""
    kept: list[int] = []
    taken: set[str] = set()
    for row in rows:
        if families[row] in taken or _resembles(thumbnails[row], thumbnails[kept], near_copy):
            continue
        taken.update({families[row]} - {""})
        kept.append(row)
    return kept


def _resembles(one: NDArray[np.uint8], others: NDArray[np.uint8], near_copy: float) -> bool:
    if near_copy <= 0 or not len(others):
        return False
    difference = np.abs(others.astype(np.int16) - one.astype(np.int16)).mean(axis=1)
    return bool(difference.min() < near_copy)
