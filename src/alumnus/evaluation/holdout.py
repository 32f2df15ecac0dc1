"""A part of the training images to choose settings on, so that the test part never has a say.

Every evaluator that has something to choose (a weight decay, the step at which to stop) draws it from here.
"""

from __future__ import annotations

import numpy as np

from alumnus.evaluation.arrays import Ids

SHARE = 0.2  # of a class's images


def hold_out(label: Ids, *, share: float = SHARE, seed: int = 0) -> Ids:
    """Returns the places, ascending, to be held out of labels (N,): the same share of every class, drawn at random.

    A class of two images or more gives at least one and keeps at least one; a class of one image gives none, so the
    result is empty where no class has two.

    Args:
        share: in (0, 1).

    >>> hold_out(np.array([0, 0, 1]), seed=0).tolist() in ([0], [1])
    True
    """
    order = np.random.default_rng(seed).permutation(len(label))
    order = order[np.argsort(label[order], kind="stable")]  # class by class, shuffled within
    _, start, count = np.unique(label[order], return_index=True, return_counts=True)
    taken = np.clip(np.rint(share * count).astype(np.int64), 1, np.maximum(count - 1, 1))
    taken[count < 2] = 0
    rank = np.arange(len(label)) - np.repeat(start, count)  # (N,), from 0 within the class
    return np.sort(order[rank < np.repeat(taken, count)])
