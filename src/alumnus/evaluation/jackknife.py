"""Intervals of scores that look at pairs of images, which the bootstrap spoils.

Drawing with replacement gives copies, and an image is its copy's nearest neighbour and most similar partner: similarity of
representations then rises, and rank falls, by the resampling alone. Leaving out a tenth of the images at a time makes no copies: the
delete-a-group jackknife (Kott 2001, "The delete-a-group jackknife", Journal of Official Statistics 17(4)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.compare import T_95, Interval

GROUPS = 10


def jackknife(score: Callable[[Ids], float], num_images: int, *, seed: int = 0) -> Interval:
    """Returns the score of all images and a 95 % interval from those without one group each.

    Args:
        score: from places of images, ascending, to a number that changes smoothly with them.
        num_images: with fewer than 2 images a group there is no interval.
        seed: of the groups.
    """
    every = np.arange(num_images)
    whole = float(score(every))
    if num_images < 2 * GROUPS:
        return Interval(whole, float("nan"), float("nan"))
    group = np.random.default_rng(seed).permutation(num_images) % GROUPS
    parts = np.array([score(every[group != number]) for number in range(GROUPS)])
    error = float(np.sqrt((GROUPS - 1) / GROUPS * ((parts - parts.mean()) ** 2).sum()))
    half = T_95[GROUPS - 2] * error
    return Interval(whole, whole - half, whole + half)
