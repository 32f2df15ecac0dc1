"""Nearest-neighbour classification: the k nearest training images vote with weight exp(cosine / temperature).

As in DINO (Caron et al., ICCV 2021, arXiv 2104.14294): k = 20, temperature 0.07. It says how well classes seen in training are told
apart, without training anything; retrieval says it for new classes.

Axes: Q queries, M training images, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alumnus.data.dataset import Dataset
from alumnus.data.fractions import label_fraction
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.compare import RESAMPLES, Interval, resample
from alumnus.evaluation.search import ELEMENTS, NO_ID, search, unit_length

K = 20
TEMPERATURE = 0.07
MOST_IMAGES = 5000  # of a domain, on either side, or one a class; more are drawn from, so that big splits do not cost more than retrieval


class Task(NamedTuple):
    """Rows of the dataset to classify, rows to classify them by; both are empty where there is nothing to do."""

    train: Ids
    queries: Ids
    note: str  # what is left out and why, "" if nothing is


def make_task(data: Dataset, queries: Ids, *, seed: int = 0, wanted: bool = True) -> Task:
    """Returns those of the queries whose class is in the training split, and that split's images of their domains.

    Of many training images of a domain, each class keeps its share, and at least one image.

    Args:
        queries: rows of the dataset, such as a split's; those of the training split are not asked about.
        seed: of what is drawn from many images.
        wanted: whether there shall be a task at all.
    """
    none = np.empty(0, np.int64)
    if not wanted:
        return Task(none, none, "kNN was not asked for")
    train = np.flatnonzero((data.split == "train") & (data.label >= 0))
    asked = queries[(data.split[queries] != "train") & (data.label[queries] >= 0)]
    group = data.domain * (int(data.label.max(initial=0)) + 1) + data.label
    asked = asked[np.isin(group[asked], group[train])]
    random = np.random.default_rng(seed)
    kept_train, kept_asked, without, notes = [none], [none], [], []
    for d in np.unique(data.domain[queries]).tolist():
        name = data.domains[d]
        ours, theirs = (rows[data.domain[rows] == d] for rows in (train, asked))
        if not len(theirs):
            without.append(name)
            continue
        fewer = ours[label_fraction(data.label[ours], min(1.0, MOST_IMAGES / len(ours)), seed)]
        if len(fewer) < len(ours):
            notes.append(f"kNN of {name} is by {len(fewer):,} of its {len(ours):,} training images")
        kept_train.append(fewer)
        kept_asked.append(_at_most(theirs, random))
    if without:
        notes.append(
            f"No kNN for {', '.join(without)}: no image that asks is outside the training split and of one of its classes"
        )
    return Task(np.sort(np.concatenate(kept_train)), np.sort(np.concatenate(kept_asked)), "; ".join(notes))


def classify(
    task: Task,
    table: Mapping[str, Floats],
    data: Dataset,
    rows: Ids,
    *,
    readable: Ids,
    seed: int = 0,
    resamples: int = RESAMPLES,
    device: str = "cpu",
) -> dict[str, dict[str, Interval]]:
    """Returns model -> domain -> accuracy, each domain by its own training images; domains without a task are missing.

    Args:
        table: model -> vectors (N, D).
        rows: (N,) the dataset's row of each vector.
        readable: places in `rows` whose image could be read.
    """
    domain, label = data.domain[rows], data.label[rows]
    train = readable[np.isin(rows[readable], task.train)]
    queries = readable[np.isin(rows[readable], task.queries)]
    queries = queries[np.isin(domain[queries], domain[train])]
    if not len(queries):
        return {}
    right = np.zeros((len(queries), len(table)), np.float32)
    for column, vectors in enumerate(table.values()):
        for d in np.unique(domain[queries]):
            here, by = domain[queries] == d, train[domain[train] == d]
            predicted = knn_predict(vectors[queries[here]], vectors[by], label[by], device=device)
            right[here, column] = predicted == label[queries[here]]
    drawn = resample(right, domain[queries], resamples=resamples, seed=seed)
    return {
        name: {data.domains[d]: drawn.of_domain(d, column) for d in drawn.domains.tolist()}
        for column, name in enumerate(table)
    }


def knn_predict(
    queries: Floats,
    train: Floats,
    train_label: Ids,
    *,
    k: int = K,
    temperature: float = TEMPERATURE,
    exclude: Ids | None = None,
    device: str = "cpu",
) -> Ids:
    """Returns the class (Q,) with the most votes; of equal ones the smaller number.

    Args:
        queries: (Q, D), any length.
        train: (M, D), any length, M at least 1.
        train_label: (M,) classes from 0 on.
        exclude: (Q,) the training image that may not vote, or -1: its own place, for leave-one-out.
    """
    found = search(unit_length(queries), unit_length(train), k, exclude=exclude, device=device)
    filled = found.ids != NO_ID
    # Relative to the best, so that a small temperature does not overflow; the order of the sums stays the same.
    weight = np.where(filled, np.exp((found.scores - found.scores[:, :1]) / temperature), 0)
    num_classes = int(train_label.max()) + 1
    winner = np.empty(len(queries), np.int64)
    step = max(1, ELEMENTS // num_classes)  # many classes and many queries do not fit into one table of votes
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        votes = np.zeros((len(found.ids[part]), num_classes))
        np.add.at(votes, (np.arange(len(votes))[:, None], train_label[found.ids[part]]), weight[part])
        winner[part] = votes.argmax(1)
    return winner


def _at_most(rows: Ids, random: np.random.Generator) -> Ids:
    if len(rows) <= MOST_IMAGES:
        return rows
    return np.sort(random.choice(rows, MOST_IMAGES, replace=False))
