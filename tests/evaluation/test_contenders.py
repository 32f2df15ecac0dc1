"""The last round of exact search leaves out nothing that matters, and nearly everything that does not."""

from __future__ import annotations

import numpy as np
import pytest

from alumnus.evaluation import contenders as module
from alumnus.evaluation.arrays import Doubles, Ids
from alumnus.evaluation.contenders import CROWD, contenders, first_copies
from alumnus.evaluation.search import unit_length

MOST = 6


def _collapsed(count: int, width: int = 48) -> Doubles:
    random = np.random.default_rng(0)
    middle = unit_length(random.normal(size=(1, width)))
    return unit_length(middle + 1e-7 * random.normal(size=(count, width))).astype(np.float64)


def _counts(pairs: tuple[Ids, Ids], num_queries: int) -> Ids:
    counts: Ids = np.bincount(pairs[0], minlength=num_queries)
    return counts


@pytest.mark.parametrize("known", [False, True])
def test_nearly_identical_vectors_have_few_contenders(known: bool) -> None:
    """Vectors that differ in the last bits of float32: no more than CROWD times the places, and none of the best is missing."""
    block = _collapsed(1000)
    queries = block[:50]
    scores = (queries[:, None] * block).sum(-1)
    least = np.sort(scores[:, :500], axis=1)[:, -MOST] if known else np.full(50, -np.inf)
    rows, columns = contenders(queries, block, MOST, least)
    assert _counts((rows, columns), 50).max() <= CROWD * MOST
    for query, row in enumerate(scores):
        best = np.argsort(-row, kind="stable")[:MOST]
        assert set(best[row[best] > least[query]].tolist()) <= set(columns[rows == query].tolist())


def test_what_ties_with_zeros_is_no_contender() -> None:
    """The products of a zero vector are exact: once its list is full, a later vector of equal score costs nothing."""
    queries, block = np.zeros((3, 48)), _collapsed(500)
    assert not _counts(contenders(queries, block, MOST, np.zeros(3)), 3).any()
    assert (_counts(contenders(queries, block, MOST, np.full(3, -np.inf)), 3) == 500).all()


def test_only_the_first_copies_are_kept() -> None:
    """However many there are, and wherever they lie."""
    random = np.random.default_rng(1)
    values = random.normal(size=(5, 7)).astype(np.float32)
    which = random.integers(0, 5, 400)
    expected = np.sort(np.concatenate([np.flatnonzero(which == value)[:MOST] for value in range(5)]))
    assert np.array_equal(first_copies(values[which], MOST), expected)


def test_distinct_vectors_are_all_kept() -> None:
    """Also those that differ in a last bit, and those that the order of copies cannot tell apart."""
    assert len(first_copies(_collapsed(300).astype(np.float32), 1)) == 300
    tiny = np.finfo(
        np.float32
    ).smallest_subnormal  # lost in a sum, so that three of these four sort as copies
    index = np.array([[1, 0, 1], [1, tiny, 1], [1, 0, 1], [1, 1, 1]], np.float32)
    assert set(first_copies(index, 1).tolist()) >= {0, 1, 3}


def test_copies_are_found_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large index is read a few rows at a time."""
    index = np.repeat(_collapsed(40).astype(np.float32), 3, axis=0)
    monkeypatch.setattr(module, "ELEMENTS", 5 * index.shape[1])
    assert np.array_equal(first_copies(index, 2), np.flatnonzero(np.arange(120) % 3 < 2))
