"""MNIST with its official split: handwritten digits, 28 px grey. Scans, so real; the class is the digit.

Source: see `mnist`. Labels: the publisher's, and so are training and test; every sixth training picture is for validation, so 50,000,
10,000 and 10,000. The usual limit takes 1,000 of each class over all splits; limit_per_class=0 gives the whole benchmark.

Pitfalls: easy and tiny: the pixels alone do well. 6 and 9 turn into each other. Only numbers of the whole set compare with the
literature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import mnist
from alumnus.datasets.idx import official
from alumnus.datasets.known import Entry, Folders

INFO = replace(
    mnist.INFO,
    name="mnist_official",
    title="MNIST: which of ten digits, with the publisher's split",
    task="classification",
    notes="28 px grey scans: an easy, low-resolution domain. Numbers at the usual limit are not those of the literature.",
    class_splits=None,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields all 70,000 pictures, official train first; nothing is random."""
    return official(mnist.entries(folders, seed=seed))
