"""Who is held out: classes by a hash of their name, near copies of held-out pictures not at all.

Retrieval is scored on classes that were never trained on: SHA-1 of the class name modulo 10; 0-4 train, 5 validation, 6-9 test. Within a
held-out class only one picture of each family of near copies is scored; the others, and pictures left alone in their class (which no query
could find), are "spare". A picture whose pixels have been seen before is spare everywhere, in whatever class: two names for one picture
cannot both be right.

A data set may say itself where a picture belongs, as classification must: its classes are the same in training and test. Such a split is
kept, but for copies: of a picture that is in training and held out, the training copy stays and the held-out ones are spare.
`group_splits` makes such splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SPARE = "spare"
TRAIN, VAL = 0.5, 0.1  # shares of a class; the rest is test


def class_split(label: str) -> str:
    """Returns the split of a class: "train", "val" or "test".

    >>> class_split("bear"), class_split("banana")
    ('train', 'train')
    """
    number = _sha1(label) % 10
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
        near_copy: mean absolute difference of thumbnails (0-255) below which two pictures of a held-out class are near copies, and so is
            a picture held out by its own split of one in training, whatever their classes.
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
    spare |= _copies_of_training(own, thumbnails, near_copy)
    return [SPARE if row in spare else split for row, split in enumerate(splits)]


def group_splits(labels: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Returns a split for each of N pictures: of each class about half train, a tenth val, the rest test; groups are not divided.

    The order of a class's groups (takes of one thing, works of one hand) comes from SHA-1, so it depends on names only.

    >>> group_splits(["dam"] * 5, ["dam1", "dam2", "dam3", "dam4", "dam5"])
    ['test', 'val', 'test', 'train', 'train']
    """
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        sizes[label][group] += 1
    found: dict[tuple[str, str], str] = {}
    for label, of in sizes.items():
        before = 0
        for group in sorted(of, key=lambda group: _sha1(f"{label}/{group}")):
            middle = (before + of[group] / 2) / of.total()
            found[label, group] = "train" if middle < TRAIN else "val" if middle < TRAIN + VAL else "test"
            before += of[group]
    return [found[each] for each in zip(labels, groups, strict=True)]


def _repeats(digests: Sequence[bytes], own_splits: Sequence[str | None]) -> set[int]:
    """Rows whose pixels come earlier, counting those that their data set holds out after all others."""
    seen: set[bytes] = set()
    repeats = set()
    for row in sorted(range(len(digests)), key=lambda row: own_splits[row] not in (None, "train")):
        if digests[row] in seen:
            repeats.add(row)
        seen.add(digests[row])
    return repeats


def _copies_of_training(
    own_splits: Sequence[str | None], thumbnails: NDArray[np.uint8], near_copy: float
) -> set[int]:
    """Rows held out by their own split that resemble one that is in training by its own."""
    training = thumbnails[[row for row, given in enumerate(own_splits) if given == "train"]]
    held_out = [row for row, given in enumerate(own_splits) if given not in (None, "train")]
    return {row for row in held_out if _resembles(thumbnails[row], training, near_copy)}


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


def _sha1(name: str) -> int:
    return int(hashlib.sha1(name.encode("utf-8"), usedforsecurity=False).hexdigest(), 16)
