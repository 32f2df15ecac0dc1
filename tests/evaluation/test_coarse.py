"""The pass in bfloat16 leaves nothing out that could matter."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import pytest

from alumnus.evaluation import search as module
from alumnus.evaluation.arrays import Floats
from alumnus.evaluation.coarse import BLOCK, Candidates, Coarse, Propose, pays
from alumnus.evaluation.search import search, unit_length

SIZES = (2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK - 1)  # the last block full, nearly empty, nearly full


def _clusters(count: int, width: int, *, seed: int, spread: float = 0.3) -> Floats:
    random = np.random.default_rng(seed)
    middles = random.normal(size=(40, width))
    return unit_length(middles[random.integers(0, 40, count)] + spread * random.normal(size=(count, width)))


def _never() -> NoReturn:
    raise AssertionError("a plain search was not needed")


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 300.0])
def test_nothing_left_out_is_beyond_the_bound(count: int, scale: float) -> None:
    """By the inner products in float64, also of vectors of many lengths."""
    random = np.random.default_rng(count)
    lengths = scale * random.uniform(0.1, 1, (count, 1))
    index = _clusters(count, 24, seed=0) * lengths.astype(np.float32)
    queries = _clusters(50, 24, seed=1)
    found = Coarse(index, _never)(queries, 8)
    scores = queries.astype(np.float64) @ index.T.astype(np.float64)
    for ids, beyond, row in zip(found.ids, found.beyond, scores, strict=True):
        assert len(set(ids.tolist())) == 8
        assert 0 <= ids.min() <= ids.max() < count
        assert np.delete(row, ids).max() <= beyond


@pytest.mark.parametrize("count", SIZES)
def test_the_answer_is_the_same(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, with and without it; half of the vectors are there twice."""
    index = _clusters(count, 16, seed=2)
    index[count // 2 : 2 * (count // 2)] = index[: count // 2]
    rows = np.arange(0, count, 7)
    without = search(index[rows], index, 5, exclude=rows)
    monkeypatch.setattr(module, "LEAST_INDEX", 0)
    monkeypatch.setattr(module, "pays", lambda: True)
    with_it = search(index[rows], index, 5, exclude=rows)
    assert np.array_equal(without.ids, with_it.ids)
    assert np.array_equal(without.scores, with_it.scores)


def test_when_most_is_wanted_a_plain_search_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once, and only then."""
    made = []

    def plain() -> Propose:
        made.append(1)
        return lambda queries, wanted: Candidates(
            np.zeros((len(queries), wanted), np.int64), np.ones(len(queries))
        )

    index = _clusters(2 * BLOCK, 8, seed=3)
    coarse = Coarse(index, plain)
    coarse(index[:9], 10)
    assert not made
    for _ in range(2):
        assert coarse(index[:9], 1000).ids.shape == (9, 1000)
    assert len(made) == 1


def test_a_small_index_is_searched_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the processor."""
    monkeypatch.setattr(module, "pays", _never)
    index = _clusters(500, 8, seed=4)
    assert search(index[:3], index, 1).ids[:, 0].tolist() == [0, 1, 2]


def test_whether_it_pays_is_found_out_once() -> None:
    """Either answer is right; the second is free."""
    assert pays() in (True, False)
    assert pays.cache_info().currsize == 1
