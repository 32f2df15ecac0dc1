"""Nearest-neighbour classification: the k nearest training images vote with weight exp(cosine / temperature).

As in DINO (Caron et al., ICCV 2021, arXiv 2104.14294): k = 20, temperature 0.07. It says how well classes seen in training are told
apart, without training anything; retrieval says it for new classes.

Axes: Q queries, M training images, D width, C classes.
"""

from __future__ import annotations

import numpy as np

from alumnus.evaluation.search import NO_ID, Floats, Ids, search, unit_length

K = 20
TEMPERATURE = 0.07


def knn_predict(
    queries: Floats,
    train: Floats,
    train_label: Ids,
    *,
    k: int = K,
    temperature: float = TEMPERATURE,
    device: str = "cpu",
) -> Ids:
    """Returns the class (Q,) with the most votes; of equal ones the smaller number.

    Args:
        queries: (Q, D), any length.
        train: (M, D), any length, M at least 1.
        train_label: (M,) classes from 0 on.
    """
    found = search(unit_length(queries), unit_length(train), k, device=device)
    filled = found.ids != NO_ID
    # Relative to the best, so that a small temperature does not overflow; the order of the sums stays the same.
    weight = np.where(filled, np.exp((found.scores - found.scores[:, :1]) / temperature), 0)
    votes = np.zeros((len(queries), int(train_label.max()) + 1))
    np.add.at(votes, (np.arange(len(queries))[:, None], train_label[found.ids]), weight)
    winner: Ids = votes.argmax(1)
    return winner
