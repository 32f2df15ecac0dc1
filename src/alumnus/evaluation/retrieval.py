"""Retrieval exactly as UnED scores it (Ypsilantis et al., ICCV 2023, arXiv 2309.01858; UDON, NeurIPS 2024, arXiv 2406.08332).

Inner product on unit vectors. A hit has the query's label and the query's domain. R@1 asks whether the first neighbour is a hit; mMP@5 is
hits within the first min(5, n_q) over min(5, n_q), where n_q counts the relevant vectors of the index, and 0 if there is none. `merged`
searches all domains at once, `separate` only the query's own. The query itself is removed by its id; the released code drops the first
rank instead, which duplicates break. Means are taken within domains, then over domains with equal weight.

Axes: N images, D width, Q queries, k neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.search import NO_ID, best, unit_length
from alumnus.evaluation.sharded import sharded_search

K = 5
Protocol = Literal["merged", "separate"]
PROTOCOLS: tuple[Protocol, ...] = ("merged", "separate")
METRICS = ("R@1", "mMP@5")


@dataclass(frozen=True, eq=False)
class Ranking:
    """What one protocol found for each query."""

    neighbours: Ids  # (Q, 5) rows, best first, or NO_ID
    hits: npt.NDArray[np.bool_]  # (Q, 5), same label and same domain
    recall: Floats  # (Q,) R@1 of each query, 0 or 1
    precision: Floats  # (Q,) MP@5 of each query, in [0, 1]

    def metric(self, name: str) -> Floats:
        """Returns the (Q,) values of "R@1" or "mMP@5"."""
        return {"R@1": self.recall, "mMP@5": self.precision}[name]


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What one model found; for the same rows, the queries of two models are the same and in the same order."""

    queries: Ids  # (Q,) rows
    domain: Ids  # (Q,) of each query
    relevant: Ids  # (Q,) n_q
    merged: Ranking
    separate: Ranking

    def ranking(self, protocol: Protocol) -> Ranking:
        """Returns the ranking of a protocol."""
        return self.merged if protocol == "merged" else self.separate


def retrieve(
    vectors: Floats,
    *,
    domain: Ids,
    label: Ids,
    queries: Ids,
    index: Ids,
    device: str = "cpu",
) -> Retrieval:
    """Returns what each query finds in the index, merged and separate; processes of torch.distributed divide the queries among them.

    Args:
        vectors: (N, D), any length, finite; a row's number is its id.
        domain: (N,) domain of each row.
        label: (N,) class within the domain; -1 is no class and is never a hit.
        queries: (Q,) rows that ask.
        index: rows that answer; the same as `queries` for leave-one-out. A query that is in the index does not find itself.
        device: see `search`.
    """
    unit, index = unit_length(vectors), np.unique(index)
    own, every = _search_domains(unit, domain, queries, index, device)
    relevant = _relevant(domain, label, queries, index)
    merged = best(
        np.concatenate([ids for ids, _ in every], 1), np.concatenate([scores for _, scores in every], 1), K
    )
    return Retrieval(
        queries=queries,
        domain=domain[queries],
        relevant=relevant,
        merged=_rank(merged.ids, domain, label, queries, relevant),
        separate=_rank(own, domain, label, queries, relevant),
    )


def macro(values: npt.NDArray[np.floating], domain: Ids) -> float:
    """Returns the mean over domains of the means within domains, of (Q,) values.

    >>> macro(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1]))
    0.75
    """
    return float(np.mean([values[domain == d].mean(dtype=np.float64) for d in np.unique(domain)]))


def _search_domains(
    unit: Floats, domain: Ids, queries: Ids, index: Ids, device: str
) -> tuple[Ids, list[tuple[Ids, Doubles]]]:
    """Returns the rows found in the own domain (Q, 5), and rows and scores found in each domain.

    The merged list is merged from the domains' lists, so both protocols together cost one search of the whole index.
    """
    own = np.full((len(queries), K), NO_ID, np.int64)
    every = [(own, np.full(own.shape, -np.inf))]
    for d in np.unique(domain[index]):
        pool = index[domain[index] == d]  # ascending, so that a smaller position is a smaller row
        found = sharded_search(unit[queries], unit[pool], K, exclude=_positions(queries, pool), device=device)
        rows = np.where(found.ids == NO_ID, NO_ID, pool[found.ids])
        own = np.where((domain[queries] == d)[:, None], rows, own)
        every.append((rows, found.scores))
    return own, every


def _positions(queries: Ids, pool: Ids) -> Ids:
    """Returns where each query is in an ascending pool, or NO_ID."""
    at = np.minimum(np.searchsorted(pool, queries), len(pool) - 1)
    return np.where(pool[at] == queries, at, NO_ID)


def _relevant(domain: Ids, label: Ids, queries: Ids, index: Ids) -> Ids:
    """Returns n_q: index rows of the query's domain and label, the query not counted."""
    width = int(label.max(initial=0)) + 2
    group = domain * width + label + 1  # one number for each pair of domain and label
    counts = np.bincount(group[index], minlength=int(group.max(initial=0)) + 1)
    relevant = counts[group[queries]] - np.isin(queries, index)
    return np.where(label[queries] < 0, 0, relevant).astype(np.int64)


def _rank(neighbours: Ids, domain: Ids, label: Ids, queries: Ids, relevant: Ids) -> Ranking:
    """Returns hits and metrics of lists (Q, 5)."""
    same = (domain[neighbours] == domain[queries][:, None]) & (label[neighbours] == label[queries][:, None])
    hits = same & (neighbours != NO_ID) & (label[queries] >= 0)[:, None]
    counted = np.minimum(relevant, K)  # (Q,) how many ranks count
    within = hits & (np.arange(K) < counted[:, None])
    precision = within.sum(1) / np.maximum(counted, 1)
    return Ranking(neighbours, hits, hits[:, 0].astype(np.float32), precision.astype(np.float32))
