"""A part of the training images to choose settings on, so that the test part never has a say.

Every evaluator that has something to choose (a weight decay, the step at which to stop) draws it from here.
"""

from __future__ import annotations

import numpy as np

from alumnus.evaluation.arrays import Ids

SHARE = 0.2  # of a class's images


def hold_out(label: Ids, *, share: float = SHARE, seed: int = 0) -> Ids:
    """Returns the places, ascending, to be held out of labels (N,): the same share of every class, drawn at random.

    A class of two images or more gives at least one and keeps at least one; a class of one image gives none. Where half of the classes or
    more have one image, nothing is held out: the few that could be chosen on are all of the large classes, and would choose
    whatever always says the largest.

    Args:
        share: in (0, 1).

    >>> hold_out(np.array([0, 0, 1, 1, 2]), seed=0).shape, hold_out(np.array([0, 0, 1]), seed=0).shape
    ((2,), (0,))
    """
    order = np.random.default_rng(seed).permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]  # class by class, shuffled within
    _, start, count = np.unique(label[order], return_index=True, return_counts=True)
    taken = np.clip(np.rint(share * count).astype(np.int64), 1, np.maximum(count - 1, 1))
    taken[count < 2] = 0
    if 2 * np.count_nonzero(taken) <= len(taken):
        return np.empty(0, np.int64)
    rank = np.arange(len(label)) - np.repeat(start, count)  # (N,), from 0 within the class
    return np.sort(order[rank < np.repeat(taken, count)])
