"""The retrieval protocol against loops written straight from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.retrieval import Protocol, macro, retrieve
from alumnus.evaluation.search import unit_length


def naive(
    vectors: Floats, domain: Ids, label: Ids, queries: Ids, index: Ids, protocol: Protocol
) -> tuple[list[float], list[float]]:
    """R@1 and MP@5 of every query, one pair at a time."""
    unit = unit_length(vectors).astype(np.float64)
    recall, precision = [], []
    for q in queries:
        pool = [i for i in sorted(set(index)) if i != q and (protocol == "merged" or domain[i] == domain[q])]
        ranked = sorted(pool, key=lambda i: (-float((unit[q] * unit[i]).sum()), i))
        hit = [label[i] == label[q] >= 0 and domain[i] == domain[q] for i in ranked]
        counted = min(5, sum(hit))
        recall.append(float(bool(hit) and hit[0]))
        precision.append(sum(hit[:counted]) / counted if counted else 0.0)
    return recall, precision


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 40),
    distinct=st.integers(1, 40),
    domains=st.integers(1, 3),
    classes=st.integers(1, 6),
    separate_index=st.booleans(),
)
def test_metrics_equal_the_loops(
    seed: int, size: int, distinct: int, domains: int, classes: int, separate_index: bool
) -> None:
    """With ties, classes of fewer than five images, lonely queries, unlabelled rows, and a separate index."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(distinct, 5)).astype(np.float32)[random.integers(0, distinct, size)]
    domain, label = random.integers(0, domains, size), random.integers(-1, classes, size)
    queries = np.flatnonzero(label >= 0)
    index = np.flatnonzero(random.random(size) < 0.5) if separate_index else np.arange(size)
    found = retrieve(vectors, domain=domain, label=label, queries=queries, index=index)
    for protocol in ("merged", "separate"):
        recall, precision = naive(vectors, domain, label, queries, index, protocol)
        assert found.ranking(protocol).recall.tolist() == recall
        assert np.allclose(found.ranking(protocol).precision, precision, atol=1e-7)


def test_a_duplicate_with_a_smaller_id_does_not_let_the_query_find_itself() -> None:
    """The trap of removing the first rank: the copy ranks first, the query second."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = retrieve(
        vectors,
        domain=np.zeros(3, np.int64),
        label=np.array([0, 1, 1]),
        queries=np.array([1]),
        index=np.arange(3),
    )
    assert found.merged.neighbours[0, :2].tolist() == [0, 2]
    assert found.merged.recall.tolist() == [0]
    assert found.merged.precision.tolist() == [0]


def test_only_the_first_relevant_ranks_count() -> None:
    """Two relevant images at ranks 1 and 3: one of the first two, so 1/2, not 2/2 and not 2/5."""
    angles = np.radians([0, 5, 10, 15, 20])
    found = retrieve(
        np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32),
        domain=np.zeros(5, np.int64),
        label=np.array([0, 0, 1, 0, 1]),
        queries=np.array([0]),
        index=np.arange(5),
    )
    assert found.relevant.tolist() == [2]
    assert found.merged.hits[0, :4].tolist() == [True, False, True, False]
    assert found.merged.precision.tolist() == [0.5]


def test_the_same_label_in_another_domain_is_no_hit() -> None:
    """Class 0 of one domain is not class 0 of another; alone in its domain a query scores 0."""
    found = retrieve(
        np.ones((2, 3), np.float32),
        domain=np.array([0, 1]),
        label=np.array([0, 0]),
        queries=np.arange(2),
        index=np.arange(2),
    )
    assert found.relevant.tolist() == [0, 0]
    assert found.merged.recall.tolist() == [0, 0]
    assert (found.separate.neighbours == -1).all()


def test_separate_is_never_below_merged_at_rank_one() -> None:
    """Other domains can only take the first place away."""
    random = np.random.default_rng(3)
    found = retrieve(
        random.normal(size=(300, 4)).astype(np.float32),
        domain=random.integers(0, 3, 300),
        label=random.integers(0, 5, 300),
        queries=np.arange(300),
        index=np.arange(300),
    )
    assert (found.separate.recall >= found.merged.recall).all()


def test_macro_weighs_domains_equally() -> None:
    """However many queries a domain has."""
    values, domain = np.r_[np.ones(99), 0.0], np.r_[np.zeros(99, np.int64), 1]
    assert macro(values, domain) == pytest.approx(0.5)
