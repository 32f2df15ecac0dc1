"""Exact search is exact, also where thousands of scores are equal or nearly so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.search import BLOCK, NO_ID, search, unit_length

DEVICES = ("cpu", "cpu:0")  # the second name goes through torch


def naive(queries: Floats, index: Floats, k: int, exclude: Ids | None) -> list[list[int]]:
    """The k best ids of each query by a full sort."""
    answers = []
    for q, query in enumerate(queries):
        pairs = [
            (-float((query.astype(np.float64) * row.astype(np.float64)).sum()), i)
            for i, row in enumerate(index)
        ]
        ranked = [i for _, i in sorted(pairs) if exclude is None or i != exclude[q]]
        answers.append((ranked + [NO_ID] * k)[:k])
    return answers


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 60),
    distinct=st.integers(1, 8),
    width=st.integers(1, 9),
    k=st.integers(1, 7),
    leave_out=st.booleans(),
)
def test_search_equals_a_full_sort_under_ties(
    device: str, seed: int, size: int, distinct: int, width: int, k: int, leave_out: bool
) -> None:
    """With few distinct vectors most scores are equal, and the smaller ids still win."""
    random = np.random.default_rng(seed)
    index = unit_length(random.normal(size=(distinct, width)))[random.integers(0, distinct, size)]
    exclude = np.arange(size) if leave_out else None
    found = search(index, index, k, exclude=exclude, device=device)
    assert found.ids.tolist() == naive(index, index, k, exclude)


@pytest.mark.parametrize("device", DEVICES)
def test_ties_that_straddle_the_last_place_go_to_the_smaller_ids(device: str) -> None:
    """A thousand copies among other vectors: the list holds the first copies, not whichever came up."""
    random = np.random.default_rng(0)
    index = unit_length(random.normal(size=(3000, 37)))
    copies = np.sort(random.choice(3000, 1000, replace=False))
    index[copies] = index[copies[0]]
    found = search(index[copies[:5]], index, 6, exclude=copies[:5], device=device)
    expected = [[c for c in copies[:7] if c != mine][:6] for mine in copies[:5]]
    assert found.ids.tolist() == expected


def test_scores_closer_than_float32_can_tell_are_still_ordered() -> None:
    """Vectors whose float32 inner products round to the same number are ordered by the true ones."""
    random = np.random.default_rng(1)
    index = np.repeat(unit_length(random.normal(size=(1, 64))), 200, axis=0)
    index[:, 0] += np.float32(1e-7) * random.permutation(200).astype(np.float32)
    query = np.abs(unit_length(random.normal(size=(1, 64))))
    assert search(query, index, 20).ids.tolist() == naive(query, index, 20, None)


def _alike(kind: str, count: int, width: int) -> Floats:
    """Vectors of unit length as a collapsed student gives them."""
    random = np.random.default_rng(2)
    index = unit_length(random.normal(size=(count, width)))
    near = unit_length(index[:1] + 1e-7 * random.normal(size=(count, width)))
    half = random.permutation(count)[: count // 2]
    if kind == "identical":
        index[:] = index[0]
    elif kind == "nearly identical":
        index = near
    elif kind == "half identical":
        index[half] = index[0]
    elif kind == "half nearly identical":
        index[half] = near[half]
    elif kind == "signs":
        index = unit_length(np.sign(index))
    elif kind == "half zeros":
        index[half] = 0
    return index


KINDS = (
    "random",
    "identical",
    "nearly identical",
    "half identical",
    "half nearly identical",
    "signs",
    "half zeros",
)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [5, 40])
def test_collapsed_vectors_are_ordered_by_float64_and_id(device: str, kind: str, width: int) -> None:
    """Several blocks and both sides of the list's length in copies; the scores are equal to the last bit."""
    index = _alike(kind, 2 * BLOCK + 100, width)
    rows = np.arange(0, len(index), 47)
    scores = (index[rows].astype(np.float64)[:, None] * index.astype(np.float64)).sum(-1)
    scores[np.arange(len(rows)), rows] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    found = search(index[rows], index, 6, exclude=rows, device=device)
    assert np.array_equal(found.ids, order)
    assert np.array_equal(found.scores, np.take_along_axis(scores, order, 1))


def test_a_query_of_zeros_finds_the_first_ids() -> None:
    """A zero vector, such as a blank image without its mean, ties with everything and breaks nothing."""
    index = unit_length(np.random.default_rng(0).normal(size=(500, 8)))
    found = search(np.zeros((1, 8), np.float32), index, 3)
    assert found.ids.tolist() == [[0, 1, 2]]
    assert np.all(found.scores == 0)


def test_an_index_smaller_than_k_is_filled_up_with_no_id() -> None:
    """Also when the only vector is left out, or there is none."""
    one = np.ones((1, 4), np.float32)
    assert search(one, one, 3).ids.tolist() == [[0, NO_ID, NO_ID]]
    assert search(one, one, 2, exclude=np.array([0])).ids.tolist() == [[NO_ID, NO_ID]]
    assert search(one, one[:0], 2).ids.tolist() == [[NO_ID, NO_ID]]


def test_unit_length_keeps_zeros_and_equal_rows_equal() -> None:
    """No NaN for a zero row; copies stay copies to the last bit."""
    rows = np.random.default_rng(0).normal(size=(50, 33)).astype(np.float32)
    rows[7:] = rows[7]
    rows[0] = 0
    unit = unit_length(rows)
    assert not unit[0].any()
    assert np.allclose(np.linalg.norm(unit[1:], axis=1), 1)
    assert (unit[7:] == unit[7]).all()
