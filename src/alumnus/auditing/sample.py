"""Which images an audit looks at: of each domain a bounded, seeded sample of the validation or training split, never of a test split.

What an audit finds is used to choose teachers, so the test split may have no part in it. The validation split comes first: on the
training split a teacher that learnt these very labels looks better than it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alumnus.data.dataset import Dataset
from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.arrays import Ids

SPLITS = ("val", "train")
ENOUGH = 50  # images with a partner of their class: what a split needs to be scored on, and a score to decide anything
PER_CLASS = 10  # images, at least, before more classes are drawn: neighbours need company


class Sample(NamedTuple):
    """The images of one domain."""

    domain: int
    rows: Ids  # ascending
    split: str
    is_labelled: bool


def samples(data: Dataset, *, limit: int, seed: int) -> list[Sample]:
    """Returns a sample of each domain that has images in the val or train split.

    Raises:
        ConfigError: the seed is negative.
        DataError: none has.
    """
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative")
    found = [_sample(data, d, limit=limit, seed=seed) for d in range(len(data.domains))]
    kept = [sample for sample in found if len(sample.rows)]
    if not kept:
        there = ", ".join(sorted(set(data.split.tolist()))) or "no image"
        raise DataError(
            f"an audit reads the splits val and train only, since it serves to choose; the data has {there}"
        )
    return kept


def _sample(data: Dataset, domain: int, *, limit: int, seed: int) -> Sample:
    """By classes from val if that has enough, else from the split that has more; without labels from both splits."""
    random = np.random.default_rng([seed, domain])
    here = data.domain == domain
    labelled = {split: _with_partner(data, np.flatnonzero(here & (data.split == split))) for split in SPLITS}
    split = next((s for s in SPLITS if len(labelled[s]) >= ENOUGH), None) or max(
        SPLITS, key=lambda s: len(labelled[s])
    )
    rows = labelled[split]
    if len(np.unique(data.label[rows])) > 1:
        return Sample(domain, _by_class(rows, data.label[rows], limit, random), split, True)
    rows = np.flatnonzero(here & np.isin(data.split, SPLITS))
    if len(rows) > limit:
        rows = np.sort(random.choice(rows, limit, replace=False))
    return Sample(domain, rows, "+".join(s for s in SPLITS if (data.split[rows] == s).any()), False)


def _with_partner(data: Dataset, rows: Ids) -> Ids:
    """Returns those whose class has another one among them."""
    label = data.label[rows]
    counts = np.bincount(label[label >= 0], minlength=1)
    return rows[(label >= 0) & (counts[np.maximum(label, 0)] > 1)]


def _by_class(rows: Ids, label: Ids, limit: int, random: np.random.Generator) -> Ids:
    """Returns up to `limit` rows: class after class in random order, of each up to a fair share."""
    classes, code = np.unique(label, return_inverse=True)
    share = max(PER_CLASS, -(-limit // len(classes)))
    place = random.permutation(len(classes))[code]  # (n,) turn of its class
    order = np.lexsort((random.random(len(rows)), place))  # class by class, shuffled within
    _, start, count = np.unique(place[order], return_index=True, return_counts=True)
    rank = np.arange(len(rows)) - np.repeat(start, count)
    return np.sort(rows[order[rank < share]][:limit])
