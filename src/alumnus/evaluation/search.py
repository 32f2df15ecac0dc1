"""Exact nearest neighbours by inner product, the same on every machine: ties go to the smaller id.

A matrix product rounds equal vectors differently depending on where they lie in a block, so float32 scores decide nothing here: they
only propose candidates. Candidates are scored again in float64, one pair at a time, and the list is final once its last score is beyond
the rounding error of everything that was not proposed; until then more are proposed. Where that settles little, since many vectors are
alike, products in float64 with the whole index propose all that can matter (`contenders`). Only pairs that even those leave tied cost
more: distinct vectors whose products with a query agree in 14 digits.

Axes: Q queries, n index vectors, D width, c candidates, k neighbours asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.coarse import (
    LEAST_INDEX,
    LEAST_QUERIES,
    Candidates,
    Coarse,
    Propose,
    float32_slack,
    pays,
)
from alumnus.evaluation.contenders import contenders, first_copies

NO_ID = -1  # where the index has fewer than k vectors; its score is -inf
SPARE = 4  # candidates beyond k in the first round: few lists need a second
GROWTH = 8  # each round proposes that many times more
WORTH = 4  # from the second round on, another follows if one query in so many was settled
SHARE = 16  # of the index, at most one part in so many is proposed by a further round
BLOCK = 1 << 11  # index vectors compared at once in float64, with half as many queries
ELEMENTS = 1 << 23  # of the largest temporary array; 64 MB in float64
INDEX_BLOCK = 1 << 16  # index vectors compared at once by torch


class Neighbours(NamedTuple):
    """The k nearest of each query, best first."""

    ids: Ids  # (Q, k), positions in the index, or NO_ID
    scores: Doubles  # (Q, k) inner products, or -inf


def search(
    queries: Floats, index: Floats, k: int, *, exclude: Ids | None = None, device: str = "cpu"
) -> Neighbours:
    """Returns the k index vectors of largest inner product with each query; of equal ones the smaller id comes first.

    Args:
        queries: (Q, D) float32, finite.
        index: (n, D) float32, finite.
        exclude: (Q,) int64, an id that is no answer to that query (the query itself), or NO_ID.
        device: "cpu" searches with faiss, or first in bfloat16 where that is faster; any other with torch. All give the same answer.

    >>> search(np.ones((1, 2), np.float32), np.array([[0, 1], [1, 1], [1, 1]], np.float32), 2).ids
    array([[1, 2]])
    """
    queries, index = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(index, np.float32)
    if exclude is None:
        exclude = np.full(len(queries), NO_ID, np.int64)
    found = _nothing(len(queries), k)
    if not len(index) or not len(queries):
        return found
    propose = _on_cpu(index, len(queries)) if device == "cpu" else _torch(index, device)
    unsettled = np.arange(len(queries))
    for number, wanted in enumerate(_sizes(k, len(index))):
        left = [np.empty(0, np.int64)]
        for rows in _chunks(unsettled, wanted * 16):
            best, sure = _settle(
                queries[rows], index, k, propose=propose, wanted=wanted, exclude=exclude[rows]
            )
            found.ids[rows], found.scores[rows] = best
            left.append(rows[~sure])
        asked, unsettled = len(unsettled), np.concatenate(left)
        if number and WORTH * (asked - len(unsettled)) < asked:
            break
    if len(unsettled):
        kept = first_copies(index, k + 1)
        for rows in _chunks(unsettled, max(4 * BLOCK, k * 16)):
            found.ids[rows], found.scores[rows] = _scan(
                queries[rows], index, k, kept=kept, exclude=exclude[rows]
            )
    return found


def unit_length(vectors: npt.NDArray[np.floating]) -> Floats:
    """Returns the rows of (n, D) divided by their length; a row of zeros stays as it is. Equal rows stay equal to the last bit."""
    length = _lengths(vectors)[:, None]
    unit = np.empty(vectors.shape, np.float32)
    np.divide(vectors, np.where(length > 0, length, 1), out=unit, dtype=np.float64, casting="same_kind")
    return unit


def _lengths(vectors: npt.NDArray[np.floating]) -> Doubles:
    """Returns (n,) lengths in float64, block by block: a wide copy of a million rows would double the memory of a search."""
    lengths = np.empty(len(vectors), np.float64)
    for rows in _chunks(np.arange(len(vectors)), vectors.shape[1]):
        wide = vectors[rows].astype(np.float64)
        lengths[rows] = np.sqrt((wide * wide).sum(-1))
    return lengths


def best(ids: Ids, scores: Doubles, k: int) -> Neighbours:
    """Returns the k best of (Q, c) candidates by falling score, then by rising id."""
    order = np.lexsort((ids, -scores), axis=-1)[:, :k]
    ids, scores = np.take_along_axis(ids, order, -1), np.take_along_axis(scores, order, -1)
    return Neighbours(np.where(np.isneginf(scores), NO_ID, ids), scores)


def _nothing(num_queries: int, k: int) -> Neighbours:
    return Neighbours(
        np.full((num_queries, k), NO_ID, np.int64), np.full((num_queries, k), -np.inf, np.float64)
    )


def _sizes(k: int, num_index: int) -> list[int]:
    """Returns how many candidates each round proposes."""
    sizes = [min(k + 1 + SPARE, num_index)]
    while sizes[-1] * GROWTH * SHARE <= num_index:
        sizes.append(sizes[-1] * GROWTH)
    return sizes


def _settle(
    queries: Floats,
    index: Floats,
    k: int,
    *,
    propose: Propose,
    wanted: int,
    exclude: Ids,
) -> tuple[Neighbours, npt.NDArray[np.bool_]]:
    """Returns the k best of `wanted` candidates, and for which queries no other vector could be among them."""
    ids, beyond = propose(queries, wanted)
    scores = _exact_scores(queries, index, ids)
    scores[ids == exclude[:, None]] = -np.inf
    found = best(ids, scores, min(k, wanted))
    sure = (found.scores[:, -1] > beyond) | (wanted == len(index))
    missing = ((0, 0), (0, k - found.ids.shape[1]))
    ids, scores = (
        np.pad(found.ids, missing, constant_values=NO_ID),
        np.pad(found.scores, missing, constant_values=-np.inf),
    )
    return Neighbours(ids, scores), sure


def _scan(queries: Floats, index: Floats, k: int, *, kept: Ids, exclude: Ids) -> Neighbours:
    """Returns the k best of the `kept` vectors, whose ids rise: a later one of equal score loses, and so only larger scores contend."""
    found, wide = _nothing(len(queries), k), queries.astype(np.float64)
    for start in range(0, len(kept), BLOCK):
        ids = kept[start : start + BLOCK]
        rows, columns = contenders(wide, index[ids].astype(np.float64), k + 1, found.scores[:, -1])
        allowed = ids[columns] != exclude[rows]
        found = _with_pairs(found, queries, index, rows[allowed], ids[columns[allowed]])
    return found


def _with_pairs(found: Neighbours, queries: Floats, index: Floats, rows: Ids, ids: Ids) -> Neighbours:
    """Returns the best of what was found and of pairs (query, vector), none of which was."""
    num_queries, k = found.ids.shape
    scores = np.empty(len(rows), np.float64)
    for pairs in _chunks(np.arange(len(rows)), queries.shape[1]):
        scores[pairs] = _exact_scores(queries[rows[pairs]], index, ids[pairs, None])[:, 0]
    rows = np.concatenate([np.repeat(np.arange(num_queries), k), rows])
    ids, scores = np.concatenate([found.ids.ravel(), ids]), np.concatenate([found.scores.ravel(), scores])
    order = np.lexsort((ids, -scores, rows))
    first = np.searchsorted(rows[order], np.arange(num_queries))
    taken = order[first[:, None] + np.arange(k)]
    return Neighbours(ids[taken], scores[taken])


def _exact_scores(queries: Floats, index: Floats, ids: Ids) -> Doubles:
    """Returns inner products (b, c) in float64; equal vectors get equal scores, since each pair is summed by itself in one order."""
    scores = np.empty(ids.shape, np.float64)
    wide = queries.astype(np.float64)[:, None, :]  # (b, 1, D)
    step = max(1, ELEMENTS // max(1, queries.size))
    for start in range(0, ids.shape[1], step):
        part = index[ids[:, start : start + step]].astype(np.float64)  # (b, step, D)
        part *= wide
        scores[:, start : start + step] = part.sum(-1)
    return scores


def _chunks(rows: Ids, row_elements: int) -> Iterator[Ids]:
    step = max(1, ELEMENTS // max(1, row_elements))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _on_cpu(index: Floats, num_queries: int) -> Propose:
    plain = functools.partial(_faiss, index)
    is_large = len(index) >= LEAST_INDEX and num_queries >= LEAST_QUERIES
    return Coarse(index, plain) if is_large and pays() else plain()


def _faiss(index: Floats) -> Propose:
    import faiss

    flat = faiss.IndexFlatIP(index.shape[1])
    flat.add(index)
    longest = float(_lengths(index).max())

    def propose(queries: Floats, wanted: int) -> Candidates:
        scores, ids = flat.search(np.ascontiguousarray(queries), wanted)
        return Candidates(ids, _beyond(scores, queries, longest))

    return propose


def _torch(index: Floats, device: str) -> Propose:
    table = torch.from_numpy(index).to(device)
    longest = float(_lengths(index).max())

    def propose(queries: Floats, wanted: int) -> Candidates:
        asked = torch.from_numpy(queries).to(device)
        scores = torch.empty((len(asked), 0), device=device)
        ids = torch.empty((len(asked), 0), dtype=torch.int64, device=device)
        for start in range(0, len(table), INDEX_BLOCK):
            part = asked @ table[start : start + INDEX_BLOCK].T  # (b, block)
            here = torch.arange(start, start + part.shape[1], device=device).expand_as(part)
            scores, ids = torch.cat([scores, part], 1), torch.cat([ids, here], 1)
            scores, order = scores.topk(min(wanted, scores.shape[1]), dim=1)
            ids = ids.gather(1, order)
        return Candidates(ids.cpu().numpy(), _beyond(scores.cpu().numpy(), queries, longest))

    return propose


def _beyond(scores: Floats, queries: Floats, longest: float) -> Doubles:
    """Returns (b,) what nothing is beyond that has no score among (b, c), which fall: the last of them, and its rounding error."""
    beyond: Doubles = scores[:, -1] + float32_slack(queries.shape[1], _lengths(queries), longest)
    return beyond
