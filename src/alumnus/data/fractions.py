"""A share of the labels: which images of a set are used when only 1, 2 or 10 % of its labels may be.

Stratified, so that a class keeps its share and none is lost; seeded; and nested: the images of 1 % are among those of 10 % with the same
seed, so that a curve over fractions adds images and exchanges none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alumnus.data.objects import Objects
from alumnus.errors import ConfigError


def label_fraction(labels: ArrayLike, fraction: float, seed: int) -> NDArray[np.int64]:
    """Returns the places of the images that are kept, ascending.

    Of a class with n images, fraction * n are kept, rounded half up, and at least one. Which ones depends on the seed, on the class's
    number and on n alone: other classes may come and go.

    Args:
        labels: (N,) whole numbers from -1, the class of each image. -1, no label, counts as a class.
        fraction: in (0, 1].
        seed: not negative.

    Raises:
        ConfigError: fraction or seed is out of range.

    >>> label_fraction([0, 0, 0, 0, 1, 1], 0.5, seed=0).shape
    (3,)
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction={fraction} must be above 0 and at most 1, such as 0.1 for 10 %")
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative")
    found = np.asarray(labels, np.int64)
    assert found.ndim == 1, found.shape
    if not len(found):
        return np.empty(0, np.int64)
    order = np.argsort(found, kind="stable")
    classes, starts = np.unique(found[order], return_index=True)
    assert classes[0] >= -1, classes[0]
    kept = []
    for number, rows in zip(classes, np.split(order, starts[1:]), strict=True):
        count = max(1, math.floor(fraction * len(rows) + 0.5))
        kept.append(rows[shuffled(len(rows), seed, int(number))[:count]])
    return np.sort(np.concatenate(kept))


def rarest_class(objects: Sequence[Objects], num_classes: int) -> NDArray[np.int64]:
    """Returns (N,) the class of each image's objects that the fewest images have, or `num_classes` where there is no object.

    A `label_fraction` of these loses no class of which some image is the only hope.
    """
    frequency = np.zeros(num_classes, np.int64)
    for each in objects:
        frequency[np.unique(each.labels)] += 1
    rarest = [
        int(each.labels[frequency[each.labels].argmin()]) if len(each.labels) else num_classes
        for each in objects
    ]
    return np.array(rarest, np.int64)


def shuffled(count: int, seed: int, number: int) -> NDArray[np.int64]:
    """Returns a permutation of 0 to count - 1 that depends on nothing but these three; `number` is from -1."""
    # From the generator's raw words: NumPy promises that these never change, of `permutation` it does not.
    words = np.random.Philox(np.random.SeedSequence([seed, number + 1])).random_raw(count)
    return np.argsort(words, kind="stable")
