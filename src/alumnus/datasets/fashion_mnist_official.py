"""Fashion-MNIST with its official split: product photos of clothes, 28 px grey. Real photographs; the class is the kind of garment.

Source: see `fashion_mnist`. Labels: the publisher's, and so are training and test; every sixth training picture is for validation, so
50,000, 10,000 and 10,000. The usual limit takes 1,000 of each class over all splits; limit_per_class=0 gives the whole benchmark.

Pitfalls: easy and tiny. Numbers at the usual limit are of a part of the test set; only those of the whole compare with the literature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from alumnus.datasets import fashion_mnist
from alumnus.datasets.idx import official
from alumnus.datasets.known import Entry, Folders

INFO = replace(
    fashion_mnist.INFO,
    name="fashion_mnist_official",
    title="Fashion-MNIST: which of ten garments, with the publisher's split",
    task="classification",
    notes="28 px grey photos: an easy, low-resolution domain. Numbers at the usual limit are not those of the literature.",
    class_splits=None,
)


def entries(folders: Folders, *, seed: int) -> Iterator[Entry]:
    """Yields all 70,000 pictures, official train first; nothing is random."""
    return official(fashion_mnist.entries(folders, seed=seed))
