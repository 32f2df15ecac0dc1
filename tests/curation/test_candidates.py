"""Both indexes give all pairs within the radius, as comparing all with all does."""

from __future__ import annotations

import numpy as np
import pytest

from alumnus.curation import candidates
from alumnus.curation.candidates import RADIUS, candidate_pairs

COUNT = 400


@pytest.fixture(scope="module")
def hashes() -> np.ndarray:
    """(400, 2, 8): 100 random ones and three relatives of each, 0 to 20 bits away."""
    draw = np.random.default_rng(0)
    bits = np.repeat(draw.integers(0, 2, (COUNT // 4, 2, 64)), 4, axis=0)
    for row in range(COUNT):
        for kind in range(2):
            flipped = draw.permutation(64)[: int(draw.integers(0, 12))]
            bits[row, kind, flipped] ^= 1
    return np.packbits(bits.astype(np.uint8), axis=2)


def _naive(hashes: np.ndarray, queries: np.ndarray, index: np.ndarray) -> list[list[int]]:
    bits = np.unpackbits(hashes, axis=2).astype(int)
    found = set()
    for a in queries:
        for b in index:
            if a != b and (np.abs(bits[a] - bits[b]).sum(1) <= RADIUS).any():
                found.add((int(min(a, b)), int(max(a, b))))
    return [list(pair) for pair in sorted(found)]


@pytest.mark.parametrize("flat_up_to", [10**6, 10], ids=["flat", "multi-index"])
def test_all_pairs_within_the_radius_are_found(
    hashes: np.ndarray, flat_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By either index, and no others; each once, in order."""
    monkeypatch.setattr(candidates, "FLAT_UP_TO", flat_up_to)
    rows = np.arange(COUNT)
    expected = _naive(hashes, rows, rows)
    assert len(expected) > 300
    assert candidate_pairs(hashes, rows, rows).tolist() == expected


def test_queries_and_index_may_be_parts(hashes: np.ndarray) -> None:
    """Rows keep their numbers."""
    queries, index = np.arange(0, COUNT, 3), np.arange(1, COUNT, 2)
    assert candidate_pairs(hashes, queries, index).tolist() == _naive(hashes, queries, index)


def test_nothing_gives_nothing(hashes: np.ndarray) -> None:
    """An empty split is no error."""
    none = np.empty(0, np.int64)
    assert candidate_pairs(hashes, none, np.arange(5)).shape == (0, 2)
    assert candidate_pairs(hashes, np.arange(5), none).shape == (0, 2)


def test_a_crowd_gives_few_pairs() -> None:
    """A thousand equal hashes: not half a million pairs."""
    crowd = np.zeros((1000, 2, 8), np.uint8)
    assert len(candidate_pairs(crowd, np.arange(1000), np.arange(1000))) <= 1000 * (candidates.NEAREST + 1)
