"""Two processes find what one finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from alumnus.evaluation.retrieval import Retrieval, retrieve
from alumnus.evaluation.search import search
from alumnus.evaluation.sharded import sharded_search


def _found(count: int) -> Retrieval:
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 8)).astype(np.float32)
    domain, label = random.integers(0, 2, count), random.integers(0, 5, count)
    return retrieve(x, domain=domain, label=label, queries=np.arange(0, count, 2), index=np.arange(count))


def _retrieve(rank: int, folder: str, count: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = _found(count)
    np.savez(f"{folder}/{rank}.npz", found.merged.metric("mMP@5"), found.separate.metric("R@1"))
    dist.destroy_process_group()


@pytest.mark.parametrize("count", [61, 3])
def test_two_processes_agree_with_one(count: int, tmp_path: Path) -> None:
    """Also with an odd number of queries, and with fewer queries of a domain than processes."""
    spawn(_retrieve, (str(tmp_path), count), nprocs=2)  # type: ignore[no-untyped-call]
    alone = _found(count)
    for rank in range(2):
        with np.load(tmp_path / f"{rank}.npz") as saved:
            merged, separate = saved["arr_0"], saved["arr_1"]
        assert np.array_equal(merged, alone.merged.metric("mMP@5"), equal_nan=True)
        assert np.array_equal(separate, alone.separate.metric("R@1"), equal_nan=True)


def test_alone_it_is_a_search() -> None:
    """Without torch.distributed."""
    x = np.random.default_rng(1).normal(size=(20, 4)).astype(np.float32)
    assert np.array_equal(sharded_search(x, x, 3).ids, search(x, x, 3).ids)
